"""The ledger: folders of runs and studies, the only source of truth. `layout` names its files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.errors import InputError, StudyError
from study.files import remove, write
from study.hashing import digest
from study.ledger import layout
from study.ledger.locks import Holder, holder_of, release, take
from study.ledger.reading import is_whole, read_json, read_record
from study.ledger.record import RunState, StudyRecord
from study.names import as_file_system, is_folder_name
from study.records import (
    Epoch,
    Failure,
    Measurement,
    Profile,
    RunResult,
    RunSpec,
    Stopped,
    TestResult,
    to_json,
)


class Ledger:
    """Reads and writes one ledger folder, which the first write creates."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._results: dict[str, RunResult] = {}
        self._acquired: Counter[Path] = Counter()
        """How many jobs of this process work in each folder."""
        self._study_lock: Path | None = None
        """The lock of the study that this process carries out."""

    # Runs and profiles

    def run_folder(self, run: RunSpec) -> Path:
        """Return the folder of a run."""
        return self.root / layout.RUNS / run.id

    def profile_folder(self, run: RunSpec) -> Path:
        """Return the folder of the profile that runs of this network, data and code share."""
        counted = {key: value for key, value in run.counted.items() if key != "train"}
        name = "p2-" + digest([run.task, counted, run.code_digest, run.data_digest])
        return self.root / layout.PROFILES / name

    def begin(self, run: RunSpec) -> None:
        """Write the run's request if it is missing."""
        request = self.run_folder(run) / layout.REQUEST
        if not is_whole(request):
            write(request, to_json(run))

    def is_begun(self, run: RunSpec) -> bool:
        """Return whether the run was ever begun."""
        return (self.run_folder(run) / layout.REQUEST).is_file()

    def state(self, run_id: str) -> RunState:
        """Return what is known of a run; a run without a result is unfinished."""
        folder = self.root / layout.RUNS / run_id
        names = _names_in(folder)
        if run_id not in self._results and (result := read_record(RunResult, folder / layout.RESULT)):
            self._results[run_id] = result
        result = self._results.get(run_id)
        return RunState(
            result=result,
            tested=layout.TEST_RESULT in names and is_whole(folder / layout.TEST_RESULT),
            failure=read_record(Failure, folder / layout.FAILURE) if layout.FAILURE in names else None,
            measured=frozenset(
                measure
                for measure in layout.fields_in(names, layout.MEASURED)
                if is_whole(folder / layout.MEASURED.format(measure))
            ),
            unmeasured={
                measure: failure
                for measure in layout.fields_in(names, layout.UNMEASURED)
                if (failure := read_record(Failure, folder / layout.UNMEASURED.format(measure)))
            },
            stopped={
                rule: stopped
                for rule in layout.fields_in(names, layout.STOPPED)
                if (stopped := read_record(Stopped, folder / layout.STOPPED.format(rule)))
            },
            weights_available=(
                result is None or not result.has_weights or any(name in names for name in layout.WEIGHTS)
            ),
        )

    def history(self, run: RunSpec) -> tuple[Epoch, ...]:
        """Return the epochs that an unfinished training has completed."""
        entries = read_json(self.run_folder(run) / layout.HISTORY)
        return tuple(Epoch(**entry) for entry in entries or ())

    def test_result(self, run: RunSpec) -> TestResult | None:
        """Return the test result of a run, for analysis only."""
        return read_record(TestResult, self.run_folder(run) / layout.TEST_RESULT)

    def measurement(self, run: RunSpec, measure: str) -> Measurement | None:
        """Return what a measure found in a run's network on test, for analysis only."""
        return read_record(Measurement, self.run_folder(run) / layout.MEASURED.format(measure))

    def profile(self, run: RunSpec) -> Profile | None:
        """Return the cost of the run's network, counted by a job of its own or by the training."""
        found = read_record(Profile, self.profile_folder(run) / layout.PROFILE)
        return found or read_record(Profile, self.run_folder(run) / layout.PROFILE)

    def is_profiled(self, run: RunSpec) -> bool:
        """Return whether counting the run's network has ended, well or badly."""
        folder = self.profile_folder(run)
        return is_whole(folder / layout.PROFILE) or is_whole(folder / layout.FAILURE)

    def profile_failure(self, run: RunSpec) -> Failure | None:
        """Return why the run's network could not be counted; None if that has not failed."""
        return read_record(Failure, self.profile_folder(run) / layout.FAILURE)

    def save_failure(self, folder: Path, failure: Failure, measure: str = "") -> None:
        """Write why a job in `folder` ended without a result."""
        name = layout.UNMEASURED.format(measure) if measure else layout.FAILURE
        write(folder / name, to_json(failure))

    def remove_failures(self, run: RunSpec) -> None:
        """Let a failed run be tried again, its test and its measures included."""
        for folder in (self.run_folder(run), self.profile_folder(run)):
            for file in (folder / layout.FAILURE, *folder.glob(layout.UNMEASURED.format("*"))):
                file.unlink(missing_ok=True)

    def drop_weights(self, run: RunSpec) -> None:
        """Remove the weights and predictions of a search trial, of which only the result is read."""
        for name in layout.TEST_INPUTS:
            remove(self.run_folder(run) / name)

    # Studies

    def save(self, study: StudyRecord) -> StudyRecord:
        """Write a study's record and return it with every suggestion that was ever made for it.

        Once the claims have been changed after runs were carried out, every later record says so.
        """
        earlier = self.require_same_study(study)
        if earlier is not None and self.sessions(study.name):
            changed = earlier.claims_changed or earlier.claims_digest != study.claims_digest
            study = replace(study, claims_changed=changed)
        for code, modules in study.code.items():
            if self.code_modules(code) is None:
                write(self._code(code), json.dumps(modules, indent=1) + "\n")
        write(self._record(study.name), to_json(replace(study, suggestions={}, code={})))
        return self.with_suggestions(study)

    def require_same_study(self, study: StudyRecord) -> StudyRecord | None:
        """Return the record that the ledger has under a study's name; None if it has none.

        Raises:
            InputError: The record is another study's, or a file system may take a name of the ledger for this one.
        """
        for name in self.studies():
            if name != study.name and as_file_system(name) == as_file_system(study.name):
                raise InputError(
                    f"{study.file}: the ledger {self.root} has a study {name!r}, which not every file system can tell "
                    f"from {study.name!r}. Rename this file or preset."
                )
        earlier = read_record(StudyRecord, self._record(study.name))
        if earlier is not None and self._is_other(earlier, study):
            raise InputError(
                f"{study.file}: the ledger {self.root} has a study {study.name!r} already, of the file "
                f"{earlier.file} in {earlier.root}. Rename one of the two files: a study is known by its file's "
                f"name. If the earlier study is of no use, remove {self._study(study.name)}; its runs are kept."
            )
        return earlier

    def _is_other(self, earlier: StudyRecord, now: StudyRecord) -> bool:
        """Return whether two records of one name are of two studies.

        They are of one where they are of one file, where a project was copied with its ledger, and where the earlier
        file was moved, or lies in another checkout that shares the ledger, and asks the same.
        """
        root = Path(now.root)
        has_own_ledger = self.root.resolve().is_relative_to(root.resolve())
        then = Path(root if has_own_ledger else earlier.root, earlier.file)
        is_same_path = earlier.file == now.file
        if is_same_path and (has_own_ledger or earlier.root == now.root):
            return False
        try:
            if then.samefile(root / now.file):
                return False
            is_there = True
        except OSError:
            is_there = False
        if is_there and not is_same_path:
            return True
        return _asked(earlier) != _asked(now)

    def study(self, name: str) -> StudyRecord:
        """Read a study's record.

        Raises:
            InputError: No such study was ever run with this ledger.
        """
        record = read_record(StudyRecord, self._record(name))
        if record is None:
            raise InputError(f"the ledger {self.root} has no study {name!r}; run it first.")
        return self.with_suggestions(record)

    def studies(self) -> list[str]:
        """Return the names of all studies, sorted."""
        return sorted(record.parent.name for record in (self.root / layout.STUDIES).glob(f"*/{layout.STUDY}"))

    def save_suggestion(
        self, study: StudyRecord, decision: str, parameters: Mapping[str, Any]
    ) -> StudyRecord:
        """Write a suggestion before it is used, and return the record with it."""
        path = self._study(study.name) / layout.SUGGESTIONS / f"{decision}.json"
        write(path, json.dumps(dict(parameters), indent=1) + "\n")
        return replace(study, suggestions={**study.suggestions, decision: parameters})

    def with_suggestions(self, study: StudyRecord) -> StudyRecord:
        """Return the record with every suggestion that was ever made for a study of its name."""
        files = (self._study(study.name) / layout.SUGGESTIONS).glob("*.json")
        read = ((file.stem, read_json(file)) for file in files)
        return replace(
            study, suggestions={decision: tried for decision, tried in read if isinstance(tried, Mapping)}
        )

    def save_session(self, study: str, number: int, session: Mapping[str, Any]) -> None:
        """Write when a `run` of the study worked, for how long and with what; replaces what it wrote before."""
        path = self._study(study) / layout.SESSIONS / f"{number:04d}.json"
        write(path, json.dumps(session, indent=1) + "\n")

    def next_session(self, study: str) -> int:
        """Return the number of the session that begins now."""
        return max((int(file.stem) + 1 for file in self._sessions(study)), default=0)

    def sessions(self, study: str) -> list[dict[str, Any]]:
        """Return the sessions of a study, oldest first."""
        read = (read_json(file) for file in self._sessions(study))
        return [session for session in read if session is not None]

    def _sessions(self, study: str) -> list[Path]:
        return sorted((self._study(study) / layout.SESSIONS).glob("[0-9]*.json"))

    def _record(self, study: str) -> Path:
        return self._study(study) / layout.STUDY

    def _study(self, name: str) -> Path:
        if not is_folder_name(name):
            raise InputError(f"the ledger {self.root} has no study {name!r}: that is no name of a study.")
        return self.root / layout.STUDIES / name

    # Code

    def code_modules(self, code: str) -> Mapping[str, str] | None:
        """Return what a digest of code is made of, digest by module; None if no study was saved with it."""
        modules: Mapping[str, str] | None = read_json(self._code(code))
        return modules

    def accept_code(self, accepted: Mapping[str, str]) -> None:
        """Record which earlier code has the same numbers as today's, digest by digest.

        Raises:
            InputError: Today's code was accepted for other code before.
        """
        known = self.accepted_code()
        for new, old in accepted.items():
            if known.get(new, old) != old:
                raise InputError(
                    f"{self._accepted}: code {new} is accepted for the runs of code {known[new]} already, so it "
                    f"cannot be for those of {old} too. If that was a mistake, remove its line."
                )
        if accepted.items() - known.items():
            write(self._accepted, json.dumps({**known, **accepted}, indent=1) + "\n")

    def accepted_code(self) -> dict[str, str]:
        """Return the accepted digests of code, each with the digest of the earlier code."""
        return read_json(self._accepted) or {}

    def _code(self, code: str) -> Path:
        return self.root / layout.CODE / f"{code}.json"

    @property
    def _accepted(self) -> Path:
        return self.root / layout.ACCEPTED

    # Locks

    @contextmanager
    def hold(self, study: str) -> Iterator[None]:
        """Lock the study against a second conductor.

        Raises:
            StudyError: Another process, which the message names, holds the study.
        """
        lock = self._study(study) / layout.LOCK
        if holder := take(lock):
            raise StudyError(
                f"the study {study!r} is being run by {holder}. "
                f"Wait for it, or end it with `study stop`; if that process is gone, delete {lock}."
            )
        try:
            (self._study(study) / layout.STOP).unlink(missing_ok=True)
            self._study_lock = lock
            yield
        finally:
            self._study_lock = None
            release(lock)

    def holder(self, study: str) -> Holder | None:
        """Return the process that is carrying the study out; None if there is none."""
        return holder_of(self._study(study) / layout.LOCK)

    def request_stop(self, study: str) -> Holder | None:
        """Ask the study's conductor to end as for Ctrl-C; return its process, None if there is none."""
        if holder := self.holder(study):
            write(self._study(study) / layout.STOP, "")
        return holder

    def stop_requested(self, study: str) -> bool:
        """Return whether the study's conductor is to end."""
        return (self._study(study) / layout.STOP).exists()

    def acquire(self, folder: Path) -> Holder | None:
        """Lock a job's folder against other conductors; return the process that has it if it is taken.

        Several jobs of one conductor may acquire a folder, and each releases it.
        """
        if not self._acquired[folder] and (holder := take(folder / layout.CLAIM, self._study_lock)):
            return holder
        self._acquired[folder] += 1
        return None

    def release(self, folder: Path) -> None:
        """Release a folder once."""
        self._acquired[folder] -= 1
        if not self._acquired[folder]:
            del self._acquired[folder]
            release(folder / layout.CLAIM)

    def release_all(self) -> None:
        """Release every folder that this conductor still has."""
        for folder in self._acquired:
            release(folder / layout.CLAIM)
        self._acquired.clear()

    def run_holder(self, run: RunSpec) -> Holder | None:
        """Return the process that is working on a run; None if there is none."""
        return holder_of(self.run_folder(run) / layout.CLAIM)


class Snapshot:
    """Caches the states of runs: each is read when it is first requested."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._states: dict[str, RunState] = {}

    def __call__(self, run_id: str) -> RunState:
        """Return the state of a run."""
        if run_id not in self._states:
            self._states[run_id] = self._ledger.state(run_id)
        return self._states[run_id]

    def invalidate(self, run_id: str) -> None:
        """Read the state of a run anew when it is next requested."""
        self._states.pop(run_id, None)


def _asked(study: StudyRecord) -> tuple[str, list[str]]:
    """Return what a study asks: its question, and its factors."""
    return study.question, sorted({factor for variant in study.variants for factor in variant.levels})


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
