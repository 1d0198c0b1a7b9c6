"""The family of a study: the contrasts of its variants that get a verdict, and the claims about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product

from study.config.designs import Variant
from study.config.layouts import Layout
from study.config.levels import Cell, check_factor, level_name, require_level, require_levels
from study.config.study import Claim, Level, StudySpec
from study.errors import conflict, quoted, shown, wrong_value
from study.ledger.record import ClaimRecord, EffectKind, EffectRecord
from study.statistics.attribution import MOST_PARTS, shapley
from study.statistics.contrasts import crossed, difference, signed, trend

DIFFERENCES, SHAPLEY = "differences", "shapley"
FEWEST_TREND_LEVELS = 3
DIGITS = 9
"""Weights that agree to so many decimals are equal."""


@dataclass(frozen=True)
class Side:
    """What one factor contributes to an effect: weights of its levels, and how the two ends are called."""

    factor: str
    weights: Mapping[int, float]
    that: str
    against: str
    is_trend: bool = False

    @property
    def name(self) -> str:
        """The name in an interaction."""
        return f"{self.factor} {self.against} to {self.that}" if self.is_trend else self.that


def family_of(
    spec: StudySpec, layout: Layout, variants: Sequence[Variant]
) -> tuple[tuple[EffectRecord, ...], tuple[ClaimRecord, ...]]:
    """Return the effects that the study judges, those of its claims last, and its claims.

    Raises:
        InputError: An effect or a claim that names what does not exist, or that the cells cannot show.
    """
    return _Family(spec, layout, tuple(variants)).family()


@dataclass(frozen=True)
class _Family:
    spec: StudySpec
    layout: Layout
    variants: tuple[Variant, ...]

    @cached_property
    def reference(self) -> Cell:
        return self.layout.cells[0]

    @cached_property
    def strata(self) -> dict[str, tuple[Variant, ...]]:
        """The variants of each stratum by its name, which is empty where there is one."""
        within = [factor for factor in self.spec.factors if factor in self.spec.design.within]
        strata: dict[str, tuple[Variant, ...]] = {}
        for variant in self.variants:
            named = [self.level(variant, factor) for factor in within]
            name = ", ".join(level_name(factor, level) for factor, level in zip(within, named, strict=True))
            strata[name] = (*strata.get(name, ()), variant)
        return strata

    def level(self, variant: Variant, factor: str) -> Level:
        """Return a variant's level of a factor."""
        return next(level for level in self.spec.factors[factor] if level.text == variant.levels[factor])

    def index(self, factor: str, level: Level) -> int:
        return self.spec.factors[factor].index(level)

    def family(self) -> tuple[tuple[EffectRecord, ...], tuple[ClaimRecord, ...]]:
        effects: list[EffectRecord] = []
        where = f"{self.spec.file}: analysis.effects"
        for number, named in enumerate(self.spec.analysis.effects):
            effects += self.named(named, f"{where}[{number}]")
        effects = _distinct(effects or self.default())
        claims = []
        for number, claim in enumerate(self.spec.claims):
            record, effect = self.claim(claim, f"{self.spec.file}: claims[{number}]")
            same, sign = _same(effect, effects)
            if same is None:
                effects.append(effect)
            claims.append(replace(record, effect=(same or effect).name, sign=record.sign * sign))
        names = [effect.name for effect in effects]
        if twice := [name for name in names if names.count(name) > 1]:
            raise conflict(
                where, f"two effects have the name {twice[0]!r}; give their levels different labels."
            )
        return tuple(effects), tuple(claims)

    def default(self) -> list[EffectRecord]:
        """Return the design's own effects."""
        if not self.layout.is_crossed:
            return list(self.differences())
        factors = list(self.reference)
        found: list[EffectRecord] = []
        named = [frozenset({factor}) for factor in factors]
        for chosen in (*((factor,) for factor in factors), *combinations(factors, 2)):
            aliases = {frozenset(chosen) ^ word for word in self.layout.words}
            if len(chosen) == 1 or not aliases & set(named):
                named.append(frozenset(chosen))
                found += self.crossed(chosen)
        return found

    def named(self, named: str | list[str], where: str) -> list[EffectRecord]:
        """Return the effects that one entry of ``effects`` means; raise InputError where there is none."""
        if isinstance(named, str) and named not in self.spec.factors:
            if named == DIFFERENCES:
                return list(self.differences())
            if named == SHAPLEY:
                return list(self.shapley(where))
        chosen = (named,) if isinstance(named, str) else tuple(named)
        self.check_factors(chosen, where)
        effects = self.crossed(chosen)
        if not effects:
            raise conflict(
                where,
                f"the design has no cells that differ in {quoted(chosen)} alone, in all combinations of "
                "levels; use kind = 'factorial', or exclude fewer cells.",
            )
        return effects

    def check_factors(self, chosen: tuple[str, ...], where: str) -> None:
        """Raise InputError where an effect names no factor, one twice, or only factors that are not compared."""
        if not chosen or len(set(chosen)) < len(chosen):
            raise wrong_value(where, f"must name factors, each once. Got {shown(list(chosen))}.")
        for factor in chosen:
            check_factor(factor, [*self.spec.factors, DIFFERENCES, SHAPLEY], where)
        if all(factor in self.spec.design.within for factor in chosen):
            raise conflict(
                where, "the levels of a factor in 'within' are not compared; name a factor beside it."
            )

    def differences(self) -> Iterator[EffectRecord]:
        """Yield the comparisons of cells: the design's pairs, or every cell with the reference."""
        pairs = self.layout.compared
        if pairs is None:
            pairs = [(cell, self.reference) for cell in self.layout.cells[1:]]
        for variants in self.strata.values():
            for that, against in pairs:
                yield self.difference(self.at(that, variants), self.at(against, variants))

    def difference(self, that: Variant, against: Variant) -> EffectRecord:
        return EffectRecord(
            name=f"{that.name} against {against.name}",
            kind=EffectKind.DIFFERENCE,
            weights={that.name: 1.0, against.name: -1.0},
            factors=(),
            that=(that.name,),
            against=(against.name,),
        )

    def at(self, cell: Cell, variants: Sequence[Variant]) -> Variant:
        """Return the variant of a stratum that has a cell's levels."""
        return next(v for v in variants if all(v.levels[f] == level.text for f, level in cell.items()))

    def sides(self, factor: str) -> list[Side]:
        """Return the contrasts of one factor: its trend where it is numeric, else each level with the reference's."""
        levels = self.spec.factors[factor]
        values = [level.value for level in levels]
        if len(levels) >= FEWEST_TREND_LEVELS and all(type(value) in (int, float) for value in values):
            low, high = (levels[values.index(end(values))].text for end in (min, max))
            return [Side(factor, trend(values), high, low, is_trend=True)]
        reference = self.reference.get(factor, levels[0])
        start = self.index(factor, reference)
        against = level_name(factor, reference, is_only_factor=True)
        return [
            Side(factor, difference(i, start), level_name(factor, level, is_only_factor=True), against)
            for i, level in enumerate(levels)
            if i != start
        ]

    def crossed(self, chosen: Sequence[str]) -> list[EffectRecord]:
        """Return the main effects or interactions of some factors, inside each stratum unless they cross strata."""
        across = any(factor in self.spec.design.within for factor in chosen)
        strata = {"": self.variants} if across else self.strata
        found = []
        for stratum, variants in strata.items():
            for sides in product(*(self.sides(factor) for factor in chosen)):
                weights = self.weights(sides, variants)
                if weights:
                    found.append(self.effect(sides, weights, stratum))
        return found

    def weights(self, sides: Sequence[Side], variants: Sequence[Variant]) -> dict[str, float]:
        """Return the weights of variants in a product of contrasts; none where the cells cannot show it."""
        factors = list(self.spec.factors)
        names = {
            tuple(self.index(factor, self.level(v, factor)) for factor in factors): v.name for v in variants
        }
        positions = {factors.index(side.factor): side.weights for side in sides}
        if self.layout.words:
            references = {factors.index(f): self.index(f, level) for f, level in self.reference.items()}
            weights = signed(list(names), list(positions), references)
        else:
            weights = crossed(list(names), positions)
        return {names[cell]: weight for cell, weight in weights.items()}

    def effect(self, sides: Sequence[Side], weights: Mapping[str, float], stratum: str) -> EffectRecord:
        if len(sides) > 1:
            kind, name = EffectKind.INTERACTION, " × ".join(side.name for side in sides)
        elif sides[0].is_trend:
            kind, name = EffectKind.TREND, sides[0].name
        else:
            kind, name = EffectKind.MAIN, f"{sides[0].that} against {sides[0].against}"
        return EffectRecord(
            name=f"{name}, {stratum}" if stratum else name,
            kind=kind,
            weights=weights,
            factors=tuple(side.factor for side in sides),
            that=tuple(side.that for side in sides),
            against=tuple(side.against for side in sides),
            stratum=stratum,
            trends=tuple(side.factor for side in sides if side.is_trend),
        )

    def shapley(self, where: str) -> Iterator[EffectRecord]:
        """Yield the Shapley value of each factor in each stratum; raise InputError where cells are missing."""
        factors = list(self.reference)
        sides = [side for factor in factors for side in self.sides(factor)]
        if len(factors) > MOST_PARTS or any(len(self.spec.factors[factor]) != 2 for factor in factors):
            raise conflict(where, f"Shapley values need up to {MOST_PARTS} factors of two levels each.")
        if len(self.layout.cells) < 2 ** len(factors):
            raise conflict(where, "Shapley values need every combination of levels: kind = 'factorial'.")
        for stratum, variants in self.strata.items():
            names = {
                tuple(int(self.level(v, factor) != self.reference[factor]) for factor in factors): v.name
                for v in variants
            }
            for side, weights in zip(sides, shapley(len(factors)), strict=True):
                effect = self.effect(
                    [side], {names[cell]: weight for cell, weight in weights.items()}, stratum
                )
                yield replace(effect, name=f"Shapley value of {effect.name}", kind=EffectKind.SHAPLEY)

    def claim(self, claim: Claim, where: str) -> tuple[ClaimRecord, EffectRecord]:
        """Return a claim and the effect that it is about, positive where `that` is above `beats`."""
        has_sides = bool(claim.that or claim.beats)
        if has_sides == bool(claim.effect) or (has_sides and not (claim.that and claim.beats)):
            raise wrong_value(where, "must have 'that' and 'beats', or 'effect' with 'sign'.")
        if claim.effect:
            effect = self.claimed_effect(claim, where)
            return ClaimRecord(effect.name, sign=1 if claim.sign == "positive" else -1), effect
        that, beats = (
            require_levels(side, self.spec.factors, f"{where}.{key}")
            for key, side in (("that", claim.that), ("beats", claim.beats))
        )
        effect = (self.marginal if self.layout.is_crossed else self.pair)(that, beats, where)
        return ClaimRecord(", ".join(effect.that), ", ".join(effect.against)), effect

    def claimed_effect(self, claim: Claim, where: str) -> EffectRecord:
        named = f"{where}.effect"
        effects = self.named(claim.effect, named)
        for factor, value in claim.levels.items():
            check_factor(factor, self.spec.factors, f"{where}.levels")
            level = require_level(value, self.spec.factors[factor], f"{where}.levels.{factor}")
            effects = [e for e in effects if level_name(factor, level, is_only_factor=True) in e.that]
        if len(effects) != 1:
            names = quoted(effect.name for effect in effects) if effects else "none"
            raise wrong_value(
                where, f"must mean one effect; name a level of each factor in 'levels'. Got {names}."
            )
        return effects[0]

    def pair(self, that: Cell, beats: Cell, where: str) -> EffectRecord:
        """Return the difference of two variants; a factor that a side leaves out has the reference's level."""
        first = self.only_variant(that, f"{where}.that")
        second = self.only_variant(beats, f"{where}.beats")
        if first.reference != second.reference:
            raise conflict(where, f"{first.name!r} and {second.name!r} are in different strata.")
        if first == second:
            raise conflict(where, f"'that' and 'beats' are the same variant, {first.name!r}.")
        return self.difference(first, second)

    def only_variant(self, levels: Cell, where: str) -> Variant:
        wanted = {factor: level.text for factor, level in {**self.reference, **levels}.items()}
        matching = [v for v in self.variants if wanted.items() <= v.levels.items()]
        if len(matching) == 1:
            return matching[0]
        texts = {factor: level.text for factor, level in levels.items()}
        problem = (
            f"{texts} matches several variants; add the factors in 'within'"
            if matching
            else f"no variant has {texts}"
        )
        raise wrong_value(where, f"{problem}. Variants: {quoted(v.name for v in self.variants)}.")

    def marginal(self, that: Cell, beats: Cell, where: str) -> EffectRecord:
        """Return the difference of two levels of some factors over the levels of the others, or of two cells."""
        if that.keys() != beats.keys():
            lacking = sorted(that.keys() ^ beats.keys())
            raise conflict(
                where, f"'that' and 'beats' must name the same factors; one lacks {quoted(lacking)}."
            )
        differing = [factor for factor in that if that[factor] != beats[factor]]
        if not differing:
            raise conflict(where, "'that' and 'beats' are the same.")
        if that.keys() == self.spec.factors.keys():
            return self.pair(that, beats, where)
        strata = {
            stratum: [
                v for v in variants if all(v.levels[f] == that[f].text for f in that if f not in differing)
            ]
            for stratum, variants in self.strata.items()
        }
        strata = {stratum: variants for stratum, variants in strata.items() if variants}
        if len(strata) > 1:
            raise conflict(f"{where}.that", "matches several variants; add the factors in 'within'.")
        others = [f for f in self.spec.factors if f not in differing]
        contexts: dict[tuple[str, ...], dict[str, str]] = {}
        for variants in strata.values():
            for v in variants:
                for side, levels in (("that", that), ("beats", beats)):
                    if all(v.levels[f] == levels[f].text for f in differing):
                        contexts.setdefault(tuple(v.levels[f] for f in others), {})[side] = v.name
        paired = [sides for sides in contexts.values() if len(sides) == 2]
        if not paired:
            raise conflict(where, f"the design has no two cells that differ in {quoted(differing)} alone.")
        weights = {
            sides[side]: sign / len(paired)
            for sides in paired
            for side, sign in (("that", 1.0), ("beats", -1.0))
        }
        fixed = [level_name(f, that[f]) for f in that if f not in differing]
        ends = [
            ", ".join([*(level_name(f, side[f], is_only_factor=True) for f in differing), *fixed])
            for side in (that, beats)
        ]
        return EffectRecord(
            name=f"{ends[0]} against {ends[1]}",
            kind=EffectKind.MAIN,
            weights=weights,
            factors=tuple(differing),
            that=(ends[0],),
            against=(ends[1],),
            stratum=next(iter(strata)),
        )


def _distinct(effects: Sequence[EffectRecord]) -> list[EffectRecord]:
    """Return effects without those that an earlier one equals up to its sign."""
    distinct: list[EffectRecord] = []
    for effect in effects:
        if _same(effect, distinct)[0] is None:
            distinct.append(effect)
    return distinct


def _same(effect: EffectRecord, effects: Sequence[EffectRecord]) -> tuple[EffectRecord | None, int]:
    """Return the effect with the same weights up to the sign, and that sign; None and 1 where there is none."""
    for other in effects:
        for sign in (1, -1):
            if _rounded(effect.weights, 1) == _rounded(other.weights, sign):
                return other, sign
    return None, 1


def _rounded(weights: Mapping[str, float], sign: int) -> dict[str, float]:
    return {name: round(sign * weight, DIGITS) for name, weight in weights.items() if round(weight, DIGITS)}
