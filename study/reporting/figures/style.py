"""Sizes, colours and matplotlib settings of the figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

COLUMN_INCHES = 4.5
"""Width at which letters are still 6 points high in a column of a two-column paper."""
PAGE_INCHES = 6.5
REFERENCE = "#5a5a5a"
REFERENCES = (REFERENCE, "#a8a8a8", "#1c1c1c", "#808080")
"""Greys of references: strata have one reference each."""
ACCENT = "#d55e00"
BAND = "#f0e442"
FAINT = "#b4b4b4"
"""Okabe and Ito's colours, which colour-blind readers can distinguish."""
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7b4fa3", "#8c6d31")
"""One colour for each variant, in this order."""
REFERENCE_LINE: Literal["--"] = "--"
"""The line style of references alone."""
MARKERS = ("o", "^", "v", "P", "X", "<", ">", "p", "*", "h")
"""Without the diamond of the means and the square of a reference."""
STYLE: Mapping[str, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],  # comes with matplotlib, so it is the same everywhere
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # a name may hold dollar signs
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "study",
}
