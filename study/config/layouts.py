"""The built-in designs: which cells of the factors' grid are trained, and which of them are compared.

A user's own design is a component too: a function of the reference cell and the levels of each factor that returns a
`Layout`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod
from typing import Annotated, TypeVar

from study.config.levels import Cell, Factors, check_factor, require_levels
from study.config.registry import Range, component
from study.config.study import Level
from study.errors import conflict, quoted, shortened, wrong_value

T = TypeVar("T")

MOST_FRACTION_FACTORS = 10
"""With more factors the search for a fraction takes too long."""
MOST_CELLS = 10_000
ROMAN = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")


@dataclass(frozen=True)
class Layout:
    """The cells of a design, without its strata and before any is excluded."""

    cells: list[Cell]
    """Each has a level for every factor."""
    compared: list[tuple[Cell, Cell]] | None = None
    """The pairs of cells (that, against) that are compared by default; None: every cell against the reference."""
    is_crossed: bool = False
    """Whether main effects and interactions are compared by default instead of cells."""
    words: tuple[frozenset[str], ...] = ()
    """The defining relation of a fraction: sets of factors whose product of signs is the same in all cells."""
    notes: tuple[str, ...] = ()
    """What the plan and the report say of the design."""


@component("design")
def one_factor(reference: Cell, factors: Factors) -> Layout:
    """The reference, and the cells that differ from it in one factor."""
    changes = [{**reference, factor: level} for factor, levels in factors.items() for level in levels]
    return Layout([reference, *(cell for cell in changes if cell != reference)])


@component("design")
def leave_one_out(reference: Cell, factors: Factors) -> Layout:
    """The reference, which is the full system, and the system without each of its parts in turn."""
    _check_two_levels("leave-one-out", factors, "with the part and without it")
    return one_factor(reference, factors)


@component("design")
def factorial(reference: Cell, factors: Factors) -> Layout:
    """Every combination of levels, the last factor changing fastest."""
    check_count(prod(map(len, factors.values())))
    cells = [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]
    return Layout([reference, *(cell for cell in cells if cell != reference)], is_crossed=True)


@component("design")
def ladder(
    reference: Cell,
    factors: Factors,
    *,
    order: Annotated[
        list[str], "the factors in the order in which they change; that of [factors] if empty"
    ] = [],  # noqa: B006
    second_order: Annotated[list[str], "another order, whose steps are trained and compared as well"] = [],  # noqa: B006
) -> Layout:
    """The reference, then its factors changed one after another, each step keeping those before it.

    What a step adds depends on the order: a second one shows by how much.
    """
    orders = [order or list(factors), *([second_order] if second_order else [])]
    cells: list[Cell] = [reference]
    steps: list[tuple[Cell, Cell]] = []
    for key, names in zip(("order", "second_order"), orders, strict=False):
        for factor in names:
            check_factor(factor, factors, key)
        if sorted(names) != sorted(factors):
            raise wrong_value(key, f"must name every factor once: {quoted(factors)}. Got {quoted(names)}.")
        last = reference
        for factor in names:
            for level in factors[factor]:
                if level != reference[factor]:
                    step = {**last, factor: level}
                    steps.append((step, last))
                    last = step
    for step, _ in steps:
        if step not in cells:
            cells.append(step)
    steps = [pair for i, pair in enumerate(steps) if pair not in steps[:i]]
    notes = [f"A ladder: the factors change in the order {', '.join(names)}." for names in orders]
    return Layout(cells, steps, notes=tuple(notes))


@component("design")
def fractional(
    reference: Cell,
    factors: Factors,
    *,
    resolution: Annotated[
        int, Range(3, 5), "3: main effects are clear of each other; 4: of interactions; 5: both"
    ] = 4,
) -> Layout:
    """The smallest regular fraction of a two-level factorial with a resolution.

    Of all fractions of that size it is the one with the fewest shortest words (Box, Hunter & Hunter 2005).
    """
    _check_two_levels("fractional", factors, "for its signs - and +")
    names = list(factors)
    if len(names) > MOST_FRACTION_FACTORS:
        raise wrong_value(
            "", f"a fraction is found for up to {MOST_FRACTION_FACTORS} factors. Got {len(names)}."
        )
    generators = _generators(len(names), resolution)
    if not generators:
        raise wrong_value(
            "",
            f"no fraction of {len(names)} factors has resolution {ROMAN[resolution]}; use kind = 'factorial', more "
            "factors or a lower resolution.",
        )
    basic = len(names) - len(generators)
    cells = []
    for chosen in product((0, 1), repeat=basic):
        signs = [*chosen, *(sum(chosen[i] for i in word) % 2 for word in generators)]
        cells.append(
            {
                factor: _changed(reference, factors, factor) if sign else reference[factor]
                for factor, sign in zip(names, signs, strict=True)
            }
        )
    words = tuple(
        frozenset(names[i] for i in word)
        for word in _relation([frozenset({*word, basic + j}) for j, word in enumerate(generators)])
    )
    shortest = min(map(len, words))
    notes = (
        f"A fraction: {len(cells)} of {2 ** len(names)} cells, resolution {ROMAN[min(shortest, 10)]}.",
        *_aliases(names, words),
    )
    return Layout(cells, is_crossed=True, words=words, notes=notes)


@component("design")
def list_(
    reference: Cell,
    factors: Factors,
    *,
    cells: Annotated[
        list[dict],  # type: ignore[type-arg]
        "a table of levels for each cell; a factor that it leaves out has the reference's",
    ],
) -> Layout:
    """The cells that the study file lists."""
    listed = [{**reference, **require_levels(cell, factors, f"cells[{i}]")} for i, cell in enumerate(cells)]
    for i, cell in enumerate(listed):
        if cell in listed[:i]:
            raise conflict(f"cells[{i}]", f"is the same as cells[{listed.index(cell)}].")
    if reference not in listed:
        raise wrong_value("cells", "must hold the reference.")
    return Layout([reference, *(cell for cell in listed if cell != reference)])


def check_count(cells: int) -> None:
    """Raise InputError where a design has more cells than a study may have variants."""
    if cells > MOST_CELLS:
        raise wrong_value(
            "",
            f"the design has {shortened(f'{cells:,}')} cells, each a variant of its own; at most {MOST_CELLS:,} are "
            "planned. Use fewer factors or levels, or kind = 'one-factor'.",
        )


def _check_two_levels(kind: str, factors: Factors, why: str) -> None:
    for factor, levels in factors.items():
        if len(levels) != 2:
            raise wrong_value(
                "", f"{kind} needs two levels of every factor, {why}. Got {len(levels)} of {factor!r}."
            )


def _changed(reference: Cell, factors: Factors, factor: str) -> Level:
    return next(level for level in factors[factor] if level != reference[factor])


def _generators(factors: int, resolution: int) -> tuple[tuple[int, ...], ...]:
    """Return the words of basic factors that give the signs of the others, of the smallest fraction; empty if none."""
    for added in range(factors - 1, 0, -1):
        basic = factors - added
        words = [w for size in range(resolution - 1, basic + 1) for w in combinations(range(basic), size)]
        best: tuple[tuple[int, int], tuple[tuple[int, ...], ...]] | None = None
        for chosen in combinations(words, added):
            relation = _relation([frozenset({*word, basic + j}) for j, word in enumerate(chosen)])
            lengths = sorted(map(len, relation))
            if lengths[0] >= resolution:
                rank = (-lengths[0], lengths.count(lengths[0]))
                if best is None or rank < best[0]:
                    best = (rank, chosen)
        if best is not None:
            return best[1]
    return ()


def _relation(words: Iterable[frozenset[T]]) -> list[frozenset[T]]:
    """Return all products of some words: a factor that two of them share cancels."""
    products: list[frozenset[T]] = [frozenset()]
    for word in words:
        products += [product ^ word for product in products]
    return [word for word in products if word]


def _aliases(names: Sequence[str], words: Iterable[frozenset[str]]) -> Iterator[str]:
    """Yield the alias table: main effects and two-way interactions that the cells do not separate."""
    seen: set[frozenset[str]] = set()
    effects = [frozenset(chosen) for size in (1, 2) for chosen in combinations(names, size)]
    for effect in effects:
        if effect in seen:
            continue
        aliases = [alias for word in words if 0 < len(alias := effect ^ word) <= 2]
        seen |= {effect, *aliases}
        if aliases:
            yield "Aliases, up to sign: " + " = ".join(_product(e, names) for e in (effect, *aliases)) + "."


def _product(effect: frozenset[str], names: Sequence[str]) -> str:
    return " × ".join(name for name in names if name in effect)
