"""The key ``repetitions`` of a study: their number, or the numbers after which comparisons may be closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from study.config.components.parameters import Range, validated
from study.config.tables import fill
from study.errors import conflict, wrong_value

MOST = 10_000
USUAL_LOOKS = (5, 8, 12)
"""Numbers of repetitions at which comparisons may be closed, where they lie between the least and the most."""
Fixed = Annotated[int, Range(1, MOST)]


@dataclass(frozen=True)
class Adaptive:
    """The keys of ``repetitions`` as a table: repetitions are added only while a comparison is open."""

    min: Annotated[int, Range(2, MOST)] | None = None
    max: Annotated[int, Range(2, MOST)] | None = None
    looks: list[int] = field(default_factory=list)


def repetitions_and_looks(given: Any, where: str) -> tuple[int, tuple[int, ...]]:
    """Return the most repetitions, and the numbers of them to look at; none where their number is fixed.

    The looks are ``looks``, or ``min``, those of `USUAL_LOOKS` between, and ``max``.

    Raises:
        InputError: Neither a number nor such a table, or looks that do not ascend from 2 on.
    """
    if not isinstance(given, Mapping):
        number: int = validated(Fixed, given, where)
        return number, ()
    keys = fill(Adaptive, given, where)
    if keys.looks:
        if keys.min is not None or keys.max is not None:
            raise conflict(f"{where}.looks", "are the least and the most too; remove 'min' and 'max'.")
        looks = tuple(keys.looks)
    elif keys.min is None or keys.max is None:
        raise wrong_value(where, "must be a number, or have 'min' and 'max', or 'looks'.", given)
    else:
        usual = (look for look in USUAL_LOOKS if keys.min < look < keys.max)
        looks = (keys.min, *usual, keys.max)
    if len(looks) < 2 or list(looks) != sorted(set(looks)) or looks[0] < 2 or looks[-1] > MOST:
        raise wrong_value(
            where,
            f"must be at least two numbers of repetitions, ascending, from 2 to {MOST}. Got "
            f"{', '.join(map(str, looks))} instead.",
        )
    return looks[-1], looks
