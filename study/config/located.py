"""Where in a file of settings a mistake stands: its key, and the line of the key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from study.errors import InputError, Mistake

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_SYNTAX = re.compile(r"at line (\d+)")


@contextmanager
def locating(file: Path, preset: str | None = None, changed: Collection[str] = ()) -> Iterator[None]:
    """Add file, key and line to an InputError about `file` that leaves the block.

    Args:
        file: A study's file, or study.toml.
        preset: The preset whose values replace those of the file.
        changed: Dotted keys whose values are not those of the file.
    """
    try:
        yield
    except InputError as error:
        error.mistake = located(error.mistake, file, preset, changed)
        raise


def located(mistake: Mistake, file: Path, preset: str | None, changed: Collection[str]) -> Mistake:
    """Return a mistake in `file` with the key alone, and its line where the file has the key."""
    prefix = f"{file}:"
    if mistake.file is not None or not (mistake.key.startswith(prefix) or mistake.key == "preset"):
        return mistake
    key = mistake.key.removeprefix(prefix).strip()
    mistake = replace(mistake, key=key, file=str(file))
    if any(f"{key}.".startswith(f"{other}.") for other in changed):
        return mistake
    try:
        lines = dict(lines_of_keys(file.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError):
        return mistake
    in_preset = None if preset is None else _line(f"preset.{preset}.{key}", lines, f"preset.{preset}")
    return replace(mistake, line=in_preset or _line(key, lines))


def _line(key: str, lines: dict[str, int], above: str = "") -> int | None:
    """Return the line of the longest known key that is `key` or holds it, below the key `above`."""
    while key and key != above:
        if key in lines:
            return lines[key]
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return None


def lines_of_keys(text: str) -> Iterator[tuple[str, int]]:
    """Yield the dotted key and the line, from 1, of each table header and of each assignment that begins a line."""
    table, counts = "", dict[str, int]()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _unquoted(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = f"{table}[{counts[table]}]"
            yield table, number
        elif key := _KEY.match(line):
            yield f"{table}.{_unquoted(key[1])}".lstrip("."), number


def _unquoted(key: str) -> str:
    return re.sub(r"\s*\.\s*", ".", re.sub("[\"']", "", key))


def syntax_line(error: tomllib.TOMLDecodeError) -> int | None:
    """Return the line of a syntax error, which Python names in the message alone before 3.14."""
    found = _SYNTAX.search(str(error))
    return int(found[1]) if found else None
