"""Breakdowns of the test split, such as recalls of classes: one for each stratum whose rows are its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from study.analysis.described import BreakdownFinding, Interval
from study.analysis.evidence import Evidence, RepetitionEvidence, VariantEvidence
from study.analysis.values.scores import breakdowns_named, row_difference, row_interval
from study.records import Breakdown


@dataclass(frozen=True)
class Part:
    """One breakdown of the report."""

    finding: BreakdownFinding
    source: str
    """The name of the breakdown in test results."""
    variants: frozenset[str]
    """The names of the variants that are in it."""


def breakdowns(evidence: Evidence) -> list[Part]:
    """Return the breakdowns of any test: of all strata together where they have the same rows and counts."""
    parts: list[Part] = []
    strata = list(strata_of(evidence).items())
    names = dict.fromkeys(
        part.name
        for variant in evidence.variants
        for run in variant.repetitions
        if run.test is not None
        for part in run.test.breakdowns
    )
    for name in names:
        found = [(label, arms, _finding(arms, name)) for label, arms in strata]
        known = [(label, arms, finding) for label, arms, finding in found if finding is not None]
        if not known:
            continue
        first = known[0][2]
        everyone = frozenset(variant.name for variant in evidence.variants)
        if all((f.rows, f.counts) == (first.rows, first.counts) for *_, f in known):
            parts.append(Part(first, name, everyone))
            continue
        for label, arms, finding in known:
            own = replace(finding, name=f"{name}, {label}", title=f"{finding.title}, {label}")
            parts.append(Part(own, name, frozenset(arm.name for arm in arms)))
    return parts


def strata_of(evidence: Evidence) -> dict[str, list[VariantEvidence]]:
    """Return the variants of each stratum, by the levels that all of them share and other strata do not."""
    groups = {
        reference.name: [v for v in evidence.variants if v.reference == reference.name]
        for reference in evidence.references
    }
    return {_label(evidence, arms): arms for arms in groups.values()}


def _label(evidence: Evidence, arms: Sequence[VariantEvidence]) -> str:
    """Return the name of a stratum: the level of each factor that has one level in it and others elsewhere."""
    own = [
        level
        for factor, level in arms[0].levels.items()
        if all(arm.levels.get(factor) == level for arm in arms)
        and any(variant.levels.get(factor) != level for variant in evidence.variants)
    ]
    return ", ".join(own) or arms[0].reference


def _finding(arms: Sequence[VariantEvidence], name: str) -> BreakdownFinding | None:
    """Return one breakdown of a stratum, with all its rows and the examples of all folds; None without results."""
    parts = [part for variant in arms for part in breakdowns_named(variant, name)]
    if not parts:
        return None
    longest = sorted((part for _, part in parts), key=lambda part: -len(part.values))
    counts_by_fold = {run.fold: part.counts for run, part in reversed(parts)}
    counts: dict[str, int] = {}
    for fold_counts in counts_by_fold.values():
        for row, count in fold_counts.items():
            counts[row] = counts.get(row, 0) + count
    rows = dict.fromkeys(row for part in longest for row in part.values)
    return BreakdownFinding(name, longest[0].title, longest[0].unit, tuple(rows), counts)


def intervals(
    evidence: Evidence, variant: VariantEvidence, parts: Sequence[Part]
) -> dict[str, dict[str, Interval]]:
    """Return a variant's mean of each row, by breakdown and row."""
    return {
        part.finding.name: {
            row: mean
            for row in part.finding.rows
            if (mean := row_interval(evidence, variant, part.source, row)) is not None
        }
        for part, _ in _of_variant(variant, parts)
    }


def differences(
    evidence: Evidence, variant: VariantEvidence, parts: Sequence[Part]
) -> dict[str, dict[str, Interval]]:
    """Return a variant's mean difference from its reference in each row, by breakdown and row."""
    if variant.is_reference:
        return {}
    reference = evidence.reference_of(variant)
    found = {
        part.finding.name: {
            row: mean
            for row in part.finding.rows
            if (mean := row_difference(evidence, variant, reference, part.source, row)) is not None
        }
        for part, _ in _of_variant(variant, parts)
    }
    return {name: rows for name, rows in found.items() if rows}


def runs(variant: VariantEvidence, parts: Sequence[Part]) -> Mapping[str, int]:
    """Return the number of a variant's runs that define each row, by ``<breakdown>/<row>``."""
    return {
        f"{part.finding.name}/{row}": sum(row in found.values for _, found in tested)
        for part, tested in _of_variant(variant, parts)
        for row in part.finding.rows
    }


def _of_variant(
    variant: VariantEvidence, parts: Sequence[Part]
) -> Iterator[tuple[Part, list[tuple[RepetitionEvidence, Breakdown]]]]:
    for part in parts:
        tested = breakdowns_named(variant, part.source)
        if variant.name in part.variants and tested:
            yield part, tested
