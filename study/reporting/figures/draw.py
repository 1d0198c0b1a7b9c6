"""The report's figures as SVG, PDF and PNG: the same findings give the same bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from study.analysis.findings import Findings
from study.fonts import fallback, families
from study.reporting.figure_specs import FOLDER, FORMATS, figure_specs
from study.reporting.figures.classes import breakdown, confusion
from study.reporting.figures.curves import learning, search
from study.reporting.figures.examples import examples
from study.reporting.figures.profiles import profiles
from study.reporting.figures.published import published
from study.reporting.figures.scores import differences, repetitions
from study.reporting.figures.style import ACCENT, STYLE
from study.reporting.figures.tradeoff import tradeoff
from study.reporting.pictures import NO_PICTURES, Pictures


def draw(findings: Findings, pictures: Pictures = NO_PICTURES) -> dict[str, bytes]:
    """Return the figures of `figure_specs` in every format, by path from the report's folder."""
    plotters: dict[str, Callable[[Findings], Figure]] = {
        "repetitions": repetitions,
        "differences": differences,
        "breakdown": breakdown,
        "confusion": confusion,
        "examples": partial(examples, pictures=pictures),
        "profiles": profiles,
        "published": published,
        "learning": learning,
        "search": search,
        "tradeoff": tradeoff,
    }
    fonts = [*STYLE["font.family"], *families(fallback(str(findings)).files)]
    with style.context(["default", {**STYLE, "font.family": fonts}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a note of the report names them
        figures = {name: plotters[name](findings) for name in figure_specs(findings, pictures)}
        if findings.is_optimistic:
            for figure in figures.values():
                figure.suptitle("optimistic, chosen on the test split", fontsize=7.5, color=ACCENT)
        return {
            f"{FOLDER}/{name}.{form}": _bytes(figure, form)
            for name, figure in figures.items()
            for form in FORMATS
        }


PNG_DPI = 200
_METADATA: Mapping[str, Mapping[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def _bytes(figure: Figure, form: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=form, metadata=dict(_METADATA[form]), dpi=PNG_DPI)
    return file.getvalue()
