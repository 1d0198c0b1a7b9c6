"""The Slurm engine does what the conformance suite asks of every executor, with submitit's processes as the cluster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from study.executors.slurm.engine import SlurmJobs
from study.executors.slurm.scheduler import open_scheduler
from study.executors.slurm.settings import Slurm
from study.testing.executors import CHECKS, Check

pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")

FOLDER = "CONFORMANCE_JOBS"
"""Names the folder of jobs, which the conductors of one check share."""


def executor() -> SlurmJobs:
    settings = Slurm(
        scheduler="local",
        max_jobs=2,
        query_s=0.2,
        poll_s=0.05,
        gather_s=0.0,
        visible_s=1.0,
        time="60",
    )
    return SlurmJobs(open_scheduler(settings), Path(os.environ[FOLDER]), settings)


SLOW = ("a_killed_conductor_is_followed_by_another",)
CASES = [pytest.param(check, marks=pytest.mark.slow if check.__name__ in SLOW else ()) for check in CHECKS]


@pytest.mark.parametrize("check", CASES, ids=lambda check: check.__name__)
def test_jobs_of_submitit(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "jobs"))
    check("executors.test_slurm_conformance:executor", tmp_path)
