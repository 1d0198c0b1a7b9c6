"""Attribution of a gain to the parts that make it: Shapley values, as contrasts of the cells of a full design."""

from __future__ import annotations

from itertools import product
from math import factorial

MOST_PARTS = 6
"""64 cells."""


def shapley(parts: int) -> list[dict[tuple[int, ...], float]]:
    """Return the contrast of each part's Shapley value (Shapley 1953).

    ``phi_i = sum over S without i of |S|! (k - |S| - 1)! / k! (v(S + i) - v(S))``: the mean gain of adding part i,
    over all orders in which the k parts can be added. The values of all parts sum to v(all) - v(none); leave-one-out
    is the term of the largest S, adding to the bare system that of the empty one.

    Args:
        parts: k, from 1 to `MOST_PARTS`.

    Returns:
        For each part the weights of all 2^k cells; a cell has 1 for each part that it holds, else 0.

    Raises:
        ValueError: More parts than `MOST_PARTS`, or none.
    """
    if not 1 <= parts <= MOST_PARTS:
        raise ValueError(f"Shapley values need 1 to {MOST_PARTS} parts, not {parts}.")
    cells = list(product((0, 1), repeat=parts))
    return [{cell: _weight(cell, part) for cell in cells} for part in range(parts)]


def _weight(cell: tuple[int, ...], part: int) -> float:
    """Return the weight of v(cell) in a part's value: positive with the part, negative without it."""
    others = sum(cell) - cell[part]
    share = factorial(others) * factorial(len(cell) - others - 1) / factorial(len(cell))
    return share if cell[part] else -share
