"""Successive halving: trials that are given up early, and what that may never change."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lab import FAKE, STUDY, Lab
from support.world import World, study, template

from study.analysis.analyse import findings
from study.analysis.findings import Findings
from study.analysis.gather import gather
from study.engine import conductor, plan
from study.engine.search import Ask, Tried, as_optuna_trial, distributions_of, suggest
from study.errors import InputError
from study.executors.inprocess import InProcess
from study.hashing import digest
from study.ledger.layout import stopped_file
from study.ledger.record import RunState, Search, StudyRecord, VariantRecord
from study.metrics import Metric
from study.records import Epoch, Machine, RunResult, RunSpec, Stopped, best_gain, from_json, stopped

EPOCHS = 10


def pruning(
    trials: int = 12,
    generation: int = 3,
    reduction: int = 3,
    first_epoch: int = 1,
    variants: int = 1,
    repetitions: int = 1,
) -> StudyRecord:
    record = study(trials, repetitions, variants, generation)
    return replace(
        record,
        variants=tuple(replace(v, template=longer(v)) for v in record.variants),
        pruner="halving",
        reduction=reduction,
        first_epoch=first_epoch,
    )


def longer(variant: VariantRecord) -> RunSpec:
    config = {**template(variant.name).config, "train": {"lr": 1e-3, "epochs": EPOCHS}}
    return replace(template(variant.name), config=config)


def history_of(run: RunSpec) -> tuple[Epoch, ...]:
    """Return what a run scores epoch by epoch: ties are common."""
    chance = random.Random(run.id)
    scores = [round(chance.random(), 1) for _ in range(EPOCHS)]
    return tuple(
        Epoch(n, 1.0, 1e-3, {"war": score, "uar": score}, 0.0) for n, score in enumerate(scores, start=1)
    )


def best(history: tuple[Epoch, ...], epoch: int) -> float:
    return max(entry.validation["war"] for entry in history[:epoch])


class PruningWorld(World):
    """Trains epoch by epoch, and stops where the rule of the job says so."""

    epochs = 0

    def do(self, job: plan.Job) -> None:
        if job.kind != "train":
            super().do(job)
            return
        self.started.append(job.key)
        history, state = history_of(job.run), self.state(job.run.id)
        given_up = stopped(job.run, job.rule, history)
        if given_up is not None:
            self.epochs += given_up.epoch
            kept = {**state.stopped, digest(given_up.rule): given_up}
            self.states[job.run.id] = replace(state, stopped=kept)
            return
        self.epochs += EPOCHS
        scores = {"war": best(history, EPOCHS), "uar": 0.0}
        result = RunResult(job.run.id, "finished", 1, scores, history, 1, 0.0, Machine({}, "", ""))
        self.states[job.run.id] = replace(state, result=result)

    def search(self) -> list[plan.Trial]:
        return [t for s in searches(self.study) for t in plan.search_trials(self.study, s, self.state)]


def searches(record: StudyRecord) -> list[Search]:
    return [search for variant in record.variants for search in record.searches(variant)]


def decision(record: StudyRecord, number: int) -> str:
    """Return the name of a decision of a study's first search."""
    return record.decision(searches(record)[0], number)


SHAPES = {
    "trials": st.integers(1, 14),
    "generation": st.integers(1, 5),
    "reduction": st.integers(2, 4),
    "first_epoch": st.integers(1, 4),
    "variants": st.integers(1, 2),
    "repetitions": st.integers(1, 2),
}


@settings(max_examples=60, deadline=None)
@given(order=st.randoms(use_true_random=False), **SHAPES)
def test_the_order_of_finishing_decides_no_pruning(order: random.Random, **shape: Any) -> None:
    first = PruningWorld(pruning(**shape), random.Random(0)).finish()
    second = PruningWorld(pruning(**shape), order).finish()
    assert first.states == second.states
    assert first.study.suggestions == second.study.suggestions
    assert len(first.started) == len(set(first.started))


@settings(max_examples=40, deadline=None)
@given(stop=st.integers(0, 40), order=st.randoms(use_true_random=False), **SHAPES)
def test_resuming_from_any_point_prunes_the_same_trials(
    stop: int, order: random.Random, **shape: Any
) -> None:
    whole = PruningWorld(pruning(**shape), random.Random(0)).finish()
    world = PruningWorld(pruning(**shape), order)
    for _ in range(stop):
        step = world.step()
        if not (step.decisions or step.jobs):
            break
        world.decide(step.decisions[0]) if step.decisions else world.do(order.choice(step.jobs))
    resumed = PruningWorld(world.study, order)
    resumed.states, resumed.profiled = dict(world.states), set(world.profiled)
    resumed.finish()
    assert resumed.states == whole.states
    assert not set(resumed.started) & set(world.started)


@settings(max_examples=60, deadline=None)
@given(**SHAPES)
def test_a_trial_goes_on_exactly_if_it_is_among_the_best_of_its_rung(**shape: Any) -> None:
    """Compared with the definition, trial by trial and rung by rung."""
    record = pruning(**shape)
    world = PruningWorld(record, random.Random(0)).finish()
    rungs = [e for e in (record.first_epoch * record.reduction**k for k in range(5)) if e < EPOCHS]
    for search in searches(world.study):
        trials = list(plan.search_trials(world.study, search, world.state))
        lived = {t.number: t.state.pruned.epoch if t.state.pruned else EPOCHS for t in trials}
        for trial in trials:
            history = history_of(trial.run)
            first_of_generation = trial.number // record.generation * record.generation
            for rung in rungs:
                earlier = [
                    best(history_of(t.run), rung)
                    for t in trials[:first_of_generation]
                    if lived[t.number] >= rung
                ]
                own = best(history, rung)
                better = sum(score > own for score in earlier)
                goes_on = better < max(1, (len(earlier) + 1) // record.reduction)
                if lived[trial.number] > rung:
                    assert goes_on
                elif lived[trial.number] == rung:
                    assert not goes_on
                    assert better, "what no earlier trial beats is never given up"
            if trial.number < record.generation:
                assert trial.state.pruned is None, "the first generation is never pruned"


@settings(max_examples=40, deadline=None)
@given(**SHAPES)
def test_a_pruned_trial_is_never_chosen_and_never_tested(**shape: Any) -> None:
    world = PruningWorld(pruning(**shape), random.Random(0)).finish()
    for search in searches(world.study):
        trials = list(plan.search_trials(world.study, search, world.state))
        ended = [t for t in trials if t.state.result is not None]
        chosen = plan.chosen_trial(world.study, search, world.state)
        winner = max(ended, key=lambda t: best(history_of(t.run), EPOCHS))
        assert chosen == winner
        assert world.state(winner.run.id).tested
    assert sum(state.tested for state in world.states.values()) == len(searches(world.study))


def pruned_and_full() -> tuple[PruningWorld, StudyRecord]:
    world = PruningWorld(pruning(12, 3), random.Random(0)).finish()
    assert sum(trial.state.pruned is not None for trial in world.search()) >= 4
    return world, replace(world.study, pruner="none")


def test_pruning_saves_epochs() -> None:
    world, _ = pruned_and_full()
    whole = PruningWorld(replace(pruning(12, 3), pruner="none"), random.Random(0)).finish()
    assert world.epochs < 0.7 * whole.epochs


@pytest.mark.parametrize("change", [{"pruner": "none"}, {"reduction": 2}, {"first_epoch": 2}])
def test_a_pruned_run_answers_no_other_request(change: Mapping[str, Any]) -> None:
    """Another study, or the same one with another rule, asks for those runs anew, and gets them."""
    world, _ = pruned_and_full()
    pruned = {trial.run.id: trial for trial in world.search() if trial.state.pruned}
    other = replace(pruning(12, 3), **change)
    decided = {decision(other, trial.number): trial.parameters for trial in world.search()}
    asking = PruningWorld(replace(other, suggestions=decided), random.Random(0))
    asking.states = dict(world.states)
    for trial in asking.search():
        before = pruned.get(trial.run.id)
        if before is not None and trial.rule != before.rule:
            assert not trial.state.final
    asking.finish()
    ended = {trial.run.id: trial for trial in asking.search()}
    assert all(trial.state.final for trial in ended.values())
    if change == {"pruner": "none"}:
        assert all(ended[run].state.result for run in pruned)

    again = PruningWorld(world.study, random.Random(0))
    again.states, again.profiled = dict(asking.states), set(world.profiled)
    answers = {t.number: t.state.pruned for t in again.search()}
    assert answers == {t.number: t.state.pruned for t in world.search()}, "full runs give the same answers"
    assert not again.step().jobs


def test_a_run_that_others_carried_to_its_end_is_pruned_like_any_other() -> None:
    world, full = pruned_and_full()
    before = PruningWorld(replace(pruning(12, 3), pruner="none"), random.Random(0))
    before.study = replace(
        full,
        suggestions={decision(full, trial.number): trial.parameters for trial in world.search()},
    )
    before.finish()
    after = PruningWorld(pruning(12, 3), random.Random(3))
    after.states = {run: replace(state, tested=False) for run, state in before.states.items()}
    after.finish()
    assert after.study.suggestions == world.study.suggestions
    assert [t.state.pruned for t in after.search()] == [t.state.pruned for t in world.search()]
    assert not [key for key in after.started if key.startswith("train rule-")]


def test_more_trials_prune_none_of_those_before_anew() -> None:
    short = PruningWorld(pruning(7, 3), random.Random(0)).finish()
    longer_search = PruningWorld(replace(short.study, trials=12), random.Random(1))
    longer_search.states, longer_search.profiled = dict(short.states), set(short.profiled)
    longer_search.finish()
    assert not set(longer_search.started) & set(short.started)
    at_once = PruningWorld(pruning(12, 3), random.Random(2)).finish()
    assert longer_search.study.suggestions == at_once.study.suggestions


def test_a_failed_or_diverged_trial_sets_no_bar() -> None:
    record = pruning(6, 3)
    first = PruningWorld(record, random.Random(0))
    for ask in first.step().decisions:
        first.decide(ask)
    jobs = first.step().jobs
    for job in jobs:
        first.do(job)
        state = first.states[job.run.id]
        assert state.result is not None
        first.states[job.run.id] = RunState(result=replace(state.result, status="diverged"))
    assert all(ask.ask.history and not ask.ask.history[0].pruned_scores for ask in first.step().decisions)
    for ask in first.step().decisions:
        first.decide(ask)
    assert all(not job.rule for job in first.step().jobs)


def test_a_trial_waits_for_the_earlier_ones_that_its_rule_rests_on() -> None:
    """As where a failed trial is tried again: until it has ended, no later generation knows its bar."""
    world, _ = pruned_and_full()
    again = world.search()[1]
    waiting = PruningWorld(world.study, random.Random(0))
    waiting.states = {run: state for run, state in world.states.items() if run != again.run.id}
    assert [job.run.id for job in waiting.step().jobs] == [again.run.id]
    waiting.do(waiting.step().jobs[0])
    waiting.finish()
    assert waiting.states == world.states


def test_decisions_that_other_pruning_led_to_are_not_taken_over() -> None:
    kinds = [replace(pruning(), pruner="none"), pruning(), pruning(reduction=2), pruning(first_epoch=2)]
    assert len({decision(record, 5) for record in kinds}) == len(kinds)
    without = [replace(pruning(reduction=n), pruner="none") for n in (2, 3)]
    assert len({decision(record, 5) for record in without}) == 1


# Metrics of other kinds, and epochs that are reported now and then

LOSS = Metric("loss", unit="", scale=1.0, direction="minimize", low=None, high=None)


def losing(epochs: int = EPOCHS) -> RunSpec:
    """Return a run that is judged by its loss."""
    run = template("issm", LOSS)
    return replace(run, config={**run.config, "train": {"lr": 1e-3, "epochs": epochs}})


def reported(values: dict[int, float]) -> tuple[Epoch, ...]:
    return tuple(Epoch(epoch, None, None, {"loss": value}, 0.0) for epoch, value in values.items())


def test_a_trial_is_stopped_where_its_lowest_loss_is_above_the_bar() -> None:
    run, rule = losing(), {"3": -2.0}  # a gain: the loss must be 2 or lower
    assert stopped(run, rule, reported({1: 5.0, 2: 4.0, 3: 2.0})) is None
    assert stopped(run, rule, reported({1: 1.0, 2: 4.0, 3: 9.0})) is None, "its best so far counts"
    given_up = stopped(run, rule, reported({1: 5.0, 2: 3.0, 3: 4.0, 4: 0.1}))
    assert given_up is not None
    assert (given_up.epoch, given_up.score) == (3, 3.0), "in the metric's own unit"
    assert len(given_up.history) == 3


def test_with_a_loss_the_trials_with_the_lowest_losses_go_on() -> None:
    losses = [9.0, -1.0, 5.0]
    record = replace(
        study(4, 1, variants=1, generation=3, metric=LOSS), pruner="halving", reduction=3, first_epoch=1
    )
    world = PruningWorld(record, random.Random(0))
    while asks := world.step().decisions:
        world.decide(asks[0])
    for job, loss in zip(world.step().jobs, losses, strict=True):
        history = reported({1: loss, 2: loss + 1})
        ended = RunResult(job.run.id, "finished", 1, {"loss": loss}, history, 1, 0.0, Machine({}, "", ""))
        world.states[job.run.id] = RunState(result=ended)
    for ask in world.step().decisions:
        assert sorted(tried.score or 0.0 for tried in ask.ask.history) == [-9.0, -5.0, 1.0]
        world.decide(ask)
    (last,) = [job for job in world.step().jobs if job.kind == "train"]
    assert last.rule == {"1": 1.0}, "one of four goes on: it must do as well as the lowest loss, -1"
    assert stopped(last.run, last.rule, reported({1: -0.5})) is not None
    assert stopped(last.run, last.rule, reported({1: -1.5})) is None


def test_a_trial_that_reports_every_tenth_epoch_is_asked_at_its_first_report_after_a_rung() -> None:
    run, rule = losing(100), {"3": -2.0, "9": -2.0, "27": -1.0}
    poor = reported({10: 3.0, 20: 3.0, 30: 3.0})
    assert stopped(run, rule, poor[:0]) is None, "nothing is known before the first report"
    answer = stopped(run, rule, poor)
    assert answer is not None
    assert answer.epoch == 10
    good = reported({10: 1.5, 20: 1.5})
    assert stopped(run, rule, good) is None
    answer = stopped(run, rule, (*good, *reported({30: 1.4})))
    assert answer is not None
    assert answer.epoch == 30
    assert stopped(run, rule, (*good, *reported({30: 0.9}))) is None
    assert best_gain(run, good, 3) == -1.5, "what it had when it first got there"
    assert best_gain(run, good, 27) is None, "it never did"


# The sampler


def test_the_sampler_hears_of_pruned_trials_as_optuna_tells_them() -> None:
    world, _ = pruned_and_full()
    record = replace(world.study, trials=15)
    history = plan.ready(record, world.state).decisions[0].ask.history
    trials_by_rate = {tried.parameters["train.lr"]: tried for tried in history}
    space = distributions_of(record.space)
    for trial in world.search():
        tried = trials_by_rate[trial.parameters["train.lr"]]
        kept = as_optuna_trial(tried, space)
        if trial.state.pruned is None:
            assert (kept.state.name, kept.intermediate_values) == ("COMPLETE", {})
        else:
            assert kept.state.name == "PRUNED"
            assert kept.intermediate_values == {
                rung: best(history_of(trial.run), rung)
                for rung in (1, 3, 9)
                if rung <= trial.state.pruned.epoch
            }
            assert kept.value == trial.state.pruned.score
    assert len(history) == 12


@pytest.mark.parametrize("sampler", ["auto", "tpe", "gp", "random"])
def test_every_sampler_goes_on_after_pruned_trials(sampler: str) -> None:
    space = {"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    history = tuple(Tried({"train.lr": 1e-4 * n}, n / 20, {1: n / 20} if n % 2 else {}) for n in range(1, 15))
    record = [suggest(Ask(sampler, space, tuple(space), 14, seed, history)) for seed in (1, 1, 2)]
    assert record[0] == record[1]
    assert all(1e-4 <= tried["train.lr"] <= 1e-2 for tried in record)


# A whole study


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    text = STUDY.replace("epochs = 2", "epochs = 9").replace("trials = 3", "trials = 8\ngeneration = 2")
    lab.file.write_text(text.replace("generation = 2", 'generation = 2\npruner = "halving"'))
    return lab


def conduct(lab: Lab) -> Findings:
    """Carry the study out without its report."""
    study = lab.ledger.save(lab.record())
    conductor.carry_out(study, lab.ledger, InProcess(), lab.events.append, FAKE)
    return findings(gather(lab.ledger, lab.ledger.study("s")))


def test_a_pruned_study_ends_in_a_report_and_is_cached(lab: Lab) -> None:
    found = lab.run()
    statuses = [trial.status for variant in found.variants for trial in variant.trials]
    assert len(statuses) == 2 * 3 * 8
    assert statuses.count("pruned") >= 2
    files = list(lab.ledger.root.glob("runs/*/stopped-*.json"))
    assert len(files) == statuses.count("pruned")
    for file in files:
        record = from_json(Stopped, file.read_bytes())
        assert stopped_file(record.rule) == file.name
        assert record.score < record.rule[str(record.epoch)]
        assert not (file.parent / "result.json").exists()
    lab.events.clear()
    assert conduct(lab) == replace(found, known=None)
    assert not lab.started()


def test_a_study_without_pruning_gets_its_full_runs_in_the_same_ledger(lab: Lab) -> None:
    conduct(lab)
    lab.file.write_text(lab.file.read_text().replace('pruner = "halving"', 'pruner = "none"'))
    found = conduct(lab)
    assert {trial.status for variant in found.variants for trial in variant.trials} == {"finished"}


@pytest.mark.parametrize(
    ("change", "phrases"),
    [
        (
            'search.pruner="halved"',
            ["search.pruner:", "'none' or 'halving'", "'halved'", "Did you mean"],
        ),
        ("search.reduction=1", ["search.reduction:", "at least 2"]),
        ("search.first_epoch=0", ["search.first_epoch:", "at least 1"]),
        ('search.storage="trials.db"', ["search.storage:", "URL", "Optuna"]),
    ],
)
def test_a_mistake_is_said_before_anything_is_written(lab: Lab, change: str, phrases: list[str]) -> None:
    with pytest.raises(InputError) as error:
        lab.record(change)
    for phrase in phrases:
        assert phrase in str(error.value)


@pytest.mark.parametrize("generation", [8, 9])
def test_pruning_where_no_earlier_generation_precedes_is_a_mistake(lab: Lab, generation: int) -> None:
    with pytest.raises(InputError, match=r"search\.pruner: .* one generation"):
        lab.record(f"search.generation={generation}")
    assert lab.record("search.generation=7").pruner == "halving"


def test_pruning_without_trials_is_a_mistake(lab: Lab) -> None:
    lab.file.write_text(STUDY.split("[search]")[0] + '[search]\npruner = "halving"\n')
    with pytest.raises(InputError, match=r"search\.pruner: .*trials"):
        lab.record()
