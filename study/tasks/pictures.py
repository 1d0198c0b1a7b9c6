"""Reads the pictures of the test examples that a report shows, by the study's task."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from study.analysis.findings import Findings
from study.config.registry import task_of
from study.errors import InputError
from study.ledger.record import StudyRecord
from study.reporting.pictures import NO_PICTURES, Pictures, pictured

_log = logging.getLogger(__name__)


def read_pictures(findings: Findings, record: StudyRecord) -> Pictures:
    """Return the frames, (T, H, W, 3), of the examples that a report shows, by fold and name.

    Empty where the task shows no examples, or cannot read them on this machine.
    """
    variant = pictured(findings)
    if variant is None or variant.disagreement is None:
        return NO_PICTURES
    template = next(each.template for each in record.variants if each.name == variant.name)
    ids: dict[int | None, list[str]] = {}
    for example in variant.disagreement.examples:
        ids.setdefault(example.fold, []).append(example.id)
    try:
        task: Any = task_of(template)
        if not hasattr(task, "pictures"):
            return NO_PICTURES
        return {
            (fold, name): frames
            for fold, of_fold in ids.items()
            for name, frames in task.pictures(replace(template, fold=fold), of_fold).items()
        }
    except (InputError, OSError) as error:
        _log.info("the report has no pictures of examples: %s", error)
        return NO_PICTURES
