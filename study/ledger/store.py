"""The ledger: folders of runs and studies, the only source of truth.

::

    runs/<id>/run.json result.json test.json weights.safetensors …   one training
    runs/<id>/measure-<name>@<code>.json                             what its network's parts do
    studies/<name>/study.json suggestions/<decision>.json sessions/  one study
    profiles/<id>/profile.json                                       what one network costs
    code/<digest>.json                                               what a digest of code is made of
    accepted.json                                                    which older code stands for today's
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from study.errors import InputError, StudyError
from study.files import remove, write
from study.hashing import digest
from study.ledger.locks import Holder, holder_of, release, take
from study.ledger.record import RunState, StudyRecord
from study.records import (
    Epoch,
    Failure,
    Measurement,
    Profile,
    RunResult,
    RunSpec,
    Stopped,
    TestResult,
    TornError,
    from_json,
    to_json,
)

_log = logging.getLogger(__name__)

MEASURED, UNMEASURED, STOPPED = "measure-{}.json", "unmeasured-{}.json", "stopped-{}.json"
HISTORY, RESULT, TEST_RESULT, PROFILE = "history.json", "result.json", "test.json", "profile.json"
WEIGHTS = ("weights.safetensors", "weights")
"""Names of what is tested: a file of the clips task, a file or folder of a user's training."""
CHECKPOINTS = ("checkpoint.pt", "checkpoint")
OF_TRIALS = ("validation.npz", *WEIGHTS)
"""What a training leaves besides its result, for a test that search trials never come to; freed in this order."""
RECORD_END = b"}\n"
LOCK, STOP, CLAIM = "lock", "stop", "claim"

Kept = TypeVar("Kept")


class Ledger:
    """Reads and writes one ledger folder; it is made when something is first written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._results: dict[str, RunResult] = {}
        self._claimed: Counter[Path] = Counter()
        self._lock: Path | None = None
        """Of the study that this process carries out."""

    def run_folder(self, run: RunSpec) -> Path:
        """Return the folder of a run."""
        return self.root / "runs" / run.id

    def profile_folder(self, run: RunSpec) -> Path:
        """Return the folder of the profile that runs of this network, data and code share."""
        counted = {key: value for key, value in run.counted.items() if key != "train"}
        return (
            self.root / "profiles" / ("p2-" + digest([run.task, counted, run.code_digest, run.data_digest]))
        )

    def begin(self, run: RunSpec) -> None:
        """Write the run's request, where it is not there yet."""
        request = self.run_folder(run) / "run.json"
        if not _is_whole(request):
            write(request, to_json(run))

    def state(self, run_id: str) -> RunState:
        """Return what is known of a run; a folder without its result is an unfinished one."""
        folder = self.root / "runs" / run_id
        files = _names(folder)
        if run_id not in self._results and (result := _read(RunResult, folder / "result.json")):
            self._results[run_id] = result
        result = self._results.get(run_id)
        return RunState(
            result=result,
            tested="test.json" in files and _is_whole(folder / "test.json"),
            failure=_read(Failure, folder / "failure.json") if "failure.json" in files else None,
            measured=frozenset(
                measure
                for measure in _measures(files, MEASURED)
                if _is_whole(folder / MEASURED.format(measure))
            ),
            unmeasured={
                measure: failure
                for measure in _measures(files, UNMEASURED)
                if (failure := _read(Failure, folder / UNMEASURED.format(measure)))
            },
            stopped={
                rule: stopped
                for rule in _measures(files, STOPPED)
                if (stopped := _read(Stopped, folder / STOPPED.format(rule)))
            },
            kept=result is None or not result.has_weights or any(name in files for name in WEIGHTS),
        )

    def is_begun(self, run: RunSpec) -> bool:
        """Whether somebody ever began to train the run."""
        return (self.run_folder(run) / "run.json").is_file()

    def history(self, run: RunSpec) -> tuple[Epoch, ...]:
        """Return the epochs that a training which has no result yet has ended."""
        entries = _read_json(self.run_folder(run) / "history.json")
        return tuple(Epoch(**entry) for entry in entries or ())

    def profile_failure(self, run: RunSpec) -> Failure | None:
        """Return why the run's network could not be counted, where that was tried in vain."""
        return _read(Failure, self.profile_folder(run) / "failure.json")

    def is_profiled(self, run: RunSpec) -> bool:
        """Whether counting the run's network has ended, well or badly."""
        folder = self.profile_folder(run)
        return _is_whole(folder / "profile.json") or _is_whole(folder / "failure.json")

    def test_result(self, run: RunSpec) -> TestResult | None:
        """Return what a run scored on test: for analysis alone."""
        return _read(TestResult, self.run_folder(run) / "test.json")

    def measurement(self, run: RunSpec, measure: str) -> Measurement | None:
        """Return what a measure found in a run's network on test: for analysis alone."""
        return _read(Measurement, self.run_folder(run) / MEASURED.format(measure))

    def profile(self, run: RunSpec) -> Profile | None:
        """Return what the run's network costs, once it was counted, by a job of its own or by the training."""
        found = _read(Profile, self.profile_folder(run) / PROFILE)
        return found or _read(Profile, self.run_folder(run) / PROFILE)

    def fail(self, folder: Path, failure: Failure, measure: str = "") -> None:
        """Keep the reason for which a job in `folder` ended without a result."""
        write(folder / (UNMEASURED.format(measure) if measure else "failure.json"), to_json(failure))

    def drop_weights(self, run: RunSpec) -> None:
        """Free the weights and predictions of a search trial: its result is all that is read of it."""
        for name in OF_TRIALS:
            remove(self.run_folder(run) / name)

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
        if earlier is not None and _is_other_file(earlier, study):
            raise InputError(
                f"{study.file}: the ledger {self.root} has a study {study.name!r} already, of the file {earlier.file}. "
                "Rename one of the two files: a study is known by its file's name."
            )
        if earlier is not None and self.sessions(study.name):
            changed = earlier.claims_changed or earlier.claims_digest != study.claims_digest
            study = replace(study, claims_changed=changed)
        for code, parts in study.code.items():
            if self.code(code) is None:
                write(self._code(code), json.dumps(parts, indent=1) + "\n")
        write(self._study(study.name) / "study.json", to_json(replace(study, suggestions={}, code={})))
        return self.with_suggestions(study)

    def code(self, code: str) -> Mapping[str, str] | None:
        """Return what a digest of code is made of, digest by module; None where no study was saved with it."""
        parts: Mapping[str, str] | None = _read_json(self._code(code))
        return parts

    def accept(self, accepted: Mapping[str, str]) -> None:
        """Keep which earlier code today's code stands for, digest by digest, as its author accepted.

        Raises:
            InputError: Today's code was accepted for other code before.
        """
        known = self.accepted()
        for new, old in accepted.items():
            if known.get(new, old) != old:
                raise InputError(
                    f"{self._accepted}: code {new} already stands for the runs of code {known[new]}, so it cannot "
                    f"stand for those of {old} too. If that was a mistake, remove its line."
                )
        if accepted.items() - known.items():
            write(self._accepted, json.dumps({**known, **accepted}, indent=1) + "\n")

    def accepted(self) -> dict[str, str]:
        """Return the digests of code that stand for earlier code, each with that code's."""
        return _read_json(self._accepted) or {}

    def _code(self, code: str) -> Path:
        return self.root / "code" / f"{code}.json"

    @property
    def _accepted(self) -> Path:
        return self.root / "accepted.json"

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
        read = ((file.stem, _read_json(file)) for file in files)
        return replace(study, suggestions={decision: tried for decision, tried in read if tried is not None})

    def log_session(self, study: str, number: int, session: Mapping[str, Any]) -> None:
        """Keep when a `run` of the study worked, for how long and with what; once more as it goes on."""
        write(self._study(study) / "sessions" / f"{number:04d}.json", json.dumps(session, indent=1) + "\n")

    def next_session(self, study: str) -> int:
        """Return the number of the session that begins now."""
        return max((int(file.stem) + 1 for file in self._sessions(study)), default=0)

    def sessions(self, study: str) -> list[dict[str, Any]]:
        """Return what `log_session` kept, oldest first."""
        read = (_read_json(file) for file in self._sessions(study))
        return [session for session in read if session is not None]

    def _sessions(self, study: str) -> list[Path]:
        return sorted((self._study(study) / "sessions").glob("[0-9]*.json"))

    def _study(self, name: str) -> Path:
        return self.root / "studies" / name

    @contextmanager
    def hold(self, study: str) -> Iterator[None]:
        """Keep a second conductor off the study.

        Raises:
            StudyError: Another process on some machine holds the study; it is named.
        """
        lock = self._study(study) / LOCK
        if holder := take(lock):
            raise StudyError(
                f"the study {study!r} is being run by {holder}. "
                f"Wait for it, or end it with `study stop`; if that process is gone, delete {lock}."
            )
        try:
            (self._study(study) / STOP).unlink(missing_ok=True)
            self._lock = lock
            yield
        finally:
            self._lock = None
            release(lock)

    def holder(self, study: str) -> Holder | None:
        """Return the process that is carrying the study out, None where there is none."""
        return holder_of(self._study(study) / LOCK)

    def ask_to_stop(self, study: str) -> Holder | None:
        """Ask whoever carries the study out to end as for Ctrl-C; return who that is, None where nobody does."""
        if holder := self.holder(study):
            write(self._study(study) / STOP, "")
        return holder

    def is_asked_to_stop(self, study: str) -> bool:
        """Whether somebody has asked the study's conductor to end."""
        return (self._study(study) / STOP).exists()

    def claim(self, folder: Path) -> Holder | None:
        """Keep other conductors off a job's folder; return who has it where it is taken.

        As often as one conductor claims a folder, so often it is to release it.
        """
        if not self._claimed[folder] and (holder := take(folder / CLAIM, self._lock)):
            return holder
        self._claimed[folder] += 1
        return None

    def release(self, folder: Path) -> None:
        """Give up a claim."""
        self._claimed[folder] -= 1
        if not self._claimed[folder]:
            del self._claimed[folder]
            release(folder / CLAIM)

    def release_all(self) -> None:
        """Give up every claim that this conductor still has."""
        for folder in self._claimed:
            release(folder / CLAIM)
        self._claimed.clear()

    def claimed_by(self, run: RunSpec) -> Holder | None:
        """Return the process that is working on a run, None where there is none."""
        return holder_of(self.run_folder(run) / CLAIM)


class Snapshot:
    """The states of runs as they were when first asked for: for whoever asks many times."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._states: dict[str, RunState] = {}

    def __call__(self, run_id: str) -> RunState:
        """Return what was known of a run."""
        if run_id not in self._states:
            self._states[run_id] = self._ledger.state(run_id)
        return self._states[run_id]

    def forget(self, run_id: str) -> None:
        """Have a run looked at again when it is next asked for."""
        self._states.pop(run_id, None)


def _is_other_file(earlier: StudyRecord, now: StudyRecord) -> bool:
    """Whether two study files are two: the earlier one is still there, and is not the same.

    Files are compared by where they lie in their projects, so that a project may be copied with its ledger.
    """
    if earlier.file == now.file:
        return False
    try:
        return not Path(now.root, earlier.file).samefile(Path(now.root, now.file))
    except OSError:
        return False


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
    """Return a record; None where there is none, or where the file is torn: then it is made again."""
    try:
        return from_json(kind, path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except TornError:
        _warn_of(path)
        return None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        _warn_of(path)
        return None


def _is_whole(path: Path) -> bool:
    """Whether a record is there to its last byte; it is not read for that."""
    try:
        with path.open("rb") as file:
            file.seek(-len(RECORD_END), os.SEEK_END)
            whole = file.read() == RECORD_END
    except FileNotFoundError:
        return False
    except OSError:  # shorter than the end of a record
        whole = False
    if not whole:
        _warn_of(path)
    return whole


@cache
def _warn_of(path: Path) -> None:
    _log.warning("%s is torn, as a crash of the disk leaves a file; it is taken as not there.", path)
