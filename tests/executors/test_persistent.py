"""A worker that takes run after run: each run finds what the first one of a new process finds."""

from __future__ import annotations

import contextlib
import json
import multiprocessing.forkserver
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.small_study import small_study

from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.executors.base import Call, CallEnded, Ending
from study.executors.local import LocalWorkers
from study.ledger.layout import CLIPS_WEIGHTS, RESULT
from study.records import RunSpec

PATIENCE_S = 120.0
PRELOAD = ("support.persistent_jobs", "study.tasks.work", "study.tasks.clips.training.train", "torch._dynamo")
pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="workers are new processes elsewhere"
)


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """A server of workers that has imported `PRELOAD`: there is one for each process, started once."""
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the server of Python 3.11 knows no other
        LocalWorkers(1, preload=PRELOAD).close()
    yield
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture
def workers(server: None) -> Iterator[LocalWorkers]:
    workers = LocalWorkers(1, preload=PRELOAD)
    yield workers
    workers.close()


def run_job(workers: LocalWorkers, job: str, folder: Path, **fields: Any) -> CallEnded:
    spec = RunSpec(config={}, seed=0, data_digest="", code_digest="")
    return run_call(workers, replace(Call("t", f"support.persistent_jobs:{job}", spec, folder), **fields))


def run_call(workers: LocalWorkers, call: Call) -> CallEnded:
    workers.submit(call)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for event in workers.wait(1.0):
            if isinstance(event, CallEnded):
                return event
    raise TimeoutError(call.key)


def tiny_run(folder: Path, seed: int = 0, **train: Any) -> RunSpec:
    """Return a run of the built-in task with a few clips of faces."""
    (folder / "s.toml").write_text(
        small_study(epochs=1, seeds=1).replace("train_clips = 70", "train_clips = 16")
    )
    changes = [f"train.{key}={json.dumps(value)}" for key, value in train.items()]
    record = compile_study(load(folder / "s.toml", None, changes), settings(folder), "cpu")
    return record.variants[0].run({}, seed, None)


def process_of(folder: Path) -> int:
    return int((folder / "pid").read_text())


def test_a_worker_takes_run_after_run_and_each_finds_the_state_of_a_new_process(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    for name, job in (("first", "state"), ("second", "dirty"), ("third", "state")):
        assert run_job(workers, job, tmp_path / name).ending == Ending.RETURNED
    first, third = (json.loads((tmp_path / name / "state.json").read_text()) for name in ("first", "third"))
    assert third == first
    assert len({process_of(tmp_path / name) for name in ("first", "second", "third")}) == 1


def test_the_numbers_of_a_training_are_those_of_a_first_run_if_it_is_the_fifth_of_its_worker(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    def train(name: str, alone: str, **changes: Any) -> bytes:
        run, folder = tiny_run(tmp_path, **changes), tmp_path / name
        ended = run_call(workers, Call(name, "study.tasks.work:train", run, folder, alone=alone))
        assert ended.ending == Ending.RETURNED, ended.detail
        return (folder / CLIPS_WEIGHTS).read_bytes()

    first = train("first", "alone", seed=3)
    train("another precision", "shared", seed=1, precision="bf16")
    run_job(workers, "dirty", tmp_path / "dirty", alone="shared")
    train("another seed", "shared", seed=2, determinism="off")
    train("not deterministic", "shared", seed=2, determinism="strict")
    fifth = train("fifth", "shared", seed=3)
    assert fifth == first
    results = [json.loads((tmp_path / name / RESULT).read_text()) for name in ("first", "fifth")]
    assert results[0]["validation"] == results[1]["validation"]
    assert results[0]["nondeterministic"] == results[1]["nondeterministic"]


def test_trainings_of_built_in_components_share_a_process(workers: LocalWorkers, tmp_path: Path) -> None:
    for name in "ab":
        call = Call(name, "study.tasks.work:train", tiny_run(tmp_path), tmp_path / f"train {name}")
        assert run_call(workers, call).ending == Ending.RETURNED
        run = replace(call, key="p", target="support.persistent_jobs:process", folder=tmp_path / name)
        run_call(workers, run)
    assert process_of(tmp_path / "a") == process_of(tmp_path / "b")


def test_a_module_of_the_user_is_imported_anew_so_that_an_edit_between_two_runs_counts(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    module = tmp_path / "module_of_the_user.py"
    for value in (1, 2):
        module.write_text(f"VALUE = {value}\nuses = 0\n")
        run_job(workers, "user_module", tmp_path / str(value))
    assert [(tmp_path / name / "seen").read_text() for name in "12"] == ["1 1", "2 1"]


@pytest.mark.parametrize("job", ["leaves_thread", "leaves_program", "leaves_memory", "raising"])
def test_a_run_that_leaves_something_behind_ends_its_process(
    workers: LocalWorkers, tmp_path: Path, job: str
) -> None:
    run_job(workers, "process", tmp_path / "before")
    ended = run_job(workers, job, tmp_path / "job")
    assert ended.ending == (Ending.RAISED if job == "raising" else Ending.RETURNED)
    run_job(workers, "process", tmp_path / "after")
    assert process_of(tmp_path / "after") != process_of(tmp_path / "before")
    assert not Path(f"/proc/{process_of(tmp_path / 'before')}").exists()
    if (helper := tmp_path / "job" / "helper").exists():
        os.kill(int(helper.read_text()), signal.SIGKILL)


def test_a_crash_costs_its_own_run_alone(workers: LocalWorkers, tmp_path: Path) -> None:
    endings = [run_job(workers, job, tmp_path / job).ending for job in ("process", "crashes", "state")]
    assert endings == [Ending.RETURNED, Ending.DIED, Ending.RETURNED]
    assert process_of(tmp_path / "process") == process_of(tmp_path / "crashes")
    assert process_of(tmp_path / "state") != process_of(tmp_path / "process")


def test_an_idle_worker_that_was_killed_costs_no_run(workers: LocalWorkers, tmp_path: Path) -> None:
    run_job(workers, "process", tmp_path / "a")
    killed = process_of(tmp_path / "a")
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{killed}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert run_job(workers, "process", tmp_path / "b").ending == Ending.RETURNED


RUN = RunSpec(config={}, seed=0, data_digest="", code_digest="")


@pytest.mark.parametrize(
    "other",
    [
        {"env": {"A": "2"}},
        {"run": replace(RUN, import_paths=("/another/revision",))},
        {"run": replace(RUN, modules=("components_of_the_user",))},
        {"run": replace(RUN, task="function")},
        {"alone": "probe"},
    ],
    ids=["environment", "import paths", "components", "task", "alone"],
)
def test_calls_that_need_another_process_get_one(
    workers: LocalWorkers, tmp_path: Path, other: dict[str, Any]
) -> None:
    first = Call("t", "support.persistent_jobs:process", RUN, tmp_path / "1", env={"A": "1"})
    run_call(workers, first)
    run_call(workers, replace(first, folder=tmp_path / "2"))
    run_call(workers, replace(first, folder=tmp_path / "3", **other))
    assert process_of(tmp_path / "1") == process_of(tmp_path / "2") != process_of(tmp_path / "3")


def test_workers_that_wait_for_a_run_end_with_the_study(workers: LocalWorkers, tmp_path: Path) -> None:
    run_job(workers, "process", tmp_path)
    workers.close()
    with contextlib.suppress(ProcessLookupError):
        os.kill(process_of(tmp_path), 0)
        pytest.fail("the worker is still there")


def test_a_run_that_takes_too_long_is_ended_in_a_worker_that_has_done_others(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    run_job(workers, "process", tmp_path / "a")
    ended = run_job(workers, "endless", tmp_path / "b", timeout_s=0.3)
    assert (ended.ending, "task.timeout_s" in ended.reason) == (Ending.RAISED, True)
    assert process_of(tmp_path / "a") == process_of(tmp_path / "b")
    assert run_job(workers, "process", tmp_path / "c").ending == Ending.RETURNED
