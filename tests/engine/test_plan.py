"""The plan: what may start now. Each test is named after what would go wrong for a study."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.world import WAR, Ending, World, study, template

from study.engine import plan
from study.engine.search import Tried, suggest
from study.ledger.record import RunState
from study.metrics import Metric
from study.records import Machine, RunResult, RunSpec


@settings(max_examples=60, deadline=None)
@given(
    trials=st.integers(0, 9),
    seeds=st.integers(1, 4),
    variants=st.integers(2, 4),
    generation=st.integers(1, 5),
    folds=st.sampled_from([(None,), (1,), (1, 2, 3)]),
    order=st.randoms(use_true_random=False),
)
def test_same_tables_whatever_the_order_of_finishing(
    trials: int,
    seeds: int,
    variants: int,
    generation: int,
    folds: tuple[int | None, ...],
    order: random.Random,
) -> None:
    record = study(trials, seeds, variants, generation, folds)
    if not trials:
        record = replace(record, space={})
    first = World(record, random.Random(0)).finish()
    second = World(record, order).finish()
    assert first.states == second.states
    assert first.study.suggestions == second.study.suggestions


@settings(max_examples=30, deadline=None)
@given(
    trials=st.integers(0, 9),
    seeds=st.integers(1, 4),
    variants=st.integers(2, 4),
    order=st.randoms(use_true_random=False),
)
def test_every_variant_gets_the_same_budget_and_nothing_runs_twice(
    trials: int, seeds: int, variants: int, order: random.Random
) -> None:
    record = study(trials, seeds, variants)
    if not trials:
        record = replace(record, space={})
    world = World(record, order).finish()
    assert len(world.started) == len(set(world.started))
    trained = [key for key in world.started if key.startswith("train ")]
    assert len(trained) == variants * (trials + seeds) == plan.training_count(record)
    assert len([key for key in world.started if key.startswith("evaluate ")]) == variants * seeds


@settings(max_examples=30, deadline=None)
@given(stop=st.integers(0, 40), order=st.randoms(use_true_random=False))
def test_resuming_from_any_point_goes_on_where_it_stopped(stop: int, order: random.Random) -> None:
    whole = World(study(6, 3), order).finish()
    world = World(study(6, 3), order)
    for _ in range(stop):
        step = world.step()
        if not (step.decisions or step.jobs):
            break
        world.decide(step.decisions[0]) if step.decisions else world.do(step.jobs[0])
    resumed = World(world.study, order)
    resumed.states, resumed.profiled = dict(world.states), set(world.profiled)
    resumed.finish()
    assert not set(resumed.started) & set(world.started)
    assert resumed.states == whole.states


def test_a_trial_never_learns_from_its_own_generation() -> None:
    world = World(study(8, 1, generation=4), random.Random(1))
    seen = []
    while step := world.step():
        if not (step.decisions or step.jobs):
            break
        for ask in step.decisions:
            seen.append(len(ask.history))
            world.decide(ask)
        if not step.decisions:
            world.do(step.jobs[-1])
    assert sorted(seen) == [0] * 8 + [4] * 8


def test_more_trials_extend_a_search_and_ask_nothing_again() -> None:
    short = World(study(3, 1), random.Random(2)).finish()
    longer = World(replace(short.study, trials=8), random.Random(3))
    longer.states, longer.profiled = dict(short.states), set(short.profiled)
    longer.finish()
    assert short.study.suggestions.items() <= longer.study.suggestions.items()
    assert not set(longer.started) & set(short.started)
    at_once = World(study(8, 1), random.Random(4)).finish()
    assert at_once.study.suggestions == longer.study.suggestions


def test_confirmation_uses_the_best_trial_and_the_earliest_on_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    scores: dict[float, float] = {}

    def tied(run: RunSpec) -> float:
        return scores.setdefault(run.config["train"]["lr"], 0.7 if len(scores) in (1, 2) else 0.1)

    monkeypatch.setattr("support.world.value_of", tied)
    world = World(study(4, 2, variants=1), random.Random(0))
    while world.step().decisions:
        world.decide(world.step().decisions[0])
    variant = world.study.variants[0]
    runs = list(plan.suggested_runs(world.study, variant, None))
    for run in runs:
        world.do(plan.Job("train", run, "v0", "search", 0))
    confirmed = plan.repetition_runs(world.study, variant, None, world.state)
    assert {run.config["train"]["lr"] for run in confirmed} == {runs[1].config["train"]["lr"]}


def test_confirmation_seeds_are_fresh_and_paired_across_variants() -> None:
    world = World(study(2, 3), random.Random(0)).finish()
    arms = [plan.repetition_runs(world.study, v, None, world.state) for v in world.study.variants]
    assert [run.seed for run in arms[0]] == [run.seed for run in arms[1]]
    assert len({run.seed for run in arms[0]}) == 3
    searched = {run.seed for v in world.study.variants for run in plan.suggested_runs(world.study, v, None)}
    assert not searched & {run.seed for run in arms[0]}


def test_test_is_read_for_confirmation_runs_only_and_once() -> None:
    world = World(study(3, 2), random.Random(0)).finish()
    searched = {run.id for v in world.study.variants for run in plan.suggested_runs(world.study, v, None)}
    tested = [key.removeprefix("evaluate ") for key in world.started if key.startswith("evaluate ")]
    assert not searched & set(tested)
    assert len(tested) == len(set(tested)) == 4


def test_a_diverged_trial_spends_its_budget_and_is_never_chosen() -> None:
    outcomes: dict[float, Ending] = {}

    def ending(run: RunSpec) -> Ending:
        new: Ending = "diverged" if len(outcomes) < 2 else "finished"
        return outcomes.setdefault(run.config["train"]["lr"], new)

    world = World(study(4, 1, variants=1), random.Random(5), ending).finish()
    assert len([k for k in world.started if k.startswith("train ")]) == 5
    chosen = plan.chosen_parameters(world.study, world.study.variants[0], None, world.state)
    assert chosen is not None
    assert outcomes[chosen["train.lr"]] == "finished"


def test_one_variant_without_any_usable_trial_stops_nothing_else() -> None:
    world = World(
        study(2, 2),
        random.Random(0),
        lambda run: "failed" if run.config["splitter"]["name"] == "v1" else "finished",
    )
    world.finish()
    assert plan.chosen_parameters(world.study, world.study.variants[1], None, world.state) is None
    assert sum(state.tested for state in world.states.values()) == 2


# Metrics of other kinds

ERROR = Metric("error", direction="minimize")
LOSS = Metric("loss", unit="", scale=1.0, direction="minimize", low=None, high=None)
REWARD = Metric("reward", unit="", scale=1.0, low=None, high=None)


def searching(metric: Metric, values: list[float | None]) -> World:
    """Return a search whose first trials ended with these values, in order; None for one that diverged."""
    world = World(
        study(len(values) + 1, 1, variants=1, generation=len(values), metric=metric), random.Random(0)
    )
    while asks := world.step().decisions:
        world.decide(asks[0])
    runs = list(plan.suggested_runs(world.study, world.study.variants[0], None))
    assert len(runs) == len(values)
    for run, value in zip(runs, values, strict=True):
        scores = {} if value is None else {metric.name: value}
        status: Literal["finished", "diverged"] = "diverged" if value is None else "finished"
        ended = RunResult(run.id, status, 1, scores, (), 1, 0.0, Machine({}, "", ""))
        world.states[run.id] = RunState(result=ended)
    return world


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        (WAR, [0.2, 0.9, 0.4], 1),
        (ERROR, [0.2, 0.9, 0.4], 0),
        (LOSS, [7.5, -3.0, 2.0], 1),
        (REWARD, [-7.5, -3.0, -20.0], 1),
        (LOSS, [None, 812.0, None], 1),
        (ERROR, [0.5, 0.5, 0.6], 0),
    ],
)
def test_the_best_trial_is_the_lowest_where_lower_is_better(
    metric: Metric, values: list[float | None], best: int
) -> None:
    world = searching(metric, values)
    runs = list(plan.suggested_runs(world.study, world.study.variants[0], None))
    shorter = replace(world.study, trials=len(values))
    world.study = replace(
        shorter,
        suggestions={
            shorter.decision(shorter.variants[0], None, n): {"train.lr": run.config["train"]["lr"]}
            for n, run in enumerate(runs)
        },
    )
    chosen = plan.chosen_parameters(world.study, world.study.variants[0], None, world.state)
    assert chosen == {"train.lr": runs[best].config["train"]["lr"]}


@pytest.mark.parametrize(
    ("metric", "values", "scores"),
    [
        (ERROR, [0.2, None, 0.4], [-0.2, -1.0, -0.4]),
        (WAR, [0.2, None, 0.4], [0.2, 0.0, 0.4]),
        (LOSS, [7.5, None, -2.0], [-7.5, None, 2.0]),
        (REWARD, [7.5, None, -2.0], [7.5, None, -2.0]),
    ],
)
def test_a_sampler_is_given_gains_and_of_a_diverged_trial_the_worst_value_where_there_is_one(
    metric: Metric, values: list[float | None], scores: list[float | None]
) -> None:
    (ask,) = searching(metric, values).step().decisions
    assert [tried.score for tried in ask.history] == scores


def test_a_diverged_trial_without_a_worst_value_counts_as_the_worst_seen() -> None:
    space = {"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    scores = [-7.5, None, 2.0, 1.0] * 3
    history = [Tried({"train.lr": 7e-4 * n}, score) for n, score in enumerate(scores, start=1)]
    worst = [replace(tried, score=-7.5) if tried.score is None else tried for tried in history]
    best = [replace(tried, score=9.0) if tried.score is None else tried for tried in history]
    assert suggest(space, "tpe", history, 3) == suggest(space, "tpe", worst, 3)
    assert suggest(space, "tpe", history, 3) != suggest(space, "tpe", best, 3)
    only = [Tried({"train.lr": 1e-3}, None)]
    assert suggest(space, "random", only, 3) == suggest(space, "random", [replace(only[0], score=0.0)], 3)


def test_a_task_that_counts_no_networks_has_no_profile_jobs_and_ends() -> None:
    world = World(replace(study(2, 2), has_profile=False), random.Random(0)).finish()
    assert not [key for key in world.started if key.startswith("profile ")]
    assert sum(state.tested for state in world.states.values()) == 4
    counted = World(study(2, 2), random.Random(0)).finish()
    assert len([key for key in counted.started if key.startswith("profile ")]) == 2


def test_repetitions_have_the_values_of_confirm_in_place_of_those_of_trials() -> None:
    record = replace(study(2, 2), confirm={"train.epochs": 9})
    world = World(record, random.Random(0)).finish()
    variant = world.study.variants[0]
    trials = plan.suggested_runs(world.study, variant, None)
    assert {run.config["train"]["epochs"] for run in trials} == {2}
    confirmed = plan.repetition_runs(world.study, variant, None, world.state)
    assert {run.config["train"]["epochs"] for run in confirmed} == {9}


@pytest.mark.parametrize("change", [{"data_digest": "other"}, {"code_digest": "other"}, {"threads": 2}])
def test_identity_changes_with_what_can_change_numbers(change: dict[str, Any]) -> None:
    run = template("issm")
    other = replace(run, **change)
    assert other.id != run.id


def test_identity_ignores_paths_and_the_order_of_keys() -> None:
    run = template("issm")
    moved = replace(run, local_paths={"dataset.root": "/elsewhere"}, modules=("mine",))
    shuffled = replace(run, config=dict(reversed(list(run.config.items()))))
    assert run.id == moved.id == shuffled.id
