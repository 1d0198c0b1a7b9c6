"""The cells of the calibration table: every combination of designs that a study may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from study.calibration.model import Design, World

LOOKS = (5, 8, 12)
PLANTED = 5.0
"""The planted true difference, in points."""
WORLD = World()
FEW_SOURCES = World(sources=20, examples_of_a_source=12)
NOISY_TRAINING = World(training_sd=4.0, interaction_sd=1.0)


@dataclass(frozen=True)
class Cell:
    """A design in a world, with the true difference of each variant."""

    name: str
    design: Design
    effects: tuple[float, ...]
    world: World = WORLD
    is_bounded: bool = True
    """Whether its false verdicts must stay at alpha; a search that all repetitions share is known not to."""


def cells() -> Iterator[Cell]:
    """Yield the cells without a true difference, then those with one."""
    for name, design, world, is_bounded in _designs():
        yield Cell(name, design, (0.0,) * design.comparisons, world, is_bounded)
    for name, design, world, is_bounded in _designs():
        if is_bounded and design.comparisons in (1, 9) and world is WORLD:
            planted = (PLANTED,) * min(3, design.comparisons) + (0.0,) * max(0, design.comparisons - 3)
            yield Cell(f"{name}, {PLANTED:g} points", design, planted, world)


def _designs() -> Iterator[tuple[str, Design, World, bool]]:
    none, four = Design(), Design(search="repetition", trials=4)
    for scope in ("population", "test-set"):
        for comparisons in (1, 3, 9):
            for search, base in (("no search", none), ("4 trials", four)):
                for text, looks in (("5 repetitions", ()), ("looks 5, 8, 12", LOOKS)):
                    if scope == "test-set" and (comparisons == 9 or search == "no search"):
                        continue
                    design = Design(
                        comparisons=comparisons,
                        looks=looks,
                        search=base.search,
                        trials=base.trials,
                        scope=scope,
                    )
                    yield f"{scope}, {_variants(comparisons)}, {search}, {text}", design, WORLD, True
    yield "population, 1 variant, no search, 3 repetitions", Design(repetitions=3), WORLD, True
    yield "population, 1 variant, no search, 12 repetitions", Design(repetitions=12), WORLD, True
    ten = Design(search="repetition", trials=4, repetitions=10)
    yield "population, 1 variant, 4 trials, 10 repetitions", ten, WORLD, True
    twenty = Design(search="repetition", trials=20, sampler="model")
    yield "population, 1 variant, 20 trials by a model, 5 repetitions", twenty, WORLD, True
    halving = Design(search="repetition", trials=12, halving=True)
    yield "population, 1 variant, 12 trials with halving, 5 repetitions", halving, WORLD, True
    adaptive_halving = Design(comparisons=3, looks=LOOKS, search="repetition", trials=12, halving=True)
    yield "population, 3 variants, 12 trials with halving, looks 5, 8, 12", adaptive_halving, WORLD, True
    for few, design in (("5 repetitions", four), ("looks 5, 8, 12", Design(looks=LOOKS))):
        search = "4 trials" if design.trials > 1 else "no search"
        yield f"population, 20 sources, 1 variant, {search}, {few}", design, FEW_SOURCES, True
        yield f"population, noisy training, 1 variant, {search}, {few}", design, NOISY_TRAINING, True
    for times in (3.0, 6.0):
        noisy = Design(comparisons=5, noisy_arm=times)
        yield (
            f"population, 5 variants, one {times:g} times as noisy, no search, 5 repetitions",
            noisy,
            WORLD,
            True,
        )
    for repetitions in (1, 2):
        folds = Design(folds=5, repetitions=repetitions)
        yield f"5 folds x {repetitions}, 1 variant, no search", folds, WORLD, True
    for comparisons in (1, 3):
        folds = Design(folds=5, repetitions=1, search="repetition", trials=4, comparisons=comparisons)
        yield f"5 folds x 1, {_variants(comparisons)}, 4 trials a fold", folds, WORLD, True
    halved = Design(folds=5, repetitions=1, search="repetition", trials=12, halving=True)
    yield "5 folds x 1, 1 variant, 12 trials a fold with halving", halved, WORLD, True
    shared = Design(folds=5, repetitions=1, search="shared-folds", trials=4)
    yield "5 folds x 1, 1 variant, 4 trials shared by folds", shared, WORLD, False
    for trials, repetitions in ((4, 5), (12, 10)):
        once = Design(search="study", trials=trials, repetitions=repetitions, scope="test-set")
        yield f"test-set, 1 variant, {trials} trials once, {repetitions} repetitions", once, WORLD, False
        whole = Design(search="study", trials=trials, repetitions=repetitions)
        yield f"population, 1 variant, {trials} trials once, {repetitions} repetitions", whole, WORLD, False


def _variants(number: int) -> str:
    return "1 variant" if number == 1 else f"{number} variants"
