"""Fake test jobs with and without a breakdown, with figures that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from study.files import write
from study.records import Breakdown, RunSpec, TestResult, from_json, to_json
from study.testing import fake

COUNTS = {"Action": 4, "War": 2}


def evaluate(spec: RunSpec, folder: Path, on_epoch: Any) -> None:
    """Write test results with three of four Action clips right and one of two War clips, none of them in fold 2."""
    values = {"Action": 0.75, "War": 0.0 if spec.fold == 2 else 0.5}
    _test(spec, folder, on_epoch, (Breakdown("scene", "WAR in each scene", values, counts=COUNTS),))


def plain(spec: RunSpec, folder: Path, on_epoch: Any) -> None:
    _test(spec, folder, on_epoch, ())


def _test(spec: RunSpec, folder: Path, on_epoch: Any, breakdowns: tuple[Breakdown, ...]) -> None:
    fake.evaluate(spec, folder, on_epoch)
    result = from_json(TestResult, (folder / "test.json").read_bytes())
    write(folder / "test.json", to_json(replace(result, breakdowns=breakdowns)))
