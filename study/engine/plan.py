"""What may be done now. Pure: the same study and the same finished runs give the same answer.

Search, confirmation, resume and cache are one question. A trial may be asked once every trial of the earlier
generations has ended, and the rule by which it is stopped early is known by then; a variant is confirmed once
its whole search has; a confirmed run is tested once it is trained, and measured once it is tested. Nothing
else is remembered anywhere.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, cast

from study import seeds
from study.engine.search import Tried, decision_seed
from study.hashing import digest, seed_of
from study.ledger.record import RunState, StudyRecord, VariantRecord
from study.records import Epoch, RunSpec, best_gain

JobKind = Literal["train", "evaluate", "measure", "profile"]
Purpose = Literal["search", "confirm", "profile"]
Finished = Callable[[str], RunState]
"""Returns what is known of a run, by its id; an empty state for one that is new."""

_seed = lru_cache(maxsize=4096)(seed_of)


@dataclass(frozen=True)
class Ask:
    """A decision that is due: what a trial tries, given every earlier generation's trials."""

    decision: str
    history: tuple[Tried, ...]
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
    rule: Mapping[str, float] = field(default_factory=dict)
    """The least gain, by epoch, with which a trial goes on."""

    @cached_property
    def key(self) -> str:
        """What makes two jobs the same work, whoever asked for it."""
        rule = f"rule-{digest(self.rule)}" if self.rule else ""
        return " ".join(word for word in (self.kind, self.measure, rule, self.run.id) if word)

    def seen(self, finished: Finished) -> RunState:
        """Return what is known of the job's run, as this job asks for it."""
        return finished(self.run.id).under(self.run, self.rule)


@dataclass(frozen=True)
class Trial:
    """One trial of a search, with what is known of it under the rule by which it may be stopped."""

    number: int
    run: RunSpec
    rule: Mapping[str, float]
    parameters: Mapping[str, Any]
    state: RunState


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
        if not study.has_profile or variant.name in profiled:
            continue
        if (network := profile_of(study, variant, finished)) is not None:
            jobs.append(Job("profile", network, variant.name, "profile", 0))
    return Step(tuple(asks), tuple(in_turn(jobs)))


def trials(study: StudyRecord, variant: VariantRecord, fold: int | None) -> Iterator[RunSpec]:
    """Yield the variant's search trials, in order, as far as they are decided."""
    seed = _seed(seeds.SEARCH, study.seed)
    for number in range(study.trials):
        suggestion = study.suggestions.get(study.decision(variant, fold, number))
        if suggestion is None:
            return
        yield variant.run(suggestion, seed, fold)


def searched(
    study: StudyRecord, variant: VariantRecord, fold: int | None, finished: Finished
) -> Iterator[Trial]:
    """Yield the variant's search trials, in order, as far as they and their rules are decided."""
    reached: dict[int, list[float]] = {}
    runs = list(trials(study, variant, fold))
    for first in range(0, len(runs), study.generation):
        generation = []
        for number, run in enumerate(runs[first : first + study.generation], start=first):
            rule = _rule(study, run, reached)
            parameters = study.suggestions[study.decision(variant, fold, number)]
            generation.append(Trial(number, run, rule, parameters, finished(run.id).under(run, rule)))
        yield from generation
        if study.pruner == "none":
            continue
        if not all(trial.state.final for trial in generation):
            return  # the rules of later generations rest on these
        for trial in generation:
            for epoch, gain in _rungs_reached(study, trial.run, trial.state):
                insort(reached.setdefault(epoch, []), gain)


def _rule(study: StudyRecord, run: RunSpec, reached: Mapping[int, Sequence[float]]) -> dict[str, float]:
    """Return the least gain with which a trial goes on, by epoch: successive halving.

    With its own gain among those of earlier generations' trials that got as far, it must be in the best
    1/`reduction` of them, and be the best at least (Jamieson and Talwalkar 2016; Li et al. 2020).

    Args:
        study: Says whether and how trials are pruned.
        run: The trial.
        reached: Gains of earlier generations' trials by epoch, lowest first.
    """
    rule = {}
    if study.pruner == "halving":
        last = max(reached, default=0) if run.epochs is None else run.epochs - 1
        for epoch in rungs(study, last):
            gains = reached.get(epoch, ())
            if gains:
                rule[str(epoch)] = gains[-max(1, (len(gains) + 1) // study.reduction)]
    return rule


def rungs(study: StudyRecord, last: int) -> list[int]:
    """Return the epochs up to `last` after which a trial of the study's search may be stopped."""
    found = []
    epoch = study.first_epoch
    while epoch <= last:
        found.append(epoch)
        epoch *= study.reduction
    return found


def _rungs_reached(study: StudyRecord, run: RunSpec, state: RunState) -> Iterator[tuple[int, float]]:
    """Yield the best gain so far at every rung that a trial got to; nothing for one that broke down."""
    history: tuple[Epoch, ...] = ()
    if state.pruned is not None:
        history = state.pruned.history
    elif state.is_usable and state.result is not None:
        history = state.result.history
    for epoch in rungs(study, history[-1].epoch if history else 0):
        if (best := best_gain(run, history, epoch)) is not None:
            yield epoch, best


def confirmations(
    study: StudyRecord, variant: VariantRecord, fold: int | None, finished: Finished
) -> list[RunSpec]:
    """Return the runs that confirm the variant's choice; none before its search has ended or if it chose nothing."""
    return list(_confirmations(study, variant, fold, finished))


def _confirmations(
    study: StudyRecord, variant: VariantRecord, fold: int | None, finished: Finished
) -> Iterator[RunSpec]:
    parameters = choice(study, variant, fold, finished)
    if parameters is None:
        return
    for number in range(study.repetitions):
        yield variant.run({**parameters, **study.confirm}, _seed(seeds.REPETITION, study.seed, number), fold)


def choice(
    study: StudyRecord, variant: VariantRecord, fold: int | None, finished: Finished
) -> Mapping[str, Any] | None:
    """Return the hyperparameters that the search chose: the best on validation, the earliest on ties.

    None while the search goes on, and where no trial was trained to its end.
    """
    if not study.trials:
        return {}
    ended = list(searched(study, variant, fold, finished))
    if len(ended) < study.trials or not all(trial.state.final for trial in ended):
        return None
    usable = [trial for trial in ended if trial.state.is_usable]
    if not usable:
        return None
    return max(usable, key=lambda trial: cast(float, gain_of(study, trial.state))).parameters


def profile_of(study: StudyRecord, variant: VariantRecord, finished: Finished) -> RunSpec | None:
    """Return the run whose network's cost stands for the variant: its first confirmation, once it is known."""
    return next(_confirmations(study, variant, study.folds[0], finished), None)


def trainings(study: StudyRecord, finished: Finished) -> Iterator[Job]:
    """Yield every training that is decided so far, done or not."""
    for variant in study.variants:
        for fold in study.folds:
            for trial in searched(study, variant, fold, finished):
                yield Job("train", trial.run, variant.name, "search", trial.number, rule=trial.rule)
            for number, run in enumerate(confirmations(study, variant, fold, finished)):
                yield Job("train", run, variant.name, "confirm", number)


def size(study: StudyRecord) -> int:
    """Return the number of trainings that the whole study asks for."""
    return len(study.variants) * len(study.folds) * (study.trials + study.repetitions)


def _searching(
    study: StudyRecord, variant: VariantRecord, fold: int | None, finished: Finished
) -> tuple[list[Ask], list[Job]]:
    known = list(searched(study, variant, fold, finished))
    jobs = [
        Job("train", trial.run, variant.name, "search", trial.number, rule=trial.rule)
        for trial in known
        if not trial.state.final
    ]
    generation = len(known) // study.generation
    first = generation * study.generation
    if not all(trial.state.final for trial in known[:first]):
        return [], jobs
    history = tuple(
        Tried(trial.parameters, gain_of(study, trial.state), dict(_reports(study, trial.run, trial.state)))
        for trial in known[:first]
        if trial.state.result is not None or trial.state.pruned is not None
    )
    asks = [
        Ask(
            study.decision(variant, fold, number),
            history,
            decision_seed(study.seed, fold, generation, number - first),
        )
        for number in range(len(known), min(first + study.generation, study.trials))
    ]
    return asks, jobs


def _confirming(
    study: StudyRecord, variant: VariantRecord, fold: int | None, finished: Finished
) -> Iterator[Job]:
    for number, run in enumerate(confirmations(study, variant, fold, finished)):
        state = finished(run.id)
        weights_needed = state.is_usable and state.failure is None and _is_unanswered(study, state)
        if not state.final or (weights_needed and not state.kept):
            yield Job("train", run, variant.name, "confirm", number)
        elif state.is_usable and not state.tested and state.failure is None:
            yield Job("evaluate", run, variant.name, "confirm", number)
        elif state.tested:
            for measure in study.measures:
                if measure not in state.measured and measure not in state.unmeasured:
                    yield Job("measure", run, variant.name, "confirm", number, measure)


def _is_unanswered(study: StudyRecord, state: RunState) -> bool:
    """Whether a confirmed run is still to be tested or measured."""
    return not state.tested or bool(set(study.measures) - set(state.measured) - set(state.unmeasured))


def in_turn(jobs: Iterable[Job]) -> Iterator[Job]:
    """Order jobs so that variants take turns, tests come early, measures and profiles late; drop duplicates."""
    rank = {"evaluate": 0, "train": 1, "measure": 2, "profile": 3}
    seen: set[str] = set()
    for job in sorted(jobs, key=lambda job: (rank[job.kind], job.purpose == "confirm", job.number)):
        if job.key not in seen:
            seen.add(job.key)
            yield job


def gain_of(study: StudyRecord, state: RunState) -> float | None:
    """Return the gain that a search is given for a trial; a diverged one has spent its budget for the worst.

    None where a trial diverged and the metric has no worst value.
    """
    if state.pruned is not None:
        return study.primary.gain(state.pruned.score)
    if state.result is not None and state.is_usable:
        return study.primary.gain(state.result.validation[study.metric])
    return study.worst_gain


def _reports(study: StudyRecord, run: RunSpec, state: RunState) -> Iterator[tuple[int, float]]:
    """Yield what a trial that was stopped early had reached by then, at each rung."""
    if state.pruned is not None:
        yield from _rungs_reached(study, run, state)
