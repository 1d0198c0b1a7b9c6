"""The ready jobs of a study, planned anew only for the searches and repetitions whose runs have changed."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from operator import itemgetter
from typing import get_args

from study.engine import plan
from study.engine.events import TrainingFound
from study.engine.search import suggest
from study.ledger.record import Interim, RunState, Search, StudyRecord, VariantRecord
from study.ledger.store import Ledger, Snapshot

ALL_KINDS: Collection[plan.JobKind] = get_args(plan.JobKind)


Part = tuple[str, str, int | None, int | None]
"""A variant's name with one search (``search``, fold, repetition), one repetition (``repetition``, fold, number) or its
profile: what is planned anew on its own."""
Turn = tuple[int, int, bool, int, int, int, str]
"""Where a job stands among the ready ones: by `plan.turn`, then by variant, then by part."""


class Queue:
    """Holds a study's ready jobs, of the given kinds, by part.

    `plan.ready` is pure and reads the state of every run of the study; of ten thousand runs, one that ends changes the
    jobs of one search and of the repetitions that use it. Here an end costs the same in a study of any size, but for a
    logarithm.
    """

    def __init__(
        self, study: StudyRecord, ledger: Ledger, kinds: Collection[plan.JobKind] = ALL_KINDS
    ) -> None:
        self._suggestions = dict(study.suggestions)
        self.study = replace(study, suggestions=self._suggestions)
        """The study with the suggestions so far; they are added to it in place: there are as many as runs."""
        self._kinds = kinds
        self.states = Snapshot(ledger)
        self._ledger = ledger
        self._variants = {variant.name: variant for variant in study.variants}
        self._places = {variant.name: place for place, variant in enumerate(study.variants)}
        self._numbers: dict[Part, int] = {}
        """The parts, each with its place, which it keeps; a search stands before the repetitions that use it."""
        self._searches: dict[Part, Search] = {}
        self._users: dict[Part, list[Part]] = {}
        """The repetitions that use what a search finds, by the part of the search."""
        self._jobs: dict[Part, dict[str, plan.Job]] = {}
        """Ready jobs by part and key."""
        self._parts: defaultdict[str, set[Part]] = defaultdict(set)
        """The parts that have a job ready, by the job's key."""
        self._ready: list[tuple[Turn, plan.Job]] = []
        """Ready jobs of the kinds that are done here, the most urgent first."""
        self._changed: set[Part] = set()
        """Parts to plan anew."""
        self._decided: set[Part] = set()
        """Parts of which trainings may have been decided, or found to have ended, since the last update."""
        self._reported: set[str] = set()
        """Keys of the trainings whose end has been reported."""
        self._profiled: set[str] = set()
        self._open: dict[str, set[Part]] = {name: set() for name in self._variants}
        """The parts of each variant of which something is left to train or test."""
        self._plan_all()

    def _plan_all(self) -> None:
        """List the parts of the study, and plan all of them anew."""
        for variant in self.study.variants:
            parts: list[Part] = []
            for search in self.study.searches(variant):
                part: Part = (variant.name, "search", search.fold, search.repetition)
                self._searches[part], self._users[part] = search, []
                parts.append(part)
            for fold in self.study.folds_of(variant):
                for number in range(self.study.repetitions_of(variant)):
                    parts.append((variant.name, "repetition", fold, number))
                    if self.study.trials:
                        used = self.study.search_of(variant, fold, number)
                        self._users[variant.name, "search", used.fold, used.repetition].append(parts[-1])
            parts += [(variant.name, "profile", None, None)] if self.study.has_profile else []
            for part in parts:
                self._numbers.setdefault(part, len(self._numbers))
            self._changed |= set(parts)
            self._decided |= set(parts)

    def update(self) -> Iterator[TrainingFound]:
        """Plan changed parts anew, decide what trials try, and yield trainings that the ledger has already."""
        while self._changed:
            changed = sorted(self._changed, key=lambda part: (self._places[part[0]], self._numbers[part]))
            self._changed.clear()
            for part in changed:
                before = self._jobs.get(part, {})
                found = self._plan(part)
                self._replace_jobs(part, before, {job.key: job for job in found})
                if part in self._decided:
                    self._decided.discard(part)
                    yield from self._found_trainings(part)

    def ready_jobs(self) -> Iterator[plan.Job]:
        """Yield the jobs that may start now, the most urgent first; one that two parts need may come twice."""
        return (job for _, job in self._ready)

    @property
    def is_empty(self) -> bool:
        """Whether no job may start now."""
        return not self._ready

    def due_look(self) -> plan.Look | None:
        """Return the look that is due after the latest update."""
        if self.study.next_look is None:
            return None
        return plan.due_look(self.study, {name for name, parts in self._open.items() if not parts})

    def take_look(self, interim: Interim) -> None:
        """Record the decision of a look, and plan the repetitions that follow from it."""
        self.study = self._ledger.save_interim(self.study, interim)
        self._plan_all()

    def is_still_ready(self, job: plan.Job) -> bool:
        """Return whether a job is not done yet; called with its folder locked, since another study may do it."""
        if job.kind == "profile":
            ready = not self._ledger.is_profiled(job.run)
        else:
            before = self.states(job.run.id)
            self.states.invalidate(job.run.id)
            ready = self.states(job.run.id) == before
        if not ready:
            self._mark_changed(job, may_decide=True)
        return ready

    def unneeded_trials(self, job: plan.Job) -> list[plan.Trial]:
        """Return the ended trials, of the search that a trial belongs to, whose weights nothing reads."""
        search = self.study.search_of(self._variants[job.variant], job.run.fold, job.repetition or 0)
        return plan.unneeded_trials(self.study, search, self.states)

    def job_ended(self, job: plan.Job) -> None:
        """Record that a job of this conductor has ended, well or badly."""
        self._reported.add(job.key)
        self.states.invalidate(job.run.id)
        self._mark_changed(job, may_decide=job.purpose == "search")

    def _mark_changed(self, job: plan.Job, *, may_decide: bool) -> None:
        for part in self._parts.get(job.key, ()):
            changed = {part, *self._users.get(part, ())}
            profile: Part = (part[0], "profile", None, None)
            self._changed |= changed | ({profile} & self._numbers.keys())
            if may_decide:
                self._decided |= changed

    def _plan(self, part: Part) -> list[plan.Job]:
        """Return the ready jobs of a part; decide what trials try, as far as their search has come."""
        name, kind, fold, number = part
        variant = self._variants[name]
        if kind == "profile":
            return self._profile_jobs(variant)
        if kind == "repetition":
            repetition = plan.repetition(self.study, variant, fold, number or 0, self.states)
            found = (
                [] if repetition is None else list(plan.repetition_jobs(self.study, repetition, self.states))
            )
        else:
            while True:
                decisions, found = plan.search_step(self.study, self._searches[part], self.states)
                for decision in decisions:
                    parameters = suggest(decision.ask)
                    self._ledger.write_suggestion(self.study.name, decision.name, parameters)
                    self._suggestions[decision.name] = parameters
                if not decisions:
                    break
        is_open = any(job.kind in ("train", "evaluate") for job in found)
        (self._open[name].add if is_open else self._open[name].discard)(part)
        return found

    def _profile_jobs(self, variant: VariantRecord) -> list[plan.Job]:
        if variant.name in self._profiled:
            return []
        run = plan.profiled_run(self.study, variant, self.states)
        if run is not None and self._ledger.is_profiled(run):
            self._profiled.add(variant.name)
        if run is None or variant.name in self._profiled:
            return []
        return [plan.Job("profile", run, variant.name, "profile", 0)]

    def _replace_jobs(self, part: Part, before: dict[str, plan.Job], after: dict[str, plan.Job]) -> None:
        """Put the ready jobs of a part in the place of its earlier ones."""
        self._jobs[part] = after
        for key, job in before.items():
            self._parts[key].discard(part)
            if not self._parts[key]:
                del self._parts[key]
            if job.kind in self._kinds:
                del self._ready[bisect_left(self._ready, self._turn(job, part), key=itemgetter(0))]
        for key, job in after.items():
            self._parts[key].add(part)
            if job.kind in self._kinds:
                insort(self._ready, (self._turn(job, part), job), key=itemgetter(0))

    def _turn(self, job: plan.Job, part: Part) -> Turn:
        return (*plan.turn(job), self._places[part[0]], self._numbers[part], job.key)

    def _found_trainings(self, part: Part) -> Iterator[TrainingFound]:
        name, kind, fold, number = part
        trainings: Iterable[plan.Job] = ()
        if kind == "search":
            trainings = plan.search_trainings(self.study, self._searches[part], self.states)
        elif kind == "repetition":
            repetition = plan.repetition(self.study, self._variants[name], fold, number or 0, self.states)
            trainings = () if repetition is None else plan.repetition_training(repetition)
        for job in trainings:
            state = job.state_in(self.states)
            if state.final and job.key not in self._reported and job.key not in self._parts:
                self._reported.add(job.key)
                yield TrainingFound(job, state)


def training_states(study: StudyRecord, states: plan.States) -> list[tuple[plan.Job, RunState]]:
    """Return every training that is decided so far, with its state."""
    return [(job, job.state_in(states)) for job in plan.trainings(study, states)]
