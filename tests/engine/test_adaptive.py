"""Repetitions that are added only while a comparison is open: looks, what they close, and what may not change them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.conductors import STUDY, Conductors, folder_in_memory, tables
from support.lab import FAKE, Lab
from support.world import World, study

from study.engine import conductor, jobs, plan
from study.engine.events import JobStarted, LookTaken
from study.errors import InputError
from study.executors.inprocess import InProcess
from study.ledger.record import Closing, StudyRecord

LOOKS = (2, 3, 5)


def adaptive(trials: int = 2, variants: int = 4, strata: int = 1) -> StudyRecord:
    """Return a study of `variants` in each stratum."""
    record = study(trials, LOOKS[-1], variants * strata, generation=2)
    named = [
        replace(variant, reference=f"v{number // variants * variants}")
        for number, variant in enumerate(record.variants)
    ]
    return replace(record, variants=tuple(named), looks=LOOKS)


def repetitions_of(record: StudyRecord) -> dict[str, int]:
    return {variant.name: record.repetitions_of(variant) for variant in record.variants}


def comparisons(record: StudyRecord, *variants: str) -> tuple[str, ...]:
    """Return the names of the comparisons of variants with their references."""
    return tuple(
        name for variant in variants for name, (first, _) in record.comparisons.items() if first == variant
    )


def closing(world: World, look: plan.Look, *variants: str) -> None:
    """Take a look that closes the comparisons of variants with their references."""
    world.take_look(look)
    interim = world.study.interims[look.repetitions]
    closed = {name: Closing("decided", "helps") for name in comparisons(world.study, *variants)}
    interims = {**world.study.interims, look.repetitions: replace(interim, closed=closed)}
    world.study = replace(world.study, interims=interims)


def until_look(world: World) -> plan.Look:
    """Carry out everything before the next look."""
    while (step := world.step()).look is None:
        if step.decisions:
            world.decide(step.decisions[0])
        else:
            world.do(step.jobs[0])
    return step.look


@settings(max_examples=25, deadline=None)
@given(
    trials=st.integers(0, 3),
    variants=st.integers(2, 4),
    strata=st.integers(1, 2),
    order=st.randoms(use_true_random=False),
)
def test_same_tables_whatever_the_order_of_finishing(
    trials: int, variants: int, strata: int, order: random.Random
) -> None:
    first = World(adaptive(trials, variants, strata), random.Random(0)).finish()
    second = World(adaptive(trials, variants, strata), order).finish()
    assert first.study.interims == second.study.interims
    assert first.states == second.states
    trained = [key for key in second.started if key.startswith("train ")]
    assert len(trained) == len(set(trained)) == plan.total_trainings(second.study)


@settings(max_examples=15, deadline=None)
@given(stop=st.integers(0, 80), order=st.randoms(use_true_random=False))
def test_resuming_from_any_point_takes_the_same_looks(stop: int, order: random.Random) -> None:
    whole = World(adaptive(), random.Random(0)).finish()
    world = World(adaptive(), order)
    for _ in range(stop):
        step = world.step()
        if step.look is not None:
            world.take_look(step.look)
        elif step.decisions:
            world.decide(step.decisions[0])
        elif step.jobs:
            world.do(order.choice(step.jobs))
    resumed = World(world.study, order)
    resumed.states, resumed.profiled = dict(world.states), set(world.profiled)
    resumed.finish()
    assert resumed.states == whole.states
    assert resumed.study.interims == whole.study.interims


def test_a_closed_comparison_gets_no_more_repetitions_and_the_reference_goes_on_while_one_is_open() -> None:
    world = World(adaptive(), random.Random(0))
    look = until_look(world)
    assert (look.repetitions, look.open) == (2, comparisons(world.study, "v1", "v2", "v3"))
    closing(world, look, "v1")
    look = until_look(world)
    assert (look.repetitions, look.open) == (3, comparisons(world.study, "v2", "v3"))
    assert repetitions_of(world.study) == {"v0": 3, "v1": 2, "v2": 3, "v3": 3}
    closing(world, look, "v2", "v3")
    world.finish()
    assert repetitions_of(world.study) == {"v0": 3, "v1": 2, "v2": 3, "v3": 3}
    assert plan.total_trainings(world.study) == 2 * (3 + 2 + 3 + 3)
    assert plan.most_trainings(world.study) == 2 * 5 * 4


def test_the_reference_of_another_stratum_ends_with_its_own_comparisons() -> None:
    world = World(adaptive(variants=2, strata=2), random.Random(0))
    closing(world, until_look(world), "v1")
    look = until_look(world)
    assert look.open == comparisons(world.study, "v3")
    assert repetitions_of(world.study) == {"v0": 2, "v1": 2, "v2": 3, "v3": 3}


def test_a_look_waits_for_the_tests_of_open_comparisons_alone() -> None:
    world = World(adaptive(variants=3), random.Random(0))
    closing(world, until_look(world), "v1")
    until_look(world)
    for name, is_due in (("v0", False), ("v1", True), ("v2", False)):
        variant = next(variant for variant in world.study.variants if variant.name == name)
        last = list(plan.repetitions(world.study, variant, world.state))[-1].run.id
        tested = world.states[last]
        world.states[last] = replace(tested, tested=False)
        assert (world.step().look is not None) == is_due
        world.states[last] = tested


def test_a_failed_repetition_holds_no_look_back_and_a_retry_reopens_none() -> None:
    seed = adaptive().repetition_seed(1)
    failing = World(
        adaptive(variants=2),
        random.Random(0),
        lambda run: "failed" if run.seed == seed and run.config["splitter"]["name"] == "v1" else "finished",
    )
    look = until_look(failing)
    assert look.repetitions == 2
    closing(failing, look, "v1")
    retried = World(failing.study, random.Random(1))
    retried.states = {run: state for run, state in failing.states.items() if state.failure is None}
    retried.finish()
    assert retried.study.interims == failing.study.interims
    assert repetitions_of(retried.study) == {"v0": 2, "v1": 2}
    assert any(key.startswith("train ") for key in retried.started), "the failed repetition is completed"


def test_another_least_difference_takes_its_own_looks() -> None:
    record = adaptive()
    names = {
        replace(record, **change).interim(2)
        for change in ({}, {"rope": 2.0}, {"alpha": 0.01}, {"trials": 3}, {"looks": (2, 5)}, {"seed": 1})
    }
    assert len(names) == 6
    assert replace(record, title="another").interim(2) == record.interim(2)


# A whole study


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    lab.file.write_text(
        lab.file.read_text().replace("repetitions = 3", "repetitions = { min = 5, max = 12 }")
    )
    return lab


def carry_out(lab: Lab, closes: Mapping[int, tuple[str, ...]], ended: list[plan.Look]) -> StudyRecord:
    """Carry the study out with looks that close these comparisons; return its record."""

    def decide(record: StudyRecord, look: plan.Look) -> Mapping[str, Closing]:
        ended.append(look)
        variants = closes.get(look.repetitions, ())
        return {name: Closing("decided", "helps") for name in comparisons(record, *variants)}

    lab.events = []
    record = lab.ledger.save(lab.record())
    conductor.carry_out(record, lab.ledger, InProcess(), lab.events.append, FAKE, decide=decide)
    return lab.ledger.study("s")


def test_a_look_is_taken_once_and_stored_with_the_runs_that_it_looked_at(lab: Lab) -> None:
    looks: list[plan.Look] = []
    record = carry_out(lab, {8: ("issm",)}, looks)
    assert [look.repetitions for look in looks] == [5, 8]
    assert {event.interim.look for event in lab.events if isinstance(event, LookTaken)} == {5, 8}
    assert len(lab.started()) == 2 * 8 * 3 == plan.total_trainings(record)
    assert plan.most_trainings(record) == 2 * 12 * 3
    tested = {job.run.id for job in lab.started("evaluate")}
    assert {run for runs in record.interims[8].runs.values() for run in runs} == tested
    assert list(record.interims[8].closed.values()) == [Closing("decided", "helps")]
    before = {path: path.read_bytes() for path in lab.ledger.root.glob("studies/s/interims/*.json")}
    assert len(before) == 2

    again: list[plan.Look] = []
    assert carry_out(lab, {}, again).interims == record.interims
    assert not again
    assert not [event for event in lab.events if isinstance(event, JobStarted)]
    assert {path: path.read_bytes() for path in before} == before


def test_what_was_added_after_a_look_is_reported_and_planned_from_the_ledger_alone(lab: Lab) -> None:
    carry_out(lab, {8: ("issm",)}, [])
    lab.ledger = type(lab.ledger)(lab.ledger.root)
    record = lab.ledger.study("s")
    assert [len(list(plan.repetitions(record, v, lab.ledger.state))) for v in record.variants] == [8, 8]
    assert plan.ready(record, lab.ledger.state, frozenset({"even-odd", "issm"})) == plan.Step((), ())
    found = conductor.report(
        "s", lab.ledger, lab.folder / "reports", lambda event: None, write=lambda *_: None
    )
    assert [len(variant.repetitions) for variant in found.variants] == [8, 8]
    assert found.variants[1].difference is not None
    assert found.variants[1].difference.n == 8


def test_a_retry_after_the_last_look_reopens_nothing(lab: Lab) -> None:
    looks: list[plan.Look] = []
    record = carry_out(lab, {5: ("issm",)}, looks)
    run = record.interims[5].runs["issm"][0]
    (lab.ledger.root / "runs" / run / "test.json").unlink()
    lab.ledger = type(lab.ledger)(lab.ledger.root)
    again: list[plan.Look] = []
    assert carry_out(lab, {}, again).interims == record.interims
    assert not again
    assert not jobs.failures(lab.record(), lab.ledger)


def test_the_report_says_what_was_closed_and_how_many_trainings_were_saved(lab: Lab) -> None:
    carry_out(lab, {5: ("issm",)}, [])
    found = conductor.report(
        "s", lab.ledger, lab.folder / "reports", lambda event: None, write=lambda *_: None
    )
    fact = found.facts["adaptive repetitions"]
    assert "5, 8, 12" in fact
    assert "after 5: issm" in fact
    assert "42 of 72 trainings saved" in fact
    assert [variant.planned for variant in found.variants] == [5, 5]


@pytest.mark.parametrize(
    ("repetitions", "looks"),
    [
        ("{ min = 5, max = 12 }", (5, 8, 12)),
        ("{ min = 3, max = 12 }", (3, 5, 8, 12)),
        ("{ min = 5, max = 10 }", (5, 8, 10)),
        ("{ looks = [5, 10] }", (5, 10)),
        ("7", ()),
    ],
)
def test_looks_are_the_usual_ones_between_the_least_and_the_most(
    lab: Lab, repetitions: str, looks: tuple[int, ...]
) -> None:
    text = lab.file.read_text()
    lab.file.write_text(text.replace("repetitions = { min = 5, max = 12 }", f"repetitions = {repetitions}"))
    record = lab.record()
    assert record.looks == looks
    assert record.repetitions == (looks[-1] if looks else 7)


@pytest.mark.parametrize(
    ("repetitions", "says"),
    [
        ("{ min = 5 }", "'min' and 'max'"),
        ("{ looks = [5] }", "at least two"),
        ("{ looks = [8, 5] }", "ascending"),
        ("{ looks = [1, 5] }", "from 2"),
        ("{ min = 5, max = 12, looks = [5, 12] }", "remove 'min' and 'max'"),
        ("{ least = 5, max = 12 }", "repetitions.least: unknown key"),
        ("0", "from 1 to 10000"),
    ],
)
def test_repetitions_that_mean_nothing_are_refused(lab: Lab, repetitions: str, says: str) -> None:
    text = lab.file.read_text()
    lab.file.write_text(text.replace("repetitions = { min = 5, max = 12 }", f"repetitions = {repetitions}"))
    with pytest.raises(InputError, match="repetitions") as caught:
        lab.record()
    assert says in str(caught.value)


def test_adaptive_repetitions_are_refused_with_one_search(lab: Lab) -> None:
    with pytest.raises(InputError, match=r"repetitions: .*search\.scope"):
        lab.record('search.scope="study"')


# Any number of workers, and any kill

ADAPTIVE = STUDY.replace("repetitions = 2", "repetitions = { looks = [2, 3, 5] }").replace(
    "trials = 3", "trials = 2"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def test_the_same_looks_with_one_two_and_four_workers(folder: Path) -> None:
    several = Conductors(folder, ADAPTIVE)
    for workers in (1, 2, 4):
        assert several.wait(several.start(workers, 0.03, seed=workers, ledger=str(workers))) == 0
    several.close()
    assert tables(folder / "1") == tables(folder / "2") == tables(folder / "4")
    assert [name for name in tables(folder / "1") if "interims" in name]


def test_kills_change_no_look(folder: Path) -> None:
    storm, draw = Conductors(folder, ADAPTIVE), random.Random(3)
    for kill in range(8):
        process = storm.start(1 + kill % 2, 0.02, kill)
        storm.wait_for_output(process, "StudyStarted")
        time.sleep(draw.uniform(0.0, 0.5))
        if storm.is_running(process):
            storm.kill(process)
    assert storm.wait(last := storm.start(2)) == 0, storm.output(last)
    assert storm.wait(storm.start(1, ledger="calm")) == 0
    storm.close()
    assert tables(storm.ledger) == tables(folder / "calm")
