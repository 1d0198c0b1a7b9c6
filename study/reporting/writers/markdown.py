"""A report as Markdown that GitHub shows: text is escaped, so that no name can be markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

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
    spans,
    strong,
)
from study.reporting.text import MISSING


def markdown(document: Document) -> str:
    """Return a report as Markdown."""
    return "\n\n".join(map(block, document.blocks)) + "\n"


def block(shown: Block) -> str:
    """Return one block as Markdown."""
    return _WRITERS[type(shown)](shown)


def inline(line: Line) -> str:
    """Return a line as it stands inside a block."""
    return "".join(map(_span, spans(line)))


def _opening(line: Line) -> str:
    """Return a line at the start of a block, whose first characters cannot open another kind of block."""
    shown = inline(line)
    shown = re.sub(r"^([-+#](?=[-+#\s]|$)|>)", r"\\\1", shown)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", shown)


def _span(span: Span) -> str:
    if span.style is Style.CODE:
        return _code(span.text)
    shown = _escaped(span.text)
    if span.target:
        shown = (
            f"[{shown}](<{span.target}>)"
            if re.search(r"[\s()<>]", span.target)
            else f"[{shown}]({span.target})"
        )
    mark = {Style.STRONG: "**", Style.EMPHASIS: "*"}.get(span.style, "")
    return f"{mark}{shown}{mark}"


def _escaped(text: str) -> str:
    """Escape what Markdown would interpret; brackets only where they can be a link, as intervals have them."""
    escaped = re.sub(r"([\\`*|$~&]|<(?=\S|$)|(?<!\w)_|_(?!\w))", r"\\\1", text)
    if re.search(r"\][(\[:]|^\[[ xX]\]|\[\^", escaped):
        escaped = re.sub(r"([\[\]])", r"\\\1", escaped)
    return escaped


def _code(text: str) -> str:
    """Return a code span that is valid in a table."""
    line = text.strip()
    if not line:
        return MISSING
    ticks = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}".replace("|", r"\|")


def _byline(byline: Byline) -> str:
    lines = [_opening(", ".join(byline.authors)), inline(emphasis(byline.affiliation))]
    return "\\\n".join(line for line in lines if line)


def _bullets(items: Iterable[Line]) -> str:
    return "\n".join(f"- {_opening(item)}" for item in items)


def _note(note: Note) -> str:
    lines = ["[!WARNING]", inline(strong(note.title)), "", *_bullets(note.items).splitlines()]
    return "\n".join(f"> {line}".rstrip() for line in lines)


def _table(shown: Table) -> str:
    heads = [inline(column.head) for column in shown.columns]
    marks = ["---:" if column.side == "right" else ":---" for column in shown.columns]
    body = [[inline(cell) for cell in row] for row in shown.rows]
    grid = "\n".join("| " + " | ".join(row) + " |" for row in [heads, marks, *body])
    return grid if shown.number is None else f"{_numbered('Table', shown.number, shown.caption)}\n\n{grid}"


def _figure(shown: Figure) -> str:
    return f"![{inline(shown.alt_text)}]({shown.path})\n\n{_numbered('Figure', shown.number, shown.caption)}"


def _numbered(kind: str, number: int, caption: Line) -> str:
    return inline(join(strong(f"{kind} {number}."), " ", caption))


def _listing(shown: Listing) -> str:
    ticks = "`" * max(3, max((len(run) for run in re.findall("`+", shown.text)), default=0) + 1)
    return f"{ticks}text\n{shown.text}\n{ticks}"


_WRITERS: Mapping[type[Block], Callable[[Any], str]] = {
    Heading: lambda shown: f"{'#' * shown.level} {inline(shown.text)}",
    Byline: _byline,
    Text: lambda shown: _opening(shown.line),
    Bullets: lambda shown: _bullets(shown.items),
    Note: _note,
    Listing: _listing,
    Table: _table,
    Figure: _figure,
}
