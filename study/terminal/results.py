"""The results of a study on a terminal: each variant's score, difference and verdict, the effects, the claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from study.analysis.findings import EffectFinding, Findings, VariantFinding
from study.analysis.sentences.units import difference, heading, number, signed_difference, with_unit
from study.reporting.figure_specs import corrected_level
from study.terminal.program import as_typed
from study.terminal.tables import Column, print_table, print_text

if TYPE_CHECKING:
    from study.analysis.described import Interval

NONE = "–"
STYLES = {"helps": "green", "hurts": "red", "supported": "green", "refuted": "red"}


def print_results(findings: Findings, console: Console) -> None:
    """Print the question, its answer, the results as a table, the claims' verdicts and what limits them."""
    print_text(console, f"\n{findings.question}\n{findings.answer}\n")
    print_table(console, variant_columns(findings))
    if findings.effects:
        console.print()
        print_table(console, _effect_columns(findings))
    if findings.claims:
        console.print()
    for claim in findings.claims:
        print_text(console, f"\nClaim: {claim.text}: {claim.verdict}")
    if findings.limits:
        console.print()
    for limit in findings.limits:
        print_text(console, as_typed(f"Warning: {limit.sentence}"))


def variant_columns(findings: Findings) -> list[Column]:
    """Return the columns of the table of results, a row for each variant."""
    unit, variants = findings.primary.unit, findings.variants
    gaps = [variant.difference for variant in variants]
    return [
        Column("Variant", [variant.name for variant in variants], "left"),
        Column(heading(findings.primary), [_mean(variant, unit) for variant in variants]),
        Column("95 % interval", [_bounds(variant.score, unit) for variant in variants], is_optional=True),
        Column(
            with_unit("Difference,", unit).removesuffix(","),
            [NONE if gap is None else signed_difference(gap.interval.mean, unit) for gap in gaps],
        ),
        Column(
            _deciding(findings),
            [NONE if gap is None else _gap_bounds(gap.corrected, unit) for gap in gaps],
        ),
        Column("Verdict", [_verdict(variant.verdict_text) for variant in variants], "left"),
        Column(
            "n",
            [f"{len(variant.repetitions)} of {variant.planned}" for variant in variants],
            is_optional=True,
        ),
    ]


def _effect_columns(findings: Findings) -> list[Column]:
    unit, effects = findings.primary.unit, findings.effects
    return [
        Column("Effect", [effect.name for effect in effects], "left"),
        Column(
            with_unit("Estimate,", unit).removesuffix(","), [_estimate(effect, unit) for effect in effects]
        ),
        Column(
            _deciding(findings),
            [_gap_bounds(effect.corrected, unit) for effect in effects],
        ),
        Column("Verdict", [_verdict(effect.verdict or "none") for effect in effects], "left"),
    ]


def _deciding(findings: Findings) -> str:
    """Return the head of the intervals that decide, with their level."""
    return f"{corrected_level(findings)} interval, decides"


def _mean(variant: VariantFinding, unit: str) -> str:
    return NONE if variant.score is None else number(variant.score.mean, unit)


def _estimate(effect: EffectFinding, unit: str) -> str:
    return NONE if effect.interval is None else signed_difference(effect.interval.mean, unit)


def _bounds(interval: Interval | None, unit: str) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return NONE
    return f"{number(interval.low, unit)} to {number(interval.high, unit)}"


def _gap_bounds(interval: Interval | None, unit: str) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return NONE
    return f"{difference(interval.low, unit)} to {difference(interval.high, unit)}"


def _verdict(word: str) -> Text:
    return Text(word, style=STYLES.get(word, ""))
