"""Compare a study's trainings with the ledger: which are cached, and how the others differ from finished runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, replace
from enum import Enum, StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from study.engine import plan
from study.engine.search import suggest
from study.hashing import canonical_json
from study.ledger import layout
from study.ledger.reading import owner_of
from study.ledger.record import StudyRecord, VariantRecord
from study.ledger.store import Ledger, Snapshot
from study.nested import flatten
from study.records import DamagedError, RunSpec, unsealed

COUNTED = {
    f.name: f.default for f in fields(RunSpec) if f.metadata.get("counts", True) and f.default is not MISSING
}
"""Fields that identify a run besides its configuration, with the value of a request that was written without them."""

Request = frozenset[tuple[str, Any]]
"""What identifies a run except its seed and fold, by dotted key."""


class Absent(Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""The value of a key that a run does not have."""


class Status(StrEnum):
    """The state of one training in the ledger."""

    CACHED = "cached"
    DIVERGED = "diverged"
    """Cached, with a diverged result."""
    PRUNED = "pruned"
    FAILED = "failed"
    UNFINISHED = "unfinished"
    NEW = "new"


class DifferenceKind(StrEnum):
    """What differs between two runs."""

    VALUE = "value"
    DATA = "data"
    CODE = "code"


@dataclass(frozen=True)
class Difference:
    """One difference of a run from the most similar finished run."""

    kind: DifferenceKind
    key: str = ""
    """The dotted key of the configuration, or the kind of a component."""
    value: Any = None
    """The run's own value; `ABSENT` if it has none."""
    earlier: Any = None
    """The value of the finished run; `ABSENT` if it has none."""
    modules: tuple[str, ...] = ()
    """The modules that changed; empty if they are not known."""


@dataclass(frozen=True)
class TrainingStatus:
    """One training of a study with its state in the ledger."""

    job: plan.Job
    status: Status
    epoch: int = 0
    """The number of epochs that have ended, if it is pruned or unfinished."""
    failure: str = ""
    """Why it failed."""
    differences: tuple[Difference, ...] = ()
    """How it differs from the most similar finished run; empty if it is cached or only its seed differs."""

    @property
    def is_done(self) -> bool:
        """Whether the ledger has its result, or where it was pruned."""
        return self.status in (Status.CACHED, Status.DIVERGED, Status.PRUNED)


@dataclass(frozen=True)
class Undetermined:
    """The trainings of one variant that depend on the results of others."""

    variant: str
    trainings: int


@dataclass(frozen=True)
class TrainingList:
    """All trainings of a study."""

    decided: tuple[TrainingStatus, ...]
    undetermined: tuple[Undetermined, ...]


def list_trainings(study: StudyRecord, ledger: Ledger) -> TrainingList:
    """Return all trainings of a study, with its suggestions and the next ones, and their states in the ledger."""
    states = Snapshot(ledger)
    study = with_next_trials(study, states)
    past = FinishedRuns(study, ledger)
    decided = []
    for job in plan.trainings(study, states):
        status = _status(job, ledger, states)
        if not job.state_in(states).final:
            status = replace(status, differences=past.differences(job.run, job.purpose))
        decided.append(status)
    known = Counter(training.job.variant for training in decided)
    left = {v.name: plan.training_count(study, v) - known[v.name] for v in study.variants}
    undetermined = (Undetermined(name, trainings) for name, trainings in left.items() if trainings > 0)
    return TrainingList(tuple(decided), tuple(undetermined))


def with_next_trials(study: StudyRecord, states: plan.States) -> StudyRecord:
    """Return the study with the suggestions that `run` would make next; nothing is written."""
    while decisions := plan.ready(study, states).decisions:
        tried = {decision.name: suggest(decision.ask) for decision in decisions}
        study = replace(study, suggestions={**study.suggestions, **tried})
    return study


def _status(job: plan.Job, ledger: Ledger, states: plan.States) -> TrainingStatus:
    state = job.state_in(states)
    if state.pruned is not None:
        return TrainingStatus(job, Status.PRUNED, epoch=state.pruned.epoch)
    if state.result is not None:
        is_finished = state.result.status == "finished"
        return TrainingStatus(job, Status.CACHED if is_finished else Status.DIVERGED)
    if state.failure is not None:
        return TrainingStatus(job, Status.FAILED, failure=state.failure.reason)
    if not ledger.is_begun(job.run):
        return TrainingStatus(job, Status.NEW)
    return TrainingStatus(job, Status.UNFINISHED, epoch=len(ledger.history(job.run)))


class FinishedRuns:
    """Compares runs with the finished runs of a ledger, which are read at the first comparison."""

    def __init__(self, study: StudyRecord, ledger: Ledger) -> None:
        self._study = study
        self._ledger = ledger
        self._searched_keys = {
            *study.space,
            *(key for variant in study.variants for key in variant.in_trials),
        }
        self._differences: dict[tuple[bool, Request], tuple[Difference, ...]] = {}

    @cached_property
    def _requests(self) -> dict[bool, dict[Request, list[Path]]]:
        """Folders of finished runs by their whole request, and (True) without the keys that the study searches."""
        found: dict[bool, dict[Request, list[Path]]] = {False: defaultdict(list), True: defaultdict(list)}
        for folder, request in _finished(self._ledger.root / layout.RUNS):
            flat = _flat(request)
            found[False][_request(flat)].append(folder)
            found[True][_request(flat, self._searched_keys)].append(folder)
        return found

    def differences(self, run: RunSpec, purpose: plan.Purpose) -> tuple[Difference, ...]:
        """Return how a run differs from the most similar finished run; nothing if only its seed does.

        Searched hyperparameters are no difference between trials.
        """
        is_trial = purpose == "search"
        own = _request(_flat(vars(run)), self._searched_keys if is_trial else ())
        if (is_trial, own) not in self._differences:
            found = self._nearest_differences(own, self._requests[is_trial], run.legacy)
            self._differences[is_trial, own] = tuple(found)
        return self._differences[is_trial, own]

    def _nearest_differences(
        self, own: Request, finished: Mapping[Request, list[Path]], legacy: Mapping[str, Any]
    ) -> Iterator[Difference]:
        if own in finished or not finished:
            return
        nearest = min(
            finished, key=lambda other: (len({key for key, _ in own ^ other}), -len(finished[other]))
        )
        yield from self._compare({**legacy, **dict(own)}, {**legacy, **dict(nearest)})

    def _compare(self, own: Mapping[str, Any], nearest: Mapping[str, Any]) -> Iterator[Difference]:
        """Yield how two requests differ, without what merely follows from another difference."""

        def value_difference(key: str, path: str) -> Difference:
            values = own.get(path, ABSENT), nearest.get(path, ABSENT)
            return Difference(DifferenceKind.VALUE, key, *values)

        keys = sorted(key for key in {**own, **nearest} if own.get(key, ABSENT) != nearest.get(key, ABSENT))
        replaced = {key.removesuffix(".name") for key in keys if key.endswith(".name")}
        for kind in sorted(replaced):
            yield value_difference(kind, f"{kind}.name")
        for key in keys:
            if key == "code_digest":
                yield from self._code_difference(own[key], nearest[key], bool(replaced))
            elif key == "data_digest":
                if not any(other.startswith("dataset.") for other in keys):
                    yield Difference(DifferenceKind.DATA)
            elif key.partition(".")[0] not in replaced:
                yield value_difference(key, key)

    def _code_difference(self, own: str, nearest: str, has_other_parts: bool) -> Iterator[Difference]:
        """Yield the code difference; modules that only one side has follow from other components, if there are any."""
        changed = changed_modules(self._study, self._ledger, own, nearest)
        if changed is None:
            yield Difference(DifferenceKind.CODE)
        elif modules := tuple(name for name, sides in changed.items() if sides == 2 or not has_other_parts):
            yield Difference(DifferenceKind.CODE, modules=modules)

    def measures_by_code(self, name: str, accepted: Mapping[str, str]) -> Counter[str]:
        """Return how often a measure was taken of the study's runs, by the digest of the measure's code.

        Args:
            name: The name of the measure.
            accepted: Digests of earlier code whose runs count as the study's, by the digest of today's.
        """
        counts: Counter[str] = Counter()
        for variant in self._study.variants:
            code = variant.template.code_digest
            for folder in self._requests[True].get(self._with_code(variant, accepted.get(code, code)), ()):
                files = (file.name for file in folder.iterdir())
                keys = layout.fields_in(files, layout.MEASURED)
                counts.update(key.partition("@")[2] for key in keys if key.startswith(f"{name}@"))
        return counts

    def runs_by_code(self, variant: VariantRecord) -> Counter[str]:
        """Return how many runs differ from the variant's in nothing but code, by the digest of their code."""
        codes = {value for other in self._requests[True] for key, value in other if key == "code_digest"}
        counts = {code: len(self._requests[True].get(self._with_code(variant, code), ())) for code in codes}
        return Counter({code: count for code, count in counts.items() if count})

    def _with_code(self, variant: VariantRecord, code: str) -> Request:
        return _request(_flat({**vars(variant.template), "code_digest": code}), self._searched_keys)


def _finished(runs: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the folder and the request of every run with a result; unreadable requests are skipped."""
    for folder in sorted(runs.iterdir()) if runs.is_dir() else ():
        if (folder / layout.RESULT).is_file():
            with suppress(OSError, DamagedError):
                path = folder / layout.REQUEST
                request = unsealed(path.read_bytes(), owner_of(path), str(path))
                if (
                    isinstance(request.get("config"), dict)
                    and {"code_digest", "data_digest"} <= request.keys()
                ):
                    yield folder, request


def _flat(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that identifies a run, by dotted key."""
    legacy = request.get("legacy", {})
    flat = {name: _hashable(request.get(name, default)) for name, default in COUNTED.items()}
    flat |= {name: request[name] for name in ("code_digest", "data_digest")}
    for key, value in flatten(request["config"]).items():
        if key not in legacy or legacy[key] != value:
            flat[key] = _hashable(value)
    return flat


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else canonical_json(value)


def _request(flat: Mapping[str, Any], left_out: Collection[str] = ()) -> Request:
    return frozenset(
        item for item in flat.items() if item[0] not in left_out and item[0] not in ("seed", "fold")
    )


def changed_modules(study: StudyRecord, ledger: Ledger, new: str, old: str) -> dict[str, int] | None:
    """Return the modules in which two digests of code differ, each with how many of the two have it.

    None if the ledger does not have the modules of one of them.
    """
    after = study.code.get(new) or ledger.code_modules(new)
    before = ledger.code_modules(old) or study.code.get(old)
    if after is None or before is None:
        return None
    modules = sorted({**after, **before})
    return {
        name: (name in after) + (name in before) for name in modules if after.get(name) != before.get(name)
    }
