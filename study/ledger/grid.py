"""Points of a search space: which parameters they have, and all of them where they are few."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod
from typing import Any

from study.hashing import canonical_json
from study.nested import value_at

GRID = "grid"
"""The sampler of a study whose trials are as many as its points: each point is tried once."""
MOST_POINTS = 10_000
"""A larger space is not enumerated."""
Space = Mapping[str, Mapping[str, Any]]
"""Dimensions by dotted key, as `StudyRecord.space`."""


def active(space: Space, point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a point that its components have."""
    keys = active_keys(space, point)
    return {key: value for key, value in point.items() if key in keys}


def active_keys(space: Space, point: Mapping[str, Any]) -> set[str]:
    """Return the dimensions that a point with these components has."""

    def is_active(key: str) -> bool:
        given = space[key].get("given", {})
        return all(
            kind in point and is_active(kind) and point[kind]["name"] in names
            for kind, names in given.items()
        )

    return set(filter(is_active, space))


def point_in(space: Space, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the point of a space that a trial's configuration has, each component as the choice that it was."""
    point = {}
    for key, dimension in space.items():
        value = value_at(config, key)
        if isinstance(value, Mapping):
            searched = {name.removeprefix(f"{key}.") for name in space if name.startswith(f"{key}.")}
            fixed = value.keys() - searched
            value = next(
                (
                    choice
                    for choice in dimension["choices"]
                    if isinstance(choice, Mapping)
                    and choice.keys() == value.keys()
                    and all(choice[name] == value[name] for name in fixed)
                ),
                value,
            )
        point[key] = value
    return active(space, point)


def grid_of(space: Space) -> list[dict[str, Any]] | None:
    """Return all points of a space, each once; None where they are many."""
    values = [_values(dimension) for dimension in space.values()]
    if prod(map(len, values)) > MOST_POINTS:
        return None
    points = (active(space, dict(zip(space, chosen, strict=True))) for chosen in product(*values))
    return list({canonical_json(point): point for point in points}.values())


def _values(dimension: Mapping[str, Any]) -> list[Any] | range:
    """Return the choices of a dimension, or the integers of a range; of floats more than are enumerated."""
    if "choices" in dimension:
        return list(dimension["choices"])
    low, high = dimension["low"], dimension["high"]
    if not isinstance(low, int) or not isinstance(high, int) or high - low > MOST_POINTS:
        return range(MOST_POINTS + 1)
    return range(low, high + 1)
