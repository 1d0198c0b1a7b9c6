"""What is due in a study: the plan, asked again only for the variants that something has happened to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from study.engine import plan
from study.engine.events import Found
from study.engine.search import suggest
from study.ledger.record import RunState, StudyRecord, VariantRecord
from study.ledger.store import Ledger, Snapshot


class Queue:
    """A study's jobs, by variant, as the plan sees them now.

    `plan.ready` is pure and looks at every run of the study; of ten thousand runs, one that ends changes one
    variant's jobs.
    """

    def __init__(self, study: StudyRecord, ledger: Ledger) -> None:
        self.study = study
        self.state = Snapshot(ledger)
        self._ledger = ledger
        self._jobs: dict[str, dict[str, plan.Job]] = {}
        self._changed = {variant.name for variant in study.variants}
        self._decided = set(self._changed)
        """Variants of which trainings may have been decided, or found to be done, since the last look."""
        self._in_turn: list[plan.Job] = []
        self._told: set[str] = set()
        self._profiled: frozenset[str] = frozenset()

    def update(self) -> Iterator[Found]:
        """Plan what has changed, decide what trials try, and yield the trainings that turn out to be done."""
        if not self._changed:
            return
        for variant in self.study.variants:
            if variant.name in self._changed:
                self._plan(variant)
                if variant.name in self._decided:
                    yield from self._found(variant)
        self._decided.clear()
        self._changed.clear()
        self._in_turn = list(plan.in_turn(job for jobs in self._jobs.values() for job in jobs.values()))

    def due(self) -> list[plan.Job]:
        """Return the jobs whose premises are final, the most urgent first."""
        return self._in_turn

    def is_still_due(self, job: plan.Job) -> bool:
        """Look again whether a job is to be done, once nobody else can do it: another study may have."""
        if job.kind == "profile":
            due = not self._ledger.is_profiled(job.run)
        else:
            before = self.state(job.run.id)
            self.state.forget(job.run.id)
            due = self.state(job.run.id) == before
        if not due:
            self._mark(job, self._decided)
        return due

    def ended(self, job: plan.Job) -> None:
        """Take note that a job has ended here, well or badly."""
        self._told.add(job.key)
        self.state.forget(job.run.id)
        self._mark(job, self._decided if job.purpose == "search" else set())

    def _mark(self, job: plan.Job, decided: set[str]) -> None:
        asking = {name for name, jobs in self._jobs.items() if job.key in jobs}
        self._changed |= asking
        decided |= asking

    def _plan(self, variant: VariantRecord) -> None:
        if variant.name not in self._profiled and self._is_profiled(variant):
            self._profiled |= {variant.name}
        while True:
            step = plan.ready(self._of(variant), self.state, self._profiled)
            for ask in step.asks:
                tried = suggest(self.study.space, self.study.sampler, ask.history, ask.seed)
                self.study = self._ledger.suggest(self.study, ask.decision, tried)
            if not step.asks:
                break
        self._jobs[variant.name] = {job.key: job for job in step.jobs}

    def _found(self, variant: VariantRecord) -> Iterator[Found]:
        for job, state in known(self._of(variant), self.state):
            if state.final and job.key not in self._told and job.key not in self._jobs[variant.name]:
                self._told.add(job.key)
                yield Found(job, state)

    def _is_profiled(self, variant: VariantRecord) -> bool:
        if not self.study.has_profile:
            return False
        network = plan.profile_of(self.study, variant, self.state)
        return network is not None and self._ledger.is_profiled(network)

    def _of(self, variant: VariantRecord) -> StudyRecord:
        return replace(self.study, variants=(variant,))


def known(study: StudyRecord, state: plan.Finished) -> list[tuple[plan.Job, RunState]]:
    """Return every training that the study's suggestions decide so far, with what the ledger holds of it."""
    return [(job, job.seen(state)) for job in plan.trainings(study, state)]
