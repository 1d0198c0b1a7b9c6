"""The ledger: folders of runs and studies, the only source of truth. `layout` names its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

from study.errors import conflict, file_error, unknown_name
from study.files import remove, write
from study.hashing import digest
from study.ledger import layout
from study.ledger.grid import active_keys
from study.ledger.holding import Locks
from study.ledger.reading import Reader, differing_file, epochs_of, owner_of, sealed_content, valid_result
from study.ledger.record import Interim, RunState, StudyRecord
from study.names import as_file_system
from study.records import (
    DamagedError,
    Epoch,
    Failure,
    Measurement,
    Profile,
    RunResult,
    RunSpec,
    Stopped,
    TestResult,
    sealed,
    to_json,
)

SESSION: Mapping[str, type | tuple[type, ...]] = {
    "begun": str,
    "seconds": (int, float),
    "trainings": int,
    "workers": int,
    "commit": str,
}
"""Keys of the record of a session, with their types."""
LOST_SESSION = "the report leaves out its time"
UNDO_ACCEPTED = "remove its line, and the lines 'of' and 'checksum'"


class Ledger(Locks):
    """Reads and writes one ledger folder, which the first write creates."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._reader = Reader()
        self._results: dict[str, RunResult] = {}

    @property
    def damaged(self) -> Mapping[Path, str]:
        """What is wrong with each file that was damaged when it was read last; such files count as missing."""
        return self._reader.damaged

    # Runs and profiles

    def profile_folder(self, run: RunSpec) -> Path:
        """Return the folder of the profile that runs of this network, data and code share."""
        counted = {key: value for key, value in run.counted.items() if key != "train"}
        name = "p2-" + digest([run.task, counted, run.code_digest, run.data_digest])
        return self.root / layout.PROFILES / name

    def begin(self, run: RunSpec) -> None:
        """Write the run's request if it is missing."""
        request = self.run_folder(run) / layout.REQUEST
        if self._reader.record(RunSpec, request) is None:
            self._write(request, to_json(run, owner_of(request)))
        for path in [path for path in self.damaged if path.parent == request.parent]:
            if path.name not in (layout.RESULT, layout.TEST_RESULT, layout.PROFILE):
                path.unlink(missing_ok=True)  # a failure or a pruning, which the job that begins now replaces
                del self._reader.damaged[path]

    def _write(self, path: Path, text: str) -> None:
        write(path, text)
        self._reader.damaged.pop(path, None)

    def is_begun(self, run: RunSpec) -> bool:
        """Return whether the run was ever begun."""
        return (self.run_folder(run) / layout.REQUEST).is_file()

    def state(self, run_id: str) -> RunState:
        """Return what is known of a run; a run without a result is unfinished."""
        folder = self.root / layout.RUNS / run_id
        names = _names_in(folder)
        if run_id not in self._results and (result := valid_result(self._reader, folder)):
            self._results[run_id] = result
        result = self._results.get(run_id)
        read = self._reader.record
        return RunState(
            result=result,
            tested=layout.TEST_RESULT in names and self._tested(folder) is not None,
            failure=read(Failure, folder / layout.FAILURE) if layout.FAILURE in names else None,
            measured=frozenset(
                measure
                for measure in layout.fields_in(names, layout.MEASURED)
                if read(Measurement, folder / layout.MEASURED.format(measure))
            ),
            unmeasured={
                measure: failure
                for measure in layout.fields_in(names, layout.UNMEASURED)
                if (failure := read(Failure, folder / layout.UNMEASURED.format(measure)))
            },
            stopped={
                rule: stopped
                for rule in layout.fields_in(names, layout.STOPPED)
                if (stopped := read(Stopped, folder / layout.STOPPED.format(rule)))
            },
            weights_available=(
                result is None or not result.has_weights or any(name in names for name in layout.WEIGHTS)
            ),
        )

    def _tested(self, folder: Path) -> TestResult | None:
        """Return a test result if the predictions that belong to it are as they were written."""
        path = folder / layout.TEST_RESULT
        result = self._reader.record(TestResult, path)
        if result is not None and not result.metrics:
            self._reader.report(path, "has no metrics")
            return None
        if result is not None and (file := differing_file(folder, result.files, layout.TEST_OUTPUTS)):
            self._reader.report(path, f"disagrees with {file.name}, which was changed after it was written")
            return None
        return result

    def history(self, run: RunSpec) -> tuple[Epoch, ...]:
        """Return the epochs that an unfinished training has completed."""
        path = self.run_folder(run) / layout.HISTORY
        try:
            return epochs_of(self._reader.table(path), path)
        except DamagedError as error:
            self._reader.report(path, error.problem)
            return ()

    def test_result(self, run: RunSpec) -> TestResult | None:
        """Return the test result of a run, for analysis only."""
        return self._tested(self.run_folder(run))

    def measurement(self, run: RunSpec, measure: str) -> Measurement | None:
        """Return what a measure found in a run's network on test, for analysis only."""
        return self._reader.record(Measurement, self.run_folder(run) / layout.MEASURED.format(measure))

    def profile(self, run: RunSpec) -> Profile | None:
        """Return the cost of the run's network, counted by a job of its own or by the training."""
        found = self._reader.record(Profile, self.profile_folder(run) / layout.PROFILE)
        return found or self._reader.record(Profile, self.run_folder(run) / layout.PROFILE)

    def is_profiled(self, run: RunSpec) -> bool:
        """Return whether counting the run's network has ended, well or badly."""
        folder = self.profile_folder(run)
        read = self._reader.record
        return bool(read(Profile, folder / layout.PROFILE) or read(Failure, folder / layout.FAILURE))

    def profile_failure(self, run: RunSpec) -> Failure | None:
        """Return why the run's network could not be counted; None if that has not failed."""
        return self._reader.record(Failure, self.profile_folder(run) / layout.FAILURE)

    def save_failure(self, folder: Path, failure: Failure, measure: str = "") -> None:
        """Write why a job in `folder` ended without a result."""
        name = layout.UNMEASURED.format(measure) if measure else layout.FAILURE
        self._write(folder / name, to_json(failure, owner_of(folder / name)))

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

        The spread that a study was first planned with is kept unless its file gives another.
        """
        earlier = self.require_same_study(study)
        if earlier is not None and study.spread is None:
            study = replace(study, spread=earlier.spread)
        for code, modules in study.code.items():
            if self.code_modules(code) is None:
                self._write(self._code(code), sealed_content(modules, self._code(code)))
        record = self._record(study.name)
        self._write(record, to_json(replace(study, suggestions={}, interims={}, code={}), owner_of(record)))
        return self.with_decisions(study)

    def require_same_study(self, study: StudyRecord) -> StudyRecord | None:
        """Return the record that the ledger has under a study's name; None if it has none.

        Raises:
            InputError: The record is another study's, or a file system may take a name of the ledger for this one.
        """
        for name in self.studies():
            if name != study.name and as_file_system(name) == as_file_system(study.name):
                raise conflict(
                    study.file,
                    f"the ledger {self.root} has a study {name!r}, which not every file system can tell "
                    f"from {study.name!r}. Rename this file or preset.",
                )
        earlier = self._reader.record(StudyRecord, self._record(study.name))
        if earlier is not None and self._is_other(earlier, study):
            raise conflict(
                study.file,
                f"the ledger {self.root} has a study {study.name!r} already, of the file "
                f"{earlier.file} in {earlier.root}. Rename one of the two files: a study is known by its file's "
                f"name. If the earlier study is of no use, remove {self._study(study.name)}; its runs are kept.",
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
        record = self._reader.record(StudyRecord, self._record(name))
        if record is None:
            path = self._record(name)
            if path in self.damaged:
                raise file_error(path, f"{self.damaged[path]}. Run the study again: that writes it anew.")
            raise unknown_name(
                "STUDY",
                f"the ledger {self.root} has no study {name!r}; run it first",
                name,
                self.studies(),
                "",
            )
        return self.with_decisions(record)

    def studies(self) -> list[str]:
        """Return the names of all studies, sorted."""
        return sorted(record.parent.name for record in (self.root / layout.STUDIES).glob(f"*/{layout.STUDY}"))

    def write_suggestion(self, study: str, decision: str, parameters: Mapping[str, Any]) -> None:
        """Write a suggestion of a study, before it is used."""
        path = self._study(study) / layout.SUGGESTIONS / f"{decision}.json"
        self._write(path, sealed_content(dict(parameters), path))

    def with_decisions(self, study: StudyRecord) -> StudyRecord:
        """Return the record with every suggestion that was made for its searches, and every look that was taken."""
        study = self._with_interims(replace(study, interims={}))  # they say which repetitions are searched
        folder = self._study(study.name) / layout.SUGGESTIONS
        found = {path.stem: path for path in folder.glob("*.json")}
        read = (
            (name, self._suggestion(found[name], study.space_of(search.variant)))
            for name, search in study.decisions()
            if name in found
        )
        suggestions = {name: tried for name, tried in read if tried is not None}
        return replace(study, suggestions=suggestions)

    def save_interim(self, study: StudyRecord, interim: Interim) -> StudyRecord:
        """Write the decision of a look before it is used, and return the record with it; one that is there stays."""
        path = self._study(study.name) / layout.INTERIMS / f"{study.interim(interim.look)}.json"
        if self._reader.record(Interim, path) is None:
            self._write(path, to_json(interim, owner_of(path)))
        return self._with_interims(replace(study, interims={}))

    def _with_interims(self, study: StudyRecord) -> StudyRecord:
        """Return the record with the looks that were taken, one after the other."""
        for look in study.looks:
            path = self._study(study.name) / layout.INTERIMS / f"{study.interim(look)}.json"
            interim = self._reader.record(Interim, path)
            if interim is None:
                break
            study = replace(study, interims={**study.interims, look: interim})
        return study

    def _suggestion(self, file: Path, space: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """Return a suggestion; None if it is damaged or has a value that a search of `space` cannot suggest."""
        tried: Any = self._reader.table(file)
        if tried is None and file in self.damaged:
            return None
        if not isinstance(tried, dict) or not tried.keys() <= space.keys():
            self._reader.report(file, "does not hold the parameters of the search")
            return None
        wrong = [key for key, value in tried.items() if not _is_in(value, space[key])]
        if wrong:
            self._reader.report(
                file, f"has {wrong[0]} = {tried[wrong[0]]!r}, which the search cannot suggest"
            )
            return None
        if tried.keys() != active_keys(space, tried):
            self._reader.report(file, "does not hold the parameters of the search")
            return None
        return dict(tried)

    def save_session(self, study: str, number: int, session: Mapping[str, Any]) -> None:
        """Write when a `run` of the study worked, for how long and with what; replaces what it wrote before."""
        path = self._study(study) / layout.SESSIONS / f"{number:04d}.json"
        write(path, sealed(session, owner_of(path)))

    def next_session(self, study: str) -> int:
        """Return the number of the session that begins now."""
        return max((int(file.stem) + 1 for file in self._sessions(study)), default=0)

    def sessions(self, study: str) -> list[dict[str, Any]]:
        """Return the sessions of a study, oldest first."""
        read = (self._session(file) for file in self._sessions(study))
        return [session for session in read if session is not None]

    def _session(self, file: Path) -> dict[str, Any] | None:
        """Return a session; None if it is damaged."""
        session: Any = self._reader.table(file, LOST_SESSION)
        if session is None or (
            isinstance(session, dict)
            and bool(session)
            and all(isinstance(session[key], kinds) for key, kinds in SESSION.items() if key in session)
        ):
            return session
        self._reader.report(file, "is not the record of a session", LOST_SESSION)
        return None

    def _sessions(self, study: str) -> list[Path]:
        return sorted((self._study(study) / layout.SESSIONS).glob("[0-9]*.json"))

    def _record(self, study: str) -> Path:
        return self._study(study) / layout.STUDY

    # Code

    def code_modules(self, code: str) -> Mapping[str, str] | None:
        """Return what a digest of code is made of, digest by module; None if no study was saved with it."""
        path = self._code(code)
        modules: Any = self._reader.table(path)
        if modules is None or _is_strings(modules):
            found: Mapping[str, str] | None = modules
            return found
        self._reader.report(path, "holds no digests of code")
        return None

    def accept_code(self, accepted: Mapping[str, str]) -> None:
        """Record which earlier code has the same numbers as today's, digest by digest.

        Raises:
            InputError: Today's code was accepted for other code before.
        """
        known = self.accepted_code()
        for new, old in accepted.items():
            if known.get(new, old) != old:
                raise file_error(
                    self._accepted,
                    f"code {new} is accepted for the runs of code {known[new]} already, so it "
                    f"cannot be for those of {old} too. If that was a mistake, {UNDO_ACCEPTED}.",
                )
        if accepted.items() - known.items():
            write(self._accepted, sealed_content({**known, **accepted}, self._accepted))

    def accepted_code(self) -> dict[str, str]:
        """Return the accepted digests of code, each with the digest of the earlier code.

        Raises:
            InputError: The file is damaged; only the author knows what it held.
        """
        accepted = self._reader.table(self._accepted)
        if accepted is None and self._accepted not in self.damaged:
            return {}
        if not _is_strings(accepted):
            problem = self.damaged.get(self._accepted, "holds no digests of code")
            raise file_error(
                self._accepted,
                f"{problem}. If you changed it, {UNDO_ACCEPTED}; else remove the file and "
                "run the studies concerned with --accept-code again.",
            )
        return dict(accepted)

    def _code(self, code: str) -> Path:
        return self.root / layout.CODE / f"{code}.json"

    @property
    def _accepted(self) -> Path:
        return self.root / layout.ACCEPTED


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


def _is_strings(value: Any) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(below, str) for below in value.values())


def _is_in(value: Any, dimension: Mapping[str, Any]) -> bool:
    """Return whether a search of this dimension can suggest a value."""
    if dimension.get("choices") is not None:
        return value in dimension["choices"]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and dimension["low"] <= value <= dimension["high"]


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
