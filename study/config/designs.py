"""Designs: the variants of a study from its factors, and the comparisons that its claims name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from study.config.resolve import Resolver
from study.config.space import check_overlaps
from study.config.study import Claim, Level, StudySpec
from study.errors import InputError, nearest, quoted
from study.hashing import canonical_json
from study.names import as_printed
from study.nested import flatten, value_at

Cell = dict[str, Level]
Cells = Callable[[Cell, Mapping[str, tuple[Level, ...]], str], list[Cell]]


@dataclass(frozen=True)
class Variant:
    """One cell of the design, resolved."""

    name: str
    levels: Mapping[str, str]
    """The level of every factor, as reports print it."""
    values: Mapping[str, Any]
    """The value of every factor."""
    reference: str
    """The name of the variant that this one is compared with; its own name where it is a reference."""
    config: Mapping[str, Any]
    local_paths: Mapping[str, str]
    """Folders and files on this machine by dotted key."""
    legacy: Mapping[str, Any]
    """Legacy defaults by dotted key: later-added parameters and kinds do not count at these values."""
    in_trials: Mapping[str, Any]
    """Values by dotted key that trials of a search have in place of those of `config`."""

    @property
    def is_reference(self) -> bool:
        """Whether others are compared with this variant."""
        return self.name == self.reference


def variants_of(spec: StudySpec, resolver: Resolver) -> tuple[Variant, ...]:
    """Return the study's variants: stratum by stratum, the reference first.

    Raises:
        InputError: A reference that is not a level, a component or value that does not exist, two variants
            with the same configuration, two factors, or a factor and the search, that set the same key.
    """
    reference = _reference(spec)
    check_overlaps(spec, resolver.task.kinds and resolver.registry.kinds)
    varied = {factor: levels for factor, levels in spec.factors.items() if factor in reference}
    cells = DESIGNS[spec.design.kind](reference, varied, f"{spec.file}: design")
    by_config: dict[str, Variant] = {}
    for stratum in _strata(spec):
        for cell in cells:
            levels = {**cell, **stratum}
            values = {factor: level.value for factor, level in levels.items()}
            resolved = resolver.resolve(values)
            variant = Variant(
                name=_name(cell, reference, stratum),
                levels={factor: levels[factor].text for factor in spec.factors},
                values=values,
                reference=_name(reference, reference, stratum),
                config=resolved.config,
                local_paths=resolved.local_paths,
                legacy=resolved.legacy,
                in_trials=resolved.in_trials if spec.search.trials else {},
            )
            first = by_config.setdefault(canonical_json(resolved.config), variant)
            if first is not variant:
                raise InputError(
                    f"{spec.file}: factors: the variants {first.name!r} and {variant.name!r} resolve to the same "
                    "configuration and cannot be compared. Remove one of the two levels."
                )
    if len(cells) < 2:
        raise InputError(f"{spec.file}: factors: there is only one variant, so no comparison. Add a level.")
    variants = tuple(by_config.values())
    names = [as_printed(variant.name) for variant in variants]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(
            f"{spec.file}: factors: two variants have the name {twice[0]!r}; give their levels different labels."
        )
    for number, claim in enumerate(spec.claims):
        claimed_pair(claim, spec, variants, f"{spec.file}: claims[{number}]")
    return variants


def one_factor(reference: Cell, factors: Mapping[str, tuple[Level, ...]], where: str) -> list[Cell]:
    """Return the reference, then the cells that differ from it in one factor, in the order of the factors."""
    changes = [{**reference, factor: level} for factor, levels in factors.items() for level in levels]
    return [reference, *(cell for cell in changes if cell != reference)]


def leave_one_out(reference: Cell, factors: Mapping[str, tuple[Level, ...]], where: str) -> list[Cell]:
    """Return the reference, which is the full network, then the network without each of its parts in turn."""
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


def claimed_pair(
    claim: Claim, spec: StudySpec, variants: tuple[Variant, ...], where: str
) -> tuple[Variant, Variant]:
    """Return the two variants that a claim compares; one of them is the reference of the other.

    A factor that a side leaves out has the reference's level.

    Raises:
        InputError: A side that matches no variant or several, or a comparison that is not in the design.
    """
    that = _variant_of_side(claim.that, spec, variants, f"{where}.that")
    beats = _variant_of_side(claim.beats, spec, variants, f"{where}.beats")
    if that.is_reference == beats.is_reference or that.reference != beats.reference:
        raise InputError(
            f"{where}: this design compares every variant with its reference; that of {that.name!r} is "
            f"{that.reference!r}. One side must name the reference, and the other another variant."
        )
    return that, beats


def _variant_of_side(
    side: Mapping[str, Any], spec: StudySpec, variants: tuple[Variant, ...], where: str
) -> Variant:
    """Return the only variant with the levels of one side of a claim; raise InputError where there is none."""
    levels: dict[str, str] = {}
    for factor, value in _by_factor(side, spec.factors).items():
        if factor not in spec.factors:
            raise InputError(f"{where}: {_unknown_factor(factor, spec)}")
        levels[factor] = _require_level(value, spec.factors[factor], f"{where}.{factor}").text
    references = {variant.name: variant.levels for variant in variants if variant.is_reference}
    matching = [v for v in variants if v.levels == {**references[v.reference], **levels}]
    if len(matching) == 1:
        return matching[0]
    problem = (
        f"no variant has {levels}"
        if not matching
        else f"{levels} matches several variants; add the factors in 'within'"
    )
    raise InputError(f"{where}: {problem}. Variants: {quoted(v.name for v in variants)}.")


def _by_factor(levels: Mapping[str, Any], factors: Iterable[str]) -> dict[str, Any]:
    """Return levels by factor, whether TOML wrote ``"train.lr"`` or ``train.lr``."""

    def is_level(key: str, table: Mapping[str, Any]) -> bool:
        return key in factors or not any(factor.startswith(key + ".") for factor in factors)

    return flatten(levels, is_level)


def _level_of(value: Any, levels: tuple[Level, ...]) -> Level | None:
    """Return the level that has a value, or a label; None where there is none."""
    matching = [level for level in levels if canonical_json(level.value) == canonical_json(value)]
    if isinstance(value, str):
        matching += [level for level in levels if level.label == value]
    return matching[0] if matching else None


def _require_level(value: Any, levels: tuple[Level, ...], where: str) -> Level:
    """Return the level that has a value, or a label; raise InputError where there is none."""
    level = _level_of(value, levels)
    if level is None:
        names = [level.text for level in levels]
        raise InputError(
            f"{where}: must be one of the factor's levels, {quoted(names)}. "
            f"Got {value!r} instead.{nearest(Level(value).text, names)}"
        )
    return level


def _unknown_factor(factor: str, spec: StudySpec) -> str:
    """Return the message for a name that is no factor."""
    return (
        f"{factor!r} is no factor of this study.{nearest(factor, spec.factors)} "
        f"Allowed: {quoted(spec.factors)}."
    )


def _reference(spec: StudySpec) -> Cell:
    """Return the reference's level of every factor that is not in `within`; raise InputError where one is missing."""
    where = f"{spec.file}: design.reference"
    given = _by_factor(spec.design.reference, spec.factors) or _default_reference(spec)
    for factor in (*given, *spec.design.within):
        if factor not in spec.factors:
            key = where + f".{factor}" if factor in given else f"{spec.file}: design.within"
            raise InputError(f"{key}: {_unknown_factor(factor, spec)}")
    reference: Cell = {}
    for factor, levels in spec.factors.items():
        if factor in spec.design.within:
            if factor in given:
                raise InputError(
                    f"{where}.{factor}: the levels of a factor in 'within' are not compared; remove it."
                )
            continue
        if factor not in given:
            names = [level.text for level in levels]
            raise InputError(f"{where}: must name a level of {factor!r}: {quoted(names)}.")
        reference[factor] = _require_level(given[factor], levels, f"{where}.{factor}")
    return reference


def _default_reference(spec: StudySpec) -> dict[str, Any]:
    """Return the value of each factor that ``[base]`` sets, where that is a level, else of its first level."""
    values: dict[str, Any] = {}
    for factor, levels in spec.factors.items():
        value = value_at(spec.base, factor)
        if factor not in spec.design.within:
            values[factor] = value if _level_of(value, levels) else levels[0].value
    return values


def _strata(spec: StudySpec) -> list[Cell]:
    """Return every combination of the levels of the factors in `within`: one empty combination where it is empty."""
    within = [factor for factor in spec.factors if factor in spec.design.within]
    return [dict(zip(within, levels, strict=True)) for levels in product(*(spec.factors[f] for f in within))]


def _name(cell: Cell, reference: Cell, stratum: Cell) -> str:
    """Return a cell's name: its only level, or its changes to the reference, then its stratum."""
    if len(cell) == 1:
        own = _level_name(*next(iter(cell.items())), is_only_factor=True)
    else:
        changes = [_level_name(factor, level) for factor, level in cell.items() if level != reference[factor]]
        own = ", ".join(changes) or "reference"
    return ", ".join([own, *(_level_name(factor, level) for factor, level in stratum.items())])


def _level_name(factor: str, level: Level, is_only_factor: bool = False) -> str:
    """Return a level's label, or its value, with the factor's name where the value is ambiguous without it."""
    if level.label:
        return level.label
    is_unambiguous = is_only_factor and isinstance(level.value, str | Mapping)
    return level.text if is_unambiguous else f"{factor}={level.text}"
