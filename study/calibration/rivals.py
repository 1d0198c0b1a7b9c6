"""What is done elsewhere, on the same simulated studies: one search and a paired t test, and AdaStop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from scipy import stats

from study.calibration.cells import Cell
from study.calibration.model import Trainings, simulate
from study.calibration.studies import COUNTED, Count
from study.errors import unavailable

ADASTOP_GROUP, ADASTOP_GROUPS = 5, 3
"""Repetitions between two looks of AdaStop, and the most looks."""
PERMUTATIONS = 1000
Rival = Callable[[Cell, Trainings], tuple[list[int], list[int]]]
"""From a study to the verdict on each variant (1 better, -1 worse, 0 none), and the repetitions of each arm."""


def paired_t(cell: Cell, trainings: Trainings) -> tuple[list[int], list[int]]:
    """Judge each variant by a paired t test at alpha, without correction and without clip luck."""
    n = cell.design.repetitions
    scores = trainings.scores[:, 0, :n]
    verdicts = []
    for arm in scores[1:]:
        test = stats.ttest_rel(arm, scores[0])
        verdicts.append(int(np.sign(test.statistic)) if test.pvalue < cell.design.alpha else 0)
    return verdicts, [n] * len(scores)


def adastop(cell: Cell, trainings: Trainings) -> tuple[list[int], list[int]]:
    """Judge each variant by AdaStop's permutation tests against the reference (Mathieu et al. 2023).

    Raises:
        InputError: The package is not installed.
    """
    try:
        from adastop import MultipleAgentsComparator
    except ImportError:
        raise unavailable("", "AdaStop is not installed: pip install adastop.") from None
    scores = trainings.scores[:, 0]
    pairs = np.array([(0, arm) for arm in range(1, len(scores))])
    comparator = MultipleAgentsComparator(
        n=ADASTOP_GROUP,
        K=ADASTOP_GROUPS,
        B=PERMUTATIONS,
        comparisons=pairs,
        alpha=cell.design.alpha,
        seed=int(1e6 * abs(scores).sum()) % 2**31,
    )
    names = [str(arm) for arm in range(len(scores))]
    for group in range(1, ADASTOP_GROUPS + 1):
        values = {name: arm[: group * ADASTOP_GROUP] for name, arm in zip(names, scores, strict=True)}
        comparator.partial_compare(values, verbose=False)
        if comparator.is_finished:
            break
    sign = {"larger": -1, "smaller": 1}  # of the reference
    verdicts = [sign.get(str(comparator.decisions[str(pair)]), 0) for pair in pairs]
    return verdicts, [int(comparator.n_iters[name]) for name in names]


def count_rival(cell: Cell, rival: Rival, studies: int) -> Count:
    """Count a rival's verdicts on the studies that `studies.count` simulates with the same seeds."""
    counts: Counter[str] = Counter()
    for seed in range(studies):
        verdicts, repetitions = rival(cell, simulate(cell.world, cell.design, cell.effects, seed))
        pairs = list(zip(verdicts, cell.effects, strict=True))
        counts["trainings"] += _trainings(cell, repetitions)
        counts["false"] += any(verdict and not true for verdict, true in pairs)
        counts["planted"] += sum(true != 0 for _, true in pairs)
        counts["true"] += sum(verdict > 0 and true > 0 for verdict, true in pairs)
    return Count(cell.name, studies, **{key: counts[key] for key in COUNTED})


def _trainings(cell: Cell, repetitions: list[int]) -> int:
    """Return the trainings of a study that searches once, before its repetitions."""
    searched = cell.design.trials * len(repetitions) if cell.design.search == "study" else 0
    return sum(repetitions) + searched
