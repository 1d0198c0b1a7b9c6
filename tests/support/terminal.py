"""A command of the command line in a pseudo terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def lines_on_a_terminal(words: list[str], width: int, folder: Path) -> list[str]:
    """Return the lines that ``study WORDS`` prints on a terminal of that many columns, without control characters."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "study", *words]
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment | {"TERM": "xterm"},
    ) as running:
        os.close(follower)
        printed = b""
        while True:
            try:
                printed += (more := os.read(leader, 1 << 16))
            except OSError:  # Linux: the other end is closed
                break
            if not more:
                break
    os.close(leader)
    assert running.returncode == 0, printed.decode(errors="replace")
    lines = _CONTROL.sub("", printed.decode()).replace("\r\n", "\n").split("\n")
    return [line.rpartition("\r")[2] for line in lines]  # what is drawn over is not seen
