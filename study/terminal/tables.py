"""Text and tables on a terminal, whose words are never broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP = 2
"""Characters between two columns."""


@dataclass(frozen=True)
class Column:
    """A column with its cells, top to bottom."""

    head: str
    cells: Sequence[str | Text]
    side: Literal["left", "right"] = "right"
    is_optional: bool = False
    """Whether it is left out where the terminal is too narrow."""

    @property
    def widest(self) -> int:
        """The width at which no cell takes a second line."""
        return max(cell_len(str(text)) for text in (self.head, *self.cells))

    @property
    def least(self) -> int:
        """The least width at which no word and no number with its bounds is broken: text on the left may wrap."""
        words = str(self.head).split()
        for cell in self.cells:
            words += str(cell).split() if self.side == "left" else [str(cell)]
        return max(map(cell_len, words), default=0)


def print_text(console: Console, text: str) -> None:
    """Print text; a terminal gets lines that end between words, a file or pipe the lines as they are."""
    if console.is_terminal:
        lines = (
            wrap(
                line,
                console.width,
                subsequent_indent=line[: len(line) - len(line.lstrip())],
                break_long_words=False,
                break_on_hyphens=False,
            )
            or [""]
            for line in text.splitlines()
        )
        text = "\n".join(part for parts in lines for part in parts)
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_table(console: Console, columns: Sequence[Column]) -> None:
    """Print a table as `fitted` makes it."""
    table = fitted(columns, console.width)
    width = sum((column.width or 0) + GAP for column in table.columns)
    as_wide = Console(
        file=console.file,
        width=max(console.width, width),
        force_terminal=console.is_terminal,
        no_color=console.no_color,
    )
    as_wide.print(table, highlight=False)


def fitted(columns: Sequence[Column], available: int) -> Table:
    """Return a table within a terminal's width.

    Optional columns are left out, the last ones first, where the words of all do not fit; where those of the others
    do not fit either, lines are longer than the terminal.
    """
    shown = list(columns)
    while _least(shown) > available and any(column.is_optional for column in shown):
        shown.remove(next(column for column in reversed(shown) if column.is_optional))
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for column, width in zip(shown, _widths(shown, available), strict=True):
        table.add_column(Text(column.head), justify=column.side, width=width, vertical="bottom")
    for cells in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return table


def _least(columns: Sequence[Column]) -> int:
    return sum(column.least for column in columns) + GAP * len(columns)


def _widths(columns: Sequence[Column], available: int) -> list[int]:
    """Return the columns' widths: the most that they need, less what is missing from those that can spare most."""
    widths = [column.widest for column in columns]
    while sum(widths) + GAP * len(widths) > available:
        spare = [width - column.least for column, width in zip(columns, widths, strict=True)]
        if not any(spare):
            break
        widths[spare.index(max(spare))] -= 1
    return widths
