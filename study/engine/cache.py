"""What of a study the ledger holds, why the rest is not in it, and which older code may stand for today's."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from study.engine import plan
from study.engine.search import suggest
from study.hashing import canonical_json
from study.ledger.record import StudyRecord, VariantRecord
from study.ledger.store import Ledger, Snapshot
from study.nested import flatten
from study.records import RunSpec

MOST_TOLD = 3
"""Differences of a run from its nearest twin, and files of code."""

COUNTED = {
    f.name: f.default for f in fields(RunSpec) if f.metadata.get("counts", True) and f.default is not MISSING
}
"""What counts besides the configuration, and the value of a request that was written without it."""

ABSENT = "not there"

Request = frozenset[tuple[str, Any]]
"""What counts of a run but for its seed and fold, by dotted key."""


@dataclass(frozen=True)
class TrainingStatus:
    """One training that a study asks for."""

    job: plan.Job
    status: str
    """``cached``, ``failed: …``, ``pruned after epoch 2``, ``unfinished, …`` or ``new``."""
    is_done: bool = False
    """Whether the ledger has its result, or why it was stopped."""
    reason: str = ""
    """How it differs from the nearest run that is cached; empty where it is cached itself, or only its seed differs."""


@dataclass(frozen=True)
class Undetermined:
    """The trainings of one variant that are decided by the results of others."""

    variant: str
    trainings: int


@dataclass(frozen=True)
class TrainingList:
    """All trainings that a study asks for."""

    decided: tuple[TrainingStatus, ...]
    undetermined: tuple[Undetermined, ...]


def list_trainings(study: StudyRecord, ledger: Ledger) -> TrainingList:
    """Return what a study, with its suggestions and its next ones, asks for, and what the ledger holds of it."""
    finished = Snapshot(ledger)
    study = _with_next_trials(study, finished)
    past = FinishedRuns(study, ledger)
    decided = []
    for job in plan.trainings(study, finished):
        why = "" if job.seen(finished).final else past.why_not(job.run, job.purpose)
        state = job.seen(finished)
        is_done = state.result is not None or state.pruned is not None
        decided.append(TrainingStatus(job, _status(job, ledger, finished), is_done, why))
    known = Counter(listed.job.variant for listed in decided)
    each = plan.size(study) // len(study.variants)
    undetermined = (
        Undetermined(v.name, each - known[v.name]) for v in study.variants if each > known[v.name]
    )
    return TrainingList(tuple(decided), tuple(undetermined))


def _with_next_trials(study: StudyRecord, finished: plan.Finished) -> StudyRecord:
    """Return the study with what the trials that are due would try, as `run` will ask it; nothing is kept."""
    while asks := plan.ready(study, finished).asks:
        tried = {ask.decision: suggest(study.space, study.sampler, ask.history, ask.seed) for ask in asks}
        study = replace(study, suggestions={**study.suggestions, **tried})
    return study


def _status(job: plan.Job, ledger: Ledger, finished: plan.Finished) -> str:
    state = job.seen(finished)
    if state.pruned is not None:
        return f"pruned after epoch {state.pruned.epoch}"
    if state.result is not None:
        return "cached" if state.result.status == "finished" else "cached: it diverged"
    if state.failure is not None:
        return f"failed: {state.failure.reason}"
    if not ledger.is_begun(job.run):
        return "new"
    of = f" of {job.run.epochs}" if job.run.epochs else ""
    return f"unfinished, {len(ledger.history(job.run))}{of} epochs done"


class FinishedRuns:
    """The ledger's finished runs, compared with those of a study. They are read when the first question comes."""

    def __init__(self, study: StudyRecord, ledger: Ledger) -> None:
        self._study = study
        self._ledger = ledger
        self._varied = {*study.space, *study.confirm}
        self._told: dict[tuple[bool, Request], str] = {}

    @cached_property
    def _requests(self) -> dict[bool, dict[Request, list[Path]]]:
        """Folders of runs by what was asked: whole, and (True) without what varies in this study's search."""
        found: dict[bool, dict[Request, list[Path]]] = {False: defaultdict(list), True: defaultdict(list)}
        for folder, request in _finished(self._ledger.root / "runs"):
            flat = _flat(request)
            found[False][_request(flat)].append(folder)
            found[True][_request(flat, self._varied)].append(folder)
        return found

    def why_not(self, run: RunSpec, purpose: plan.Purpose) -> str:
        """Return why a run is not cached: how it differs from its nearest twin; empty where only its seed does.

        What a search varies is no reason why a trial is new.
        """
        searched = purpose == "search"
        own = _request(_flat(vars(run)), self._varied if searched else ())
        if (searched, own) not in self._told:
            self._told[searched, own] = self._difference(own, self._requests[searched], run.legacy)
        return self._told[searched, own]

    def _difference(
        self, own: Request, others: Mapping[Request, list[Path]], legacy: Mapping[str, Any]
    ) -> str:
        if own in others or not others:
            return ""
        twin = min(others, key=lambda other: (len({key for key, _ in own ^ other}), -len(others[other])))
        told = list(self._differences({**legacy, **dict(own)}, {**legacy, **dict(twin)}))
        more = f", and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
        return "; ".join(told[:MOST_TOLD]) + more

    def _differences(self, own: Mapping[str, Any], twin: Mapping[str, Any]) -> Iterator[str]:
        """Yield how two requests differ; what merely follows from another difference is left out."""
        keys = sorted(key for key in {**own, **twin} if own.get(key, ABSENT) != twin.get(key, ABSENT))
        replaced = {key.removesuffix(".name") for key in keys if key.endswith(".name")}
        for kind in sorted(replaced):
            yield f"{kind} differs: {own.get(f'{kind}.name', ABSENT)}, was {twin.get(f'{kind}.name', ABSENT)}"
        for key in keys:
            kind = key.partition(".")[0]
            if key == "code_digest":
                yield from self._code(own[key], twin[key], bool(replaced))
            elif key == "data_digest":
                if not any(other.startswith("dataset.") for other in keys):
                    yield "the data differ"
            elif kind not in replaced:
                yield f"{key} differs: {own.get(key, ABSENT)}, was {twin.get(key, ABSENT)}"

    def _code(self, own: str, twin: str, has_other_parts: bool) -> Iterator[str]:
        """Yield which code changed; parts that were replaced bring modules of their own, which are no change."""
        changed = changed_modules(self._study, self._ledger, own, twin)
        if changed is None:
            yield "code differs (of which files, is not known)"
        elif files := [name for name, sides in changed.items() if sides == 2 or not has_other_parts]:
            yield f"code of {named_files(files)} changed"

    def measures_by_code(self, name: str, kept: Mapping[str, str]) -> Counter[str]:
        """Return how often a measure was taken of the study's runs, by the digest of the measure's code.

        Args:
            name: Of the measure.
            kept: Older code whose runs stand for those of today's.
        """
        found: Counter[str] = Counter()
        for variant in self._study.variants:
            code = variant.template.code_digest
            for folder in self._requests[True].get(self._with_code(variant, kept.get(code, code)), ()):
                files = folder.glob(f"measure-{name}@*.json")
                found.update(file.stem.partition("@")[2] for file in files)
        return found

    def runs_by_code(self, variant: VariantRecord) -> Counter[str]:
        """Return how many runs differ from the variant's in nothing but code, by the digest of their code."""
        codes = {value for other in self._requests[True] for key, value in other if key == "code_digest"}
        counts = {code: len(self._requests[True].get(self._with_code(variant, code), ())) for code in codes}
        return Counter({code: count for code, count in counts.items() if count})

    def _with_code(self, variant: VariantRecord, code: str) -> Request:
        return _request(_flat({**vars(variant.template), "code_digest": code}), self._varied)


def _finished(runs: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the folder and the request of every run with a result; what cannot be read is no twin."""
    for folder in sorted(runs.iterdir()) if runs.is_dir() else ():
        if (folder / "result.json").is_file():
            with suppress(OSError, ValueError):
                request = json.loads((folder / "run.json").read_bytes())
                if isinstance(request, dict) and isinstance(request.get("config"), dict):
                    yield folder, request


def _flat(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that counts in a request, by dotted key."""
    legacy = request.get("legacy", {})
    flat = {name: _plain(request.get(name, default)) for name, default in COUNTED.items()}
    flat |= {name: request[name] for name in ("code_digest", "data_digest")}
    for key, value in flatten(request["config"]).items():
        if key not in legacy or legacy[key] != value:
            flat[key] = _plain(value)
    return flat


def _plain(value: Any) -> Any:
    """Return a value that can be compared and hashed."""
    return value if isinstance(value, str | int | float | None) else canonical_json(value)


def _request(flat: Mapping[str, Any], left_out: Collection[str] = ()) -> Request:
    return frozenset(
        item for item in flat.items() if item[0] not in left_out and item[0] not in ("seed", "fold")
    )


def changed_modules(study: StudyRecord, ledger: Ledger, new: str, old: str) -> dict[str, int] | None:
    """Return the modules in which two digests of code differ, each with how many of the two have it.

    None where the ledger does not know what one of them is made of.
    """
    after, before = study.code.get(new) or ledger.code(new), ledger.code(old) or study.code.get(old)
    if after is None or before is None:
        return None
    modules = sorted({**after, **before})
    return {
        name: (name in after) + (name in before) for name in modules if after.get(name) != before.get(name)
    }


def named_files(modules: Collection[str]) -> str:
    """Return modules as people name files, the first few of them."""
    names = [f"{module.rpartition('.')[2]}.py" for module in modules]
    if len(names) > MOST_TOLD:
        return f"{', '.join(names[:MOST_TOLD])} and {len(names) - MOST_TOLD} more files"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
