"""Exceptions whose message is shown to the user: what is wrong, where, and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_PASSWORD = re.compile(r"(://[^\s/@:]*):[^\s'\"\\]*@")
"""The password of a URL, up to the last @: people write one in it without encoding it."""
_TOKEN = re.compile(r"(://)[^\s/@:'\"\\]+@")
"""What a URL has in place of a user and a password."""
_SECRET_ARGUMENT = re.compile(
    r"([?&;](?!viewStateShareKey=)(?:\w*(?:passw(?:or)?d|pwd|secret|token|key))=)[^&;\s'\"\\]+", re.IGNORECASE
)


class ErrorCode(StrEnum):
    """The kind of an error, for scripts."""

    FAILED = "failed"
    """No mistake of the input."""
    INVALID = "invalid"
    UNKNOWN_KEY = "unknown-key"
    UNKNOWN_NAME = "unknown-name"
    """No component, preset or study has the name."""
    WRONG_VALUE = "wrong-value"
    """A wrong type, or a value out of range."""
    MISSING_KEY = "missing-key"
    MISSING_FILE = "missing-file"
    SYNTAX = "syntax"


@dataclass(frozen=True)
class Mistake:
    """What is wrong with an input, and where; fields that are not known are None or empty."""

    code: ErrorCode = ErrorCode.INVALID
    key: str = ""
    """The dotted key, after the file where `file` is not known yet."""
    got: object = None
    allowed: tuple[str, ...] | str = ()
    """The allowed names, or a description of the allowed values."""
    nearest: str | None = None
    file: str | None = None
    line: int | None = None
    """From 1."""


class StudyError(Exception):
    """An error that is shown to the user as one message, without a traceback and without the passwords of URLs."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the message."""
        return without_passwords(super().__str__())


class InputError(StudyError):
    """An error in the user's input: a study file, an option, a data folder."""

    exit_code = 2

    def __init__(self, message: str, mistake: Mistake | None = None) -> None:
        super().__init__(message)
        self.mistake = mistake or Mistake()


class DiskFullError(StudyError):
    """Raised where a disk or a quota is full; finished work is kept."""


class DamagedWeightsError(StudyError):
    """Raised where a test finds weights that are not those of the training; they are removed, and trained again."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` where one allowed name is close to `name`, else an empty string."""
    close = nearest_name(name, allowed)
    return "" if close is None else f" Did you mean {shown(close)}?"


def nearest_name(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that is closest to `name`; None where none is close."""
    if len(name) > LONGEST_VALUE:
        return None
    return next(iter(difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)), None)


def unknown(code: ErrorCode, key: str, name: str, allowed: Iterable[str]) -> Mistake:
    """Return the mistake of a name that is not allowed."""
    names = tuple(allowed)
    return Mistake(code, key, name, names, nearest_name(name, names))


_MOST_QUOTED = 100
"""The most names that a message lists."""
LONGEST_VALUE = 200
"""The most characters of a value in a message."""


def shown(value: object) -> str:
    """Return ``repr(value)`` for a message, a long one shortened."""
    return shortened(repr(value))


def shortened(text: str) -> str:
    """Return a text for a message, a long one cut."""
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text):,} characters)"


def quoted(names: Iterable[object]) -> str:
    """Return the names quoted and joined, as in ``'a', 'b' or 'c'``; of very many the first ones."""
    listed = list(names)
    quoted = [shown(name) for name in listed[:_MOST_QUOTED]]
    if more := len(listed) - len(quoted):
        return f"{', '.join(quoted)}, … ({more} more)"
    if len(quoted) < 2:
        return "".join(quoted) or "nothing"
    return ", ".join(quoted[:-1]) + " or " + quoted[-1]


def without_passwords(text: str) -> str:
    """Return a text with the passwords and tokens of its URLs replaced by ``…``."""
    return _SECRET_ARGUMENT.sub(r"\1…", _PASSWORD.sub(r"\1:…@", _TOKEN.sub(r"\1…@", text)))
