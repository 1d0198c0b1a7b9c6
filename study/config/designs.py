"""From a study's factors to the variants that are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from study.config.resolve import Resolver
from study.config.study import Claim, Level, StudySpec, dimensions
from study.errors import InputError, nearest, quoted
from study.hashing import canonical_json

Cell = dict[str, Level]
Cells = Callable[[Cell, Mapping[str, tuple[Level, ...]], str], list[Cell]]


@dataclass(frozen=True)
class Variant:
    """One cell of the design, resolved."""

    name: str
    levels: Mapping[str, str]
    """The level of every factor, as reports print it."""
    reference: str
    """The name of the variant that this one is compared with: its own where it is a reference."""
    config: Mapping[str, Any]
    local_paths: Mapping[str, str]
    """Folders and files on this machine by dotted key."""
    legacy: Mapping[str, Any]
    """Values at which later-added parameters and kinds do not count, by dotted key."""

    @property
    def is_reference(self) -> bool:
        """Whether others are compared with this variant."""
        return self.name == self.reference


def variants(spec: StudySpec, resolver: Resolver) -> tuple[Variant, ...]:
    """Return the study's variants: stratum by stratum, the reference first.

    Raises:
        InputError: A reference that is not a level, a component or value that does not exist, two variants
            that are the same configuration, a search dimension that leaves a parameter's range.
    """
    reference = _reference(spec)
    varied = {factor: levels for factor, levels in spec.factors.items() if factor in reference}
    cells = DESIGNS[spec.design.kind](reference, varied, f"{spec.file}: design")
    found: dict[str, Variant] = {}
    for stratum in _strata(spec):
        for cell in cells:
            whole = {**cell, **stratum}
            values = {factor: level.value for factor, level in whole.items()}
            resolved = resolver.resolve(values)
            variant = Variant(
                name=_name(cell, reference, stratum),
                levels={factor: whole[factor].text for factor in spec.factors},
                reference=_name(reference, reference, stratum),
                config=resolved.config,
                local_paths=resolved.local_paths,
                legacy=resolved.legacy,
            )
            twin = found.setdefault(canonical_json(resolved.config), variant)
            if twin is not variant:
                raise InputError(
                    f"{spec.file}: factors: the variants {twin.name!r} and {variant.name!r} resolve to the same "
                    "configuration, so there is nothing to compare. Remove one of the two levels."
                )
            _check_space(spec, resolver, values)
    if len(cells) < 2:
        raise InputError(
            f"{spec.file}: factors: there is one variant only, so nothing to compare. Add a level."
        )
    chosen = tuple(found.values())
    names = [variant.name for variant in chosen]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(
            f"{spec.file}: factors: two variants are called {twice[0]!r}; give their levels different labels."
        )
    for number, claim in enumerate(spec.claims):
        claimed(claim, spec, chosen, f"{spec.file}: claims[{number}]")
    return chosen


def one_factor(reference: Cell, factors: Mapping[str, tuple[Level, ...]], where: str) -> list[Cell]:
    """Return the reference, then every single change to it, in the order of the factors."""
    changes = [{**reference, factor: level} for factor, levels in factors.items() for level in levels]
    return [reference, *(cell for cell in changes if cell != reference)]


def leave_one_out(reference: Cell, factors: Mapping[str, tuple[Level, ...]], where: str) -> list[Cell]:
    """Return the full network, which is the reference, then the network without each of its parts in turn."""
    for factor, levels in factors.items():
        if len(levels) != 2:
            raise InputError(
                f"{where}: leave-one-out needs two levels of every factor, with the part and without it. "
                f"Got {len(levels)} of {factor!r}."
            )
    return one_factor(reference, factors, where)


def factorial(reference: Cell, factors: Mapping[str, tuple[Level, ...]], where: str) -> list[Cell]:
    """Return every combination of levels, the reference first, the last factor changing fastest."""
    cells = [dict(zip(factors, levels, strict=True)) for levels in product(*factors.values())]
    return [reference, *(cell for cell in cells if cell != reference)]


DESIGNS: dict[str, Cells] = {
    "one-factor": one_factor,
    "leave-one-out": leave_one_out,
    "factorial": factorial,
}


def claimed(
    claim: Claim, spec: StudySpec, variants: tuple[Variant, ...], where: str
) -> tuple[Variant, Variant]:
    """Return the two variants that a claim compares; one of them is the other one's reference.

    A factor that a side does not name has its reference's level.

    Raises:
        InputError: A side that names no variant or several, or a comparison that the design does not make.
    """
    that = _select(claim.that, spec, variants, f"{where}.that")
    beats = _select(claim.beats, spec, variants, f"{where}.beats")
    if that.is_reference == beats.is_reference or that.reference != beats.reference:
        raise InputError(
            f"{where}: this design compares every variant with its reference; that of {that.name!r} is "
            f"{that.reference!r}. One side must name it, and the other another variant."
        )
    return that, beats


def _select(side: Mapping[str, Any], spec: StudySpec, variants: tuple[Variant, ...], where: str) -> Variant:
    wanted: dict[str, str] = {}
    for factor, value in _flat_side(side, spec.factors).items():
        if factor not in spec.factors:
            raise InputError(
                f"{where}: {factor!r} is no factor of this study.{nearest(factor, spec.factors)} "
                f"Allowed: {quoted(spec.factors)}."
            )
        level = _level_of(value, spec.factors[factor])
        if level is None:
            names = [level.text for level in spec.factors[factor]]
            raise InputError(
                f"{where}.{factor}: must be one of the factor's levels, {quoted(names)}. "
                f"Got {value!r} instead.{nearest(Level(value).text, names)}"
            )
        wanted[factor] = level.text
    references = {variant.name: variant.levels for variant in variants if variant.is_reference}
    found = [v for v in variants if v.levels == {**references[v.reference], **wanted}]
    if len(found) == 1:
        return found[0]
    problem = (
        f"no variant has {wanted}"
        if not found
        else f"{wanted} names several variants; add the factors in 'within'"
    )
    raise InputError(f"{where}: {problem}. Variants: {quoted(v.name for v in variants)}.")


def _flat_side(side: Mapping[str, Any], factors: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return levels by factor, whether TOML wrote ``"train.lr"`` or ``train.lr``."""
    flat: dict[str, Any] = {}
    for key, value in side.items():
        name = prefix + key
        if (
            isinstance(value, Mapping)
            and name not in factors
            and any(f.startswith(name + ".") for f in factors)
        ):
            flat |= _flat_side(value, factors, name + ".")
        else:
            flat[name] = value
    return flat


def _level_of(value: Any, levels: tuple[Level, ...]) -> Level | None:
    """Return the level that has a value, or a label, None where there is none."""
    same = [level for level in levels if canonical_json(level.value) == canonical_json(value)]
    if isinstance(value, str):
        same += [level for level in levels if level.label == value]
    return same[0] if same else None


def _reference(spec: StudySpec) -> Cell:
    where = f"{spec.file}: design.reference"
    given = _flat_side(spec.design.reference, spec.factors) or _standing(spec)
    for factor in (*given, *spec.design.within):
        if factor not in spec.factors:
            key = where + f".{factor}" if factor in given else f"{spec.file}: design.within"
            raise InputError(
                f"{key}: {factor!r} is no factor of this study.{nearest(factor, spec.factors)} "
                f"Allowed: {quoted(spec.factors)}."
            )
    reference: Cell = {}
    for factor, levels in spec.factors.items():
        names = [level.text for level in levels]
        if factor in spec.design.within:
            if factor in given:
                raise InputError(
                    f"{where}.{factor}: the levels of a factor in 'within' are not compared; remove it."
                )
            continue
        if factor not in given:
            raise InputError(f"{where}: must name a level of {factor!r}: {quoted(names)}.")
        level = _level_of(given[factor], levels)
        if level is None:
            raise InputError(
                f"{where}.{factor}: must be one of the factor's levels, {quoted(names)}. "
                f"Got {given[factor]!r} instead.{nearest(Level(given[factor]).text, names)}"
            )
        reference[factor] = level
    return reference


def _standing(spec: StudySpec) -> dict[str, Any]:
    """Return the level of each factor that ``[base]`` has, or its first one."""
    found: dict[str, Any] = {}
    for factor, levels in spec.factors.items():
        value: Any = spec.base
        for key in factor.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if factor not in spec.design.within:
            found[factor] = value if _level_of(value, levels) else levels[0].value
    return found


def _strata(spec: StudySpec) -> list[Cell]:
    """Return every combination of the levels of the factors in `within`; one empty one where there are none."""
    within = [factor for factor in spec.factors if factor in spec.design.within]
    return [dict(zip(within, levels, strict=True)) for levels in product(*(spec.factors[f] for f in within))]


def _name(cell: Cell, reference: Cell, stratum: Cell) -> str:
    """Name a cell after what sets it apart, its one level or its changes to the reference, and its stratum."""
    if len(cell) == 1:
        own = _named(*next(iter(cell.items())), is_alone=True)
    else:
        changes = [_named(factor, level) for factor, level in cell.items() if level != reference[factor]]
        own = ", ".join(changes) or "reference"
    return ", ".join([own, *(_named(factor, level) for factor, level in stratum.items())])


def _named(factor: str, level: Level, is_alone: bool = False) -> str:
    """Return a level as a part of a variant's name: its label, or with its factor where it says nothing alone."""
    if level.label:
        return level.label
    says_something = is_alone and isinstance(level.value, str | Mapping)
    return level.text if says_something else f"{factor}={level.text}"


def _check_space(spec: StudySpec, resolver: Resolver, values: Mapping[str, Any]) -> None:
    """Resolve the corners of the search space, so that no trial can leave a parameter's range."""
    for key, dimension in dimensions(spec).items():
        for value in dimension.choices or (dimension.low, dimension.high):
            resolver.resolve({**values, key: value}, section="search.space")
