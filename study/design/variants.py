"""From a study's factors to the variants that are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from study.errors import InputError, listing, nearest
from study.hashing import canonical_json
from study.registry import Config, Registry
from study.spec.settings import Settings
from study.spec.study import Claim, StudySpec, dimensions, resolve

Cell = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One cell of the design, resolved."""

    name: str
    levels: Mapping[str, str]
    """The level of every factor, as reports print it."""
    is_reference: bool
    config: Mapping[str, Config]
    places: Mapping[str, str]


def variants(spec: StudySpec, registry: Registry, settings: Settings) -> tuple[Variant, ...]:
    """Return the study's variants, the reference first.

    Raises:
        InputError: A reference that is not a level, a component or value that does not exist, two variants
            that are the same network, a search dimension that leaves a parameter's range.
    """
    reference = _reference(spec)
    cells = DESIGNS[spec.design.kind](reference, spec.factors)
    found: dict[str, Variant] = {}
    for cell in cells:
        config, places = resolve(spec, registry, settings, cell)
        levels = {factor: label(level) for factor, level in cell.items()}
        variant = Variant(_name(cell, reference), levels, cell == reference, config, places)
        twin = found.setdefault(canonical_json(config), variant)
        if twin is not variant:
            raise InputError(
                f"{spec.file}: factors: the variants {twin.name!r} and {variant.name!r} resolve to the same "
                "configuration, so there is nothing to compare. Remove one of the two levels."
            )
        _check_space(spec, registry, settings, cell)
    chosen = tuple(found.values())
    if len(chosen) < 2:
        raise InputError(
            f"{spec.file}: factors: there is one variant only, so nothing to compare. Add a level."
        )
    for place, claim in enumerate(spec.claims):
        claimed(claim, chosen, f"{spec.file}: claims[{place}]")
    return chosen


def one_factor(reference: Cell, factors: Mapping[str, tuple[Any, ...]]) -> list[Cell]:
    """Return the reference, then every single change to it, in the order of the factors."""
    changes = [{**reference, factor: level} for factor, levels in factors.items() for level in levels]
    return [reference, *(cell for cell in changes if cell != reference)]


DESIGNS: dict[str, Callable[[Cell, Mapping[str, tuple[Any, ...]]], list[Cell]]] = {"one-factor": one_factor}


def label(level: Any) -> str:
    """Return a level as a reader would write it: ``issm(frozen=true)``, ``0.001``."""
    if isinstance(level, Mapping):
        rest = ", ".join(f"{key}={label(value)}" for key, value in level.items() if key != "name")
        return f"{level.get('name', '')}({rest})" if rest else str(level.get("name", ""))
    if isinstance(level, bool):
        return "true" if level else "false"
    if isinstance(level, float):
        return f"{level:g}"
    return str(level)


def claimed(claim: Claim, variants: tuple[Variant, ...], where: str) -> tuple[Variant, Variant]:
    """Return the two variants that a claim compares; the second is the reference.

    Raises:
        InputError: A side that names no variant or several, or a comparison that the design does not make.
    """
    that = _select(claim.that, variants, f"{where}.that")
    beats = _select(claim.beats, variants, f"{where}.beats")
    if that.is_reference or not beats.is_reference:
        reference = next(variant for variant in variants if variant.is_reference)
        raise InputError(
            f"{where}: this design compares every variant with the reference {reference.name!r}; "
            "'beats' must name it, and 'that' another variant."
        )
    return that, beats


def _select(side: Mapping[str, Any], variants: tuple[Variant, ...], where: str) -> Variant:
    wanted = {factor: label(level) for factor, level in side.items()}
    reference = next(variant for variant in variants if variant.is_reference)
    for factor in wanted:
        if factor not in reference.levels:
            raise InputError(
                f"{where}: {factor!r} is no factor of this study.{nearest(factor, reference.levels)} "
                f"Allowed: {listing(reference.levels)}."
            )
    levels = {**reference.levels, **wanted}
    for variant in variants:
        if variant.levels == levels:
            return variant
    raise InputError(f"{where}: no variant has {wanted}. Variants: {listing(v.name for v in variants)}.")


def _reference(spec: StudySpec) -> Cell:
    where = f"{spec.file}: design.reference"
    given = dict(spec.design.reference)
    for factor in given:
        if factor not in spec.factors:
            raise InputError(
                f"{where}.{factor}: is no factor of this study.{nearest(factor, spec.factors)} "
                f"Allowed: {listing(spec.factors)}."
            )
    for factor, levels in spec.factors.items():
        if factor not in given:
            raise InputError(f"{where}: must name a level of {factor!r}: {listing(map(label, levels))}.")
        if given[factor] not in levels:
            names = [label(level) for level in levels]
            raise InputError(
                f"{where}.{factor}: must be one of the factor's levels, {listing(names)}. "
                f"Got {given[factor]!r} instead.{nearest(label(given[factor]), names)}"
            )
    return {factor: given[factor] for factor in spec.factors}


def _name(cell: Cell, reference: Cell) -> str:
    """Name a cell after what sets it apart: its one level, or its changes to the reference."""
    if len(cell) == 1:
        return label(next(iter(cell.values())))
    changes = [f"{factor}={label(level)}" for factor, level in cell.items() if level != reference[factor]]
    return ", ".join(changes) or "reference"


def _check_space(spec: StudySpec, registry: Registry, settings: Settings, cell: Cell) -> None:
    """Resolve the corners of the search space, so that no trial can leave a parameter's range."""
    for key, dimension in dimensions(spec).items():
        for value in dimension.choices or (dimension.low, dimension.high):
            resolve(spec, registry, settings, {**cell, key: value}, section="search.space")
