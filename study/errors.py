"""Exceptions whose message is shown to the user: what is wrong, where, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StudyError(Exception):
    """An error that is shown to the user as one message, without a traceback."""

    exit_code = 1


class InputError(StudyError):
    """An error in the user's input: a study file, an option, a data folder."""

    exit_code = 2


class DamagedWeightsError(StudyError):
    """Raised where a test finds weights that are not those of the training; they are removed, and trained again."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` where one allowed name is close to `name`, else an empty string."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def quoted(names: Iterable[object]) -> str:
    """Return the names quoted and joined, as in ``'a', 'b' or 'c'``."""
    quoted = [repr(name) for name in names]
    if len(quoted) < 2:
        return "".join(quoted) or "nothing"
    return ", ".join(quoted[:-1]) + " or " + quoted[-1]
