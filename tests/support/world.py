"""A study as the plan sees it, carried out in any order by nothing but arithmetic."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Self

from study.engine import plan
from study.ledger.record import Closing, Interim, RunState, StudyRecord, VariantRecord
from study.metrics import Metric
from study.records import DataInfo, Failure, Machine, RunResult, RunSpec, SplitSizes

NOTHING = RunState()

Ending = Literal["finished", "diverged", "failed"]
"""How the training of a run ends."""


WAR = Metric("war", "WAR")


def template(splitter: str, metric: Metric = WAR) -> RunSpec:
    config = {"splitter": {"name": splitter}, "train": {"lr": 1e-3, "epochs": 2}}
    return RunSpec(
        config=config,
        seed=0,
        data_digest="d",
        code_digest="c",
        metric={"name": metric.name},
        direction=metric.direction,
        epochs_key="train.epochs",
    )


def study(
    trials: int = 4,
    seeds: int = 3,
    variants: int = 2,
    generation: int = 4,
    folds: tuple[int | None, ...] = (None,),
    metric: Metric = WAR,
    scope: Literal["repetition", "study"] = "repetition",
) -> StudyRecord:
    names = [f"v{number}" for number in range(variants)]
    return StudyRecord(
        name="s",
        file="s.toml",
        title="t",
        question="q",
        seed=0,
        metric=metric.name,
        rope=1.0,
        alpha=0.05,
        variants=tuple(VariantRecord(n, {"splitter": n}, "v0", template(n, metric)) for n in names),
        claims=(),
        space={"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}} if trials else {},
        trials=trials,
        generation=generation,
        sampler="random",
        repetitions=seeds,
        folds=folds,
        data=DataInfo("faces", "d", sizes=(SplitSizes(1, 1, 1),)),
        claims_digest="",
        metrics=(metric,),
        has_profile=True,
        scope=scope,
    )


def result(run: RunSpec, score: float, status: Literal["finished", "diverged"] = "finished") -> RunResult:
    metrics = {"war": score, "uar": score}
    return RunResult(run.id, status, 1, metrics, (), 1, 0.0, Machine({}, "", ""))


def value_of(run: RunSpec) -> float:
    return random.Random(run.id).random()


def always_finished(run: RunSpec) -> Ending:
    return "finished"


def trial_runs(record: StudyRecord) -> list[RunSpec]:
    """Return the runs of every trial that is decided."""
    return [
        run
        for variant in record.variants
        for search in record.searches(variant)
        for run in plan.suggested_runs(record, search)
    ]


class World:
    """Carries a study out in any order, recording every job that was started."""

    def __init__(
        self,
        requested: StudyRecord,
        order: random.Random,
        ending: Callable[[RunSpec], Ending] = always_finished,
    ) -> None:
        self.study = requested
        self.order = order
        self.ending = ending
        self.states: dict[str, RunState] = {}
        self.started: list[str] = []
        self.profiled: set[str] = set()

    def state(self, run_id: str) -> RunState:
        return self.states.get(run_id, NOTHING)

    def step(self) -> plan.Step:
        return plan.ready(self.study, self.state, frozenset(self.profiled))

    def decide(self, decision: plan.Decision) -> None:
        lr = random.Random(f"{decision.ask.seed} {decision.ask.number} {decision.ask.history}").uniform(
            1e-4, 1e-2
        )
        self.study = replace(
            self.study, suggestions={**self.study.suggestions, decision.name: {"train.lr": lr}}
        )

    def do(self, job: plan.Job) -> None:
        self.started.append(job.key)
        state = self.state(job.run.id)
        if job.kind == "profile":
            self.profiled.add(job.variant)
        elif job.kind == "evaluate":
            self.states[job.run.id] = replace(state, tested=True)
        elif (how := self.ending(job.run)) == "failed":
            self.states[job.run.id] = RunState(failure=Failure(job.run.id, "train", "why", ""))
        else:
            self.states[job.run.id] = RunState(result=result(job.run, value_of(job.run), how))

    def finish(self) -> Self:
        while True:
            step = self.step()
            looks = [] if step.look is None else [step.look]
            choices: list[plan.Decision | plan.Job | plan.Look] = [*step.decisions, *step.jobs, *looks]
            if not choices:
                return self
            chosen = self.order.choice(choices)
            if isinstance(chosen, plan.Decision):
                self.decide(chosen)
            elif isinstance(chosen, plan.Look):
                self.take_look(chosen)
            else:
                self.do(chosen)

    def take_look(self, look: plan.Look) -> None:
        """Close comparisons by the runs that are tested: about every third at each look."""
        runs = {
            variant.name: tuple(r.run.id for r in plan.repetitions(self.study, variant, self.state))
            for variant in self.study.variants
        }
        closed = {
            name: Closing("decided", "helps")
            for name in look.open
            if random.Random(f"{look.repetitions} {[runs[v] for v in self.study.comparisons[name]]}").random()
            < 1 / 3
        }
        interims = {**self.study.interims, look.repetitions: Interim(look.repetitions, closed, runs)}
        self.study = replace(self.study, interims=interims)
