"""A report as data: blocks of styled text, tables and figures, which every format writes in its own way.

Text is plain wherever it stands: no character of it is markup in any format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

Side = Literal["left", "right"]


class Style(StrEnum):
    """How a piece of text is set."""

    PLAIN = "plain"
    STRONG = "strong"
    EMPHASIS = "emphasis"
    CODE = "code"


@dataclass(frozen=True)
class Span:
    """A piece of text in one style."""

    text: str
    style: Style = Style.PLAIN
    target: str = ""
    """The file, from the report's folder, or the address that it links to."""


Line: TypeAlias = str | Span | tuple[str | Span, ...]
"""Text on one line; a bare string is plain."""


@dataclass(frozen=True)
class Heading:
    """A heading; the document's title has level 1."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Byline:
    """Who wrote the document, below its title."""

    authors: tuple[str, ...]
    affiliation: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    line: Line


@dataclass(frozen=True)
class Bullets:
    """A list without numbers."""

    items: tuple[Line, ...]


@dataclass(frozen=True)
class Note:
    """What a reader must not miss, set off from the text."""

    title: str
    items: tuple[Line, ...]


@dataclass(frozen=True)
class Listing:
    """Lines in a font of fixed width."""

    text: str


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers stand at the right."""

    head: Line
    side: Side = "left"


@dataclass(frozen=True)
class Table:
    """A table; every row has a cell for each column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Line, ...], ...]
    caption: Line = ""
    number: int | None = None
    """From 1 in the order of the document; None where the table has no caption."""


@dataclass(frozen=True)
class Figure:
    """A figure, drawn in files of its own."""

    name: str
    path: str
    """The path of its SVG file from the report's folder."""
    alt_text: str
    """A short description for readers who cannot see the figure."""
    caption: Line
    number: int
    """From 1 in the order of the document."""
    floats: bool = False
    """On pages it stands where it fits, and the text goes on before it."""


Block: TypeAlias = Heading | Byline | Text | Bullets | Note | Listing | Table | Figure


@dataclass(frozen=True)
class Document:
    """A report."""

    name: str
    """The study's name."""
    title: str
    blocks: tuple[Block, ...]


def strong(text: str) -> Span:
    """Return bold text."""
    return Span(text, Style.STRONG)


def emphasis(text: str) -> Span:
    """Return italic text."""
    return Span(text, Style.EMPHASIS)


def code(text: str) -> Span:
    """Return text in a font of fixed width."""
    return Span(text, Style.CODE)


def link(text: str, target: str) -> Span:
    """Return text that leads to a file of the report or an address."""
    return Span(text, target=target)


def join(*parts: Line) -> tuple[str | Span, ...]:
    """Return lines, one after the other, as one line."""
    return tuple(
        piece for part in parts for piece in (part if isinstance(part, tuple) else (part,)) if piece != ""
    )


def spans(line: Line) -> tuple[Span, ...]:
    """Return a line's pieces, neighbours of one style as one, without line breaks, controls and outer spaces."""
    merged: list[Span] = []
    for piece in join(line):
        span = piece if isinstance(piece, Span) else Span(piece)
        if merged and (merged[-1].style, merged[-1].target) == (span.style, span.target):
            merged[-1] = Span(merged[-1].text + span.text, span.style, span.target)
        else:
            merged.append(span)
    texts = [_printable(span.text) for span in merged]
    if texts:
        texts[0] = texts[0].lstrip()
        texts[-1] = texts[-1].rstrip()
    return tuple(
        Span(text, span.style, span.target) for text, span in zip(texts, merged, strict=True) if text
    )


def plain_text(line: Line) -> str:
    """Return a line without styles."""
    return "".join(span.text for span in spans(line))


_NO_BREAK = "\u00a0\u202f"


def _printable(text: str) -> str:
    """Return `text` with one space for each run of spaces, breaks and controls; spaces that do not break stay."""
    shown = "".join(c if c.isprintable() or c in _NO_BREAK else " " for c in text)
    return re.sub(" +", " ", shown)
