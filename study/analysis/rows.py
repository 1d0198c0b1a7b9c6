"""Findings as flat tables: a row for each run, trial of a search, comparison, effect, part of the test split and so on.

Values of metrics are scaled, times in seconds; what is not known is None. Columns of levels, hyperparameters and
metrics are prefixed, so that a factor and a metric of one name stay two columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Literal, TypeAlias

from study.analysis.described import Confusion, Interval
from study.analysis.findings import Difference, Findings, VariantFinding

Row: TypeAlias = dict[str, Any]
Kind = Literal["runs", "trials", "comparisons", "effects", "parts", "confusions", "examples"]


def runs(findings: Findings) -> list[Row]:
    """Return a row for each tested run: ``level/<factor>``, ``test/<metric>``, ``validation/<primary>`` and more."""
    return _aligned(
        {
            **_variant_cells(variant),
            "repetition": run.repetition,
            "fold": run.fold,
            "seed": run.seed,
            "run": run.run,
            **{f"test/{name}": value for name, value in run.metrics.items()},
            f"validation/{findings.metric}": run.validation,
            "best_epoch": run.best_epoch or None,
            "seconds": run.seconds or None,
            "diverged": run.diverged,
            "parameters": variant.parameters,
            "macs": variant.macs,
        }
        for variant in findings.variants
        for run in variant.repetitions
    )


def trials(findings: Findings) -> list[Row]:
    """Return a row for each trial, with ``hyperparameter/<key>`` and its score on the validation split."""
    return _aligned(
        {
            **_variant_cells(variant),
            "repetition": trial.repetition,
            "fold": trial.fold,
            "trial": trial.number,
            "status": trial.status,
            f"validation/{findings.metric}": trial.score,
            "best_so_far": trial.best_so_far,
            "stopped_after": trial.stopped_after,
            **{f"hyperparameter/{name}": value for name, value in trial.parameters.items()},
        }
        for variant in findings.variants
        for trial in variant.trials
    )


def comparisons(findings: Findings) -> list[Row]:
    """Return a row for each variant that is compared: difference, both intervals, verdict."""
    return _aligned(
        {
            **_variant_cells(variant),
            "reference": variant.reference,
            "metric": findings.metric,
            **_comparison_cells(variant.difference, findings),
        }
        for variant in findings.variants
        if variant.difference is not None
    )


def effects(findings: Findings) -> list[Row]:
    """Return a row for each effect of the family, where that is not every variant with its reference."""
    return [
        {
            "effect": effect.name,
            "kind": effect.kind,
            "factors": list(effect.factors),
            **_bounds("estimate", effect.interval),
            **_bounds("deciding", effect.corrected),
            "n": effect.n,
            "verdict": effect.verdict,
            "omega_squared": effect.omega_squared,
        }
        for effect in findings.effects
    ]


def parts(findings: Findings) -> list[Row]:
    """Return a row for each variant and row of a breakdown, with the paired difference from the reference."""
    return [
        {
            **_variant_cells(variant),
            "breakdown": part.name,
            "row": row,
            "unit": part.unit,
            **_bounds("value", variant.breakdowns.get(part.name, {}).get(row)),
            **_bounds("difference", variant.breakdown_differences.get(part.name, {}).get(row)),
            "runs": variant.runs.get(f"{part.name}/{row}"),
            "examples": part.counts.get(row),
        }
        for variant in findings.variants
        for part in findings.breakdowns
        if part.name in variant.breakdowns
        for row in part.rows
    ]


def confusions(findings: Findings) -> list[Row]:
    """Return a row for each variant, true class and predicted class that occur together in it or in its reference."""
    references = {variant.name: variant.confusion for variant in findings.variants}
    return [
        row
        for variant in findings.variants
        if variant.confusion is not None
        for row in _confusion_rows(variant, variant.confusion, references.get(variant.reference))
    ]


def _confusion_rows(variant: VariantFinding, own: Confusion, reference: Confusion | None) -> Iterator[Row]:
    comparable = reference is not None and reference.classes == own.classes and not variant.is_reference
    differences = own.minus(reference) if reference is not None and comparable else None
    for true, (counts, shares) in enumerate(zip(own.counts, own.shares, strict=True)):
        for predicted, (count, share) in enumerate(zip(counts, shares, strict=True)):
            difference = None if differences is None else differences[true][predicted]
            if count or difference:
                yield {
                    **_variant_cells(variant),
                    "true": own.classes[true],
                    "predicted": own.classes[predicted],
                    "count": count,
                    "share": share,
                    "difference": difference,
                }


def examples(findings: Findings) -> list[Row]:
    """Return a row for each named example that a variant classifies correctly, and its reference does not."""
    return [
        {**_variant_cells(variant), "reference": variant.reference, **asdict(example)}
        for variant in findings.variants
        if variant.disagreement is not None
        for example in variant.disagreement.examples
    ]


TABLES: Mapping[str, Callable[[Findings], list[Row]]] = {
    "runs": runs,
    "trials": trials,
    "comparisons": comparisons,
    "effects": effects,
    "parts": parts,
    "confusions": confusions,
    "examples": examples,
}


def _variant_cells(variant: VariantFinding) -> Row:
    return {
        "variant": variant.name,
        **{f"level/{factor}": level for factor, level in variant.levels.items()},
    }


def _comparison_cells(difference: Difference, findings: Findings) -> Row:
    return {
        **_bounds("difference", difference.interval),
        **_bounds("deciding", difference.corrected),
        "confidence": 1 - findings.alpha / max(findings.comparisons, 1),
        "rope": findings.rope,
        "verdict": difference.verdict,
        "n": difference.n,
        "wins": difference.wins,
        "p": difference.p,
        "p_holm": difference.p_holm,
        "effect": difference.effect,
        "correlation": difference.correlation,
        "p_worse": difference.p_worse,
        "p_equivalent": difference.p_equivalent,
        "p_better": difference.p_better,
        "diverged": difference.diverged,
        "missing": difference.missing,
    }


def _bounds(name: str, interval: Interval | None) -> Row:
    found = (None, None, None) if interval is None else (interval.mean, interval.low, interval.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))


def _aligned(rows: Iterable[Row]) -> list[Row]:
    """Give all rows the same columns, in the order of their first appearance beside their neighbours."""
    listed = list(rows)
    columns: list[str] = []
    for row in listed:
        at = 0
        for name in row:
            if name in columns:
                at = columns.index(name) + 1
            else:
                columns.insert(at, name)
                at += 1
    return [{name: row.get(name) for name in columns} for row in listed]
