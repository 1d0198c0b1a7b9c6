"""The report's figures as SVG: the same findings give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable

from matplotlib import style
from matplotlib.figure import Figure

from study.analysis.findings import Findings
from study.reporting.figure_specs import figure_specs
from study.reporting.figures.curves import learning, search
from study.reporting.figures.published import published
from study.reporting.figures.scores import breakdown, differences, repetitions
from study.reporting.figures.style import ACCENT, STYLE


def draw(findings: Findings) -> dict[str, bytes]:
    """Return the figures of `figure_specs(findings)` as SVG documents, by name."""
    plotters: dict[str, Callable[[Findings], Figure]] = {
        "repetitions": repetitions,
        "differences": differences,
        "breakdown": breakdown,
        "published": published,
        "learning": learning,
        "search": search,
    }
    with style.context(["default", dict(STYLE)]):
        figures = {name: plotters[name](findings) for name in figure_specs(findings)}
        if findings.is_optimistic:
            for figure in figures.values():
                figure.suptitle("optimistic, chosen on the test split", fontsize=7.5, color=ACCENT)
        return {name: _svg_bytes(figure) for name, figure in figures.items()}


def _svg_bytes(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
