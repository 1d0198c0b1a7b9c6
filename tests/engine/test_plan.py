"""The plan: what may start now. Each test is named after what would go wrong for a study."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.world import WAR, Ending, World, result, study, template, trial_runs

from study.engine import plan
from study.engine.search import Ask, Tried, suggest
from study.ledger.record import RunState, Search, StudyRecord
from study.metrics import Metric
from study.records import Machine, RunResult, RunSpec


@settings(max_examples=60, deadline=None)
@given(
    trials=st.integers(0, 6),
    seeds=st.integers(1, 3),
    variants=st.integers(2, 3),
    generation=st.integers(1, 4),
    folds=st.sampled_from([(None,), (1,), (1, 2, 3)]),
    scope=st.sampled_from(["repetition", "study"]),
    order=st.randoms(use_true_random=False),
)
def test_same_tables_whatever_the_order_of_finishing(
    trials: int,
    seeds: int,
    variants: int,
    generation: int,
    folds: tuple[int | None, ...],
    scope: Literal["repetition", "study"],
    order: random.Random,
) -> None:
    record = study(trials, seeds, variants, generation, folds, scope=scope)
    first = World(record, random.Random(0)).finish()
    second = World(record, order).finish()
    assert first.states == second.states
    assert first.study.suggestions == second.study.suggestions


@settings(max_examples=60, deadline=None)
@given(
    trials=st.integers(0, 5),
    seeds=st.integers(1, 3),
    variants=st.integers(2, 3),
    folds=st.sampled_from([(None,), (1, 2, 3)]),
    scope=st.sampled_from(["repetition", "study"]),
    shared_folds=st.booleans(),
    is_trained_again=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_every_variant_gets_the_same_budget_nothing_runs_twice_and_the_plan_counts_what_is_run(
    trials: int,
    seeds: int,
    variants: int,
    folds: tuple[int | None, ...],
    scope: Literal["repetition", "study"],
    shared_folds: bool,
    is_trained_again: bool,
    order: random.Random,
) -> None:
    record = replace(study(trials, seeds, variants, folds=folds, scope=scope), shared_folds=shared_folds)
    if is_trained_again and trials:
        record = refitted(record)
    world = World(record, order).finish()
    assert len(world.started) == len(set(world.started))
    trained = [key for key in world.started if key.startswith("train ")]
    searches = (1 if shared_folds else len(folds)) * (seeds if scope == "repetition" else 1)
    own = len(folds) * seeds
    if trials and scope == "repetition" and not is_trained_again:
        own -= searches  # the best trial of each search is a repetition
    assert len(trained) == variants * (searches * trials + own) == plan.total_trainings(record)
    tested = [key for key in world.started if key.startswith("evaluate ")]
    assert len(tested) == variants * seeds * len(folds)


def refitted(record: StudyRecord) -> StudyRecord:
    """Return a study whose trials have another number of epochs than what is tested."""
    return replace(record, variants=tuple(replace(v, in_trials={"train.epochs": 1}) for v in record.variants))


@settings(max_examples=30, deadline=None)
@given(stop=st.integers(0, 60), order=st.randoms(use_true_random=False))
def test_resuming_from_any_point_goes_on_where_it_stopped(stop: int, order: random.Random) -> None:
    whole = World(study(6, 2), order).finish()
    world = World(study(6, 2), order)
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
            seen.append(len(ask.ask.history))
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


def test_more_repetitions_train_nothing_again() -> None:
    few = World(study(3, 2), random.Random(2)).finish()
    more = World(replace(few.study, repetitions=5), random.Random(3))
    more.states, more.profiled = dict(few.states), set(few.profiled)
    more.finish()
    assert not set(more.started) & set(few.started)
    assert len([key for key in more.started if key.startswith("train ")]) == 2 * 3 * 3


def repetitions(world: World, variant: int = 0) -> list[plan.Repetition]:
    return list(plan.repetitions(world.study, world.study.variants[variant], world.state))


def test_the_best_trial_is_the_repetition_and_the_earliest_on_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    scores: dict[float, float] = {}

    def tied(run: RunSpec) -> float:
        return scores.setdefault(run.config["train"]["lr"], 0.7 if len(scores) in (1, 2) else 0.1)

    monkeypatch.setattr("support.world.value_of", tied)
    world = World(study(4, 1, variants=1), random.Random(0))
    while world.step().decisions:
        world.decide(world.step().decisions[0])
    runs = trial_runs(world.study)
    for run in runs:
        world.do(plan.Job("train", run, "v0", "search", 0))
    (repetition,) = repetitions(world)
    assert repetition.is_trial
    assert repetition.run.id == runs[1].id
    (job,) = [job for job in world.step().jobs if job.kind != "profile"]
    assert (job.kind, job.run.id, job.purpose) == ("evaluate", runs[1].id, "repetition")


@pytest.mark.parametrize("scope", ["repetition", "study"])
def test_repetitions_are_paired_across_variants_and_differ_among_themselves(
    scope: Literal["repetition", "study"],
) -> None:
    world = World(study(2, 3, scope=scope), random.Random(0)).finish()
    arms = [[repetition.run.seed for repetition in repetitions(world, arm)] for arm in (0, 1)]
    assert arms[0] == arms[1]
    assert len(set(arms[0])) == 3
    searched = {run.seed for run in trial_runs(world.study)}
    assert searched == set(arms[0]) if scope == "repetition" else not searched & set(arms[0])


@pytest.mark.parametrize("scope", ["repetition", "study"])
def test_test_is_read_for_repetitions_only_and_once(scope: Literal["repetition", "study"]) -> None:
    world = World(study(3, 2, scope=scope), random.Random(0)).finish()
    tested = [key.removeprefix("evaluate ") for key in world.started if key.startswith("evaluate ")]
    assert sorted(tested) == sorted(r.run.id for arm in (0, 1) for r in repetitions(world, arm))
    assert len(tested) == len(set(tested)) == 4
    beaten = {run.id for run in trial_runs(world.study)} - {
        r.run.id for a in (0, 1) for r in repetitions(world, a)
    }
    assert len(beaten) == (8 if scope == "repetition" else 6)
    assert not beaten & set(tested)


def test_one_search_for_all_repetitions_trains_them_afresh_with_what_it_chose() -> None:
    world = World(study(4, 3, variants=1, scope="study"), random.Random(0)).finish()
    own = repetitions(world)
    assert len(trial_runs(world.study)) == 4
    assert len({repetition.run.config["train"]["lr"] for repetition in own}) == 1
    assert not any(repetition.is_trial for repetition in own)


def test_a_diverged_trial_spends_its_budget_and_is_never_chosen() -> None:
    outcomes: dict[float, Ending] = {}

    def ending(run: RunSpec) -> Ending:
        new: Ending = "diverged" if len(outcomes) < 2 else "finished"
        return outcomes.setdefault(run.config["train"]["lr"], new)

    world = World(study(4, 1, variants=1), random.Random(5), ending).finish()
    assert len([k for k in world.started if k.startswith("train ")]) == 4
    (repetition,) = repetitions(world)
    assert outcomes[repetition.run.config["train"]["lr"]] == "finished"


@pytest.mark.parametrize("metric", [WAR, Metric("war", unit="", scale=1.0, low=None, high=None)])
def test_a_repetition_of_which_all_trials_diverged_has_diverged_and_is_not_tested(metric: Metric) -> None:
    record = refitted(study(3, 2, variants=1, metric=metric))
    world = World(record, random.Random(0), lambda run: "diverged").finish()
    own = repetitions(world)
    assert len(own) == 2, "it is an outcome, not a missing repetition"
    results = [world.state(repetition.run.id).result for repetition in own]
    assert [result and result.status for result in results] == ["diverged"] * 2
    assert len([key for key in world.started if key.startswith("train ")]) == 6
    assert not [key for key in world.started if key.startswith("evaluate ")]


def test_a_failed_trial_leaves_its_repetition_incomplete_and_stops_nothing_else() -> None:
    first_seed = study().repetition_seed(0)

    def ending(run: RunSpec) -> Ending:
        return "failed" if run.config["splitter"]["name"] == "v1" and run.seed == first_seed else "finished"

    world = World(study(6, 2, generation=3), random.Random(0), ending).finish()
    assert [r.number for r in repetitions(world, 0)] == [0, 1]
    assert [r.number for r in repetitions(world, 1)] == [1]
    assert sum(state.tested for state in world.states.values()) == 3
    assert len([key for key in world.started if key.startswith("train ")]) == 6 * 3 + 3

    calm = World(study(6, 2, generation=3), random.Random(1)).finish()
    retried = World(world.study, random.Random(2))
    retried.states = {run: state for run, state in world.states.items() if state.failure is None}
    retried.finish()
    assert retried.states == calm.states, "after a retry the tables are those of a study without failures"
    assert retried.study.suggestions == calm.study.suggestions


# Weights: only those that may be tested are kept


def ended_search(scores: list[float]) -> tuple[World, Search, list[RunSpec]]:
    world = World(study(len(scores), 1, variants=1, generation=len(scores)), random.Random(0))
    while world.step().decisions:
        world.decide(world.step().decisions[0])
    runs = trial_runs(world.study)
    for run, score in zip(runs, scores, strict=True):
        world.states[run.id] = RunState(result=result(run, score))
    (search,) = world.study.searches(world.study.variants[0])
    return world, search, runs


def test_weights_are_needed_of_the_best_trial_so_far_alone() -> None:
    world, search, runs = ended_search([0.3, 0.8, 0.8, 0.1])
    for ended, best in ((1, 0), (2, 1), (3, 1), (4, 1)):
        known = {run.id: world.states[run.id] for run in runs[:ended]}

        def states(run: str, known: dict[str, RunState] = known) -> RunState:
            return known.get(run, RunState())

        unneeded = plan.unneeded_trials(world.study, search, states)
        assert [trial.number for trial in unneeded] == [number for number in range(ended) if number != best]


def test_no_trial_keeps_weights_where_what_is_chosen_is_trained_again() -> None:
    for record in (refitted(study(2, 1, variants=1)), study(2, 1, variants=1, scope="study")):
        world = World(record, random.Random(0)).finish()
        (search,) = world.study.searches(world.study.variants[0])
        unneeded = plan.unneeded_trials(world.study, search, world.state)
        assert len(unneeded) == 2
        (repetition,) = repetitions(world)
        assert plan.runs_to_test(world.study, world.state) == {repetition.run.id}


def test_a_repetition_whose_weights_are_lost_before_its_test_is_trained_again_alone() -> None:
    world, _, runs = ended_search([0.3, 0.8, 0.5])
    lost = replace(world.states[runs[1].id], weights_available=False)
    world.states[runs[1].id] = lost
    jobs = [job for job in world.step().jobs if job.kind != "profile"]
    assert [(job.kind, job.run.id) for job in jobs] == [("train", runs[1].id)]


def test_the_search_of_the_first_fold_chooses_for_all_folds_where_asked() -> None:
    record = replace(study(3, 2, variants=1, folds=(1, 2, 3)), shared_folds=True)
    world = World(record, random.Random(0)).finish()
    assert {run.fold for run in trial_runs(world.study)} == {1}
    own = repetitions(world)
    assert len(own) == 6
    for number in (0, 1):
        chosen = [r for r in own if r.number == number]
        assert len({r.run.config["train"]["lr"] for r in chosen}) == 1
        assert [r.is_trial for r in chosen] == [True, False, False]


def test_each_fold_and_each_repetition_searches_for_itself_by_default() -> None:
    world = World(study(2, 2, variants=1, folds=(1, 2)), random.Random(0)).finish()
    assert len({run.config["train"]["lr"] for run in trial_runs(world.study)}) == 8


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
    runs = trial_runs(world.study)
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
    runs = trial_runs(world.study)
    world.study = replace(world.study, trials=len(values))
    (repetition,) = repetitions(world)
    assert repetition.run.id == runs[best].id


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
    assert [tried.score for tried in ask.ask.history] == scores


def asked(sampler: str, number: int, history: tuple[Tried, ...] = (), **fields: Any) -> Ask:
    space = {"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    return replace(Ask(sampler, space, tuple(space), number, 3, history), **fields)


def test_a_diverged_trial_without_a_worst_value_counts_as_the_worst_seen() -> None:
    scores = [-7.5, None, 2.0, 1.0] * 3
    history = tuple(Tried({"train.lr": 7e-4 * n}, score) for n, score in enumerate(scores, start=1))
    worst = tuple(replace(tried, score=-7.5) if tried.score is None else tried for tried in history)
    best = tuple(replace(tried, score=9.0) if tried.score is None else tried for tried in history)
    suggested = [suggest(asked("tpe", 12, tried)) for tried in (history, worst, best)]
    assert suggested[0] == suggested[1] != suggested[2]


def test_a_task_that_counts_no_networks_has_no_profile_jobs_and_ends() -> None:
    world = World(replace(study(2, 2), has_profile=False), random.Random(0)).finish()
    assert not [key for key in world.started if key.startswith("profile ")]
    assert sum(state.tested for state in world.states.values()) == 4
    counted = World(study(2, 2), random.Random(0)).finish()
    assert len([key for key in counted.started if key.startswith("profile ")]) == 2


def test_values_that_trials_cannot_have_are_those_of_one_more_training_a_repetition() -> None:
    world = World(refitted(study(2, 2)), random.Random(0)).finish()
    assert {run.config["train"]["epochs"] for run in trial_runs(world.study)} == {1}
    own = repetitions(world)
    assert {repetition.run.config["train"]["epochs"] for repetition in own} == {2}
    for repetition in own:
        assert repetition.choice is not None
        assert repetition.choice.parameters["train.lr"] == repetition.run.config["train"]["lr"]
        assert repetition.choice.run.seed == repetition.run.seed


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
