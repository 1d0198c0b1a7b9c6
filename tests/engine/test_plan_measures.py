"""Measures in the plan: of tested repetitions alone, once each, and never a reason to train."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.world import World, study

from study.engine import plan
from study.records import Failure

FRAMES, PROBES = "frames@01", "probes@23"


class MeasuringWorld(World):
    """Takes measures too; those of the runs in `unlucky` fail."""

    unlucky: frozenset[str] = frozenset()

    def do(self, job: plan.Job) -> None:
        if job.kind != "measure":
            super().do(job)
            return
        self.started.append(job.key)
        state = self.state(job.run.id)
        assert state.tested
        if job.key in self.unlucky:
            failure = Failure(job.run.id, "measure", "why", "")
            self.states[job.run.id] = replace(state, unmeasured={**state.unmeasured, job.measure: failure})
        else:
            self.states[job.run.id] = replace(state, measured=state.measured | {job.measure})


def measured(world: World) -> list[str]:
    return [key for key in world.started if key.startswith("measure ")]


@settings(max_examples=30, deadline=None)
@given(
    trials=st.integers(1, 5),
    seeds=st.integers(1, 3),
    folds=st.sampled_from([(None,), (1, 2)]),
    order=st.randoms(use_true_random=False),
)
def test_every_tested_repetition_is_measured_once_and_nothing_else_is(
    trials: int, seeds: int, folds: tuple[int | None, ...], order: random.Random
) -> None:
    requested = replace(study(trials, seeds, 2, folds=folds), measures=(FRAMES, PROBES))
    world = MeasuringWorld(requested, order).finish()
    tested = {
        repetition.run.id
        for variant in world.study.variants
        for repetition in plan.repetitions(world.study, variant, world.state)
    }
    assert sorted(measured(world)) == sorted(
        f"measure {measure} {run}" for run in tested for measure in (FRAMES, PROBES)
    )


def test_measures_asked_for_later_train_and_test_nothing() -> None:
    first = World(study(3, 2), random.Random(0)).finish()
    later = MeasuringWorld(replace(first.study, measures=(FRAMES,)), random.Random(1))
    later.states, later.profiled = dict(first.states), set(first.profiled)
    later.finish()
    assert len(measured(later)) == len(later.started) == 4
    changed = MeasuringWorld(replace(later.study, measures=("frames@99",)), random.Random(2))
    changed.states, changed.profiled = dict(later.states), set(later.profiled)
    changed.finish()
    assert len(measured(changed)) == len(changed.started) == 4, "changed code measures anew"


def test_measures_change_no_result_and_no_identity() -> None:
    plain = World(study(3, 2), random.Random(0)).finish()
    world = MeasuringWorld(replace(study(3, 2), measures=(FRAMES,)), random.Random(5)).finish()
    assert {run: replace(state, measured=frozenset()) for run, state in world.states.items()} == plain.states


def test_a_diverged_run_is_never_measured() -> None:
    world = MeasuringWorld(
        replace(study(0, 2), space={}, measures=(FRAMES,)),
        random.Random(0),
        lambda run: "diverged" if run.config["splitter"]["name"] == "v1" else "finished",
    ).finish()
    assert len(measured(world)) == 2


@pytest.mark.parametrize("failing", [FRAMES, PROBES])
def test_a_failed_measure_is_not_tried_again_and_stops_no_other(failing: str) -> None:
    requested = replace(study(0, 2), space={}, measures=(FRAMES, PROBES))
    world = MeasuringWorld(requested, random.Random(0))
    run = next(plan.repetitions(requested, requested.variants[0], world.state)).run
    world.unlucky = frozenset({f"measure {failing} {run.id}"})
    world.finish()
    assert len(measured(world)) == len(set(measured(world))) == 2 * 2 * 2
