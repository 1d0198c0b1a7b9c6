"""Exceptions whose message is shown to the user: what is wrong, where, and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
    """Another mistake."""
    UNKNOWN_KEY = "unknown-key"
    UNKNOWN_NAME = "unknown-name"
    """No component, preset or study has the name."""
    WRONG_VALUE = "wrong-value"
    """A wrong type, or a value out of range."""
    MISSING_KEY = "missing-key"
    MISSING_FILE = "missing-file"
    UNREADABLE_FILE = "unreadable-file"
    """A file that is damaged, not of its format, or may not be read or written."""
    FILE_EXISTS = "file-exists"
    """A file that would be overwritten."""
    SYNTAX = "syntax"
    CONFLICT = "conflict"
    """Values that are allowed each, but not together."""
    NOT_COMPARABLE = "not-comparable"
    """Variants, runs or scores that cannot be set against each other."""
    UNAVAILABLE = "unavailable"
    """A package, device, server or cluster that this machine lacks."""
    DATA = "data"
    """A data set that cannot be trained on."""
    CODE = "code"
    """Code of the user that cannot be used as it is."""
    UNTRAINABLE = "untrainable"
    """A variant that cannot be trained with these values on these data."""


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

    def or_else(self, code: ErrorCode, key: str = "") -> Mistake:
        """Return the mistake, with the given code and key if it has none of its own."""
        return replace(self, code=code, key=self.key or key) if self.code is ErrorCode.INVALID else self

    def placed(self) -> Mistake:
        """Return the mistake with the file of its key apart from the key."""
        file, separator, key = self.key.rpartition(": ")
        return replace(self, key=key, file=file) if separator and self.file is None else self


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

    def within(self, place: str, key: str = "") -> InputError:
        """Return the error with the place where it was found before its message and its key.

        Args:
            place: A file, or a dotted key with or without its file.
            key: The key of an error that has none of its own, after the place.
        """
        key = self.mistake.key or key
        return InputError(f"{place}: {self}", replace(self.mistake, key=f"{place}: {key}" if key else place))


@contextmanager
def classified(code: ErrorCode, key: str = "") -> Iterator[None]:
    """Give code and key to an InputError that leaves the block without a code."""
    try:
        yield
    except InputError as error:
        error.mistake = error.mistake.or_else(code, key)
        raise


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


def _error(code: ErrorCode, key: str, text: str) -> InputError:
    return InputError(f"{key}: {text}" if key else text, Mistake(code, key))


def wrong_value(key: str, text: str, got: object = ..., allowed: tuple[str, ...] | str = ()) -> InputError:
    """Return the error of a value that is not allowed; the message ends in the value that was given, if any.

    This family and those below take a key that may be empty: an option, or a dotted key with or without its file.
    """
    error = _error(ErrorCode.WRONG_VALUE, key, text if got is ... else f"{text} Got {shown(got)} instead.")
    error.mistake = replace(error.mistake, got=None if got is ... else got, allowed=allowed)
    return error


def unknown_name(
    key: str,
    text: str,
    name: str,
    allowed: Iterable[str],
    more: str | None = None,
    code: ErrorCode = ErrorCode.UNKNOWN_NAME,
) -> InputError:
    """Return the error of a name that is not known; the message has the nearest name, then `more`.

    Args:
        key: The key or option that has the name; may be empty.
        text: The sentence without its full stop, such as ``unknown metric 'ward'``.
        name: The name that is not known.
        allowed: All known names.
        more: Sentences at the end; None for the known names.
        code: `UNKNOWN_NAME` or `UNKNOWN_KEY`.
    """
    names = tuple(allowed)
    more = f"Allowed: {quoted(names)}." if more is None else more
    message = f"{key}: {text}" if key else text
    return InputError(f"{message}.{nearest(name, names)} {more}".rstrip(), unknown(code, key, name, names))


def missing_value(key: str, text: str) -> InputError:
    """Return the error of a key or an option that must be given."""
    return _error(ErrorCode.MISSING_KEY, key, text)


def conflict(key: str, text: str) -> InputError:
    """Return the error of values that are allowed each, but not together."""
    return _error(ErrorCode.CONFLICT, key, text)


def not_comparable(key: str, text: str) -> InputError:
    """Return the error of things that cannot be compared."""
    return _error(ErrorCode.NOT_COMPARABLE, key, text)


def unavailable(key: str, text: str) -> InputError:
    """Return the error of something that this machine lacks."""
    return _error(ErrorCode.UNAVAILABLE, key, text)


def file_error(
    path: object, text: str, code: ErrorCode = ErrorCode.UNREADABLE_FILE, line: int | None = None
) -> InputError:
    """Return the error of a file, or of a line in it."""
    where = f"{path}, line {line}" if line else f"{path}"
    return InputError(f"{where}: {text}", Mistake(code, file=str(path), line=line))


def data_error(key: str, text: str) -> InputError:
    """Return the error of a data set that cannot be trained on."""
    return _error(ErrorCode.DATA, key, text)


def code_error(where: str, text: str) -> InputError:
    """Return the error of the user's code, at ``file:line`` or at the key that names it."""
    return _error(ErrorCode.CODE, where, text)


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
