"""What may be done now. Pure: the same study and the same finished runs give the same answer.

Search, confirmation, resume and cache are one question. A trial may be asked once every trial of the earlier
generations has ended; a variant is confirmed once its whole search has; a confirmed run is tested once it
is trained, and measured once it is tested. Nothing else is remembered anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from study.hashing import seed_of
from study.ledger.record import RunState, StudyRecord, VariantRecord
from study.records import RunSpec
from study.search import decision_seed

JobKind = Literal["train", "evaluate", "measure", "profile"]
Purpose = Literal["search", "confirm", "profile"]
Finished = Callable[[str], RunState]
"""Returns what is known of a run, by its id; an empty state for one that is new."""

WORST_SCORE = 0.0


@dataclass(frozen=True)
class Ask:
    """A decision that is due: what a trial tries, given every earlier generation's trials."""

    decision: str
    history: tuple[tuple[Mapping[str, Any], float], ...]
    seed: int


@dataclass(frozen=True)
class Job:
    """One piece of work for one worker."""

    kind: JobKind
    run: RunSpec
    variant: str
    purpose: Purpose
    number: int
    """Of the trial or repetition, from 0."""
    measure: str = ""
    """Which measure to take, as `StudyRecord.measures` writes it."""

    @property
    def key(self) -> str:
        """What makes two jobs the same work, whoever asked for it."""
        return " ".join([self.kind, *([self.measure] if self.measure else []), self.run.id])


@dataclass(frozen=True)
class Step:
    """All that may happen now; nothing of either kind means that the study is done, or waits."""

    asks: tuple[Ask, ...]
    jobs: tuple[Job, ...]


def ready(study: StudyRecord, finished: Finished, profiled: frozenset[str] = frozenset()) -> Step:
    """Return the decisions and jobs whose premises are all final.

    Args:
        study: The study's record with the suggestions made so far.
        finished: What the ledger knows of a run, by its id.
        profiled: Names of the variants whose network has been counted.
    """
    asks: list[Ask] = []
    jobs: list[Job] = []
    for variant in study.variants:
        for fold in study.folds:
            new_asks, new_jobs = _searching(study, variant, fold, finished)
            asks += new_asks
            jobs += new_jobs
            jobs += _confirming(study, variant, fold, finished)
        network = profile_of(study, variant, finished)
        if network is not None and variant.name not in profiled:
            jobs.append(Job("profile", network, variant.name, "profile", 0))
    return Step(tuple(asks), tuple(_in_turn(jobs)))


def trials(study: StudyRecord, variant: VariantRecord, fold: int | None) -> Iterator[RunSpec]:
    """Yield the variant's search trials, in order, as far as they are decided."""
    seed = seed_of("search", study.seed)
    for number in range(study.trials):
        suggestion = study.suggestions.get(study.decision(variant, fold, number))
        if suggestion is None:
            return
        yield variant.run(suggestion, seed, fold)


def confirmations(
    study: StudyRecord, variant: VariantRecord, fold: int | None, finished: Finished
) -> list[RunSpec]:
    """Return the runs that confirm the variant's choice; none before its search has ended or if it chose nothing."""
    parameters = choice(study, variant, fold, finished)
    if parameters is None:
        return []
    if study.final != "best":
        parameters = {**parameters, "train.fit": study.final}
    return [variant.run(parameters, seed_of("confirm", study.seed, n), fold) for n in range(study.seeds)]


def choice(
    study: StudyRecord, variant: VariantRecord, fold: int | None, finished: Finished
) -> Mapping[str, Any] | None:
    """Return the hyperparameters that the search chose: the best on selection, the earliest on ties.

    None while the search goes on, and where no trial had a result.
    """
    if not study.trials:
        return {}
    runs = list(trials(study, variant, fold))
    if len(runs) < study.trials or not all(_ended(run, finished) for run in runs):
        return None
    scores = [_score(run, study.metric, finished) for run in runs]
    usable = [score for score, run in zip(scores, runs, strict=True) if _usable(run, finished)]
    if not usable:
        return None
    number = scores.index(max(usable))
    return study.suggestions[study.decision(variant, fold, number)]


def profile_of(study: StudyRecord, variant: VariantRecord, finished: Finished) -> RunSpec | None:
    """Return the run whose network's cost stands for the variant: its first confirmation, once it is known."""
    return next(iter(confirmations(study, variant, study.folds[0], finished)), None)


def trainings(study: StudyRecord, finished: Finished) -> Iterator[Job]:
    """Yield every training that is decided so far, done or not."""
    for variant in study.variants:
        for fold in study.folds:
            for number, run in enumerate(trials(study, variant, fold)):
                yield Job("train", run, variant.name, "search", number)
            for number, run in enumerate(confirmations(study, variant, fold, finished)):
                yield Job("train", run, variant.name, "confirm", number)


def size(study: StudyRecord) -> int:
    """Return the number of trainings that the whole study asks for."""
    return len(study.variants) * len(study.folds) * (study.trials + study.seeds)


def _searching(
    study: StudyRecord, variant: VariantRecord, fold: int | None, finished: Finished
) -> tuple[list[Ask], list[Job]]:
    runs = list(trials(study, variant, fold))
    jobs = [
        Job("train", run, variant.name, "search", number)
        for number, run in enumerate(runs)
        if not _ended(run, finished)
    ]
    generation = len(runs) // study.generation
    first = generation * study.generation
    if not all(_ended(run, finished) for run in runs[:first]):
        return [], jobs
    history = tuple(
        (study.suggestions[study.decision(variant, fold, number)], _score(run, study.metric, finished))
        for number, run in enumerate(runs[:first])
        if finished(run.id).result is not None
    )
    asks = [
        Ask(
            study.decision(variant, fold, number),
            history,
            decision_seed(study.seed, fold, generation, number - first),
        )
        for number in range(len(runs), min(first + study.generation, study.trials))
    ]
    return asks, jobs


def _confirming(
    study: StudyRecord, variant: VariantRecord, fold: int | None, finished: Finished
) -> Iterator[Job]:
    for number, run in enumerate(confirmations(study, variant, fold, finished)):
        state = finished(run.id)
        if not state.final:
            yield Job("train", run, variant.name, "confirm", number)
        elif _usable(run, finished) and not state.tested and state.failure is None:
            yield Job("evaluate", run, variant.name, "confirm", number)
        elif state.tested:
            for measure in study.measures:
                if measure not in state.measured and measure not in state.unmeasured:
                    yield Job("measure", run, variant.name, "confirm", number, measure)


def _in_turn(jobs: list[Job]) -> Iterator[Job]:
    """Order jobs so that variants take turns, tests come early, measures and profiles late; drop duplicates."""
    rank = {"evaluate": 0, "train": 1, "measure": 2, "profile": 3}
    seen: set[str] = set()
    for job in sorted(jobs, key=lambda job: (rank[job.kind], job.purpose == "confirm", job.number)):
        if job.key not in seen:
            seen.add(job.key)
            yield job


def _ended(run: RunSpec, finished: Finished) -> bool:
    return finished(run.id).final


def _usable(run: RunSpec, finished: Finished) -> bool:
    result = finished(run.id).result
    return result is not None and result.status == "finished"


def _score(run: RunSpec, metric: str, finished: Finished) -> float:
    """Return the score that a search is told; a diverged trial has spent its budget for the worst one."""
    result = finished(run.id).result
    return result.selection[metric] if result and result.status == "finished" else WORST_SCORE
