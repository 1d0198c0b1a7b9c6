"""Plan which decisions and jobs are ready: a pure function of the study and the states of its runs.

It covers search, repetitions, resuming and caching. What a trial tries, and the rule by which it is pruned, are
decided once every trial of the earlier generations has ended. The repetitions of a variant start once its whole
search has ended; a repetition is tested once it is trained, and measured once it is tested. There is no other state.
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
States = Callable[[str], RunState]
"""Returns the state of a run by its id; an empty state for a new one."""

_seed = lru_cache(maxsize=4096)(seed_of)


@dataclass(frozen=True)
class Decision:
    """A decision that is ready: what a trial tries, given the trials of all earlier generations."""

    name: str
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
    """The number of the trial or repetition, from 0."""
    measure: str = ""
    """The measure to take, as `StudyRecord.measures` writes it."""
    rule: Mapping[str, float] = field(default_factory=dict)
    """The lowest gain, by epoch, with which a trial continues."""

    @cached_property
    def key(self) -> str:
        """The identity of the work: equal for equal jobs of different studies."""
        rule = f"rule-{digest(self.rule)}" if self.rule else ""
        return " ".join(word for word in (self.kind, self.measure, rule, self.run.id) if word)

    def state_in(self, states: States) -> RunState:
        """Return the state of the job's run under the job's pruning rule."""
        return states(self.run.id).under(self.run, self.rule)


@dataclass(frozen=True)
class Trial:
    """One trial of a search, with its state under its pruning rule."""

    number: int
    run: RunSpec
    rule: Mapping[str, float]
    parameters: Mapping[str, Any]
    state: RunState


@dataclass(frozen=True)
class Step:
    """All decisions and jobs that are ready; if there are none, the study has ended or waits for running jobs."""

    decisions: tuple[Decision, ...]
    jobs: tuple[Job, ...]


def ready(study: StudyRecord, states: States, profiled: frozenset[str] = frozenset()) -> Step:
    """Return the decisions and jobs that depend on ended runs only.

    Args:
        study: The study's record with the suggestions made so far.
        states: Returns the state of a run by its id.
        profiled: Names of the variants whose network has been profiled.
    """
    decisions: list[Decision] = []
    jobs: list[Job] = []
    for variant in study.variants:
        for fold in study.folds:
            new_decisions, new_jobs = _search_step(study, variant, fold, states)
            decisions += new_decisions
            jobs += new_jobs
            jobs += _repetition_jobs(study, variant, fold, states)
        if not study.has_profile or variant.name in profiled:
            continue
        if (network := profiled_run(study, variant, states)) is not None:
            jobs.append(Job("profile", network, variant.name, "profile", 0))
    return Step(tuple(decisions), tuple(prioritized(jobs)))


def suggested_runs(study: StudyRecord, variant: VariantRecord, fold: int | None) -> Iterator[RunSpec]:
    """Yield the runs of the variant's search trials, in order, as far as they are decided."""
    seed = _seed(seeds.SEARCH, study.seed)
    for number in range(study.trials):
        suggestion = study.suggestions.get(study.decision(variant, fold, number))
        if suggestion is None:
            return
        yield variant.run(suggestion, seed, fold)


def search_trials(
    study: StudyRecord, variant: VariantRecord, fold: int | None, states: States
) -> Iterator[Trial]:
    """Yield the variant's search trials, in order, as far as they and their rules are decided."""
    reached: dict[int, list[float]] = {}
    runs = list(suggested_runs(study, variant, fold))
    for first in range(0, len(runs), study.generation):
        generation = []
        for number, run in enumerate(runs[first : first + study.generation], start=first):
            rule = _rule(study, run, reached)
            parameters = study.suggestions[study.decision(variant, fold, number)]
            generation.append(Trial(number, run, rule, parameters, states(run.id).under(run, rule)))
        yield from generation
        if study.pruner == "none":
            continue
        if not all(trial.state.final for trial in generation):
            return  # the rules of later generations depend on these
        for trial in generation:
            for epoch, gain in _rungs_reached(study, trial.run, trial.state):
                insort(reached.setdefault(epoch, []), gain)


def _rule(study: StudyRecord, run: RunSpec, reached: Mapping[int, Sequence[float]]) -> dict[str, float]:
    """Return the lowest gain with which a trial continues, by epoch: successive halving.

    Together with the earlier generations' trials that reached the epoch, the trial must be in the best
    1/`reduction` of them, and be the best at least (Jamieson and Talwalkar 2016; Li et al. 2020).

    Args:
        study: Holds the settings of the pruner.
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
    """Yield the best gain so far at every rung that a trial reached; nothing for a failed or diverged one."""
    history: tuple[Epoch, ...] = ()
    if state.pruned is not None:
        history = state.pruned.history
    elif state.is_usable and state.result is not None:
        history = state.result.history
    for epoch in rungs(study, history[-1].epoch if history else 0):
        if (best := best_gain(run, history, epoch)) is not None:
            yield epoch, best


def repetition_runs(
    study: StudyRecord, variant: VariantRecord, fold: int | None, states: States
) -> list[RunSpec]:
    """Return the runs of the variant's repetitions; none before its search has ended or if it chose nothing."""
    return list(_iterate_repetition_runs(study, variant, fold, states))


def _iterate_repetition_runs(
    study: StudyRecord, variant: VariantRecord, fold: int | None, states: States
) -> Iterator[RunSpec]:
    parameters = chosen_parameters(study, variant, fold, states)
    if parameters is None:
        return
    for number in range(study.repetitions):
        yield variant.run({**parameters, **study.confirm}, _seed(seeds.REPETITION, study.seed, number), fold)


def chosen_parameters(
    study: StudyRecord, variant: VariantRecord, fold: int | None, states: States
) -> Mapping[str, Any] | None:
    """Return the hyperparameters that the search chose: the best on validation, the earliest on ties.

    None while the search runs, and if no trial was trained to its end.
    """
    if not study.trials:
        return {}
    ended = list(search_trials(study, variant, fold, states))
    if len(ended) < study.trials or not all(trial.state.final for trial in ended):
        return None
    usable = [trial for trial in ended if trial.state.is_usable]
    if not usable:
        return None
    return max(usable, key=lambda trial: cast(float, search_gain(study, trial.state))).parameters


def profiled_run(study: StudyRecord, variant: VariantRecord, states: States) -> RunSpec | None:
    """Return the run whose network is profiled for the variant: its first repetition; None if it is not decided."""
    return next(_iterate_repetition_runs(study, variant, study.folds[0], states), None)


def trainings(study: StudyRecord, states: States) -> Iterator[Job]:
    """Yield every training that is decided so far, ended or not."""
    for variant in study.variants:
        for fold in study.folds:
            for trial in search_trials(study, variant, fold, states):
                yield Job("train", trial.run, variant.name, "search", trial.number, rule=trial.rule)
            for number, run in enumerate(repetition_runs(study, variant, fold, states)):
                yield Job("train", run, variant.name, "confirm", number)


def training_count(study: StudyRecord) -> int:
    """Return the number of trainings of the whole study."""
    return len(study.variants) * len(study.folds) * (study.trials + study.repetitions)


def _search_step(
    study: StudyRecord, variant: VariantRecord, fold: int | None, states: States
) -> tuple[list[Decision], list[Job]]:
    known = list(search_trials(study, variant, fold, states))
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
        Tried(trial.parameters, search_gain(study, trial.state), _scores_until_pruned(study, trial))
        for trial in known[:first]
        if trial.state.result is not None or trial.state.pruned is not None
    )
    decisions = [
        Decision(
            study.decision(variant, fold, number),
            history,
            decision_seed(study.seed, fold, generation, number - first),
        )
        for number in range(len(known), min(first + study.generation, study.trials))
    ]
    return decisions, jobs


def _repetition_jobs(
    study: StudyRecord, variant: VariantRecord, fold: int | None, states: States
) -> Iterator[Job]:
    for number, run in enumerate(repetition_runs(study, variant, fold, states)):
        state = states(run.id)
        needs_weights = _needs_weights(study, state)
        if not state.final or (needs_weights and not state.weights_available):
            yield Job("train", run, variant.name, "confirm", number)
        elif state.is_usable and not state.tested and state.failure is None:
            yield Job("evaluate", run, variant.name, "confirm", number)
        elif state.tested:
            for measure in study.measures:
                if measure not in state.measured and measure not in state.unmeasured:
                    yield Job("measure", run, variant.name, "confirm", number, measure)


def _needs_weights(study: StudyRecord, state: RunState) -> bool:
    """Return whether a trained repetition is still to be tested or measured, if neither has failed."""
    if not state.is_usable or state.failure is not None:
        return False
    return not state.tested or bool(set(study.measures) - set(state.measured) - set(state.unmeasured))


def prioritized(jobs: Iterable[Job]) -> Iterator[Job]:
    """Yield jobs without duplicates: variants alternate, tests come early, measures and profiles late."""
    rank = {"evaluate": 0, "train": 1, "measure": 2, "profile": 3}
    seen: set[str] = set()
    for job in sorted(jobs, key=lambda job: (rank[job.kind], job.purpose == "confirm", job.number)):
        if job.key not in seen:
            seen.add(job.key)
            yield job


def search_gain(study: StudyRecord, state: RunState) -> float | None:
    """Return the gain of a trial for the search; the worst value if it diverged.

    None if it diverged and the metric has no worst value.
    """
    if state.pruned is not None:
        return study.primary.gain(state.pruned.score)
    if state.result is not None and state.is_usable:
        return study.primary.gain(state.result.validation[study.metric])
    return study.worst_gain


def _scores_until_pruned(study: StudyRecord, trial: Trial) -> dict[int, float]:
    """Return the best gain so far at each rung that a pruned trial reached; empty for other trials."""
    return dict(_rungs_reached(study, trial.run, trial.state)) if trial.state.pruned is not None else {}
