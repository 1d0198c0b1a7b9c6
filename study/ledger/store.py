"""The ledger: folders of runs and studies, the only source of truth.

::

    runs/<id>/run.json result.json test.json weights.safetensors …   one training
    runs/<id>/measure-<name>@<code>.json                             what its network's parts do
    studies/<name>/study.json suggestions/<decision>.json sessions/  one study
    profiles/<id>/profile.json                                       what one network costs
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from study.errors import InputError, StudyError
from study.hashing import digest
from study.ledger.files import write
from study.ledger.record import RunState, StudyRecord
from study.records import (
    Epoch,
    Failure,
    Measurement,
    Profile,
    RunResult,
    RunSpec,
    TestResult,
    from_json,
    to_json,
)

MEASURED, UNMEASURED = "measure-{}.json", "unmeasured-{}.json"

Kept = TypeVar("Kept")


class Ledger:
    """Reads and writes one ledger folder; it is made when something is first written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._results: dict[str, RunResult] = {}

    def run_folder(self, run: RunSpec) -> Path:
        """Return the folder of a run."""
        return self.root / "runs" / run.id

    def profile_folder(self, run: RunSpec) -> Path:
        """Return the folder of the profile that runs of this network, loss, clip shape and code share."""
        counted = {kind: table for kind, table in run.counted.items() if kind != "train"}
        return self.root / "profiles" / ("p1-" + digest([counted, run.code_digest, run.data_digest]))

    def begin(self, run: RunSpec) -> None:
        """Write the run's request, where it is not there yet."""
        request = self.run_folder(run) / "run.json"
        if not request.is_file():
            write(request, to_json(run))

    def state(self, run_id: str) -> RunState:
        """Return what is known of a run; a folder without its result is an unfinished one."""
        folder = self.root / "runs" / run_id
        files = _names(folder)
        if run_id not in self._results and (result := _read(RunResult, folder / "result.json")):
            self._results[run_id] = result
        return RunState(
            result=self._results.get(run_id),
            tested="test.json" in files,
            failure=_read(Failure, folder / "failure.json") if "failure.json" in files else None,
            measured=frozenset(_measures(files, MEASURED)),
            unmeasured={
                measure: failure
                for measure in _measures(files, UNMEASURED)
                if (failure := _read(Failure, folder / UNMEASURED.format(measure)))
            },
        )

    def is_begun(self, run: RunSpec) -> bool:
        """Whether somebody ever began to train the run."""
        return (self.run_folder(run) / "run.json").is_file()

    def history(self, run: RunSpec) -> tuple[Epoch, ...]:
        """Return the epochs that a training which has no result yet has ended."""
        try:
            entries = json.loads((self.run_folder(run) / "history.json").read_bytes())
        except FileNotFoundError:
            return ()
        return tuple(Epoch(**entry) for entry in entries)

    def profile_failure(self, run: RunSpec) -> Failure | None:
        """Return why the run's network could not be counted, where that was tried in vain."""
        return _read(Failure, self.profile_folder(run) / "failure.json")

    def is_profiled(self, run: RunSpec) -> bool:
        """Whether counting the run's network has ended, well or badly."""
        folder = self.profile_folder(run)
        return (folder / "profile.json").is_file() or (folder / "failure.json").is_file()

    def test_result(self, run: RunSpec) -> TestResult | None:
        """Return what a run scored on test: for analysis alone."""
        return _read(TestResult, self.run_folder(run) / "test.json")

    def measurement(self, run: RunSpec, measure: str) -> Measurement | None:
        """Return what a measure found in a run's network on test: for analysis alone."""
        return _read(Measurement, self.run_folder(run) / MEASURED.format(measure))

    def profile(self, run: RunSpec) -> Profile | None:
        """Return what the run's network costs, once it was counted."""
        return _read(Profile, self.profile_folder(run) / "profile.json")

    def fail(self, folder: Path, failure: Failure, measure: str = "") -> None:
        """Keep the reason for which a job in `folder` ended without a result."""
        write(folder / (UNMEASURED.format(measure) if measure else "failure.json"), to_json(failure))

    def forget_failure(self, run: RunSpec) -> None:
        """Let a failed run be tried again, its test and its measures included."""
        for folder in (self.run_folder(run), self.profile_folder(run)):
            for file in (folder / "failure.json", *folder.glob(UNMEASURED.format("*"))):
                file.unlink(missing_ok=True)

    def save(self, study: StudyRecord) -> StudyRecord:
        """Write a study's record and return it with every suggestion that was ever made for it.

        That claims were changed after runs had been carried out is kept for good.
        """
        earlier = _read(StudyRecord, self._study(study.name) / "study.json")
        if earlier is not None and self.sessions(study.name):
            changed = earlier.claims_changed or earlier.claims_digest != study.claims_digest
            study = replace(study, claims_changed=changed)
        write(self._study(study.name) / "study.json", to_json(replace(study, suggestions={})))
        return self.with_suggestions(study)

    def study(self, name: str) -> StudyRecord:
        """Read a study's record.

        Raises:
            InputError: No such study was ever run here.
        """
        record = _read(StudyRecord, self._study(name) / "study.json")
        if record is None:
            raise InputError(f"the ledger {self.root} has no study {name!r}; run it first.")
        return self.with_suggestions(record)

    def suggest(self, study: StudyRecord, decision: str, parameters: Mapping[str, Any]) -> StudyRecord:
        """Keep a suggestion before it is used, and return the record with it."""
        path = self._study(study.name) / "suggestions" / f"{decision}.json"
        write(path, json.dumps(dict(parameters), indent=1) + "\n")
        return replace(study, suggestions={**study.suggestions, decision: parameters})

    def with_suggestions(self, study: StudyRecord) -> StudyRecord:
        """Return the record with every suggestion that was ever made for a study of its name."""
        files = (self._study(study.name) / "suggestions").glob("*.json")
        return replace(study, suggestions={file.stem: json.loads(file.read_text()) for file in files})

    def log_session(self, study: str, session: Mapping[str, Any]) -> None:
        """Keep when a `run` of the study worked, for how long and with what."""
        folder = self._study(study) / "sessions"
        number = len(list(folder.glob("*.json")))
        write(folder / f"{number:04d}.json", json.dumps(session, indent=1) + "\n")

    def sessions(self, study: str) -> list[dict[str, Any]]:
        """Return what `log_session` kept, oldest first."""
        return [
            json.loads(file.read_text()) for file in sorted((self._study(study) / "sessions").glob("*.json"))
        ]

    def _study(self, name: str) -> Path:
        return self.root / "studies" / name

    @contextmanager
    def hold(self, study: str) -> Iterator[None]:
        """Keep a second conductor off the study.

        Raises:
            StudyError: Another process on some machine holds the study; it is named.
        """
        lock = self._study(study) / "lock"
        mine = f"{socket.gethostname()} {os.getpid()}"
        while not _created(lock, mine):
            holder = _holder(lock)
            host, _, process = holder.partition(" ")
            if holder and (host != socket.gethostname() or _alive(process)):
                raise StudyError(
                    f"the study {study!r} is being run by process {process} on {host}. "
                    f"If that process is gone, delete {lock}."
                )
            _remove_stale(lock, holder)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _created(lock: Path, content: str) -> bool:
    """Make the lock with its content in one step; False where there is one."""
    aside = lock.with_name(f"lock.{content.replace(' ', '.')}")
    write(aside, content)
    try:
        os.link(aside, lock)
    except FileExistsError:
        return False
    finally:
        aside.unlink()
    return True


def _holder(lock: Path) -> str:
    try:
        return lock.read_text()
    except FileNotFoundError:
        return ""


def _remove_stale(lock: Path, holder: str) -> None:
    """Remove the lock of a process that is gone, unless another conductor has just put its own there."""
    taken = lock.with_name(f"lock.stale.{os.getpid()}")
    try:
        lock.rename(taken)
    except FileNotFoundError:
        return
    if taken.read_text() != holder:
        with suppress(FileExistsError):
            os.link(taken, lock)
    taken.unlink()


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _measures(files: Iterable[str], pattern: str) -> Iterator[str]:
    """Yield the measures that files of a run are named after."""
    before, after = pattern.split("{}")
    for file in files:
        if file.startswith(before) and file.endswith(after):
            yield file.removeprefix(before).removesuffix(after)


def _read(kind: type[Kept], path: Path) -> Kept | None:
    try:
        return from_json(kind, path.read_bytes(), str(path))
    except FileNotFoundError:
        return None


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
