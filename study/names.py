"""Names of studies and presets, which become folders, files and experiments, and names that look the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from study.errors import wrong_value

LONGEST = 100
LONGEST_BYTES = 200
"""A file system allows 255 in the name of a file or folder, and some are written aside under a longer name."""
SEPARATOR = "@"
"""Between the name of a study file and its preset."""
FORBIDDEN = '/\\:<>|"*?' + SEPARATOR
RESERVED = frozenset(
    (
        "con",
        "prn",
        "aux",
        "nul",
        *(f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)),
    )
)
"""Names that a folder cannot have on every system."""
INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of characters that print nothing."""


def composed(name: str) -> str:
    """Return a name with composed characters (NFC), however a file system has decomposed it."""
    return unicodedata.normalize("NFC", name)


def checked_name(name: str, what: str, *, allowed: str = "") -> str:
    """Return the name of a study or preset, composed.

    Args:
        name: The name.
        what: File and key, for messages.
        allowed: Characters that are allowed besides, of those that are not.

    Raises:
        InputError: The name cannot be the name of a folder, or could be one outside of its own.
    """
    problem = _problem(composed(name), allowed)
    if problem:
        raise wrong_value(
            what,
            f"the name {name!r} {problem}. A name is that of a folder: letters, digits, spaces and "
            f"signs such as - _ . +, at most {LONGEST} characters.",
        )
    return composed(name)


def _problem(name: str, allowed: str) -> str:
    """Return what is wrong with a name; empty where nothing is."""
    if not name.strip():
        return "is empty"
    if has_invisible(name):
        return "has characters that print nothing"
    if found := [character for character in name if character in FORBIDDEN and character not in allowed]:
        return f"has the character {found[0]!r}"
    if name[0] in ".-" or name[0].isspace():
        return f"begins with {name[0]!r}"
    if name[-1] == "." or name[-1].isspace():
        return f"ends with {name[-1]!r}"
    if name.partition(".")[0].lower() in RESERVED:
        return "is reserved by some systems"
    if len(name) > LONGEST or len(name.encode()) > LONGEST_BYTES:
        return f"has {len(name)} characters, {len(name.encode())} bytes"
    return ""


def require_utf8(text: str, what: str) -> None:
    """Raise InputError for a name or another text with bytes that are not UTF-8: no record can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise wrong_value(
            what, f"{without_halves(text)!r} has bytes that are not UTF-8. Rename it."
        ) from None


def without_halves(text: str) -> str:
    """Return a text with bytes that are not UTF-8, and halves of characters, as �."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def has_invisible(text: str) -> bool:
    """Return whether a text has characters that print nothing, such as a line's end or a terminal's escape."""
    return any(unicodedata.category(character) in INVISIBLE for character in text)


def is_folder_name(name: str) -> bool:
    """Return whether a name is one folder's: neither a path, nor the folder itself or the one above."""
    return bool(name) and not set(name) & set("/\\\0") and name not in (".", "..")


def as_file_system(name: str) -> str:
    """Return what a file system may take a name for: without case and Unicode form."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def as_printed(text: str) -> str:
    """Return what a reader sees of a text: blanks joined, characters that print nothing left out, Unicode composed."""
    visible = "".join(c if c.isspace() or unicodedata.category(c) not in INVISIBLE else "" for c in text)
    return " ".join(unicodedata.normalize("NFKC", visible).replace("\N{MINUS SIGN}", "-").split())


def format_value(value: Any) -> str:
    """Return a value as text for reports: ``issm(frozen=true)``, ``0.001``."""
    if isinstance(value, Mapping):
        parameters = ", ".join(f"{key}={format_value(item)}" for key, item in value.items() if key != "name")
        return f"{value.get('name', '')}({parameters})" if parameters else str(value.get("name", ""))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
