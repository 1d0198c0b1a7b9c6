"""Blocks of code in Markdown documents.

The first word after the backticks is the language. The words after it, which no reader sees, say what a test does:

``file=NAME``       the block is a file of the document's example
``parsed="reason"`` the commands of a shell block are checked but not run, as those of an indented block
``output``          the commands before the block print these lines, numbers apart
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

REPOSITORY = Path(__file__).parents[2]
NUMBER = re.compile(r"[+−-]?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Block:
    """A block of code."""

    document: Path
    line: int
    language: str
    """Empty for a block that names no language."""
    options: dict[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether a test runs the block."""
        return self.language == "sh" and "parsed" not in self.options

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a shell block."""
        lines = self.text.replace("\\\n", " ").splitlines()
        parts = (part for line in lines for part in re.split(r"&&|\|", line))
        return [words for part in parts if (words := shlex.split(part, comments=True))]


def documents() -> list[Path]:
    """Return the documents whose blocks are checked."""
    return [
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")),
        *sorted(path for path in (REPOSITORY / "docs").glob("*.md") if path.name != "api.md"),
    ]


def blocks(document: Path) -> Iterator[Block]:
    """Yield the blocks of code of a document in their order."""
    for token in MarkdownIt("commonmark").parse(document.read_text()):
        if token.type in ("fence", "code_block"):
            info = token.info if token.type == "fence" else "sh parsed=indented"
            language, *words = shlex.split(info) or [""]
            options = {key: value for key, _, value in (word.partition("=") for word in words)}
            yield Block(document, token.map[0] + 1, language, options, token.content)


def without_numbers(text: str) -> str:
    """Return a text with every number as ``#`` and all white space as one blank."""
    return " ".join(NUMBER.sub("#", text).split())
