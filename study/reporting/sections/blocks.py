"""Collects the blocks of a report, with tables and figures numbered in their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from study.reporting.document import (
    Block,
    Bullets,
    Byline,
    Column,
    Document,
    Figure,
    Heading,
    Line,
    Listing,
    Note,
    Side,
    Table,
    Text,
    join,
)
from study.reporting.figure_specs import FigureSpec
from study.reporting.text import one_line

COLUMNS_PER_TABLE = 7
"""A wider table is printed in parts, so that it fits the page."""


class Blocks:
    """The blocks of a report in the order in which they were added."""

    def __init__(self, specs: Mapping[str, FigureSpec], caption_prefix: Line = "") -> None:
        self._blocks: list[Block] = []
        self._specs = specs
        self._caption_prefix = caption_prefix
        self._tables = count(1)
        self._figures = count(1)

    def document(self, name: str, title: str) -> Document:
        """Return what was added as a document."""
        return Document(name, title, tuple(self._blocks))

    def heading(self, text: str, level: int = 2) -> None:
        """Add a heading."""
        self._blocks.append(Heading(text, level))

    def byline(self, authors: tuple[str, ...], affiliation: str) -> None:
        """Add the authors, where there are any."""
        if authors or affiliation:
            self._blocks.append(Byline(authors, affiliation))

    def text(self, *parts: Line) -> None:
        """Add a paragraph."""
        self._blocks.append(Text(join(*parts)))

    def bullets(self, items: Iterable[Line]) -> None:
        """Add a list."""
        self._blocks.append(Bullets(tuple(items)))

    def note(self, title: str, items: Iterable[Line]) -> None:
        """Add what a reader must not miss."""
        self._blocks.append(Note(title, tuple(items)))

    def listing(self, text: str) -> None:
        """Add lines in a font of fixed width."""
        self._blocks.append(Listing(text))

    def table(self, caption: Line, columns: Mapping[Line, Side], rows: Iterable[Sequence[Line]]) -> None:
        """Add a numbered table of this study's results."""
        self.published_table(join(self._caption_prefix, caption), columns, rows)

    def published_table(
        self, caption: Line, columns: Mapping[Line, Side], rows: Iterable[Sequence[Line]]
    ) -> None:
        """Add a numbered table of published results."""
        self._blocks.append(_table(columns, rows, caption, next(self._tables)))

    def plain_table(self, columns: Mapping[Line, Side], rows: Iterable[Sequence[Line]]) -> None:
        """Add a table without number and caption."""
        self._blocks.append(_table(columns, rows))

    def wide_table(
        self, caption: Line, first: str, columns: Mapping[Line, Side], rows: Sequence[Sequence[Line]]
    ) -> None:
        """Add a table in as few parts as fit the page, each with the rows' first cells."""
        names = list(columns)
        parts = -(-len(names) // COLUMNS_PER_TABLE)
        size = -(-len(names) // parts)
        for part, start in enumerate(range(0, len(names), size), start=1):
            own: dict[Line, Side] = {first: "left"}
            own |= {name: columns[name] for name in names[start : start + size]}
            body = [[head, *cells[start : start + size]] for head, *cells in rows]
            suffix = f" (Part {part} of {parts}.)" if parts > 1 else ""
            self.table(join(caption, suffix), own, body)

    def has_figure(self, name: str) -> bool:
        """Return whether there is data for a figure."""
        return name in self._specs

    def figure(self, name: str, *, floats: bool = False) -> None:
        """Add a numbered figure where there is data for it."""
        if name in self._specs:
            spec, number = self._specs[name], next(self._figures)
            self._blocks.append(Figure(name, spec.path, spec.alt_text, spec.caption, number, floats))


def sentence(text: str) -> str:
    """Return `text` on one line with a full stop at its end."""
    line = one_line(text)
    return line if line.endswith((".", "!", "?")) else line + "."


def _table(
    columns: Mapping[Line, Side],
    rows: Iterable[Sequence[Line]],
    caption: Line = "",
    number: int | None = None,
) -> Table:
    return Table(
        tuple(Column(head, side) for head, side in columns.items()),
        tuple(tuple(row) for row in rows),
        caption,
        number,
    )
