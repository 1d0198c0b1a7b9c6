"""Worker processes: what they do, how they die, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from study.errors import InputError
from study.executors.base import Call, CallEnded, CallEpoch, CallSilent, Ending
from study.executors.devices import assigned, choose_device, core_share, gpu_slots, visible, within
from study.executors.inprocess import InProcess
from study.executors.local import LocalWorkers
from study.records import RunSpec

PATIENCE_S = 60.0


def task(job: str, folder: Path, key: str = "t") -> Call:
    run = RunSpec(config={}, seed=0, data_digest="", code_digest="")
    return Call(key, f"support.worker_jobs:{job}", run, folder)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalWorkers]:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    workers = LocalWorkers(2)
    yield workers
    workers.close()


def until_ended(workers: LocalWorkers, tasks: int = 1) -> tuple[list[CallEpoch], list[CallEnded]]:
    epochs: list[CallEpoch] = []
    ended: list[CallEnded] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(ended) < tasks and time.monotonic() < deadline:
        for event in workers.wait(1.0):
            if isinstance(event, CallEnded):
                ended.append(event)
            elif isinstance(event, CallEpoch):
                epochs.append(event)
    return epochs, ended


def test_epochs_arrive_and_output_goes_to_the_log_of_the_attempt(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    workers.submit(task("good", tmp_path))
    epochs, (ended,) = until_ended(workers)
    assert [event.epoch.epoch for event in epochs] == [1, 2]
    assert ended.ending == Ending.RETURNED
    log = (tmp_path / "log-1.txt").read_text()
    assert "printed by the job" in log
    assert "INFO: logged by the job" in log
    workers.submit(task("good", tmp_path))
    until_ended(workers)
    assert (tmp_path / "log-2.txt").is_file()


def test_an_exception_ends_its_task_alone_and_keeps_its_traceback(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    workers.submit(task("raising", tmp_path / "a", "a"))
    workers.submit(task("good", tmp_path / "b", "b"))
    _, ended = until_ended(workers, 2)
    by_key = {event.call.key: event for event in ended}
    assert by_key["a"].reason == "ValueError: a mistake in the job"
    assert "Traceback" in by_key["a"].detail
    assert by_key["b"].ending == Ending.RETURNED


@pytest.mark.parametrize(
    ("job", "how"), [("killed", "killed by SIGKILL"), ("segfault", "SIGSEGV"), ("gone", "exit code 3")]
)
def test_a_worker_that_dies_ends_differently_from_one_that_raised(
    workers: LocalWorkers, tmp_path: Path, job: str, how: str
) -> None:
    workers.submit(task(job, tmp_path))
    _, (ended,) = until_ended(workers)
    assert ended.ending == Ending.DIED
    assert how in ended.reason
    assert "last words" in ended.detail


def test_a_full_disk_is_no_fault_of_the_job(workers: LocalWorkers, tmp_path: Path) -> None:
    workers.submit(task("disk_full", tmp_path))
    _, (ended,) = until_ended(workers)
    assert ended.ending == Ending.DISK_FULL
    assert "No space left" in ended.reason


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this platform cannot pin processes")
def test_workers_share_the_cores_and_take_none_from_each_other(workers: LocalWorkers, tmp_path: Path) -> None:
    for name in "ab":
        workers.submit(task("affinity", tmp_path / name, name))
    until_ended(workers, 2)
    first, second = (set((tmp_path / name / "cores").read_text().split()) for name in "ab")
    mine = {str(core) for core in os.sched_getaffinity(0)}
    assert first | second == mine
    assert not first & second or len(mine) == 1


def test_more_workers_than_cores_have_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.executors.devices.cpu_cores", lambda: (0, 2))
    assert [core_share(slot, 1) for slot in range(1)] == [(0, 2)]
    assert [core_share(slot, 2) for slot in range(2)] == [(0,), (2,)]
    assert [core_share(slot, 3) for slot in range(3)] == [(0, 2)] * 3


def test_several_runs_share_a_gpu_if_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    workers = LocalWorkers(4, devices=(0, 1))
    for number in range(4):
        workers.submit(task("visible", tmp_path / str(number), str(number)))
    _, ended = until_ended(workers, 4)
    workers.close()
    assert sorted(event.device for event in ended) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
    assert [(tmp_path / str(n) / "visible").read_text() for n in range(4)] == ["0", "1", "0", "1"]


def test_closing_leaves_no_process_behind(workers: LocalWorkers, tmp_path: Path) -> None:
    workers.submit(task("endless", tmp_path))
    file, deadline = tmp_path / "pid", time.monotonic() + PATIENCE_S
    while not (file.is_file() and file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    pid = int(file.read_text())
    workers.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_cuda_is_never_replaced_in_silence() -> None:
    assert choose_device("auto", ()) == "cpu"
    assert choose_device("auto", (0,)) == "cuda"
    assert choose_device("cpu", (0,)) == "cpu"
    with pytest.raises(InputError, match=r"study\.toml: device"):
        choose_device("cuda", ())


def test_a_message_for_people_is_the_whole_reason(workers: LocalWorkers, tmp_path: Path) -> None:
    workers.submit(task("saying", tmp_path))
    _, (ended,) = until_ended(workers)
    assert ended.reason == "the mistake, in words"
    in_process = InProcess()
    in_process.submit(task("saying", tmp_path))
    (same,) = in_process.wait(0)
    assert isinstance(same, CallEnded)
    assert (same.ending, same.reason) == (Ending.RAISED, "the mistake, in words")


def test_what_python_and_cublas_read_at_their_start_is_set(workers: LocalWorkers, tmp_path: Path) -> None:
    workers.submit(replace(task("environment", tmp_path), env={"OF_THE_CALL": "yes"}))
    until_ended(workers)
    assert (tmp_path / "environment").read_text() == "0 :4096:8 yes"
    assert "OF_THE_CALL" not in os.environ


@pytest.mark.parametrize("job", ["endless", "stubborn"])
def test_a_run_that_takes_too_long_is_ended(
    workers: LocalWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    monkeypatch.setattr("study.executors.local.GRACE_S", 0.3)
    workers.submit(replace(task(job, tmp_path), timeout_s=0.5))
    began = time.monotonic()
    _, (ended,) = until_ended(workers)
    assert time.monotonic() - began < 5
    assert ended.ending == Ending.RAISED
    assert "task.timeout_s = 0.5 s" in ended.reason


def test_a_run_that_ends_in_time_has_no_limit_to_fear(workers: LocalWorkers, tmp_path: Path) -> None:
    workers.submit(replace(task("good", tmp_path), timeout_s=30))
    _, (ended,) = until_ended(workers)
    assert ended.ending == Ending.RETURNED


def test_a_run_has_as_many_gpus_as_it_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    workers = LocalWorkers(2, devices=(0, 1, 2, 3))
    for number in range(2):
        workers.submit(replace(task("visible", tmp_path / str(number), str(number)), devices=2))
    _, ended = until_ended(workers, 2)
    workers.close()
    assert [(tmp_path / str(n) / "visible").read_text() for n in range(2)] == ["4,5", "6,7"]
    assert sorted(event.device for event in ended) == ["cuda:0,1", "cuda:2,3"]


def test_gpus_that_cannot_be_had_are_named_before_anything_starts() -> None:
    assert gpu_slots((0, 1, 2), gpus=1, runs_per_gpu=2) == 6
    assert gpu_slots((0, 1, 2), gpus=2, runs_per_gpu=2) == 1
    with pytest.raises(InputError, match=r"task\.gpus.*4 GPUs.*3"):
        gpu_slots((0, 1, 2), gpus=4)
    with pytest.raises(InputError, match=r"task\.gpus"):
        assigned(0, 4, (0, 1, 2))
    assert assigned(0, 4, ()) == assigned(0, 0, (0, 1)) == ()


def test_devices_are_counted_among_the_visible_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b")
    assert visible((1,)) == "GPU-b"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible((1, 2)) == "1,2"


# Workers that do not exit, and silent ones


@pytest.mark.parametrize("job", ["with_thread", "with_helper"])
def test_a_job_that_has_returned_has_ended_though_its_threads_and_helpers_have_not(
    workers: LocalWorkers, tmp_path: Path, job: str
) -> None:
    began = time.monotonic()
    workers.submit(task(job, tmp_path))
    epochs, (ended,) = until_ended(workers)
    assert ended.ending == Ending.RETURNED
    assert len(epochs) == 2
    assert time.monotonic() - began < PATIENCE_S / 2
    assert not Path(f"/proc/{(tmp_path / 'done').read_text()}").exists()
    _kill_helper(tmp_path)


def test_the_death_of_a_worker_is_noticed_though_a_helper_holds_its_pipe(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    workers.submit(task("killed_with_helper", tmp_path))
    _, (ended,) = until_ended(workers)
    assert (ended.ending, "SIGKILL" in ended.reason) == (Ending.DIED, True)
    _kill_helper(tmp_path)


def _kill_helper(folder: Path) -> None:
    if (folder / "helper").exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((folder / "helper").read_text()), signal.SIGKILL)


def test_a_silent_worker_is_reported_once_and_ended_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setattr("study.executors.local.LONG_SILENCE_S", 1.0)
    workers = LocalWorkers(1, silent_s=2.0)
    workers.submit(task("silent_once", tmp_path))
    events: list[object] = []
    while not any(isinstance(event, CallEnded) for event in events):
        events += workers.wait(0.2)
    silent, ended = events
    assert isinstance(silent, CallSilent)
    assert 1.0 <= silent.seconds < 2.0
    assert isinstance(ended, CallEnded)
    assert ended.ending == Ending.DIED, "so that it is started once more"
    assert "silent_s" in ended.reason
    workers.submit(task("silent_once", tmp_path))
    _, (again,) = until_ended(workers)
    assert again.ending == Ending.RETURNED
    workers.close()


def test_a_worker_that_prints_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    workers = LocalWorkers(1, silent_s=1.5)
    workers.submit(task("chatty", tmp_path))
    _, (ended,) = until_ended(workers)
    assert ended.ending == Ending.RETURNED
    workers.close()


# CUDA_VISIBLE_DEVICES

UUIDS = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/2"


@pytest.mark.parametrize(
    ("own", "of_task", "chosen", "expected"),
    [
        (None, None, (0, 1), "0,1"),
        ("3", None, (0,), "3"),
        (" 3, 5 ", None, (1,), "5"),
        ("3,-1,5", None, (0,), "3"),
        ("3,,5", None, (0,), "3"),
        (UUIDS, None, (1,), UUIDS.split(",")[1]),
        (None, "3", (0,), "3"),
        ("0,1", "6,7", (1,), "7"),
    ],
)
def test_the_devices_of_a_run_are_among_those_that_are_visible(
    monkeypatch: pytest.MonkeyPatch,
    own: str | None,
    of_task: str | None,
    chosen: tuple[int, ...],
    expected: str,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if own is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", own)
    assert visible(chosen, of_task) == expected


def test_a_task_that_names_its_devices_has_as_many_slots() -> None:
    assert within((0, 1, 2, 3), None) == (0, 1, 2, 3)
    assert within((0, 1, 2, 3), "3") == (0,)
    assert within((0, 1, 2, 3), UUIDS) == (0, 1)
    assert within((0, 1, 2, 3), "") == ()
    assert within((), "3") == ()


def test_a_worker_gets_the_device_that_its_task_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    workers = LocalWorkers(1, devices=(0,))
    workers.submit(replace(task("visible", tmp_path), env={"CUDA_VISIBLE_DEVICES": "3"}))
    _, (ended,) = until_ended(workers)
    workers.close()
    assert (tmp_path / "visible").read_text() == "3"
    assert ended.ending == Ending.RETURNED
