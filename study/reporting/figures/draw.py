"""The report's figures as SVG: the same findings give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable

from matplotlib import style
from matplotlib.figure import Figure

from study.analysis.findings import Findings
from study.reporting.figure_specs import figure_specs
from study.reporting.figures.curves import learning, search
from study.reporting.figures.scores import breakdown, differences, seeds
from study.reporting.figures.style import ACCENT, STYLE


def draw(findings: Findings) -> dict[str, bytes]:
    """Return the figures of `plates(findings)` as SVG documents, by name."""
    drawings: dict[str, Callable[[Findings], Figure]] = {
        "seeds": seeds,
        "differences": differences,
        "breakdown": breakdown,
        "learning": learning,
        "search": search,
    }
    with style.context(["default", dict(STYLE)]):
        drawn = {name: drawings[name](findings) for name in figure_specs(findings)}
        if findings.is_optimistic:
            for figure in drawn.values():
                figure.suptitle("optimistic, chosen on the test split", fontsize=7.5, color=ACCENT)
        return {name: _svg_bytes(figure) for name, figure in drawn.items()}


def _svg_bytes(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
