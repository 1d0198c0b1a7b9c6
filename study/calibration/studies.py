"""Carries simulated studies out through the product's own analysis, and counts what their verdicts are worth."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import sqrt

from study.analysis.contrasts import Judged, family
from study.analysis.evidence import Evidence
from study.analysis.interim import decide
from study.analysis.values.scores import described_level
from study.calibration.cells import Cell
from study.calibration.model import Design, Trainings, arm_names, evidence, simulate
from study.ledger.record import Closing, Interim

STANDARD_ERRORS = 3.3
"""A rate within so many standard errors of its bound is no evidence against it, in about 40 cells at once."""


@dataclass(frozen=True)
class Count:
    """What the verdicts of one cell were, over simulated studies."""

    cell: str
    studies: int
    false: int
    """Studies with any *helps* or *hurts* where the truth is no difference."""
    true: int
    """Comparisons with a planted difference that were called *helps*."""
    planted: int
    """Comparisons with a planted difference."""
    covered: int
    """Comparisons whose 95 % interval, as reports print it beside a difference, holds the true difference.

    It is not widened for the family; where there are looks it is at the level of the one that closed the comparison.
    """
    intervals: int
    trainings: int

    @property
    def false_rate(self) -> float:
        """The share of studies with a false verdict."""
        return self.false / self.studies

    @property
    def power(self) -> float | None:
        """The share of planted differences that were found; None where none was planted."""
        return self.true / self.planted if self.planted else None

    def is_within(self, alpha: float) -> bool:
        """Whether the rate of false verdicts is within `STANDARD_ERRORS` of alpha, or below."""
        return self.false_rate <= alpha + STANDARD_ERRORS * sqrt(alpha * (1 - alpha) / self.studies)


def count(cell: Cell, studies: int, first_seed: int = 0) -> Count:
    """Simulate the studies of a cell and count their verdicts.

    Args:
        cell: The world, the design and the true differences.
        studies: How many.
        first_seed: The seed of the first one; the others follow.
    """
    counts: Counter[str] = Counter()
    for seed in range(first_seed, first_seed + studies):
        trainings = simulate(cell.world, cell.design, cell.effects, seed)
        granted, judged, found = conclude(cell.design, trainings)
        counts["trainings"] += sum(granted) * max(1, cell.design.folds) * cell.design.trials
        is_false = False
        for one, true in zip(found, cell.effects, strict=True):
            is_false |= true == 0 and one.verdict in ("helps", "hurts")
            counts["planted"] += true != 0
            counts["true"] += true > 0 and one.verdict == "helps"
            interval = None if one.gain is None else one.gain.interval(described_level(judged, one.effect))
            if interval is not None:
                counts["intervals"] += 1
                counts["covered"] += interval[0] <= true <= interval[1]
        counts["false"] += is_false
    return Count(cell.name, studies, **{key: counts[key] for key in COUNTED})


COUNTED = ("false", "true", "planted", "covered", "intervals", "trainings")


def conclude(design: Design, trainings: Trainings) -> tuple[list[int], Evidence, list[Judged]]:
    """Return the repetitions that each arm was granted, the reference first, what is judged, and each verdict."""
    arms = 1 + design.comparisons
    if not design.looks:
        granted = [design.repetitions] * arms
        judged = evidence(design, trainings, granted)
        return granted, judged, family(judged)
    names, interims = arm_names(design), dict[int, Interim]()
    granted = [design.looks[0]] * arms
    still_open = list(evidence(design, trainings, granted).family)
    for look in design.looks:
        involved = {name for effect in still_open for name in effect.weights}
        granted = [look if name in involved else number for name, number in zip(names, granted, strict=True)]
        so_far = evidence(design, trainings, granted, interims)
        closed = decide(so_far, look, [effect.name for effect in still_open])
        interims[look] = _interim(so_far, look, dict(closed))
        still_open = [effect for effect in still_open if effect.name not in closed]
        if not still_open:
            break
    judged = evidence(design, trainings, granted, interims)
    return granted, judged, family(judged)


def _interim(so_far: Evidence, look: int, closed: dict[str, Closing]) -> Interim:
    runs = {variant.name: tuple(run.run for run in variant.repetitions) for variant in so_far.variants}
    return Interim(look, closed, runs)
