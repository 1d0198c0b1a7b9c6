"""What a worker calls: one function for each kind of job, the same for every task."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import cast

from study.config.registry import Registry
from study.errors import StudyError
from study.files import write
from study.ledger.layout import MEASURED
from study.records import RunSpec, to_json
from study.task import CanMeasure, OnEpoch, Run, RunStopped, Task

_log = logging.getLogger(__name__)


def open_run(
    spec: RunSpec, folder: Path, on_epoch: OnEpoch = lambda epoch: None, rule: str = ""
) -> tuple[Task, Run]:
    """Return the task of a run, and the run as its training sees it.

    Args:
        spec: The run.
        folder: Its folder.
        on_epoch: Called after each epoch.
        rule: The least gain that lets a search trial go on, by epoch, as JSON; empty to train to the end.
    """
    for path in reversed(spec.import_paths):
        if path not in sys.path:
            sys.path.insert(0, path)
    registry = Registry(spec.modules, spec.task)
    task = registry.task(spec.options or {"name": spec.task})
    metrics = dict(task.metrics)
    if spec.metric_name not in metrics and "metric" in task.kinds:
        primary = registry.metric(spec.metric)
        metrics[primary.name] = primary
    run_class: type[Run] = getattr(task, "run_class", Run)
    run = run_class(
        spec,
        folder,
        metrics,
        on_epoch,
        json.loads(rule) if rule else {},
        task.select,
        task.resumes,
        task.weights_name,
        task.checkpoint_name,
    )
    return task, run


def train(spec: RunSpec, folder: Path, on_epoch: OnEpoch, rule: str = "") -> None:
    """Train a run; leave its result, or why the search stopped it, in `folder`.

    Raises:
        StudyError: The training cannot be done here, or reported what cannot be.
    """
    task, run = open_run(spec, folder, on_epoch, rule)
    try:
        task.train(run)
    except RunStopped as stopped:
        _log.info("%s", stopped)
    run.close()


def evaluate(spec: RunSpec, folder: Path, on_epoch: OnEpoch) -> None:
    """Test what a training left in `folder`; leave the test result there. `on_epoch` is never called.

    Raises:
        StudyError: The run cannot be tested here, or its test reported what cannot be.
    """
    began = time.perf_counter()
    task, run = open_run(spec, folder)
    metrics = task.evaluate(run)
    run.write_test(metrics, time.perf_counter() - began)


def measure(spec: RunSpec, folder: Path, on_epoch: OnEpoch, key: str) -> None:
    """Take a measure of a tested run; `key` is its name and, behind an @, the digest of its code."""
    task, run = open_run(spec, folder)
    found = cast(CanMeasure, task).measure(run, key.partition("@")[0])
    write(folder / MEASURED.format(key), to_json(found))


def profile(spec: RunSpec, folder: Path, on_epoch: OnEpoch) -> None:
    """Count what a run's network costs; leave the profile in `folder`."""
    task, run = open_run(spec, folder)
    found = task.profile(run)
    if found is None:
        raise StudyError("the task knows nothing of what its network costs.")
    run.keep_profile(found)
