"""The report's Markdown typeset as PDF.

Only the Markdown that `study.reporting.sections` writes is understood. All text goes into Typst as string
literals, never as markup, so that no name can be interpreted as markup.
"""

from __future__ import annotations

import re
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import typst
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from study.reporting.text import breakable, one_line

TEMPLATE = Path(__file__).with_name("template.typ")
PAGE_CHARACTERS = 124
"""Characters of a table row that fit between the margins."""
GAP_CHARACTERS = 2
"""Width of the gap between two columns."""
LISTING_CHARACTERS = 100
WORD_CHARACTERS = 18
"""A longer word in a table may be broken anywhere."""
RUNNING_CHARACTERS = 80
BREAK_POINT = "#box()"
"""Allows a line break without adding a character to copied text."""
HARD_SPACE = "\u00a0"


def pdf(markdown: str, figures: Mapping[str, bytes], label: str) -> bytes:
    """Return the report as PDF; equal input gives equal bytes.

    Args:
        markdown: The report.
        figures: SVG documents by the path under which the report shows them.
        label: The study's name, for the page header.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / TEMPLATE.name).write_bytes(TEMPLATE.read_bytes())
        (folder / "report.typ").write_text(markup(markdown, label), encoding="utf-8")
        for path, svg in figures.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(svg)
        compiled = typst.compile(folder / "report.typ", root=folder, format="pdf", timestamp=0)
    assert isinstance(compiled, bytes)
    return compiled


def markup(markdown: str, label: str) -> str:
    """Return the report as Typst markup that imports ``template.typ``.

    Raises:
        ValueError: The Markdown has an element that reports do not use.
    """
    root = SyntaxTreeNode(MarkdownIt("commonmark", {"html": False}).enable("table").parse(markdown))
    title = next((_text_of(node) for node in root.children if node.tag == "h1"), label)
    running = textwrap.shorten(title, RUNNING_CHARACTERS, placeholder=" …")
    arguments = f"title: {literal(title)}, running: {literal(running)}, label: {literal(one_line(label))}"
    header = f'#import "{TEMPLATE.name}": *\n#show: paper.with({arguments})\n\n'
    return header + _blocks(root.children)


def literal(text: str) -> str:
    """Return `text` as a Typst string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _blocks(nodes: Sequence[SyntaxTreeNode]) -> str:
    """Render blocks; a caption belongs to the figure above it or the table below it."""
    parts = []
    remaining = list(nodes)
    while remaining:
        node = remaining.pop(0)
        image = _lone_image(node)
        if image is not None:
            caption = _inline(remaining.pop(0)) if remaining and _is_caption(remaining[0]) else ""
            path, alt = str(image.attrs["src"]), _text_of(image)
            parts.append(f"#report-figure({literal(path)}, {literal(alt)}, [{caption}])")
        elif _is_caption(node) and remaining and remaining[0].type == "table":
            parts.append(f"#table-caption[{_inline(node)}]")
        elif node.type in _BLOCKS:
            parts.append(_BLOCKS[node.type](node))
        else:
            raise ValueError(f"reports have no element {node.type!r}")
    return "\n\n".join(parts) + "\n"


def _lone_image(node: SyntaxTreeNode) -> SyntaxTreeNode | None:
    if node.type == "paragraph" and len(node.children[0].children) == 1:
        child = node.children[0].children[0]
        return child if child.type == "image" else None
    return None


def _is_caption(node: SyntaxTreeNode) -> bool:
    if node.type != "paragraph" or not node.children[0].children:
        return False
    first = node.children[0].children[0]
    # markdown-it puts an empty text before an emphasis that opens a line
    if first.type == "text" and not first.content:
        first = node.children[0].children[1]
    return first.type == "strong" and re.fullmatch(r"(Table|Figure) \d+\.", _text_of(first)) is not None


def _heading(node: SyntaxTreeNode) -> str:
    if node.tag == "h1":
        return f"#report-title[{_inline(node)}]"
    return f"#heading(level: {node.tag[1:]})[{_inline(node)}]"


def _list(node: SyntaxTreeNode) -> str:
    items = ", ".join(f"[{_blocks(item.children).strip()}]" for item in node.children)
    return f"#{'list' if node.type == 'bullet_list' else 'enum'}({items})"


def _listing(node: SyntaxTreeNode) -> str:
    lines = [
        part
        for line in node.content.splitlines()
        for part in textwrap.wrap(line, LISTING_CHARACTERS, subsequent_indent="    ") or [""]
    ]
    return f"#listing(raw({literal(chr(10).join(lines))}, block: true))"


def _table(node: SyntaxTreeNode) -> str:
    head, *body = [row.children for part in node.children for row in part.children]
    right = ["right" in str(cell.attrs.get("style", "")) for cell in head]
    lengths = [max((len(_text_of(row[at])) for row in body), default=0) for at in range(len(head))]
    longest_words = [max((len(word) for word in _text_of(cell).split()), default=0) for cell in head]
    widths = [
        max(pair) if right[at] else max(*pair, len(_text_of(head[at])))
        for at, pair in enumerate(zip(lengths, longest_words, strict=True))
    ]
    fits = sum(widths) + GAP_CHARACTERS * len(widths) <= PAGE_CHARACTERS
    columns = [
        "auto" if fits or right[at] or width <= WORD_CHARACTERS else f"{min(width, 40)}fr"
        for at, width in enumerate(widths)
    ]
    header = [
        f"[{_header_cell(cell, widths[at]) if right[at] else _inline(cell)}]" for at, cell in enumerate(head)
    ]
    rows = [
        "  ("
        + ", ".join(
            f"[{_inline(cell, _without_breaks if numeric else _with_break_points)}]"
            for cell, numeric in zip(row, right, strict=True)
        )
        + ",),"
        for row in body
    ]
    sides = ["right" if numeric else "left" for numeric in right]
    return "\n".join(
        [
            "#booktabs(",
            f"  columns: ({', '.join(columns)},),",
            f"  align: ({', '.join(sides)},),",
            f"  header: ({', '.join(header)},),",
            "  rows: (",
            *rows,
            "))",
        ]
    )


def _header_cell(cell: SyntaxTreeNode, width: int) -> str:
    """Wrap the header of a numeric column to the width of its numbers."""
    if any(child.type not in ("text", "code_inline") for child in cell.children[0].children):
        return _inline(cell)
    lines = textwrap.wrap(_text_of(cell), max(width, 6), break_long_words=False, break_on_hyphens=False)
    mono = cell.children[0].children[0].type == "code_inline"
    return "#linebreak()".join(f"#raw({literal(line)})" if mono else f"#{literal(line)}" for line in lines)


def _literal_markup(text: str) -> str:
    return f"#{literal(text)}" if text else ""


def _without_breaks(text: str) -> str:
    return _literal_markup(text.replace(" ", HARD_SPACE))


def _with_break_points(text: str) -> str:
    """Allow line breaks after separators, and anywhere in a very long word."""
    return BREAK_POINT.join(_literal_markup(piece) for piece in breakable(text, WORD_CHARACTERS))


def _inline(node: SyntaxTreeNode, write_text: Callable[[str], str] = _literal_markup) -> str:
    """Render inline elements, each text by `write_text`."""
    if node.type == "text":
        return write_text(node.content)
    if node.type == "code_inline":
        return f"#raw({literal(node.content)})"
    if node.type == "softbreak":
        return '#" "'
    inner = "".join(_inline(child, write_text) for child in node.children)
    if node.type == "strong":
        return f"#strong[{inner}]"
    if node.type == "em":
        return f"#emph[{inner}]"
    if node.type == "link":
        return f"#link({literal(str(node.attrs['href']))})[{inner}]"
    if node.type in ("inline", "paragraph", "heading", "th", "td"):
        return inner
    raise ValueError(f"reports have no element {node.type!r}")


def _text_of(node: SyntaxTreeNode) -> str:
    """Return the text of a node without markup."""
    if node.type in ("text", "code_inline"):
        return node.content
    return "".join(_text_of(child) for child in node.children)


_BLOCKS: Mapping[str, Callable[[SyntaxTreeNode], str]] = {
    "heading": _heading,
    "paragraph": _inline,
    "bullet_list": _list,
    "ordered_list": _list,
    "blockquote": lambda node: f"#warning-box[{_blocks(node.children)}]",
    "table": _table,
    "fence": _listing,
    "code_block": _listing,
}
