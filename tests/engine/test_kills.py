"""Kill anything at any time: the same command goes on, repeats one epoch at most, and ends in the same tables."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from support.conductors import REAL, STUDY, Conductors, folder_in_memory, tables

from study.engine.events import StudyStarted

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the tests read /proc and fork conductors"
)
LONG = (
    STUDY.replace("epochs = 3", "epochs = 4")
    .replace("trials = 3", "trials = 4")
    .replace("repetitions = 2", "repetitions = 4")
)
LONGEST_EPOCH_S = 0.04


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


def storm(lab: Conductors, kills: int, seed: int) -> int:
    """Start conductors with 1 or 2 workers and kill them, their workers or both until so many kills are done.

    Returns:
        How many studies it took: one that ends is followed by one with more seeds.
    """
    draw = random.Random(seed)
    done, seeds = 0, 4
    while done < kills:
        conductor = lab.start(draw.choice((1, 2)), LONGEST_EPOCH_S, done, (f"repetitions={seeds}",))
        whom = draw.choice(("conductor", "worker, then conductor", "both"))
        if draw.random() < 0.8:
            lab.until_said(conductor, StudyStarted.__name__)
        time.sleep(draw.uniform(0.0, 0.4))
        workers = lab.workers_of(conductor)
        if whom != "conductor" and workers:
            with suppress(ProcessLookupError):  # it was faster
                os.kill(draw.choice(workers), signal.SIGKILL)
                done += 1
            if whom != "both":
                time.sleep(draw.uniform(0.0, 0.3))
        if lab.is_running(conductor):
            lab.kill(conductor)
            done += 1
        else:
            seeds += 1
    assert lab.wait(last := lab.start(2, changes=(f"repetitions={seeds}",))) == 0, lab.said(last)
    return seeds


def check_storm(folder: Path, kills: int, seed: int) -> None:
    lab = Conductors(folder, LONG)
    seeds = storm(lab, kills, seed)
    begun = lab.begun()
    assert lab.wait(lab.start(2, changes=(f"repetitions={seeds}",), ledger="calm")) == 0
    lab.close()

    calm, stormy = tables(folder / "calm"), tables(lab.ledger)
    assert {name: table for name, table in stormy.items() if name in calm} == calm
    assert not list(lab.ledger.rglob("failure.json"))
    check_repeats(begun, epochs=4)
    repeated = len(begun) - len(set(begun))
    assert repeated <= 2 * kills
    print(f"{kills} kills, {len(begun)} epochs begun, {repeated} of them again")


def check_repeats(begun: list[tuple[str, int]], epochs: int) -> None:
    """Each run's epochs follow each other, but for those that a kill cut off before their checkpoint."""
    for run in {run for run, _ in begun}:
        own = [epoch for other, epoch in begun if other == run]
        assert {now - before for before, now in pairwise(own)} <= {0, 1}, f"{run} went through {own}"
        assert (own[0], own[-1]) == (1, epochs)


def test_twenty_random_kills_change_no_table_and_repeat_one_epoch_each(folder: Path) -> None:
    check_storm(folder, 20, seed=1)


@pytest.mark.slow
def test_a_hundred_random_kills_change_no_table_and_repeat_one_epoch_each(folder: Path) -> None:
    check_storm(folder, 100, seed=2)


def test_the_same_tables_with_one_two_and_four_workers_of_any_pace(folder: Path) -> None:
    lab = Conductors(folder)
    for workers in (1, 2, 4):
        assert lab.wait(lab.start(workers, 0.03, seed=workers, ledger=str(workers))) == 0
    lab.close()
    assert tables(folder / "1") == tables(folder / "2") == tables(folder / "4")


@pytest.mark.slow
def test_kills_during_real_training_change_no_table_and_repeat_one_epoch_each(folder: Path) -> None:
    lab = Conductors(folder, STUDY.replace("trials = 3", "trials = 1"))
    draw = random.Random(3)
    for kill in range(4):
        conductor = lab.start(1 + kill % 2, trainer=REAL)
        lab.until_said(conductor, "EpochEnded", times=draw.randint(1, 4))
        time.sleep(draw.uniform(0.0, 0.5))
        if kill % 2 and (workers := lab.workers_of(conductor)):
            os.kill(workers[0], signal.SIGKILL)
        lab.kill(conductor)
    assert lab.wait(last := lab.start(2, trainer=REAL)) == 0, lab.said(last)
    begun = lab.begun()
    assert lab.wait(lab.start(1, trainer=REAL, ledger="calm")) == 0
    lab.close()
    assert tables(lab.ledger) == tables(folder / "calm")
    check_repeats(begun, epochs=3)
