"""A report as LaTeX without preamble, for ``\\input``: tables by booktabs, figures from their PDF files.

It needs ``\\usepackage{amssymb,booktabs,graphicx,hyperref,longtable}``. Text is escaped, so that no name is a command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
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
    plain_text,
    spans,
)

PACKAGES = ("amssymb", "booktabs", "graphicx", "hyperref", "longtable")
LONG_ROWS = 25
"""A longer table is broken across pages."""
LISTING_CHARACTERS = 90
COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "`": r"\textasciigrave{}",
    "\u2060": "{}",  # between hyphens, which else become a dash
    "\u00a0": "~",
    "\u202f": r"\,",
    "−": r"$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "→": r"$\rightarrow$",
    "Δ": r"$\Delta$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "σ": r"$\sigma$",
    "ω": r"$\omega$",
    "²": r"$^{2}$",
    "°": r"$^{\circ}$",
    "–": "{--}",
    "—": "{---}",
    "…": r"\dots{}",
    "✓": r"$\checkmark$",
    "✗": r"$\times$",
}
STYLES = {Style.STRONG: "textbf", Style.EMPHASIS: "emph", Style.CODE: "texttt"}
SECTIONS = ("section", "subsection", "subsubsection")


def latex(document: Document) -> str:
    """Return a report as LaTeX."""
    head = (
        f"% {plain_text(document.name)}; in the preamble: \\usepackage{{{','.join(PACKAGES)}}}\n"
        "% other scripts than Latin and Greek need XeLaTeX or LuaLaTeX and a font that has them"
    )
    label = re.sub(r"[^A-Za-z0-9]+", "-", document.name)
    return "\n\n".join([head, *(block(shown, label) for shown in document.blocks)]) + "\n"


def block(shown: Block, label: str) -> str:
    """Return one block as LaTeX; `label` makes its references unique."""
    return _WRITERS[type(shown)](shown, label)


def inline(line: Line) -> str:
    """Return a line as LaTeX."""
    return "".join(map(_span, spans(line)))


def _span(span: Span) -> str:
    shown = escaped(span.text)
    if span.target:
        shown = rf"\href{{{_address(span.target)}}}{{{shown}}}"
    return rf"\{STYLES[span.style]}{{{shown}}}" if span.style in STYLES else shown


def escaped(text: str) -> str:
    """Return `text` with every character that LaTeX would interpret as a command."""
    return "".join(COMMANDS.get(character, character) for character in re.sub("-(?=-)", "-\u2060", text))


def _opening(line: Line) -> str:
    r"""Return a line that stands after ``\\item`` or ``\\\\``, which would take a bracket or a star as their own."""
    shown = inline(line)
    return f"{{}}{shown}" if shown.startswith(("[", "*")) else shown


def _address(target: str) -> str:
    return "".join(f"\\{c}" if c in "%#&_{}" else c for c in target if c not in "\\^~")


def _byline(shown: Byline) -> str:
    lines = (inline(", ".join(shown.authors)), inline(emphasis(shown.affiliation)))
    return "\\noindent " + "\\\\\n".join(line for line in lines if line)


def _bullets(items: Iterable[Line]) -> str:
    body = "\n".join(rf"\item {_opening(item)}" for item in items)
    return f"\\begin{{itemize}}\n{body}\n\\end{{itemize}}"


def _note(shown: Note) -> str:
    return f"\\begin{{quote}}\n\\textbf{{{inline(shown.title)}}}\n{_bullets(shown.items)}\n\\end{{quote}}"


def _listing(shown: Listing) -> str:
    lines = (
        line[at : at + LISTING_CHARACTERS]
        for line in shown.text.splitlines()
        for at in range(0, max(len(line), 1), LISTING_CHARACTERS)
    )
    body = "\\\\\n".join(rf"\mbox{{\texttt{{{escaped(line).replace(' ', '~')}}}}}" for line in lines)
    return f"\\begin{{flushleft}}\\footnotesize\n{body}\n\\end{{flushleft}}"


def _table(shown: Table, label: str) -> str:
    align = "".join("r" if column.side == "right" else "l" for column in shown.columns)
    heads = _row([column.head for column in shown.columns])
    rows = "\n".join(map(_row, shown.rows))
    caption = (
        ""
        if shown.number is None
        else rf"\caption{{{inline(shown.caption)}}}\label{{tab:{label}-{shown.number}}}"
    )
    if len(shown.rows) > LONG_ROWS:
        first = f"{caption}\\\\\n" if caption else ""
        return (
            f"{{\\footnotesize\n\\begin{{longtable}}{{{align}}}\n{first}\\toprule\n{heads}\n\\midrule\n\\endhead\n"
            f"\\bottomrule\n\\endfoot\n{rows}\n\\end{{longtable}}}}"
        )
    tabular = f"\\begin{{tabular}}{{{align}}}\n\\toprule\n{heads}\n\\midrule\n{rows}\n\\bottomrule\n\\end{{tabular}}"
    fitted = f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n{tabular}}}"
    if not caption:
        return f"\\begin{{center}}\\footnotesize\n{fitted}\n\\end{{center}}"
    return f"\\begin{{table}}[htbp]\n\\centering\\footnotesize\n{caption}\n{fitted}\n\\end{{table}}"


def _row(cells: Iterable[Line]) -> str:
    return " & ".join(map(_opening, cells)) + r" \\"


def _figure(shown: Figure, label: str) -> str:
    path = PurePosixPath(shown.path).with_suffix(".pdf")
    return (
        f"\\begin{{figure}}[htbp]\n\\centering\n\\includegraphics[width=\\linewidth]{{{path}}}\n"
        f"\\caption{{{inline(shown.caption)}}}\\label{{fig:{label}-{shown.number}}}\n\\end{{figure}}"
    )


_WRITERS: Mapping[type[Block], Callable[[Any, str], str]] = {
    Heading: lambda shown, _: rf"\{SECTIONS[min(shown.level, 3) - 1]}{{{inline(shown.text)}}}",
    Byline: lambda shown, _: _byline(shown),
    Text: lambda shown, _: inline(shown.line),
    Bullets: lambda shown, _: _bullets(shown.items),
    Note: lambda shown, _: _note(shown),
    Listing: lambda shown, _: _listing(shown),
    Table: _table,
    Figure: _figure,
}
