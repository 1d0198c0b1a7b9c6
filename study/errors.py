"""Exceptions whose message is shown to the user: what is wrong, where, and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_PASSWORD = re.compile(r"(://[^\s/@:]*):[^\s'\"\\]*@")
"""The password of a URL, up to the last @: people write one in it without encoding it."""
_TOKEN = re.compile(r"(://)[^\s/@:'\"\\]+@")
"""What a URL has in place of a user and a password."""
_SECRET_ARGUMENT = re.compile(
    r"([?&;](?:\w*(?:passw(?:or)?d|pwd|secret|token|key))=)[^&;\s'\"\\]+", re.IGNORECASE
)


class StudyError(Exception):
    """An error that is shown to the user as one message, without a traceback and without the passwords of URLs."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the message."""
        return without_passwords(super().__str__())


class InputError(StudyError):
    """An error in the user's input: a study file, an option, a data folder."""

    exit_code = 2


class DiskFullError(StudyError):
    """Raised where a disk or a quota is full; finished work is kept."""


class DamagedWeightsError(StudyError):
    """Raised where a test finds weights that are not those of the training; they are removed, and trained again."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` where one allowed name is close to `name`, else an empty string."""
    if len(name) > LONGEST_VALUE:
        return ""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {shown(close[0])}?" if close else ""


LONGEST_VALUE = 200
"""The most characters of a value in a message."""


def shown(value: object) -> str:
    """Return ``repr(value)`` for a message, a long one shortened."""
    return shortened(repr(value))


def shortened(text: str) -> str:
    """Return a text for a message, a long one cut."""
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text):,} characters)"


def quoted(names: Iterable[object]) -> str:
    """Return the names quoted and joined, as in ``'a', 'b' or 'c'``."""
    quoted = [shown(name) for name in names]
    if len(quoted) < 2:
        return "".join(quoted) or "nothing"
    return ", ".join(quoted[:-1]) + " or " + quoted[-1]


def without_passwords(text: str) -> str:
    """Return a text with the passwords and tokens of its URLs replaced by ``…``."""
    return _SECRET_ARGUMENT.sub(r"\1…", _PASSWORD.sub(r"\1:…@", _TOKEN.sub(r"\1…@", text)))
