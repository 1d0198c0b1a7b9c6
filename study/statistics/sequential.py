"""Group-sequential comparisons: at fixed numbers of repetitions a comparison is closed, or goes on.

The looks and their error rates are those of `boundaries`. The t statistic may hold the luck of the test examples; its
critical value is then Student's at the look's nominal level and its own degrees of freedom.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt

import numpy as np
from scipy import special

from study.statistics.boundaries import SEED, Boundary, boundary
from study.statistics.families import borrowed
from study.statistics.inference import Estimate, Variance, satterthwaite
from study.statistics.verdicts import Critical, Verdict, verdict

CLOSING: frozenset[Verdict] = frozenset({"helps", "hurts", "equivalent"})
"""Verdicts that close a comparison before the last look; *slight* may still become one of them."""


class Reason(StrEnum):
    """Why a comparison is closed."""

    DECIDED = "decided"
    FUTILE = "futile"
    """Neither a difference nor equivalence is within reach of the last look."""
    EXAMPLES = "examples"
    """The luck of the test examples alone hides a difference of this size; no repetition changes that."""
    LAST_LOOK = "last-look"


@dataclass(frozen=True)
class Closed:
    """A comparison that gets no further repetitions."""

    look: int
    """The number of repetitions of the look that closed it."""
    reason: Reason
    verdict: Verdict | None
    """None with too few repetitions for one."""


def critical(look: int, looks: tuple[int, ...], alpha: float, comparisons: int = 1) -> Critical:
    """Return the nominal levels at which a look (a number of repetitions) decides.

    Raises:
        ValueError: `look` is not one of the looks.
    """
    if look not in looks:
        raise ValueError(f"{look} is none of the looks {looks}.")
    limits, index = boundary(looks, alpha, comparisons), looks.index(look)
    return Critical(limits.level(index), limits.one_sided_level(index))


def look_decision(
    estimate: Estimate | None,
    look: int,
    looks: tuple[int, ...],
    rope: float,
    alpha: float,
    comparisons: int = 1,
) -> Closed | None:
    """Return how a look closes a comparison; None where it stays open.

    Tested in this order: a verdict that closes; the last look; the luck of the test examples, where
    ``t sqrt(v_c - v_sc)`` alone exceeds ``max(|d|, rope)`` at the last look's level; futility, where
    ``|d| / error < 2 look/last - 1/3`` (0.5 and 1 at 5 and 8 of 12) and *equivalent* is out of reach too: half of the
    interval that the last look would have is wider than ``rope - |d|``. Futility is non-binding: the error rates hold
    whether or not it is obeyed.

    Args:
        estimate: The gain over the complete pairs so far, with its family's borrowed variance from three comparisons
            on; None where there is none.
        look: The number of repetitions of the look, missing ones included.
        looks: All looks, ascending.
        rope: The least difference of interest, in the unit of the estimate.
        alpha: The family's error rate.
        comparisons: Its size m.

    Raises:
        ValueError: `look` is not one of the looks.
    """
    levels = critical(look, looks, alpha, comparisons)
    found = None if estimate is None else verdict(estimate, rope, alpha, comparisons, levels)
    if found in CLOSING:
        return Closed(look, Reason.DECIDED, found)
    if look == looks[-1]:
        return Closed(look, Reason.LAST_LOOK, found)
    limits = boundary(looks, alpha, comparisons)
    if estimate is None or not estimate.error or estimate.test_error is None:
        return None
    of_examples = max(0.0, estimate.error**2 - estimate.test_error**2)
    if _hidden_by_examples(estimate, of_examples, rope, limits):
        return Closed(look, Reason.EXAMPLES, found)
    of_values = estimate.test_error**2 * estimate.n / looks[-1]
    is_small = abs(estimate.mean) / estimate.error < 2 * look / looks[-1] - 1 / 3
    if is_small and _last_half_width(of_values, of_examples, estimate, limits) > rope - abs(estimate.mean):
        return Closed(look, Reason.FUTILE, found)
    return None


def _hidden_by_examples(estimate: Estimate, of_examples: float, rope: float, limits: Boundary) -> bool:
    if not of_examples or not estimate.sources:
        return False
    t = -float(special.stdtrit(estimate.sources - 1, limits.level(-1) / 2))
    return t * sqrt(of_examples) > max(abs(estimate.mean), rope)


def _last_half_width(of_values: float, of_examples: float, estimate: Estimate, limits: Boundary) -> float:
    """Return half of the interval for equivalence at the last look, from the variances of the mean expected there."""
    df = limits.df(-1)
    if of_examples and estimate.sources:
        df = satterthwaite((of_values, df), (of_examples, estimate.sources - 1.0))
    return -float(special.stdtrit(df, limits.one_sided_level(-1))) * sqrt(of_values + of_examples)


@dataclass(frozen=True)
class Operation:
    """What looks lead to at one true difference."""

    helps: float
    """The probability of *helps*."""
    hurts: float
    equivalent: float
    repetitions: float
    """The mean number of repetitions."""


def operation(
    effects: Sequence[float],
    rope: float,
    looks: tuple[int, ...],
    alpha: float,
    comparisons: int = 1,
    v_c: float = 0.0,
    sources: int = 100,
    studies: int = 2000,
) -> list[Operation]:
    """Simulate one comparison of a family at its looks; everything in standard deviations of the differences.

    The other m - 1 comparisons have equal variance and no true difference. Each is dropped where a look closes it; from
    three comparisons on they lend their variances, a dropped one that of its repetitions.

    Args:
        effects: True mean differences of the comparison; each is tried on the same simulated families.
        rope: The least difference of interest.
        looks: Numbers of repetitions, ascending; a single one is a study of that size.
        alpha: The family's error rate.
        comparisons: Its size m.
        v_c: The variance of the mean difference over samples of test examples.
        sources: How many sources the test examples have, where `v_c` is above 0.
        studies: How many are simulated; the standard error of a probability p is ``sqrt(p (1 - p)/studies)``.
    """
    rng = np.random.default_rng(SEED)
    last = looks[-1]
    ends: list[list[Closed]] = []
    for _ in range(studies):
        family = rng.standard_normal((comparisons, last)) - rng.standard_normal(last)
        family /= sqrt(2)
        moved = sqrt(v_c) * float(rng.standard_normal())
        found_v_c = v_c * float(rng.chisquare(sources - 1)) / (sources - 1) if v_c else 0.0
        estimates = _Simulated(family, moved, found_v_c, sources)
        ends.append(_ends(estimates, effects, rope, looks, alpha))
    return [_operation(closed) for closed in zip(*ends, strict=True)]


def _operation(ends: Sequence[Closed]) -> Operation:
    counts, studies = Counter(end.verdict for end in ends), len(ends)
    return Operation(
        helps=counts["helps"] / studies,
        hurts=counts["hurts"] / studies,
        equivalent=counts["equivalent"] / studies,
        repetitions=sum(end.look for end in ends) / studies,
    )


@dataclass(frozen=True)
class _Simulated:
    """A simulated family of comparisons without true differences."""

    family: np.ndarray
    """(m, repetitions)."""
    moved: float
    """What the choice of test examples adds to each."""
    v_c: float
    """The variance that is found for it."""
    sources: int

    def estimate(self, arm: int, look: int, sd: float, own: Variance | None, effect: float) -> Estimate:
        own = own or Variance(sd**2, look - 1.0)
        of_values = own.s2 / look
        error2, df = of_values, own.df
        if self.v_c:
            error2 += self.v_c
            df = satterthwaite((of_values, own.df), (self.v_c, self.sources - 1.0))
        mean = float(self.family[arm, :look].mean()) + self.moved + effect
        test_error = sqrt(of_values)
        return Estimate(mean, look, sd, sqrt(error2), df, test_error, own.df, sources=self.sources)


def _ends(
    simulated: _Simulated, effects: Sequence[float], rope: float, looks: tuple[int, ...], alpha: float
) -> list[Closed]:
    """Return how the first comparison ends at each of its true differences."""
    m = len(simulated.family)
    open_arms = set(range(1, m))
    sizes = [0] * m
    ends: dict[int, Closed] = {}
    for look in looks:
        sizes = [look if arm == 0 or arm in open_arms else size for arm, size in enumerate(sizes)]
        sds = [float(values[:size].std(ddof=1)) for values, size in zip(simulated.family, sizes, strict=True)]
        variances = borrowed(sds, sizes)
        for i, effect in enumerate(effects):
            if i not in ends:
                found = simulated.estimate(0, look, sds[0], variances[0], effect)
                closed = look_decision(found, look, looks, rope, alpha, m)
                ends.update({} if closed is None else {i: closed})
        if len(ends) == len(effects):
            break
        for arm in sorted(open_arms):
            found = simulated.estimate(arm, look, sds[arm], variances[arm], 0.0)
            if look_decision(found, look, looks, rope, alpha, m):
                open_arms.remove(arm)
    return [ends[i] for i in range(len(effects))]
