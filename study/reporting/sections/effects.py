"""The section on the effects of a study and on its design."""

from __future__ import annotations

from study.analysis.findings import EffectFinding, Findings
from study.analysis.sentences.units import label_with_unit
from study.reporting import text
from study.reporting.document import Line, strong
from study.reporting.figure_specs import corrected_level
from study.reporting.sections.blocks import Blocks
from study.reporting.sections.phrases import rope_with_unit
from study.reporting.text import MISSING


def add_effects(report: Blocks, findings: Findings) -> None:
    """Add the effects that the study judges, where they are not the comparisons of the main table, and the design."""
    if findings.effects or findings.design:
        report.heading("Effects")
    if findings.design:
        report.bullets(findings.design)
    if not findings.effects:
        return
    level, points = corrected_level(findings), findings.primary.points
    report.table(
        f"Effects: contrasts of the variants, computed in each repetition. The {level} interval decides the verdict, "
        f"with the least difference of interest, {rope_with_unit(findings)}. An interaction is a difference of "
        "differences; the effect of a numeric factor is the change of a straight line over its range. ω²: share of "
        "the variance of all scores, by least squares; a description.",
        {
            "Effect": "left",
            label_with_unit("Estimate", points): "right",
            label_with_unit(f"{level} interval", points): "right",
            "n": "right",
            "Verdict": "left",
            "ω²": "right",
        },
        [_cells(effect, findings.primary.unit) for effect in findings.effects],
    )
    report.bullets(effect.sentence for effect in findings.effects)


def _cells(effect: EffectFinding, unit: str) -> list[Line]:
    interval, corrected = effect.interval, effect.corrected
    return [
        effect.name,
        MISSING if interval is None else text.difference_with_interval(interval, unit),
        MISSING if corrected is None else text.difference_bounds(corrected, unit),
        str(effect.n),
        "none" if effect.verdict is None else strong(effect.verdict),
        text.probability(effect.omega_squared),
    ]
