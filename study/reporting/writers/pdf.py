"""A report typeset as PDF.

All text goes into Typst as string literals, never as markup, so that no name can be interpreted as markup.
"""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import typst

from study.fonts import fallback, own_font
from study.reporting.document import (
    Block,
    Bullets,
    Byline,
    Document,
    Figure,
    Heading,
    Line,
    Listing,
    Note,
    Span,
    Style,
    Table,
    Text,
    emphasis,
    join,
    plain_text,
    spans,
    strong,
)
from study.reporting.text import breakable, one_line

TEMPLATE = Path(__file__).with_name("template.typ")
PAGE_CHARACTERS = 124
"""Characters of a table row that fit between the margins."""
SMALL_CHARACTERS = 148
"""The same in small type, which long tables and those in two halves have."""
MOST_ROWS_IN_FULL = 24
"""A longer table is set in small type."""
GAP_CHARACTERS = 2
"""Width of the gap between two columns."""
INTERVAL = " ["
"""Between a mean and its interval, which stand on two lines where a table is too wide."""
LISTING_CHARACTERS = 100
LEAST_HALVED = 12
"""So many rows of a narrow table, or lines, are set in two halves side by side."""
MOST_HALVED = 90
"""The most rows of a halved table that fit a page."""
WORD_CHARACTERS = 18
"""A longer word in a table may be broken anywhere."""
RUNNING_CHARACTERS = 80
BREAK_POINT = "#box()"
"""Allows a line break without adding a character to copied text."""
HARD_SPACE = "\u00a0"


def pdf(document: Document, figures: Mapping[str, bytes]) -> bytes:
    """Return a report as PDF; equal input gives equal bytes.

    Args:
        document: The report.
        figures: The figures' files by their paths from the report's folder; those in PDF are set.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / TEMPLATE.name).write_bytes(TEMPLATE.read_bytes())
        text = markup(document)
        (folder / "report.typ").write_text(text, encoding="utf-8")
        for path, content in figures.items():
            if path.endswith(".pdf"):
                (folder / path).parent.mkdir(exist_ok=True)
                (folder / path).write_bytes(content)
        fonts = sorted({file.parent for file in (own_font(), *fallback(text).files)})
        compiled = typst.compile(
            folder / "report.typ", root=folder, format="pdf", timestamp=0, font_paths=fonts
        )
    assert isinstance(compiled, bytes)
    return compiled


def markup(document: Document) -> str:
    """Return a report as Typst markup that imports ``template.typ``."""
    title = plain_text(document.title)
    running = textwrap.shorten(title, RUNNING_CHARACTERS, placeholder=" …")
    label = literal(one_line(document.name))
    arguments = f"title: {literal(title)}, running: {literal(running)}, label: {label}"
    header = f'#import "{TEMPLATE.name}": *\n#show: paper.with({arguments})\n\n'
    return header + "\n\n".join(map(block, document.blocks)) + "\n"


def literal(text: str) -> str:
    """Return `text` as a Typst string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def block(shown: Block) -> str:
    """Return one block as Typst markup."""
    return _WRITERS[type(shown)](shown)


def _heading(shown: Heading) -> str:
    if shown.level == 1:
        return f"#report-title[{_inline(shown.text)}]"
    return f"#heading(level: {shown.level})[{_inline(shown.text)}]"


def _byline(shown: Byline) -> str:
    lines = (_inline(", ".join(shown.authors)), _inline(emphasis(shown.affiliation)))
    return f"#byline[{'#linebreak()'.join(line for line in lines if line)}]"


def _bullets(items: Iterable[Line]) -> str:
    return f"#list({', '.join(f'[{_inline(item)}]' for item in items)})"


def _note(shown: Note) -> str:
    return f"#warning-box[{_inline(strong(shown.title))}\n\n{_bullets(shown.items)}]"


def _listing(shown: Listing) -> str:
    lines = [
        part
        for line in shown.text.splitlines()
        for part in textwrap.wrap(line, LISTING_CHARACTERS, subsequent_indent="    ") or [""]
    ]
    halves = [lines]
    if len(lines) >= LEAST_HALVED and max(map(len, lines)) <= LISTING_CHARACTERS // 2:
        middle = -(-len(lines) // 2)
        halves = [lines[:middle], lines[middle:]]
    blocks = (f"raw({literal(chr(10).join(half))}, block: true)" for half in halves)
    return f"#listing({', '.join(blocks)})"


def _figure(shown: Figure) -> str:
    caption = _inline(_numbered("Figure", shown.number, shown.caption))
    path = str(PurePosixPath(shown.path).with_suffix(".pdf"))
    function = "floating-figure" if shown.floats else "report-figure"
    return f"#{function}({literal(path)}, {literal(plain_text(shown.alt_text))}, [{caption}])"


def _numbered(kind: str, number: int, caption: Line) -> Line:
    return join(strong(f"{kind} {number}."), " ", caption)


def _table(shown: Table) -> str:
    right = [column.side == "right" for column in shown.columns]
    heads = [plain_text(column.head) for column in shown.columns]
    body = [[plain_text(cell) for cell in row] for row in shown.rows]
    widths = _widths(heads, body, right)
    is_stacked = sum(widths) + GAP_CHARACTERS * len(widths) > SMALL_CHARACTERS and any(
        INTERVAL in cell for row in body for cell, numeric in zip(row, right, strict=True) if numeric
    )
    if is_stacked:
        lines = [
            [
                max(cell.split(INTERVAL), key=len) if numeric else cell
                for cell, numeric in zip(row, right, strict=True)
            ]
            for row in body
        ]
        widths = _widths(heads, lines, right)
    fits = sum(widths) + GAP_CHARACTERS * len(widths) <= PAGE_CHARACTERS
    columns = [
        "auto" if fits or numeric or width <= WORD_CHARACTERS else f"{min(width, 40)}fr"
        for numeric, width in zip(right, widths, strict=True)
    ]
    header = [
        f"[{_header_cell(column.head, width) if numeric else _inline(column.head)}]"
        for column, numeric, width in zip(shown.columns, right, widths, strict=True)
    ]
    numbers = _stacked if is_stacked else _without_breaks
    rows = [
        ", ".join(
            f"[{_inline(cell, numbers if numeric else _with_break_points)}]"
            for cell, numeric in zip(row, right, strict=True)
        )
        for row in shown.rows
    ]
    align = ["right" if numeric else "left" for numeric in right]
    parts = [rows]
    is_halved = (
        len(rows) >= LEAST_HALVED and 2 * (sum(widths) + GAP_CHARACTERS * len(widths)) <= SMALL_CHARACTERS
    )
    is_small = is_stacked or is_halved or len(rows) > MOST_ROWS_IN_FULL
    if is_halved:
        parts = [
            _halved(rows[at : at + MOST_HALVED], len(columns)) for at in range(0, len(rows), MOST_HALVED)
        ]
        columns, align, header = (
            [*each, between, *each] for each, between in ((columns, "1.5em"), (align, "left"), (header, "[]"))
        )
    caption = (
        []
        if shown.number is None
        else [f"#table-caption[{_inline(_numbered('Table', shown.number, shown.caption))}]\n"]
    )
    grids = (
        "\n".join(
            [
                "#booktabs(",
                f"  small: {str(is_small).lower()},",
                f"  columns: ({', '.join(columns)},),",
                f"  align: ({', '.join(align)},),",
                f"  header: ({', '.join(header)},),",
                "  rows: (",
                *(f"  ({row},)," for row in part),
                "))",
            ]
        )
        for part in parts
    )
    return "\n".join([*caption, *grids])


def _halved(rows: Sequence[str], columns: int) -> list[str]:
    """Return rows of which each has one of the first half beside one of the second."""
    middle = -(-len(rows) // 2)
    empty = ", ".join(["[]"] * columns)
    others = [*rows[middle:], *[empty] * (2 * middle - len(rows))]
    return [f"{row}, [], {other}" for row, other in zip(rows[:middle], others, strict=True)]


def _widths(heads: Sequence[str], body: Sequence[Sequence[str]], right: Sequence[bool]) -> list[int]:
    """Return the characters that each column needs; the header of a numeric column is wrapped."""
    widths = []
    for at, head in enumerate(heads):
        longest_word = max((len(word) for word in head.split()), default=0)
        longest_cell = max((len(row[at]) for row in body), default=0)
        widths.append(max(longest_cell, longest_word if right[at] else len(head)))
    return widths


def _header_cell(head: Line, width: int) -> str:
    """Wrap the header of a numeric column to the width of its numbers."""
    pieces = spans(head)
    if any(span.style not in (Style.PLAIN, Style.CODE) for span in pieces):
        return _inline(head)
    lines = textwrap.wrap(plain_text(head), max(width, 6), break_long_words=False, break_on_hyphens=False)
    mono = bool(pieces) and pieces[0].style is Style.CODE
    return "#linebreak()".join(f"#raw({literal(line)})" if mono else f"#{literal(line)}" for line in lines)


def _literal_markup(text: str) -> str:
    return f"#{literal(text)}" if text else ""


def _without_breaks(text: str) -> str:
    return _literal_markup(text.replace(" ", HARD_SPACE))


def _stacked(text: str) -> str:
    """Set an interval below its mean."""
    mean, interval, rest = text.partition(INTERVAL)
    return (
        f"{_without_breaks(mean)}#linebreak(){_without_breaks(f'[{rest}')}"
        if interval
        else _without_breaks(text)
    )


def _with_break_points(text: str) -> str:
    """Allow line breaks after separators, and anywhere in a very long word."""
    return BREAK_POINT.join(_literal_markup(piece) for piece in breakable(text, WORD_CHARACTERS))


def _inline(line: Line, write_text: Callable[[str], str] = _literal_markup) -> str:
    """Return a line as markup, each text by `write_text`."""
    return "".join(_span(span, write_text) for span in spans(line))


def _span(span: Span, write_text: Callable[[str], str]) -> str:
    if span.style is Style.CODE:
        return f"#raw({literal(span.text)})"
    shown = write_text(span.text)
    if span.target:
        shown = f"#link({literal(span.target)})[{shown}]"
    if span.style is Style.PLAIN:
        return shown
    return f"#{'strong' if span.style is Style.STRONG else 'emph'}[{shown}]"


_WRITERS: Mapping[type[Block], Callable[[Any], str]] = {
    Heading: _heading,
    Byline: _byline,
    Text: lambda shown: _inline(shown.line),
    Bullets: lambda shown: _bullets(shown.items),
    Note: _note,
    Listing: _listing,
    Table: _table,
    Figure: _figure,
}
