"""Blocks of Markdown: escaped text, lists, numbered tables and figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Literal

from study.reporting.figure_specs import FigureSpec
from study.reporting.text import MISSING, one_line

COLUMNS_PER_TABLE = 7
"""A wider table is printed in parts, so that it fits the page."""
Side = Literal["left", "right"]


class Blocks:
    """Blocks of Markdown, with tables and figures numbered in their order."""

    def __init__(self, specs: Mapping[str, FigureSpec], caption_prefix: str) -> None:
        self.blocks: list[str] = []
        self._specs = specs
        self._caption_prefix = caption_prefix
        self._tables = count(1)
        self._figures = count(1)

    def add(self, *blocks: str) -> None:
        """Add blocks as they are."""
        self.blocks += blocks

    def table(self, caption: str, columns: Mapping[str, Side], rows: Iterable[Sequence[str]]) -> None:
        """Add a numbered table of this study's results; cells are Markdown."""
        self.published_table(self._caption_prefix + caption, columns, rows)

    def published_table(
        self, caption: str, columns: Mapping[str, Side], rows: Iterable[Sequence[str]]
    ) -> None:
        """Add a numbered table of published results."""
        self.add(f"**Table {next(self._tables)}.** {caption}", table(columns, rows))

    def wide_table(
        self, caption: str, first: str, columns: Mapping[str, Side], rows: Sequence[Sequence[str]]
    ) -> None:
        """Add a table in as few parts as fit the page, each with the rows' first cells."""
        names = list(columns)
        parts = -(-len(names) // COLUMNS_PER_TABLE)
        size = -(-len(names) // parts)
        for part, start in enumerate(range(0, len(names), size), start=1):
            part_columns = {name: columns[name] for name in names[start : start + size]}
            body = [[head, *cells[start : start + size]] for head, *cells in rows]
            suffix = f" (Part {part} of {parts}.)" if parts > 1 else ""
            self.table(caption + suffix, {first: "left", **part_columns}, body)

    def figure(self, name: str) -> None:
        """Add a numbered figure where there is data for it."""
        if name in self._specs:
            spec = self._specs[name]
            self.add(
                f"![{plain(spec.alt_text)}]({spec.path})",
                f"**Figure {next(self._figures)}.** {plain(spec.caption)}",
            )


def plain(text: str) -> str:
    """Return `text` on one line, escaped so that Markdown shows it as it is."""
    escaped = re.sub(r"([\\`*\[\]<>|$~&]|(?<!\w)_|_(?!\w))", r"\\\1", one_line(text))
    escaped = re.sub(r"^([-+#])(?=[-+#\s]|$)", r"\\\1", escaped)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", escaped)


def code(text: str) -> str:
    """Return `text` on one line as a code span that is valid in a table."""
    line = one_line(text)
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
