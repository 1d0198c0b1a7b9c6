"""Critical values of |t| at the looks of a group-sequential comparison, simulated, with a table of common ones.

``python -m study.statistics.boundaries`` writes the table, `TABLE`, anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise
from math import sqrt
from pathlib import Path

import numpy as np
from scipy import special

from study.statistics.families import BORROW_FROM, borrowed_df, borrowed_variance

TABLE = Path(__file__).with_name("boundaries.json")
SEED = 20_231_126
FAMILIES = {"table": 4_000_000, "run": 1_000_000}
"""Simulated comparisons; of families with several arms, this number divided by the number of arms."""
CHUNK = 100_000
DIGITS = 3
TABLE_LOOKS = ((5, 8, 12), (5, 10), (3, 5, 8, 12))
TABLE_ALPHAS = (0.05, 0.01)
TABLE_FAMILIES = (1, 2, *range(BORROW_FROM, 13))


@dataclass(frozen=True)
class Boundary:
    """The critical values of one family of comparisons at each look."""

    looks: tuple[int, ...]
    """Numbers of repetitions, ascending."""
    alpha: float
    comparisons: int
    two_sided: tuple[float, ...]
    """|t| at which a difference from 0 is shown, by look."""
    one_sided: tuple[float, ...]
    """t at which a difference is shown to lie on one side of a bound, by look: equivalence needs both sides."""

    def df(self, look: int) -> float:
        """Return the degrees of freedom of t at a look (its index) without missing repetitions."""
        n = self.looks[look]
        return float(n - 1 if self.comparisons < BORROW_FROM else borrowed_df(n, self.comparisons))

    def level(self, look: int) -> float:
        """Return the nominal two-sided level of a look: P(|T| > c) of Student's t with `df`."""
        return float(2 * special.stdtr(self.df(look), -self.two_sided[look]))

    def one_sided_level(self, look: int) -> float:
        """Return the nominal one-sided level of a look: P(T > c) of Student's t with `df`."""
        return float(special.stdtr(self.df(look), -self.one_sided[look]))


@cache
def boundary(looks: tuple[int, ...], alpha: float, comparisons: int = 1) -> Boundary:
    """Return the boundary of a family, from the table or simulated with a fixed seed (about two seconds).

    The chance of any false crossing up to look k is ``alpha n_k / n_K`` (Lan & DeMets 1983): of |t| where every
    difference is 0, and of t on one side. Up to two comparisons share alpha (Bonferroni); from three on, variances
    are borrowed (`families`) and the error is that of the whole family: variants of equal variance against one
    reference, whose differences correlate by one half.

    Args:
        looks: Numbers of repetitions, ascending, at least 2.
        alpha: The family's error rate.
        comparisons: Its size m.

    Raises:
        ValueError: Looks that are not ascending from 2 on, a level outside (0, 1), no comparison.
    """
    check_looks(looks)
    if not 0 < alpha < 1 or comparisons < 1:
        raise ValueError(f"No boundary at alpha {alpha} for {comparisons} comparisons.")
    return _table().get((looks, alpha, comparisons)) or simulate(looks, alpha, comparisons, FAMILIES["run"])


def check_looks(looks: tuple[int, ...]) -> None:
    """Raise ValueError where looks are not ascending numbers of repetitions, at least 2."""
    if not looks or looks[0] < 2 or any(later <= earlier for earlier, later in pairwise(looks)):
        raise ValueError(f"Looks must be ascending numbers of repetitions from 2 on, not {looks}.")


def simulate(looks: tuple[int, ...], alpha: float, comparisons: int, paths: int) -> Boundary:
    """Simulate the boundary of a family from `paths` comparisons (see `boundary`)."""
    arms = comparisons if comparisons >= BORROW_FROM else 1
    shared = alpha if arms > 1 else alpha / comparisons
    families = max(CHUNK, paths // arms)
    rng = np.random.default_rng(SEED)
    chunks = [np.stack(list(_largest(looks, arms, rng))) for _ in range(-(-families // CHUNK))]
    two_sided, one_sided = np.concatenate(chunks, axis=2).transpose(1, 0, 2)
    return Boundary(
        looks, alpha, comparisons, _spend(two_sided, looks, shared), _spend(one_sided, looks, shared)
    )


def _largest(looks: tuple[int, ...], arms: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield (2, CHUNK) at each look: the largest |t| and the largest t of each simulated family.

    Repetitions of a block enter by their sum and their squares about its mean. With e_0 the reference and e_a an
    arm, ``(e_a - e_0)/sqrt(2)`` has the squares ``((z_a - r)^2 + g_a)/2``: r, the length of the centred e_0, is
    chi with b - 1 degrees of freedom, z_a, the part of e_a along it, standard normal, g_a, the squares of the rest,
    chi-squared with b - 2.
    """
    sums, squares = np.zeros((CHUNK, arms)), np.zeros((CHUNK, arms))
    for before, n in pairwise((0, *looks)):
        b = n - before
        block = sqrt(b / 2) * (rng.standard_normal((CHUNK, arms)) - rng.standard_normal((CHUNK, 1)))
        sums += block
        squares += block**2 / b
        if b > 1:
            r = np.sqrt(2 * rng.standard_gamma((b - 1) / 2, (CHUNK, 1)))
            g = 2 * rng.standard_gamma((b - 2) / 2, (CHUNK, arms))
            squares += ((rng.standard_normal((CHUNK, arms)) - r) ** 2 + g) / 2
        s2 = (squares - sums**2 / n) / (n - 1)
        if arms >= BORROW_FROM:
            s2 = borrowed_variance(s2, s2.mean(axis=1, keepdims=True), n, arms)
        t = sums / np.sqrt(n * s2)
        yield np.stack([np.abs(t).max(axis=1), t.max(axis=1)])


def _spend(largest: np.ndarray, looks: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    """Return the value at each look that spends alpha in proportion to n on families that have not crossed before.

    Args:
        largest: (looks, families) the largest statistic of each family.
    """
    going = np.ones(largest.shape[1], dtype=bool)
    critical = []
    for n, values in zip(looks, largest, strict=True):
        crossings = round(alpha * n / looks[-1] * going.size) - int((~going).sum())
        open_values = values[going]
        critical.append(round(float(np.partition(open_values, -crossings)[-crossings]), DIGITS))
        going &= values < critical[-1]
    return tuple(critical)


@cache
def _table() -> dict[tuple[tuple[int, ...], float, int], Boundary]:
    rows = [
        Boundary(
            tuple(r["looks"]), r["alpha"], r["comparisons"], tuple(r["two_sided"]), tuple(r["one_sided"])
        )
        for r in json.loads(TABLE.read_text(encoding="utf-8"))
    ]
    return {(row.looks, row.alpha, row.comparisons): row for row in rows}


def write_table() -> None:
    """Simulate the boundaries of `TABLE` and write them, a line each (minutes)."""
    rows = [
        json.dumps(asdict(simulate(looks, alpha, m, FAMILIES["table"])))
        for looks in TABLE_LOOKS
        for alpha in TABLE_ALPHAS
        for m in TABLE_FAMILIES
    ]
    TABLE.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    write_table()
