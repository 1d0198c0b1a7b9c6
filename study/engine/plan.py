"""Plan which decisions and jobs are ready: a pure function of the study and the states of its runs.

It covers search, repetitions, resuming and caching. What a trial tries, and the rule by which it is pruned, are
decided once every trial of the earlier generations has ended. A repetition is the run with its own seed and what its
search chose: the best trial, which has that seed and is trained already, or a training of its own. It is tested once
it is trained, and measured once it is tested. There is no other state.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from typing import Any, Literal

from study.engine.search import Ask, Tried
from study.hashing import digest
from study.ledger.record import RunState, Search, StudyRecord, VariantRecord
from study.records import Epoch, RunSpec, best_gain

JobKind = Literal["train", "evaluate", "measure", "profile"]
Purpose = Literal["search", "repetition", "profile"]
_RANK: Mapping[JobKind, int] = {"evaluate": 0, "train": 1, "measure": 2, "profile": 3}
States = Callable[[str], RunState]
"""Returns the state of a run by its id; an empty state for a new one."""


@dataclass(frozen=True)
class Decision:
    """A decision that is ready: what a trial tries, given the trials of all earlier generations."""

    name: str
    ask: Ask


@dataclass(frozen=True)
class Job:
    """One piece of work for one worker."""

    kind: JobKind
    run: RunSpec
    variant: str
    purpose: Purpose
    number: int
    """The number of the trial or repetition, from 0."""
    repetition: int | None = None
    """The repetition, from 0, that a trial belongs to; None if it belongs to all, and for other purposes."""
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

    @property
    def has_outcome(self) -> bool:
        """Whether it ended with a result or was pruned, and did not fail."""
        return self.state.result is not None or self.state.pruned is not None


@dataclass(frozen=True)
class Look:
    """A look that is due: the open comparisons have all their repetitions up to it, tested or ended otherwise."""

    repetitions: int
    open: tuple[str, ...]
    """The names of the open comparisons: all that the plan knows of what was found."""


@dataclass(frozen=True)
class Step:
    """What is ready; if there is nothing, the study has ended or waits for running jobs."""

    decisions: tuple[Decision, ...]
    jobs: tuple[Job, ...]
    look: Look | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to train or test of the repetitions that are planned so far."""
        return not self.decisions and not any(job.kind in ("train", "evaluate") for job in self.jobs)


def ready(study: StudyRecord, states: States, profiled: frozenset[str] = frozenset()) -> Step:
    """Return the decisions and jobs that depend on ended runs only, and the look that is due.

    Args:
        study: The study's record with the decisions made so far.
        states: Returns the state of a run by its id.
        profiled: Names of the variants whose network has been profiled.
    """
    steps = {v.name: variant_step(study, v, states, profiled) for v in study.variants}
    jobs = prioritized(job for step in steps.values() for job in step.jobs)
    decisions = (decision for step in steps.values() for decision in step.decisions)
    settled = {name for name, step in steps.items() if step.is_settled}
    return Step(tuple(decisions), tuple(jobs), due_look(study, settled))


def variant_step(
    study: StudyRecord, variant: VariantRecord, states: States, profiled: frozenset[str] = frozenset()
) -> Step:
    """Return the decisions and jobs of one variant, as `ready`."""
    decisions: list[Decision] = []
    jobs: list[Job] = []
    for search in study.searches(variant):
        new_decisions, new_jobs = search_step(study, search, states)
        decisions += new_decisions
        jobs += new_jobs
    for repetition in repetitions(study, variant, states):
        jobs += repetition_jobs(study, repetition, states)
    is_profiled = not study.has_profile or variant.name in profiled
    if not is_profiled and (network := profiled_run(study, variant, states)) is not None:
        jobs.append(Job("profile", network, variant.name, "profile", 0))
    return Step(tuple(decisions), tuple(jobs))


def due_look(study: StudyRecord, settled: Collection[str]) -> Look | None:
    """Return the look that is due, where the variants of all open comparisons are among the `settled` ones."""
    comparisons, look = study.open_comparisons, study.next_look
    involved = {name for comparison in comparisons for name in study.comparisons[comparison]}
    return Look(look, comparisons) if look is not None and involved <= set(settled) else None


def suggested_runs(study: StudyRecord, search: Search) -> Iterator[RunSpec]:
    """Yield the runs of a search's trials, in order, as far as they are decided."""
    for number in range(study.trials):
        suggestion = study.suggestions.get(study.decision(search, number))
        if suggestion is None:
            return
        yield search.variant.run({**search.variant.in_trials, **suggestion}, search.seed, search.fold)


def search_trials(study: StudyRecord, search: Search, states: States) -> Iterator[Trial]:
    """Yield a search's trials, in order, as far as they and their rules are decided."""
    reached: dict[int, list[float]] = {}
    runs = list(suggested_runs(study, search))
    for first in range(0, len(runs), study.generation):
        generation = []
        for number, run in enumerate(runs[first : first + study.generation], start=first):
            rule = _rule(study, run, reached)
            parameters = study.suggestions[study.decision(search, number)]
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


def chosen_trial(study: StudyRecord, search: Search, states: States) -> Trial | None:
    """Return the trial that is best on validation, the earliest on ties; a diverged one only if all diverged.

    None while the search runs, and if it is incomplete: a trial of a repetition's search failed, or all trials.
    """
    trials = list(search_trials(study, search, states))
    if len(trials) < study.trials or not all(search_continues(search, trial) for trial in trials):
        return None
    return _best(study, [trial for trial in trials if trial.has_outcome])


def search_continues(search: Search, trial: Trial) -> bool:
    """Return whether a trial ended such that later ones may follow; one that failed leaves a repetition incomplete."""
    return trial.has_outcome or (trial.state.final and search.repetition is None)


def unneeded_trials(study: StudyRecord, search: Search, states: States) -> list[Trial]:
    """Return the ended trials of a search whose weights nothing reads: all but the best so far, which may be tested."""
    ended = [trial for trial in search_trials(study, search, states) if trial.has_outcome]
    best = _best(study, ended) if search.chooses_tested_weights else None
    return [trial for trial in ended if best is None or trial.run.id != best.run.id]


def runs_to_test(study: StudyRecord, states: States) -> set[str]:
    """Return the ids of the runs whose weights are tested: the repetitions, and the best trials so far."""
    found: set[str] = set()
    for variant in study.variants:
        found |= {repetition.run.id for repetition in repetitions(study, variant, states)}
        for search in study.searches(variant):
            unneeded = {trial.run.id for trial in unneeded_trials(study, search, states)}
            found |= {run.id for run in suggested_runs(study, search)} - unneeded
    return found


def _best(study: StudyRecord, trials: Iterable[Trial]) -> Trial | None:
    def rank(trial: Trial) -> tuple[bool, float]:
        gain = search_gain(study, trial.state)
        return trial.state.is_usable, -inf if gain is None else gain

    return max(trials, key=rank, default=None)


@dataclass(frozen=True)
class Repetition:
    """One repetition of a variant in one fold, once its search has chosen."""

    number: int
    """From 0."""
    fold: int | None
    run: RunSpec
    variant: str
    choice: Trial | None
    """The trial whose hyperparameters it has; None if the study searches nothing."""

    @property
    def is_trial(self) -> bool:
        """Whether the chosen trial is the repetition, so that it has no training of its own."""
        return self.choice is not None and self.choice.run.id == self.run.id


def repetitions(study: StudyRecord, variant: VariantRecord, states: States) -> Iterator[Repetition]:
    """Yield the repetitions of a variant that are decided, fold by fold.

    If all trials of a search diverged, its repetitions are its first trial: they diverged.
    """
    choices: dict[object, Trial | None] = {}
    for fold in study.folds_of(variant):
        for number in range(study.repetitions_of(variant)):
            if not study.trials:
                run = variant.run({}, study.repetition_seed(number), fold)
                yield Repetition(number, fold, run, variant.name, None)
                continue
            search = study.search_of(variant, fold, number)
            if search.key not in choices:
                choices[search.key] = chosen_trial(study, search, states)
            if (choice := choices[search.key]) is not None:
                yield _as_chosen(study, variant, fold, number, choice)


def repetition(
    study: StudyRecord, variant: VariantRecord, fold: int | None, number: int, states: States
) -> Repetition | None:
    """Return one repetition (from 0) of a variant in a fold, as `repetitions`; None while it is not decided."""
    if not study.trials:
        return Repetition(
            number, fold, variant.run({}, study.repetition_seed(number), fold), variant.name, None
        )
    choice = chosen_trial(study, study.search_of(variant, fold, number), states)
    return None if choice is None else _as_chosen(study, variant, fold, number, choice)


def _as_chosen(
    study: StudyRecord, variant: VariantRecord, fold: int | None, number: int, choice: Trial
) -> Repetition:
    run = variant.run(choice.parameters, study.repetition_seed(number), fold)
    return Repetition(number, fold, run if choice.state.is_usable else choice.run, variant.name, choice)


def runs_with_outcome(study: StudyRecord, variant: VariantRecord, states: States) -> Iterator[str]:
    """Yield the ids of the repetitions of a variant that were tested, or diverged."""
    for repetition in repetitions(study, variant, states):
        state = states(repetition.run.id)
        if state.tested or (state.result is not None and not state.is_usable):
            yield repetition.run.id


def profiled_run(study: StudyRecord, variant: VariantRecord, states: States) -> RunSpec | None:
    """Return the run whose network is profiled for the variant: its first repetition; None if it is not decided."""
    return next((repetition.run for repetition in repetitions(study, variant, states)), None)


def trainings(study: StudyRecord, states: States) -> Iterator[Job]:
    """Yield every training that is decided so far, ended or not; a trial that is a repetition too is yielded once."""
    for variant in study.variants:
        yield from variant_trainings(study, variant, states)


def variant_trainings(study: StudyRecord, variant: VariantRecord, states: States) -> Iterator[Job]:
    """Yield the trainings of one variant, as `trainings`."""
    for search in study.searches(variant):
        yield from search_trainings(study, search, states)
    for repetition in repetitions(study, variant, states):
        yield from repetition_training(repetition)


def search_trainings(study: StudyRecord, search: Search, states: States) -> Iterator[Job]:
    """Yield the trainings of a search that are decided so far."""
    for trial in search_trials(study, search, states):
        yield _training(search, trial)


def repetition_training(repetition: Repetition) -> Iterator[Job]:
    """Yield the training of a repetition; nothing where a trial is the repetition."""
    if not repetition.is_trial:
        yield Job("train", repetition.run, repetition.variant, "repetition", repetition.number)


def training_count(study: StudyRecord, variant: VariantRecord) -> int:
    """Return the number of trainings of a variant, of the repetitions that are planned so far."""
    searches = study.searches(variant)
    chosen = sum(search.chooses_tested_weights for search in searches)
    return (
        len(searches) * study.trials + len(study.folds_of(variant)) * study.repetitions_of(variant) - chosen
    )


def total_trainings(study: StudyRecord) -> int:
    """Return the number of trainings of the whole study, of the repetitions that are planned so far."""
    return sum(training_count(study, variant) for variant in study.variants)


def most_trainings(study: StudyRecord) -> int:
    """Return the number of trainings of the whole study if no look closes a comparison."""
    return total_trainings(replace(study, looks=()))


def _training(search: Search, trial: Trial) -> Job:
    return Job(
        "train", trial.run, search.variant.name, "search", trial.number, search.repetition, rule=trial.rule
    )


def search_step(study: StudyRecord, search: Search, states: States) -> tuple[list[Decision], list[Job]]:
    """Return what is ready of one search: the decisions that follow from its ended trials, and its trainings."""
    known = list(search_trials(study, search, states))
    jobs = [_training(search, trial) for trial in known if not trial.state.final]
    first = len(known) // study.generation * study.generation
    earlier = known[:first]
    if not all(search_continues(search, trial) for trial in earlier):
        return [], jobs
    history = tuple(
        Tried(trial.parameters, search_gain(study, trial.state), _scores_until_pruned(study, trial))
        for trial in earlier
        if trial.has_outcome
    )
    decisions = [
        Decision(study.decision(search, number), Ask.of(study, search, number, history))
        for number in range(len(known), min(first + study.generation, study.trials))
    ]
    return decisions, jobs


def repetition_jobs(study: StudyRecord, repetition: Repetition, states: States) -> Iterator[Job]:
    """Yield the jobs of one repetition that are ready."""
    state = states(repetition.run.id)

    def job(kind: JobKind, measure: str = "") -> Job:
        return Job(kind, repetition.run, repetition.variant, "repetition", repetition.number, measure=measure)

    needs_weights = _needs_weights(study, state)
    if not state.final or (needs_weights and not state.weights_available):
        yield job("train")
    elif state.is_usable and not state.tested and state.failure is None:
        yield job("evaluate")
    elif state.tested:
        for measure in study.measures:
            if measure not in state.measured and measure not in state.unmeasured:
                yield job("measure", measure)


def _needs_weights(study: StudyRecord, state: RunState) -> bool:
    """Return whether a trained repetition is still to be tested or measured, if neither has failed."""
    if not state.is_usable or state.failure is not None:
        return False
    return not state.tested or bool(set(study.measures) - set(state.measured) - set(state.unmeasured))


def prioritized(jobs: Iterable[Job]) -> Iterator[Job]:
    """Yield jobs without duplicates: variants alternate, tests come early, measures and profiles late."""
    seen: set[str] = set()
    for job in sorted(jobs, key=turn):
        if job.key not in seen:
            seen.add(job.key)
            yield job


def turn(job: Job) -> tuple[int, int, bool, int]:
    """Return where a job stands among the ready ones: by kind, then repetition by repetition, its trials first."""
    is_trial = job.purpose == "search"
    repetition = (job.repetition or 0) if is_trial else job.number
    return _RANK[job.kind], repetition, not is_trial, job.number


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
