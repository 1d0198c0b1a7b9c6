"""The ready jobs of a study, planned anew only for the variants whose runs have changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import get_args

from study.engine import plan
from study.engine.events import TrainingFound
from study.engine.search import suggest
from study.ledger.record import Interim, RunState, StudyRecord, VariantRecord
from study.ledger.store import Ledger, Snapshot

ALL_KINDS: Collection[plan.JobKind] = get_args(plan.JobKind)


class Queue:
    """Holds a study's ready jobs, of the given kinds, by variant.

    `plan.ready` is pure and reads the state of every run of the study; of ten thousand runs, one that ends
    changes the jobs of one variant.
    """

    def __init__(
        self, study: StudyRecord, ledger: Ledger, kinds: Collection[plan.JobKind] = ALL_KINDS
    ) -> None:
        self.study = study
        self._kinds = kinds
        self.states = Snapshot(ledger)
        self._ledger = ledger
        self._jobs: dict[str, dict[str, plan.Job]] = {}
        """Ready jobs by variant and key."""
        self._changed = {variant.name for variant in study.variants}
        """Variants to plan anew."""
        self._decided = set(self._changed)
        """Variants of which trainings may have been decided, or found to have ended, since the last update."""
        self._ready: list[plan.Job] = []
        self._reported: set[str] = set()
        """Keys of the trainings whose end has been reported."""
        self._profiled: frozenset[str] = frozenset()
        self._settled: set[str] = set()
        """Variants of which nothing is left to train or test."""

    def update(self) -> Iterator[TrainingFound]:
        """Plan changed variants anew, decide what trials try, and yield trainings that the ledger has already."""
        if not self._changed:
            return
        for variant in self.study.variants:
            if variant.name in self._changed:
                self._plan(variant)
                if variant.name in self._decided:
                    yield from self._found_trainings(variant)
        self._decided.clear()
        self._changed.clear()
        jobs = (job for jobs in self._jobs.values() for job in jobs.values() if job.kind in self._kinds)
        self._ready = list(plan.prioritized(jobs))

    def ready_jobs(self) -> list[plan.Job]:
        """Return the jobs that may start now, the most urgent first."""
        return self._ready

    def due_look(self) -> plan.Look | None:
        """Return the look that is due after the latest update."""
        return plan.due_look(self.study, self._settled)

    def take_look(self, interim: Interim) -> None:
        """Record the decision of a look, and plan the repetitions that follow from it."""
        self.study = self._ledger.save_interim(self.study, interim)
        self._changed |= {variant.name for variant in self.study.variants}
        self._decided |= self._changed

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
        variant = next(variant for variant in self.study.variants if variant.name == job.variant)
        search = self.study.search_of(variant, job.run.fold, job.repetition or 0)
        return plan.unneeded_trials(self.study, search, self.states)

    def job_ended(self, job: plan.Job) -> None:
        """Record that a job of this conductor has ended, well or badly."""
        self._reported.add(job.key)
        self.states.invalidate(job.run.id)
        self._mark_changed(job, may_decide=job.purpose == "search")

    def _mark_changed(self, job: plan.Job, *, may_decide: bool) -> None:
        variants = {name for name, jobs in self._jobs.items() if job.key in jobs}
        self._changed |= variants
        if may_decide:
            self._decided |= variants

    def _plan(self, variant: VariantRecord) -> None:
        if variant.name not in self._profiled and self._is_profiled(variant):
            self._profiled |= {variant.name}
        while True:
            step = plan.variant_step(self.study, variant, self.states, self._profiled)
            for decision in step.decisions:
                self.study = self._ledger.save_suggestion(self.study, decision.name, suggest(decision.ask))
            if not step.decisions:
                break
        self._jobs[variant.name] = {job.key: job for job in step.jobs}
        self._settled.discard(variant.name)
        if step.is_settled:
            self._settled.add(variant.name)

    def _found_trainings(self, variant: VariantRecord) -> Iterator[TrainingFound]:
        for job in plan.variant_trainings(self.study, variant, self.states):
            state = job.state_in(self.states)
            if state.final and job.key not in self._reported and job.key not in self._jobs[variant.name]:
                self._reported.add(job.key)
                yield TrainingFound(job, state)

    def _is_profiled(self, variant: VariantRecord) -> bool:
        if not self.study.has_profile:
            return False
        run = plan.profiled_run(self.study, variant, self.states)
        return run is not None and self._ledger.is_profiled(run)


def training_states(study: StudyRecord, states: plan.States) -> list[tuple[plan.Job, RunState]]:
    """Return every training that is decided so far, with its state."""
    return [(job, job.state_in(states)) for job in plan.trainings(study, states)]
