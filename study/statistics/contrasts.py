"""Linear contrasts of the cells of a design: main effects, slopes, interactions, and the share of variance of each.

A contrast is a weight for each cell; its value in a repetition is the weighted sum of the cells' scores. A cell is a
tuple with the index of its level for each factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import hypot, prod
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Term = TypeVar("Term", float, NDArray[np.float64])
Cell = tuple[int, ...]
Weights = dict[Cell, float]


def weighted_sum(terms: Sequence[tuple[float, Term]]) -> Term:
    """Return the value of a contrast from pairs of a weight and a score, or an array of scores."""
    total: Term = sum(weight * score for weight, score in terms)  # type: ignore[assignment]  # from 0
    return total


def length(weights: Iterable[float]) -> float:
    """Return ``sqrt(sum w^2)``: with equal noise in every cell, the standard deviation of a contrast grows with it."""
    return hypot(*weights)


def difference(level: int, reference: int) -> dict[int, float]:
    """Return the weights of the levels of a factor in the difference of one level and the reference's."""
    return {level: 1.0, reference: -1.0}


def trend(values: Sequence[float]) -> dict[int, float]:
    """Return the weights of the levels of a numeric factor in its linear trend, least to greatest.

    It is the least-squares slope ``sum (x - mean x) y / sum (x - mean x)^2`` times the range of x: the change of a
    straight line from the least to the greatest level, in the unit of y.

    Args:
        values: (levels,) x, not all equal.
    """
    x = np.asarray(values, dtype=float)
    centred = x - x.mean()
    weights = centred / (centred @ centred) * np.ptp(x)
    return {level: float(weight) for level, weight in enumerate(weights)}


def crossed(cells: Sequence[Cell], levels: Mapping[int, Mapping[int, float]]) -> Weights:
    """Return the contrast that is the product of contrasts of single factors, averaged over the other factors.

    With one factor it is a main effect: the mean over all contexts, which are levels of the other factors. With two
    it is the difference of differences, or of slopes, and so on. Only contexts in which every cell that it needs
    exists count, so that no other factor differs between the two sides.

    Args:
        cells: The cells of the design.
        levels: The weights of levels by factor (its index).

    Returns:
        The weights; empty where there is no such context.
    """
    present = set(cells)
    contexts = dict.fromkeys(tuple(-1 if i in levels else level for i, level in enumerate(c)) for c in cells)
    combinations = list(product(*(weights.items() for weights in levels.values())))
    found: list[Weights] = []
    for context in contexts:
        weights = {
            _placed(context, dict(zip(levels, (level for level, _ in chosen), strict=True))): prod(
                weight for _, weight in chosen
            )
            for chosen in combinations
        }
        weights = {cell: weight for cell, weight in weights.items() if weight}
        if present.issuperset(weights):
            found.append(weights)
    return {cell: weight / len(found) for weights in found for cell, weight in weights.items()}


def signed(cells: Sequence[Cell], factors: Sequence[int], references: Mapping[int, int]) -> Weights:
    """Return the contrast of a fraction of a two-level design, from the products of its signs.

    A main effect is ``mean(+) - mean(-)`` over all cells, an interaction of p factors ``2^(p - 1)`` times as much: in
    a full design the same as `crossed`. In a fraction it also holds the effects that it is aliased with.

    Args:
        cells: The cells of the design.
        factors: The factors, by index.
        references: The level of each factor that has the sign -.
    """
    signs = {cell: prod(-1 if cell[i] == references[i] else 1 for i in factors) for cell in cells}
    return {cell: sign * 2 ** len(factors) / len(cells) for cell, sign in signs.items()}


def omega_squared(scores: ArrayLike, weights: ArrayLike) -> float | None:
    """Return ``omega^2 = (SS - df MSE) / (SS_total + MSE)`` of one contrast: its share of the variance of all scores.

    By least squares with a mean for each cell: ``SS = psi^2 / sum(w^2/n)`` with df = 1, MSE the variance inside
    cells (Olejnik & Algina 2003). A description, which ignores that repetitions are paired; below 0 it is 0.

    Args:
        scores: (cells, n) n repetitions of every cell.
        weights: (cells,)

    Returns:
        None below two repetitions, without any contrast, or where all scores are equal.
    """
    y, w = np.asarray(scores, dtype=float), np.asarray(weights, dtype=float)
    n = y.shape[1]
    if n < 2 or not w.any():
        return None
    means: NDArray[np.float64] = y.mean(axis=1)
    mse = float(((y - means[:, None]) ** 2).sum() / (len(y) * (n - 1)))
    total = float(((y - y.mean()) ** 2).sum())
    if total == 0:
        return None
    explained = float((w @ means) ** 2 / (w @ w / n))
    return max(0.0, (explained - mse) / (total + mse))


def _placed(context: Cell, levels: Mapping[int, int]) -> Cell:
    return tuple(levels.get(i, level) for i, level in enumerate(context))
