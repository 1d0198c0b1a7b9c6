"""What Slurm prints is read as Slurm's manual describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.errors import InputError
from study.executors.base import Work
from study.executors.slurm.scheduler import SubmitLimitError, refusal
from study.executors.slurm.settings import Slurm
from study.executors.slurm.states import JobState, expanded, minutes_of, read_accounts, read_job, read_queue


def test_the_queue_is_read_with_reasons_and_names() -> None:
    text = "812_3|PENDING|AssocGrpGRES|study-a\n812_1|RUNNING|None|study-a\n90|COMPLETING|None|x|y\nslurm_load: no\n"
    jobs = read_queue(text)
    assert [(job.id, job.status.state, job.status.reason) for job in jobs] == [
        ("812_3", JobState.PENDING, "AssocGrpGRES"),
        ("812_1", JobState.RUNNING, ""),
        ("90", JobState.RUNNING, ""),
    ]
    assert jobs[2].name == "x|y"


@pytest.mark.parametrize(
    ("line", "state", "live"),
    [
        ("7|CANCELLED by 1000|None|0:15|node3", JobState.CANCELLED, False),
        ("7|PREEMPTED|None|0:0|node3", JobState.PREEMPTED, False),
        ("7|NODE_FAIL|None|1:0|node3", JobState.NODE_FAIL, False),
        ("7|OUT_OF_MEMORY|OutOfMemory|0:125|node3", JobState.OUT_OF_MEMORY, False),
        ("7|TIMEOUT|TimeLimit|0:0|node3", JobState.TIMEOUT, False),
        ("7|REQUEUED|BeginTime|0:0|None assigned", JobState.PENDING, True),
        ("7|PENDING|Dependency|0:0|None assigned", JobState.PENDING, True),
        ("7|SOMETHING_NEW|None|0:0|node3", JobState.FAILED, False),
    ],
)
def test_accounts_give_the_state_of_ended_jobs(line: str, state: JobState, live: bool) -> None:
    status = read_accounts(line)["7"]
    assert (status.state, status.is_live) == (state, live)


def test_the_latest_row_of_a_requeued_job_counts() -> None:
    assert read_accounts("7|PREEMPTED|None|0:0|a\n7|COMPLETED|None|0:0|b")["7"].state is JobState.COMPLETED


def test_who_cancelled_a_job_and_where_is_reported() -> None:
    text = str(read_accounts("7|CANCELLED by 1000|None|0:15|node3")["7"])
    assert all(part in text for part in ("CANCELLED", "by 1000", "0:15", "node3"))


def test_short_forms_of_ids_are_expanded() -> None:
    assert list(expanded("12_[0-2,5%4]")) == ["12_0", "12_1", "12_2", "12_5"]
    assert list(expanded("12_7")) == ["12_7"]


def test_a_job_is_read_where_there_is_no_accounting() -> None:
    status = read_job("JobId=7 JobName=x JobState=FAILED Reason=NonZeroExitCode NodeList=node3")
    assert status is not None
    assert (status.state, status.reason) == (JobState.FAILED, "NonZeroExitCode")
    assert read_job("slurm_load_jobs error: Invalid job id specified") is None


@pytest.mark.parametrize(
    ("time", "minutes"),
    [
        ("90", 90),
        ("90:30", 91),
        ("1:30:00", 90),
        ("1-2", 26 * 60),
        ("1-2:30", 26 * 60 + 30),
        ("2-0:0:0", 2880),
    ],
)
def test_times_are_read_as_sbatch_reads_them(time: str, minutes: int) -> None:
    assert minutes_of(time) == minutes


@pytest.mark.parametrize("time", ["", "4h", "0", "1:2:3:4", "-5"])
def test_a_wrong_time_names_its_key(time: str) -> None:
    with pytest.raises(InputError, match=r"engine\.slurm\.time"):
        Slurm(time=time)


def test_a_submission_beyond_a_limit_is_tried_again_and_a_wrong_one_is_not() -> None:
    limit = (
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates "
        "accounting/QOS policy (job submit limit, user's size and/or time limits)"
    )
    assert isinstance(refusal(limit), SubmitLimitError)
    assert isinstance(refusal("sbatch: error: Unable to contact slurm controller"), SubmitLimitError)
    wrong = refusal(
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination"
    )
    assert isinstance(wrong, InputError)
    too_long = refusal("sbatch: error: Requested time limit is invalid (missing or exceeds some limit)")
    assert isinstance(too_long, InputError)


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("", 0),
        ("gpu", 1),
        ("gpu:2", 2),
        ("gpu:a100:4", 4),
        ("gpu:a100", 1),
        ("nvme:2,gpu:1,gpu:h100:2", 3),
        ("lic:3", 0),
    ],
)
def test_the_gpus_of_a_job_are_counted_as_slurm_counts_them(gres: str, gpus: int) -> None:
    assert Slurm(gres=gres).gpus == gpus


def test_a_run_that_needs_more_than_a_job_requests_is_refused(tmp_path: Path) -> None:
    def work(**needs: Any) -> Work:
        return Work("s", tmp_path, tmp_path, **needs)

    for engine, needs, key in (
        (Slurm(gres="gpu:2"), work(device="cuda", gpus=4), "gres"),
        (Slurm(cpus=2), work(threads=8), "cpus"),
    ):
        with pytest.raises(InputError, match=rf"engine\.slurm\.{key}"):
            engine.executor(needs)
