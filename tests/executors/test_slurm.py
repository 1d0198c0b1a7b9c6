"""Calls as jobs of a Slurm cluster: what becomes of them when jobs wait, end, vanish, or outlive their conductor."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.fake_slurm import VARIABLE, FakeSlurm

from study.errors import InputError, StudyError
from study.executors.base import Call, CallEnded, CallEpoch, CallPending, Ending
from study.executors.slurm import exchange
from study.executors.slurm.engine import SlurmJobs
from study.executors.slurm.scheduler import open_scheduler
from study.executors.slurm.settings import Slurm
from study.records import RunSpec

pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")

PATIENCE_S = 90.0
QUICK = {"query_s": 0.2, "poll_s": 0.1, "gather_s": 0.0, "visible_s": 1.0, "signal_s": 31}
Start = Callable[..., SlurmJobs]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    fake = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv(VARIABLE, str(fake.folder))
    monkeypatch.setenv("PATH", f"{fake.bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    yield fake
    fake.stop()


@pytest.fixture
def start(slurm: FakeSlurm, tmp_path: Path) -> Start:
    """Return a function that starts an executor, as a conductor of the same ledger does."""

    def begin(**settings: object) -> SlurmJobs:
        table = Slurm(**{**QUICK, **settings})  # type: ignore[arg-type]
        return SlurmJobs(open_scheduler(table), tmp_path / "jobs", table)

    return begin


def call(folder: Path, key: str = "t", target: str = "slurm_jobs:steady") -> Call:
    run = RunSpec(config={}, seed=0, data_digest="", code_digest="")
    return Call(key, f"support.{target}", run, folder / "runs" / key)


def until_ended(jobs: SlurmJobs, calls: int = 1) -> dict[str, CallEnded]:
    ended: dict[str, CallEnded] = {}
    deadline = time.monotonic() + PATIENCE_S
    while len(ended) < calls and time.monotonic() < deadline:
        for event in jobs.wait(0.5):
            if isinstance(event, CallEnded):
                assert event.call.key not in ended, "a call ended twice"
                ended[event.call.key] = event
    return ended


def until_epoch(jobs: SlurmJobs, number: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if any(isinstance(event, CallEpoch) and event.epoch.epoch >= number for event in jobs.wait(0.5)):
            return
    raise AssertionError(f"epoch {number} never came")


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def submissions(slurm: FakeSlurm) -> int:
    path = slurm.folder / "calls.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


def attempts(of: Call) -> list[int]:
    """Return the epoch after which each attempt continued."""
    return [int(line) for line in (of.folder / "attempts").read_text().split()]


def test_calls_of_one_wait_are_one_array_within_the_clusters_array_size(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    slurm.configure(max_array=2)
    jobs = start()
    for number in range(5):
        jobs.submit(call(tmp_path, str(number), "worker_jobs:good"))
    ended = until_ended(jobs, 5)
    assert {event.ending for event in ended.values()} == {Ending.RETURNED}
    assert len(ended) == 5
    assert submissions(slurm) == 3
    jobs.close()
    assert not list((tmp_path / "jobs").iterdir())


def test_short_runs_share_a_job_and_one_that_raises_stops_no_other(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    jobs = start(runs_per_job=3)
    for key, target in (("a", "good"), ("b", "raising"), ("c", "good"), ("d", "good")):
        jobs.submit(call(tmp_path, key, f"worker_jobs:{target}"))
    ended = until_ended(jobs, 4)
    assert {key: event.ending for key, event in ended.items()} == {
        "a": Ending.RETURNED,
        "b": Ending.RAISED,
        "c": Ending.RETURNED,
        "d": Ending.RETURNED,
    }
    assert len(slurm.jobs()) == 2


def test_a_run_outlasts_the_time_limit_by_checkpoints_and_requeues(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    jobs, run = start(), call(tmp_path)
    jobs.submit(run)
    until_epoch(jobs, 2)
    for number in (1, 2):
        until(lambda number=number: len(attempts(run)) == number)  # type: ignore[misc]
        (id_,) = slurm.wait_for("RUNNING")
        slurm.order(id_, "signal")
        slurm.wait_for("PENDING", patience_s=PATIENCE_S)
    ended = until_ended(jobs)
    assert ended["t"].ending == Ending.RETURNED
    first, second, third = attempts(run)
    assert first == 0
    assert second >= 2
    assert third >= second
    assert slurm.jobs()[id_]["restarts"] == 2
    assert submissions(slurm) == 1


def test_a_run_without_checkpoints_is_not_requeued_for_ever(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    jobs = start()
    jobs._settings.__dict__["minutes"] = 0.001  # no job of Slurm is so short
    jobs.submit(call(tmp_path, target="slurm_jobs:forgetful"))
    until_epoch(jobs, 1)
    (id_,) = slurm.wait_for("RUNNING")
    slurm.order(id_, "signal")
    ended = until_ended(jobs)
    assert ended["t"].ending == Ending.RAISED
    assert "engine.slurm.time" in ended["t"].reason
    assert [job["restarts"] for job in slurm.jobs().values()] == [0]


def test_a_preempted_run_continues_where_slurm_requeues_it(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    jobs, run = start(), call(tmp_path)
    jobs.submit(run)
    until_epoch(jobs, 2)
    (id_,) = slurm.wait_for("RUNNING")
    slurm.order(id_, "preempt-requeue")
    assert until_ended(jobs)["t"].ending == Ending.RETURNED
    assert attempts(run)[1] >= 2
    assert submissions(slurm) == 1


def test_a_run_that_slurm_preempts_for_good_can_be_submitted_again(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    jobs, run = start(), call(tmp_path)
    jobs.submit(run)
    until_epoch(jobs, 2)
    (id_,) = slurm.wait_for("RUNNING")
    slurm.order(id_, "preempt-cancel")
    assert until_ended(jobs)["t"].ending == Ending.PREEMPTED
    jobs.submit(run)
    assert until_ended(jobs)["t"].ending == Ending.RETURNED
    assert attempts(run)[1] >= 2
    assert slurm.jobs()[id_]["state"] == "PREEMPTED"
    assert submissions(slurm) == 2


@pytest.mark.parametrize(
    ("order", "state", "ending"),
    [
        ("cancel", "CANCELLED", Ending.CANCELLED),
        ("node-fail", "NODE_FAIL", Ending.LOST),
        ("lose", "LOST", Ending.LOST),
    ],
)
def test_a_job_that_ends_without_its_run_names_its_state(
    slurm: FakeSlurm, start: Start, tmp_path: Path, order: str, state: str, ending: Ending
) -> None:
    jobs, run = start(), call(tmp_path)
    jobs.submit(run)
    until_epoch(jobs, 1)
    (id_,) = slurm.wait_for("RUNNING")
    slurm.order(id_, order)
    ended = until_ended(jobs)["t"]
    assert ended.ending == ending
    assert state in ended.reason
    assert ended.host
    assert id_ in ended.reason


def test_a_cancelled_job_does_not_come_back(slurm: FakeSlurm, start: Start, tmp_path: Path) -> None:
    jobs = start()
    jobs.submit(call(tmp_path))
    until_epoch(jobs, 1)
    (id_,) = slurm.wait_for("RUNNING")
    slurm.order(id_, "cancel")
    until_ended(jobs)
    assert slurm.jobs()[id_]["restarts"] == 0


def test_a_job_that_can_never_start_is_cancelled_and_its_reason_reported(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    slurm.configure(hold="PartitionTimeLimit")
    jobs = start()
    jobs.submit(call(tmp_path))
    ended = until_ended(jobs)["t"]
    assert ended.ending == Ending.RAISED
    assert "PENDING (PartitionTimeLimit)" in ended.reason
    slurm.wait_for("CANCELLED by 1000")


def test_a_job_that_waits_is_no_failure_unless_a_limit_is_set(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    slurm.configure(hold="Priority")
    patient = start()
    patient.submit(call(tmp_path, "a"))
    deadline, events = time.monotonic() + 2.5, []
    while time.monotonic() < deadline:
        events += patient.wait(0.5)
    (pending,) = events
    assert isinstance(pending, CallPending)
    assert "PENDING (Priority)" in pending.reason
    impatient = start(pending_s=1)
    impatient.submit(call(tmp_path, "b"))
    ended = until_ended(impatient)["b"]
    assert ended.ending == Ending.RAISED
    assert "PENDING (Priority)" in ended.reason
    slurm.configure(hold="")
    assert until_ended(patient)["a"].ending == Ending.RETURNED


def test_runs_beyond_a_submit_limit_wait_for_those_before_them(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    slurm.configure(submit_limit=2)
    jobs = start()
    for number in range(5):
        jobs.submit(call(tmp_path, str(number), "worker_jobs:good"))
    ended = until_ended(jobs, 5)
    assert [event.ending for event in ended.values()] == [Ending.RETURNED] * 5
    assert len(slurm.jobs()) == 5


def test_a_limit_that_never_lifts_is_an_error(slurm: FakeSlurm, start: Start, tmp_path: Path) -> None:
    slurm.configure(submit_limit=0)
    jobs = start(query_s=0.0)
    jobs.submit(call(tmp_path))
    with pytest.raises(StudyError, match="AssocMaxSubmitJobLimit"):
        until_ended(jobs)


def test_a_refused_job_is_an_error_in_the_words_of_sbatch(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    jobs = start(partition="nowhere")
    jobs.submit(call(tmp_path))
    with pytest.raises(InputError, match="invalid partition specified: nowhere"):
        jobs.wait(5.0)


def test_what_a_job_requests_reaches_sbatch(slurm: FakeSlurm, start: Start, tmp_path: Path) -> None:
    jobs = start(
        partition="gpu",
        account="lab",
        gres="gpu:a100:1",
        cpus=3,
        memory="7G",
        time="1:30:00",
        setup=["export LOADED=yes", "echo set up"],
        options={"qos": "long", "exclusive": True},
    )
    jobs.submit(call(tmp_path, target="worker_jobs:good"))
    until_ended(jobs)
    (job,) = slurm.jobs().values()
    wanted = {
        "partition": "gpu",
        "account": "lab",
        "gres": "gpu:a100:1",
        "cpus-per-task": "3",
        "mem": "7G",
        "time": "90",
        "qos": "long",
        "exclusive": "",
        "requeue": "",
        "signal": "USR1@31",
    }
    assert {key: job["options"].get(key) for key in wanted} == wanted
    assert "wckey" not in job["options"]
    lines = Path(job["script"]).read_text().splitlines()
    assert lines.index("export LOADED=yes") < next(
        number for number, line in enumerate(lines) if line.startswith("srun")
    )


@pytest.mark.parametrize("has_ids", [True, False], ids=["submitted", "killed-while-submitting"])
def test_a_restarted_conductor_waits_for_live_jobs(
    slurm: FakeSlurm, start: Start, tmp_path: Path, has_ids: bool
) -> None:
    first, runs = start(), [call(tmp_path, "a"), call(tmp_path, "b")]
    for run in runs:
        first.submit(run)
    until_epoch(first, 2)
    if not has_ids:
        (submission,) = (tmp_path / "jobs").iterdir()
        (submission / "ids.json").unlink()
    second = start()
    for run in runs:
        second.submit(run)
    ended = until_ended(second, 2)
    assert {event.ending for event in ended.values()} == {Ending.RETURNED}
    assert submissions(slurm) == 1
    assert [attempts(run) for run in runs] == [[0], [0]]
    second.close()
    assert not list((tmp_path / "jobs").iterdir())


def test_what_ended_without_a_conductor_is_not_done_again(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    start_first = start()
    start_first.submit(call(tmp_path, target="worker_jobs:raising"))
    start_first.wait(0.1)
    slurm.wait_for("COMPLETED")
    second = start()
    second.submit(call(tmp_path, target="worker_jobs:raising"))
    assert until_ended(second)["t"].ending == Ending.RAISED
    assert submissions(slurm) == 1
    second.submit(call(tmp_path, target="worker_jobs:raising"))  # as with --retry-failed
    until_ended(second)
    assert submissions(slurm) == 2


def test_what_a_lost_job_left_undone_is_submitted_again(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    first, run = start(), call(tmp_path)
    first.submit(run)
    until_epoch(first, 2)
    (id_,) = slurm.wait_for("RUNNING")
    slurm.order(id_, "lose")
    until(lambda: not slurm.jobs())
    second = start()
    second.submit(run)
    assert until_ended(second)["t"].ending == Ending.RETURNED
    assert submissions(slurm) == 2
    assert attempts(run)[1] >= 2


def test_closing_cancels_the_jobs_unless_they_are_left_to_the_next_conductor(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    leaving = start()
    leaving.submit(call(tmp_path, "a"))
    until_epoch(leaving, 1)
    leaving.keeps_jobs = True
    leaving.close()
    assert slurm.states() == ["RUNNING"]
    stopping = start()
    stopping.submit(call(tmp_path, "a"))
    until_epoch(stopping, 1)
    stopping.close()
    assert slurm.states() == ["CANCELLED by 1000"]
    assert not list((tmp_path / "jobs").iterdir())


def test_the_end_of_a_job_is_found_without_accounting(slurm: FakeSlurm, start: Start, tmp_path: Path) -> None:
    slurm.configure(accounting=False)
    jobs = start()
    jobs.submit(call(tmp_path))
    until_epoch(jobs, 1)
    (id_,) = slurm.wait_for("RUNNING")
    slurm.order(id_, "node-fail")
    assert "NODE_FAIL" in until_ended(jobs)["t"].reason


def test_a_line_that_is_half_visible_is_read_when_it_is_whole(tmp_path: Path) -> None:
    run = call(tmp_path)
    file = tmp_path / f"{exchange.identity(run)}.epochs"
    whole = json.dumps({"silent_s": 7.0})
    file.write_text(whole[:5])
    events, offset = exchange.read_events(tmp_path, run, 0)
    assert events == []
    file.write_text(f"{whole}\n")
    events, offset = exchange.read_events(tmp_path, run, offset)
    assert [getattr(event, "seconds", None) for event in events] == [7.0]
    assert exchange.read_events(tmp_path, run, offset) == ([], offset)


def test_a_job_whose_set_up_fails_is_reported_with_what_it_printed(
    slurm: FakeSlurm, start: Start, tmp_path: Path
) -> None:
    jobs = start(setup=["echo module cuda is unknown >&2", "exit 3"])
    for key in "ab":
        jobs.submit(call(tmp_path, key))
    for ended in until_ended(jobs, 2).values():
        assert ended.ending == Ending.DIED
        assert "FAILED (exit code 3" in ended.reason
        assert "module cuda is unknown" in ended.detail
        assert ended.host == ""
