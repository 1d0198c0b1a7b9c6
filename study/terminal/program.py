"""The name under which the user started the program, for the commands that messages suggest."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

PROGRAM = "study"
"""The name in messages, which quote commands."""
_COMMAND = re.compile(rf"(?<=[`']){PROGRAM}(?= [a-z])")


def program() -> str:
    """Return the program as it was started: ``study``, or ``python3 -m study``."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py" and started.parent.name == PROGRAM:
        return f"{shlex.quote(sys.orig_argv[0])} -m {PROGRAM}"
    return PROGRAM


def as_typed(message: str) -> str:
    """Return a message whose commands, in backticks or quotes, begin with the program as it was started."""
    return _COMMAND.sub(lambda _: program(), message)
