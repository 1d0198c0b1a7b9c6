"""The figure of scores against cost."""

from __future__ import annotations

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from study.analysis.findings import Findings
from study.analysis.sentences.units import heading
from study.reporting.figure_specs import MOST_ARMS_NAMED
from study.reporting.figures.panels import looks
from study.reporting.figures.style import FAINT, PAGE_INCHES
from study.reporting.text import wrapped

LEGEND_CHARACTERS = 34


def tradeoff(findings: Findings) -> Figure:
    """Plot each variant's mean score and interval against its cost, with the Pareto front."""
    axis = findings.score_against_cost
    assert axis is not None
    variants = {variant.name: variant for variant in findings.variants if variant.name in axis.costs}
    figure = Figure(
        figsize=(PAGE_INCHES, max(2.4, 0.4 + 0.2 * min(len(variants), MOST_ARMS_NAMED))), layout="constrained"
    )
    axes = figure.subplots()
    shown = looks(findings.variants)
    is_crowded = len(variants) > MOST_ARMS_NAMED
    for variant in variants.values():
        is_named = variant.is_reference or axis.is_on_front(variant.name)
        assert variant.score is not None
        look = shown[variant.name]
        cost, score = axis.costs[variant.name], variant.score
        if score.low is not None and score.high is not None:
            axes.plot([cost, cost], [score.low, score.high], color=look.colour, linewidth=1.1, zorder=2)
        axes.plot(
            cost,
            score.mean,
            look.marker,
            color=look.colour,
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.5,
            label="" if is_crowded and not is_named else wrapped(variant.name, LEGEND_CHARACTERS),
            zorder=3,
        )
    for number, front in enumerate(axis.fronts):
        axes.plot(
            [axis.costs[name] for name in front],
            [found.mean for name in front if (found := variants[name].score) is not None],
            color=FAINT,
            linestyle=":",
            linewidth=0.9,
            zorder=1,
            label="" if number else "Pareto front",
        )
    sns.despine(ax=axes)
    axes.grid(visible=True)
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlabel(axis.label)
    axes.set_ylabel(f"test {heading(findings.primary)}")
    axes.margins(0.08)
    figure.legend(loc="outside right center")
    return figure
