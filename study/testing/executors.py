"""The conformance suite of executors: what the executor of every engine must do.

To check an executor of your own in a test::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_executor(check, tmp_path):
        check("my_package.testing:executor", tmp_path)

The first argument is a function, by ``module:name``, that returns a new executor for two calls at a time: a check that
kills a conductor calls it in another process. `SHARED_CHECKS` are for executors that run calls in their own process.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor
from study.errors import InputError
from study.executors.base import Call, CallEnded, CallEpoch, Ending, Event, Executor
from study.ledger.store import Ledger
from study.records import Epoch, RunSpec
from study.testing import fake

PATIENCE_S = 120.0
"""Within so many seconds what an executor is asked for happens."""
QUIET_S = 2.0
"""After so many seconds without a heartbeat a call has ended."""
BEAT_S = 0.05
EPOCH_S = 0.15
"""The time of an epoch of the study that a killed conductor carries out."""
OnEpoch = Callable[[Epoch], None]
Check = Callable[[str, Path], None]
STUDY = """
title = "Conformance"
question = "Does the executor carry a study out?"
repetitions = 2
[base.dataset]
name = "faces"
train_clips = 70
validation_clips = 14
test_clips = 14
[design]
kind = "one-factor"
reference = { "train.weight_decay" = 0.0 }
[factors]
"train.weight_decay" = [0.0, 0.01]
[train]
epochs = 3
[search]
trials = 2
generation = 1
sampler = "random"
[search.space]
"train.lr" = { low = 3e-4, high = 1e-2, log = true }
"""
CONDUCTOR = "import sys; from study.testing.executors import carry_out; carry_out(*sys.argv[1:])"


# What the calls do


def reporting(run: RunSpec, folder: Path, on_epoch: OnEpoch, *arguments: str) -> None:
    """Report two epochs, and write the arguments and an environment variable."""
    for number in (1, 2):
        on_epoch(_epoch(number))
    content = [run.seed, os.environ.get("OF_THE_CALL", ""), *arguments]
    (folder / "written.json").write_text(json.dumps(content))


def failing(run: RunSpec, folder: Path, on_epoch: OnEpoch) -> None:
    """Raise an error of Python."""
    raise ValueError("a mistake in the call")


def refusing(run: RunSpec, folder: Path, on_epoch: OnEpoch) -> None:
    """Raise an error whose message is for people."""
    raise InputError("the mistake, in words")


def filling_the_disk(run: RunSpec, folder: Path, on_epoch: OnEpoch) -> None:
    """Raise what writing to a full disk raises."""
    raise OSError(28, "No space left on device", "result.json")


def dying_once(run: RunSpec, folder: Path, on_epoch: OnEpoch) -> None:
    """Kill the own process the first time."""
    if not (folder / "died").exists():
        (folder / "died").write_text("")
        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    reporting(run, folder, on_epoch)


def beating(run: RunSpec, folder: Path, on_epoch: OnEpoch) -> None:
    """Write the time again and again, until the folder has a file ``end``."""
    while not (folder / "end").exists():
        (folder / "beat").write_text(str(time.time()))
        time.sleep(BEAT_S)


def paced(run: RunSpec, folder: Path, on_epoch: OnEpoch, rule: str = "") -> None:
    """Train as the fake trainer does, with a pause after each epoch."""

    def reported(epoch: Epoch) -> None:
        on_epoch(epoch)
        time.sleep(EPOCH_S)

    fake.train(run, folder, reported, rule)


def _epoch(number: int) -> Epoch:
    return Epoch(number, 0.5, 0.1, {"war": number / 4}, 0.0)


# Checks


def a_call_gets_its_run_and_leaves_its_files(make: str, folder: Path) -> None:
    """Arguments and environment arrive, epochs are reported in order, and files are there at the end.

    The next call does not see the environment of this one.
    """
    call = _call("reporting", folder / "a", arguments=("x", "y"), env={"OF_THE_CALL": "yes"})
    other = _call("reporting", folder / "b")
    with _executor(make) as executor:
        executor.submit(call)
        events = list(_until_ended(executor, 1))
        _run(executor, other)
    assert [event.epoch for event in events if isinstance(event, CallEpoch)] == [_epoch(1), _epoch(2)]
    ended = events[-1]
    assert isinstance(ended, CallEnded)
    assert ended.call == call
    assert ended.ending == Ending.RETURNED
    assert json.loads((call.folder / "written.json").read_text()) == [0, "yes", "x", "y"]
    assert json.loads((other.folder / "written.json").read_text()) == [0, ""]


def a_failure_ends_its_call_alone(make: str, folder: Path) -> None:
    """An error is reported with its reason and traceback; the next call runs."""
    with _executor(make) as executor:
        failed = _run(executor, _call("failing", folder / "a"))
        refused = _run(executor, _call("refusing", folder / "b"))
        good = _run(executor, _call("reporting", folder / "c"))
    assert failed.ending == refused.ending == Ending.RAISED
    assert failed.reason == "ValueError: a mistake in the call"
    assert "Traceback" in failed.detail
    assert refused.reason == "the mistake, in words"
    assert good.ending == Ending.RETURNED


def a_full_disk_is_no_failure(make: str, folder: Path) -> None:
    """A full disk has an ending of its own, so that no run is recorded as failed."""
    with _executor(make) as executor:
        assert _run(executor, _call("filling_the_disk", folder / "a")).ending == Ending.DISK_FULL


def a_study_has_the_same_tables_as_in_process(make: str, folder: Path) -> None:
    """A study ends with the results of the executor that runs calls one after another in its own process."""
    (folder / "here").mkdir()
    (folder / "there").mkdir()
    carry_out("study.executors.inprocess:InProcess", str(folder / "here"), "study.testing.fake:train")
    carry_out(make, str(folder / "there"), "study.testing.fake:train")
    assert _tables(folder / "there") == _tables(folder / "here")


def closing_twice_does_nothing(make: str, folder: Path) -> None:
    """The conductor and its caller both close an executor."""
    executor = _make(make)
    assert executor.capacity >= 1
    executor.close()
    executor.close()


def as_many_calls_run_at_a_time_as_its_capacity(make: str, folder: Path) -> None:
    """Calls up to the capacity overlap, and each further one starts when one has ended."""
    with _executor(make) as executor:
        assert executor.capacity == 2
        for name in "ab":
            executor.submit(_call("beating", folder / name, name))
        _await(lambda: (folder / "a/beat").exists() and (folder / "b/beat").exists(), executor)
        (folder / "a/end").write_text("")
        (first,) = (event for event in _until_ended(executor, 1) if isinstance(event, CallEnded))
        executor.submit(_call("beating", folder / "c", "c"))
        _await(lambda: (folder / "c/beat").exists(), executor)
        for name in "bc":
            (folder / name / "end").write_text("")
        ended = [event.call.key for event in _until_ended(executor, 2) if isinstance(event, CallEnded)]
    assert first.call.key == "a"
    assert sorted(ended) == ["b", "c"]


def a_death_is_reported_and_the_call_can_be_tried_again(make: str, folder: Path) -> None:
    """A call whose process dies has no result and is not started again by the executor; a second `submit` does it."""
    call = _call("dying_once", folder / "a")
    with _executor(make) as executor:
        died = _run(executor, call)
        assert not (call.folder / "written.json").exists()
        again = _run(executor, call)
    assert died.ending == Ending.DIED
    assert "SIGKILL" in died.reason
    assert "last words" in died.detail
    assert again.ending == Ending.RETURNED


def a_call_that_takes_too_long_is_ended(make: str, folder: Path) -> None:
    """The time limit of a call ends it as a failure, which is not tried again."""
    with _executor(make) as executor:
        ended = _run(executor, _call("beating", folder / "a", timeout_s=2.0))
    assert ended.ending == Ending.RAISED
    assert "timeout_s" in ended.reason
    _require_quiet(folder / "a/beat")


def stopping_leaves_no_call_behind(make: str, folder: Path) -> None:
    """Closing an executor ends its running calls, wherever they run."""
    with _executor(make) as executor:
        executor.submit(_call("beating", folder / "a"))
        _await((folder / "a/beat").exists, executor)
    _require_quiet(folder / "a/beat")


def a_killed_conductor_is_followed_by_another(make: str, folder: Path) -> None:
    """A conductor is killed in the middle of a study twice; the next ones end in the same tables."""
    for name in ("killed", "calm"):
        (folder / name).mkdir()
    for results in (1, 4):
        process = _start_conductor(make, folder / "killed")
        _await(lambda results=results: len(_results(folder / "killed")) >= results)  # type: ignore[misc]
        process.kill()
        process.wait()
    last = _start_conductor(make, folder / "killed")
    assert last.wait(PATIENCE_S) == 0
    carry_out("study.executors.inprocess:InProcess", str(folder / "calm"), "study.testing.fake:train")
    assert _tables(folder / "killed") == _tables(folder / "calm")
    assert not list((folder / "killed").rglob("failure.json"))


SHARED_CHECKS: tuple[Check, ...] = (
    a_call_gets_its_run_and_leaves_its_files,
    a_failure_ends_its_call_alone,
    a_full_disk_is_no_failure,
    a_study_has_the_same_tables_as_in_process,
    closing_twice_does_nothing,
)
"""For every executor."""
CHECKS: tuple[Check, ...] = (
    *SHARED_CHECKS,
    as_many_calls_run_at_a_time_as_its_capacity,
    a_death_is_reported_and_the_call_can_be_tried_again,
    a_call_that_takes_too_long_is_ended,
    stopping_leaves_no_call_behind,
    a_killed_conductor_is_followed_by_another,
)
"""For executors whose calls have processes of their own."""


def carry_out(make: str, folder: str, train: str) -> None:
    """Carry the study of this suite out in a folder with a ledger, as a conductor of its own does.

    Args:
        make: ``module:function`` that returns a new executor.
        folder: An existing folder; an unfinished study in it goes on.
        train: The target of the trainings.
    """
    root = Path(folder)
    (root / "conformance.toml").write_text(STUDY)
    (root / "study.toml").write_text('mlflow = "off"\n')
    record = compile_study(load(root / "conformance.toml"), settings(root), "cpu")
    ledger = Ledger(root / "ledger")
    targets = {kind: f"study.testing.fake:{kind}" for kind in ("evaluate", "measure", "profile")}
    with ledger.hold(record.name), _executor(make) as executor:
        saved = ledger.save(record)
        conductor.carry_out(saved, ledger, executor, lambda event: None, {**targets, "train": train})  # type: ignore[dict-item]


def _start_conductor(make: str, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "conductor.txt").open("a") as output:
        return subprocess.Popen(
            [sys.executable, "-c", CONDUCTOR, make, str(folder), f"{__name__}:paced"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )


def _make(make: str) -> Executor:
    module, _, function = make.partition(":")
    executor: Executor = getattr(importlib.import_module(module), function)()
    return executor


@contextmanager
def _executor(make: str) -> Iterator[Executor]:
    with closing(_make(make)) as executor:
        yield executor


def _call(job: str, folder: Path, key: str = "call", **options: Any) -> Call:
    folder.mkdir(parents=True, exist_ok=True)
    run = RunSpec(config={}, seed=0, data_digest="", code_digest="")
    return Call(key, f"{__name__}:{job}", run, folder, **options)


def _run(executor: Executor, call: Call) -> CallEnded:
    """Run one call and return its end."""
    executor.submit(call)
    *_, ended = _until_ended(executor, 1)
    assert isinstance(ended, CallEnded)
    return ended


def _until_ended(executor: Executor, calls: int) -> Iterator[Event]:
    """Yield events until so many calls have ended."""
    deadline = time.monotonic() + PATIENCE_S
    while calls > 0:
        assert time.monotonic() < deadline, f"{calls} calls have not ended"
        for event in executor.wait(0.5):
            calls -= isinstance(event, CallEnded)
            yield event


def _await(is_so: Callable[[], bool], executor: Executor | None = None) -> None:
    """Wait until something is so, while an executor does its work."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        if executor is not None:
            assert not [event for event in executor.wait(BEAT_S) if isinstance(event, CallEnded)]
        time.sleep(BEAT_S)


def _require_quiet(beat: Path) -> None:
    """Require that the call that writes a file ends soon, if it has not."""
    deadline = time.monotonic() + PATIENCE_S
    while beat.exists() and time.time() - beat.stat().st_mtime < QUIET_S:
        assert time.monotonic() < deadline, "the call goes on"
        time.sleep(BEAT_S)


def _results(folder: Path) -> list[Path]:
    return sorted((folder / "ledger/runs").glob("*/result.json"))


def _tables(folder: Path) -> dict[str, Any]:
    """Return the results of every run of a ledger, by their path, with the suggestions of its searches."""
    files = [*_results(folder), *(folder / "ledger/runs").glob("*/test.json")]
    files += (folder / "ledger/studies").glob("*/suggestions/*.json")
    assert files
    return {str(file.relative_to(folder)): json.loads(file.read_bytes()) for file in files}
