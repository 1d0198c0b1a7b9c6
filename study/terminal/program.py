"""Names in the commands that messages suggest: the program as the user started it, the package as pip knows it."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

PROGRAM = "study"
"""The name in messages, which quote commands."""
DISTRIBUTION = "ablation-study"
"""The name on the package index, where ``study`` is another package."""
_EXTRA = re.compile(rf"(?<=pip install '){PROGRAM}(?=\[)")
"""How modules that read data name it: their text counts in the identity of runs, and stays."""
_COMMAND = re.compile(rf"(?<=[`']){PROGRAM}(?= [a-z])")


def program() -> str:
    """Return the program as it was started: ``study``, or ``python3 -m study``."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py" and started.parent.name == PROGRAM:
        return f"{shlex.quote(sys.orig_argv[0])} -m {PROGRAM}"
    return PROGRAM


def as_typed(message: str) -> str:
    """Return a message whose commands, in backticks or quotes, begin with the program as it was started."""
    return _EXTRA.sub(DISTRIBUTION, _COMMAND.sub(lambda _: program(), message))
