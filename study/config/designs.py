"""Designs: the variants of a study from its factors, cell by cell and stratum by stratum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from study.config.layouts import Layout, check_count
from study.config.levels import (
    Cell,
    by_factor,
    cell_name,
    check_factor,
    level_of,
    require_level,
    require_levels,
)
from study.config.resolve import Resolver
from study.config.space import check_overlaps
from study.config.study import StudySpec
from study.errors import InputError, conflict, not_comparable, quoted, wrong_value
from study.hashing import canonical_json
from study.names import as_printed
from study.nested import value_at


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


def layout_of(spec: StudySpec, resolver: Resolver) -> Layout:
    """Return the cells of the design without the excluded ones, the reference first.

    Raises:
        InputError: A design or parameter that does not exist, a reference that is not a level, an exclusion of the
            reference or of no cell, fewer than two cells.
    """
    where, design = f"{spec.file}: design", spec.design
    reference = _reference(spec)
    varied = {factor: levels for factor, levels in spec.factors.items() if factor in reference}
    config = resolver.registry.resolve("design", {**design.parameters, "name": design.kind}, where)
    try:
        layout = resolver.registry.build("design", config, reference, varied)
    except InputError as error:
        raise error.within(where) from None
    if not isinstance(layout, Layout) or layout.cells[:1] != [reference]:
        raise conflict(
            f"{where}.kind", f"{design.kind!r} must return a Layout whose first cell is the reference."
        )
    for number, given in enumerate(design.exclude):
        layout = _without(layout, given, spec, f"{where}.exclude[{number}]")
    try:
        check_count(len(layout.cells) * prod(len(spec.factors[factor]) for factor in spec.design.within))
    except InputError as error:
        raise error.within(where) from None
    if len(layout.cells) < 2:
        raise conflict(f"{spec.file}: factors", "there is only one variant, so no comparison. Add a level.")
    return layout


def _without(layout: Layout, given: Mapping[str, Any], spec: StudySpec, where: str) -> Layout:
    """Return a layout without the cells that have the given levels."""
    reason = given.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        raise wrong_value(f"{where}.reason", "must say why these cells are not trained.", reason)
    if layout.words:
        raise conflict(where, "a fraction has no cell to spare; use kind = 'factorial'.")
    named = {key: value for key, value in given.items() if key != "reason"}
    levels = require_levels(named, {f: ls for f, ls in spec.factors.items() if f in layout.cells[0]}, where)

    def is_kept(cell: Cell) -> bool:
        return any(cell[factor] != level for factor, level in levels.items())

    kept = [cell for cell in layout.cells if is_kept(cell)]
    texts = ", ".join(f"{factor} = {level.text}" for factor, level in levels.items())
    if not levels or len(kept) == len(layout.cells):
        raise wrong_value(where, f"no cell of the design has {texts or 'these levels'}; remove it.")
    if kept[:1] != layout.cells[:1]:
        raise conflict(where, f"{texts} is in the reference, which every comparison needs.")
    dropped = len(layout.cells) - len(kept)
    compared = layout.compared
    return replace(
        layout,
        cells=kept,
        compared=compared and [(that, beats) for that, beats in compared if is_kept(that) and is_kept(beats)],
        notes=(
            *layout.notes,
            f"{texts}: {dropped} {'cell' if dropped == 1 else 'cells'} left out: {reason.strip()}",
        ),
    )


def variants_of(spec: StudySpec, resolver: Resolver, layout: Layout | None = None) -> tuple[Variant, ...]:
    """Return the study's variants: stratum by stratum, the reference first.

    Raises:
        InputError: A reference that is not a level, a component or value that does not exist, two variants
            with the same configuration, two factors, or a factor and the search, that set the same key.
    """
    check_overlaps(spec, resolver.task.kinds and resolver.registry.kinds)
    cells = (layout or layout_of(spec, resolver)).cells
    reference = cells[0]
    by_config: dict[str, Variant] = {}
    for stratum in _strata(spec):
        for cell in cells:
            levels = {**cell, **stratum}
            values = {factor: level.value for factor, level in levels.items()}
            resolved = resolver.resolve(values)
            variant = Variant(
                name=cell_name(cell, reference, stratum),
                levels={factor: levels[factor].text for factor in spec.factors},
                values=values,
                reference=cell_name(reference, reference, stratum),
                config=resolved.config,
                local_paths=resolved.local_paths,
                legacy=resolved.legacy,
                in_trials=resolved.in_trials if spec.search.trials else {},
            )
            first = by_config.setdefault(canonical_json(resolved.config), variant)
            if first is not variant:
                raise not_comparable(
                    f"{spec.file}: factors",
                    f"the variants {first.name!r} and {variant.name!r} resolve to the same "
                    "configuration and cannot be compared. Remove one of the two levels.",
                )
    variants = tuple(by_config.values())
    names = [as_printed(variant.name) for variant in variants]
    if twice := [name for name in names if names.count(name) > 1]:
        raise conflict(
            f"{spec.file}: factors",
            f"two variants have the name {twice[0]!r}; give their levels different labels.",
        )
    return variants


def _reference(spec: StudySpec) -> Cell:
    """Return the reference's level of every factor that is not in `within`; raise InputError where one is missing."""
    where = f"{spec.file}: design.reference"
    cells = spec.design.parameters.get("cells") if spec.design.kind == "list" else None
    first = cells[0] if isinstance(cells, list) and cells and isinstance(cells[0], Mapping) else {}
    default = {**_default_reference(spec), **by_factor(first, spec.factors)}
    given = by_factor(spec.design.reference, spec.factors) or default
    for factor in (*given, *spec.design.within):
        key = f"{where}.{factor}" if factor in given else f"{spec.file}: design.within"
        check_factor(factor, spec.factors, key)
    reference: Cell = {}
    for factor, levels in spec.factors.items():
        if factor in spec.design.within:
            if factor in given:
                raise conflict(
                    f"{where}.{factor}", "the levels of a factor in 'within' are not compared; remove it."
                )
            continue
        if factor not in given:
            names = [level.text for level in levels]
            raise wrong_value(where, f"must name a level of {factor!r}: {quoted(names)}.")
        reference[factor] = require_level(given[factor], levels, f"{where}.{factor}")
    return reference


def _default_reference(spec: StudySpec) -> dict[str, Any]:
    """Return the value of each factor that ``[base]`` sets, where that is a level, else of its first level."""
    values: dict[str, Any] = {}
    for factor, levels in spec.factors.items():
        value = value_at(spec.base, factor)
        if factor not in spec.design.within:
            values[factor] = value if level_of(value, levels) else levels[0].value
    return values


def _strata(spec: StudySpec) -> list[Cell]:
    """Return every combination of the levels of the factors in `within`: one empty combination where it is empty."""
    within = [factor for factor in spec.factors if factor in spec.design.within]
    return [dict(zip(within, levels, strict=True)) for levels in product(*(spec.factors[f] for f in within))]
