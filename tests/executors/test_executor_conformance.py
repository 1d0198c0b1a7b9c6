"""The executors of this machine do what the conformance suite asks of every executor."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.executors.local import LocalWorkers
from study.testing.executors import CHECKS, SHARED_CHECKS, Check


def local() -> LocalWorkers:
    return LocalWorkers(2)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_processes_on_this_machine(check: Check, tmp_path: Path) -> None:
    check("executors.test_executor_conformance:local", tmp_path)


@pytest.mark.parametrize("check", SHARED_CHECKS, ids=lambda check: check.__name__)
def test_the_process_of_the_command(check: Check, tmp_path: Path) -> None:
    check("study.executors.inprocess:InProcess", tmp_path)
