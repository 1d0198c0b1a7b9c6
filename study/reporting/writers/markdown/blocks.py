"""Blocks of Markdown: escaped text, lists, numbered tables and figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Literal

from study.reporting import text as formats
from study.reporting.figure_specs import FigureSpec
from study.reporting.text import MISSING

COLUMNS_PER_TABLE = 7
"""A wider table is printed in parts, so that it fits the page."""
OPTIMISTIC = "Optimistic, chosen on the test split."
"""Before the caption of every table of measured figures."""
Side = Literal["left", "right"]


class Blocks:
    """Blocks of Markdown, with tables and figures numbered as they come."""

    def __init__(self, drawn: Mapping[str, FigureSpec], mark: str) -> None:
        self.blocks: list[str] = []
        self._drawn = drawn
        self._mark = mark
        self._tables = count(1)
        self._figures = count(1)

    def add(self, *blocks: str) -> None:
        """Add blocks as they are."""
        self.blocks += blocks

    def table(self, caption: str, columns: Mapping[str, Side], rows: Iterable[Sequence[str]]) -> None:
        """Add a numbered table of what this study found; cells are Markdown."""
        self.borrowed_table(self._mark + caption, columns, rows)

    def borrowed_table(
        self, caption: str, columns: Mapping[str, Side], rows: Iterable[Sequence[str]]
    ) -> None:
        """Add a numbered table of what others found."""
        self.add(f"**Table {next(self._tables)}.** {caption}", table(columns, rows))

    def wide_table(
        self, caption: str, first: str, columns: Mapping[str, Side], rows: Sequence[Sequence[str]]
    ) -> None:
        """Add a table in as few parts as fit the page, each with the rows' first cells."""
        names = list(columns)
        parts = -(-len(names) // COLUMNS_PER_TABLE)
        size = -(-len(names) // parts)
        for part, start in enumerate(range(0, len(names), size), start=1):
            shown = {name: columns[name] for name in names[start : start + size]}
            body = [[head, *cells[start : start + size]] for head, *cells in rows]
            suffix = f" (Part {part} of {parts}.)" if parts > 1 else ""
            self.table(caption + suffix, {first: "left", **shown}, body)

    def figure(self, name: str) -> None:
        """Add a numbered figure where there is data for it."""
        if name in self._drawn:
            plate = self._drawn[name]
            self.add(
                f"![{plain(plate.short)}]({plate.path})",
                f"**Figure {next(self._figures)}.** {plain(plate.caption)}",
            )


def plain(text: str) -> str:
    """Return `text` on one line, escaped so that Markdown shows it as it is."""
    escaped = re.sub(r"([\\`*\[\]<>|$~&]|(?<!\w)_|_(?!\w))", r"\\\1", formats.one_line(text))
    escaped = re.sub(r"^([-+#])(?=[-+#\s]|$)", r"\\\1", escaped)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", escaped)


def code(text: str) -> str:
    """Return `text` on one line as a code span that may stand in a table."""
    line = formats.one_line(text)
    if not line:
        return MISSING
    ticks = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}".replace("|", r"\|")


def sentence(text: str) -> str:
    """Return `text`, escaped, with a full stop at its end."""
    line = plain(text)
    return line if line.endswith((".", "!", "?")) else line + "."


def bullet_list(items: Iterable[str]) -> str:
    """Return Markdown items as a list."""
    return "\n".join(f"- {item}" for item in items)


def table(columns: Mapping[str, Side], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown cells."""
    marks = ["---:" if side == "right" else ":---" for side in columns.values()]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(columns), marks, *rows])


def fenced(text: str) -> str:
    """Return `text` as a code block."""
    ticks = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{ticks}text\n{text}\n{ticks}"
