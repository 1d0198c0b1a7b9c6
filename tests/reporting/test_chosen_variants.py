"""Which of many variants a report shows, where it judges effects and no variant has a difference of its own."""

from __future__ import annotations

from dataclasses import replace

from support.example_findings import findings, with_predictions

from study.analysis.described import Interval
from study.analysis.findings import Findings
from study.reporting.figure_specs import most_different
from study.reporting.pictures import pictured


def judged_by_effects(*scores: float) -> Findings:
    """Return findings whose variants have these mean scores, the reference first."""
    base = with_predictions(findings(["a", "b", "c", "d"]))
    variants = (
        replace(variant, difference=None, score=Interval(score, score - 1, score + 1))
        for variant, score in zip(base.variants, scores, strict=True)
    )
    return replace(base, variants=tuple(variants))


def test_the_clips_that_are_shown_are_those_of_the_variant_with_the_best_score() -> None:
    found = judged_by_effects(70.0, 71.0, 76.0, 75.0)
    shown = pictured(found)
    assert shown is not None
    assert shown.name == found.variants[2].name


def test_the_variants_that_are_kept_are_the_reference_and_those_farthest_from_it() -> None:
    found = judged_by_effects(70.0, 71.0, 60.0, 75.0)
    kept = [variant.name for variant in most_different(found, found.variants, 3)]
    assert kept == [found.variants[at].name for at in (0, 2, 3)]
