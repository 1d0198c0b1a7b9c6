"""Standard output and error that show any text: unencodable characters are replaced, control characters shown as �."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import IO, Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from study.errors import without_passwords

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys instead of showing them, and bytes of a file name that are no characters."""


def printable(text: str) -> str:
    """Return a text without the passwords of URLs, with each character that a terminal would obey replaced."""
    return _CONTROL.sub(
        "\N{REPLACEMENT CHARACTER}", without_passwords(text).replace("\r\n", "\n").replace("\r", "\n")
    )


class PrintedText:
    """A text stream that makes what is written to it printable."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream
        """The stream itself, to which Rich writes, with control characters of its own."""

    def write(self, text: str) -> int:
        """Write a text, made printable."""
        return self.rich_proxied_file.write(printable(text))

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines, made printable."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the stream."""
        return getattr(self.rich_proxied_file, name)


class PrintedConsole(Console):
    """A console whose own control characters reach the terminal, and none of the texts'."""

    @property
    def file(self) -> IO[str]:
        """The stream that Rich writes to: a progress bar puts a proxy of its own in front of `PrintedText`."""
        file = super().file
        while (behind := getattr(file, "rich_proxied_file", None)) is not None:
            file = behind
        return file

    @file.setter
    def file(self, file: IO[str]) -> None:
        self._file = file

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable, with printable texts."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


@contextmanager
def printed_text(stdout: TextIO, stderr: TextIO) -> Iterator[None]:
    """Write to both streams, inside the block, what their encoding can show and no terminal obeys."""
    with ExitStack() as stack:
        for stream, redirect in ((stdout, redirect_stdout), (stderr, redirect_stderr)):
            if reconfigure := getattr(stream, "reconfigure", None):
                reconfigure(errors="replace")
            stack.enter_context(redirect(cast("TextIO", PrintedText(stream))))
        yield
