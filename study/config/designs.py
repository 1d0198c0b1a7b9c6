"""From a study's factors to the variants that are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from study.errors import InputError, listing, nearest
from study.hashing import canonical_json
from study.config.registry import Config, Registry
from study.config.settings import Settings
from study.config.study import Claim, StudySpec, dimensions, neutral_values, resolve

Cell = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One cell of the design, resolved."""

    name: str
    levels: Mapping[str, str]
    """The level of every factor, as reports print it."""
    reference: str
    """The name of the variant that this one is compared with: its own where it is a reference."""
    config: Mapping[str, Config]
    places: Mapping[str, str]
    neutral: Mapping[str, Any]
    """Parameters that were added later, at the value at which they do not count."""

    @property
    def is_reference(self) -> bool:
        """Whether others are compared with this variant."""
        return self.name == self.reference


def variants(spec: StudySpec, registry: Registry, settings: Settings) -> tuple[Variant, ...]:
    """Return the study's variants: stratum by stratum, the reference first.

    Raises:
        InputError: A reference that is not a level, a component or value that does not exist, two variants
            that are the same network, a search dimension that leaves a parameter's range.
    """
    reference = _reference(spec)
    varied = {factor: levels for factor, levels in spec.factors.items() if factor in reference}
    cells = DESIGNS[spec.design.kind](reference, varied, f"{spec.file}: design")
    found: dict[str, Variant] = {}
    for stratum in _strata(spec):
        for cell in cells:
            whole = {**cell, **stratum}
            config, places = resolve(spec, registry, settings, whole)
            variant = Variant(
                name=_name(cell, reference, stratum),
                levels={factor: label(whole[factor]) for factor in spec.factors},
                reference=_name(reference, reference, stratum),
                config=config,
                places=places,
                neutral=neutral_values(config, registry),
            )
            twin = found.setdefault(canonical_json(config), variant)
            if twin is not variant:
                raise InputError(
                    f"{spec.file}: factors: the variants {twin.name!r} and {variant.name!r} resolve to the same "
                    "configuration, so there is nothing to compare. Remove one of the two levels."
                )
            _check_space(spec, registry, settings, whole)
    if len(cells) < 2:
        raise InputError(
            f"{spec.file}: factors: there is one variant only, so nothing to compare. Add a level."
        )
    chosen = tuple(found.values())
    for place, claim in enumerate(spec.claims):
        claimed(claim, chosen, f"{spec.file}: claims[{place}]")
    return chosen


def one_factor(reference: Cell, factors: Mapping[str, tuple[Any, ...]], where: str) -> list[Cell]:
    """Return the reference, then every single change to it, in the order of the factors."""
    changes = [{**reference, factor: level} for factor, levels in factors.items() for level in levels]
    return [reference, *(cell for cell in changes if cell != reference)]


def leave_one_out(reference: Cell, factors: Mapping[str, tuple[Any, ...]], where: str) -> list[Cell]:
    """Return the full network, which is the reference, then the network without each of its parts in turn."""
    for factor, levels in factors.items():
        if len(levels) != 2:
            raise InputError(
                f"{where}: leave-one-out needs two levels of every factor, with the part and without it. "
                f"Got {len(levels)} of {factor!r}."
            )
    return one_factor(reference, factors, where)


def factorial(reference: Cell, factors: Mapping[str, tuple[Any, ...]], where: str) -> list[Cell]:
    """Return every combination of levels, the reference first, the last factor changing fastest."""
    cells = [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]
    return [reference, *(cell for cell in cells if cell != reference)]


DESIGNS: dict[str, Callable[[Cell, Mapping[str, tuple[Any, ...]], str], list[Cell]]] = {
    "one-factor": one_factor,
    "leave-one-out": leave_one_out,
    "factorial": factorial,
}


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
    """Return the two variants that a claim compares; one of them is the other one's reference.

    A factor that a side does not name has its reference's level.

    Raises:
        InputError: A side that names no variant or several, or a comparison that the design does not make.
    """
    that = _select(claim.that, variants, f"{where}.that")
    beats = _select(claim.beats, variants, f"{where}.beats")
    if that.is_reference == beats.is_reference or that.reference != beats.reference:
        raise InputError(
            f"{where}: this design compares every variant with its reference; that of {that.name!r} is "
            f"{that.reference!r}. One side must name it, and the other another variant."
        )
    return that, beats


def _select(side: Mapping[str, Any], variants: tuple[Variant, ...], where: str) -> Variant:
    wanted = {factor: label(level) for factor, level in side.items()}
    factors = variants[0].levels
    for factor in wanted:
        if factor not in factors:
            raise InputError(
                f"{where}: {factor!r} is no factor of this study.{nearest(factor, factors)} "
                f"Allowed: {listing(factors)}."
            )
    references = {variant.name: variant.levels for variant in variants if variant.is_reference}
    found = [v for v in variants if v.levels == {**references[v.reference], **wanted}]
    if len(found) == 1:
        return found[0]
    problem = (
        f"no variant has {wanted}"
        if not found
        else f"{wanted} names several variants; add the factors in 'within'"
    )
    raise InputError(f"{where}: {problem}. Variants: {listing(v.name for v in variants)}.")


def _reference(spec: StudySpec) -> Cell:
    where = f"{spec.file}: design.reference"
    given = dict(spec.design.reference)
    for factor in (*given, *spec.design.within):
        if factor not in spec.factors:
            key = where + f".{factor}" if factor in given else f"{spec.file}: design.within"
            raise InputError(
                f"{key}: {factor!r} is no factor of this study.{nearest(factor, spec.factors)} "
                f"Allowed: {listing(spec.factors)}."
            )
    for factor, levels in spec.factors.items():
        names = [label(level) for level in levels]
        if factor in spec.design.within:
            if factor in given:
                raise InputError(
                    f"{where}.{factor}: the levels of a factor in 'within' are not compared; remove it."
                )
        elif factor not in given:
            raise InputError(f"{where}: must name a level of {factor!r}: {listing(names)}.")
        elif given[factor] not in levels:
            raise InputError(
                f"{where}.{factor}: must be one of the factor's levels, {listing(names)}. "
                f"Got {given[factor]!r} instead.{nearest(label(given[factor]), names)}"
            )
    return {factor: given[factor] for factor in spec.factors if factor in given}


def _strata(spec: StudySpec) -> list[Cell]:
    """Return every combination of the levels of the factors in `within`; one empty one where there are none."""
    within = [factor for factor in spec.factors if factor in spec.design.within]
    return [dict(zip(within, levels, strict=True)) for levels in product(*(spec.factors[f] for f in within))]


def _name(cell: Cell, reference: Cell, stratum: Cell) -> str:
    """Name a cell after what sets it apart, its one level or its changes to the reference, and its stratum."""
    if len(cell) == 1:
        own = label(next(iter(cell.values())))
    else:
        changes = [f"{factor}={label(level)}" for factor, level in cell.items() if level != reference[factor]]
        own = ", ".join(changes) or "reference"
    return ", ".join([own, *(f"{factor}={label(level)}" for factor, level in stratum.items())])


def _check_space(spec: StudySpec, registry: Registry, settings: Settings, cell: Cell) -> None:
    """Resolve the corners of the search space, so that no trial can leave a parameter's range."""
    for key, dimension in dimensions(spec).items():
        for value in dimension.choices or (dimension.low, dimension.high):
            resolve(spec, registry, settings, {**cell, key: value}, section="search.space")
