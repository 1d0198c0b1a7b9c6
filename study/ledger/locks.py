"""Who holds what: one process a study, one a run. Hard links alone, so that it works on shared disks too."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from study.errors import StudyError
from study.files import write
from study.hashing import digest

BOOT = Path("/proc/sys/kernel/random/boot_id")
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
GONE = ("Z", "X")
"""States of a Linux process that has ended and waits for its parent to notice."""


@dataclass(frozen=True)
class Holder:
    """A process, told apart from every later one with its number."""

    host: str
    process: int
    started: str
    """When it started, as its system tells it; empty where an older version wrote the lock."""

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"

    @property
    def is_gone(self) -> bool:
        """Whether it certainly runs no more; of processes on other hosts nothing is known."""
        if self.host != socket.gethostname():
            return False
        now = _started(self.process)
        return not now or (self.started not in ("", now))


def take(lock: Path, other: Path | None = None) -> Holder | None:
    """Make `lock` this process's and return None, or return who holds it.

    The lock of a process of this host that is gone is taken over; of several that try, one succeeds. Where this
    process has `other` already, nothing needs to be written.

    Raises:
        StudyError: The disk knows no hard links.
    """
    mine = _mine()
    while True:
        held = _content(lock)
        if held is None:
            if _linked(lock, other) if other else _written(lock, mine):
                return None
            continue
        holder = _parsed(held)
        if holder is not None and not holder.is_gone:
            return holder
        takeover = lock.with_name(f"{lock.name}-{digest(held, 8)}")
        if faster := take(takeover):
            return faster
        try:
            if _content(lock) == held:
                write(lock, mine)
                return None
        finally:
            release(takeover)


def release(lock: Path) -> None:
    """Give up a lock of this process; nothing happens to one that is somebody else's by now."""
    if _content(lock) == _mine():
        lock.unlink(missing_ok=True)


def holder_of(lock: Path) -> Holder | None:
    """Return who holds a lock; None where nobody does, or its holder is gone."""
    held = _content(lock)
    holder = _parsed(held) if held is not None else None
    return holder if holder is not None and not holder.is_gone else None


def _written(lock: Path, content: str) -> bool:
    """Make the lock with its content in one step; False where there is one."""
    aside = lock.with_name(f".{lock.name}.{uuid.uuid4().hex[:12]}")
    write(aside, content)
    try:
        return _linked(lock, aside)
    finally:
        aside.unlink(missing_ok=True)


def _linked(lock: Path, content: Path) -> bool:
    """Give a file the lock's name as well; False where there is a lock."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(content, lock)
    except FileExistsError:
        return _is_same(lock, content)  # NFS may deny what it has just done: the reply was lost
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        raise StudyError(f"{lock}: this disk knows no hard links, so nobody can hold a study here.") from None
    return True


def _is_same(lock: Path, content: Path) -> bool:
    try:
        return lock.samefile(content)
    except FileNotFoundError:
        return False


def _mine() -> str:
    process = os.getpid()
    return f"{socket.gethostname()} {process} {_started(process)}"


def _content(lock: Path) -> str | None:
    try:
        return lock.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _parsed(content: str) -> Holder | None:
    """Return the holder; None where the lock says nothing, as after a crash of the disk."""
    host, _, rest = content.strip().partition(" ")
    process, _, started = rest.partition(" ")
    return Holder(host, int(process), started) if process.isdecimal() else None


def _started(process: int) -> str:
    """Return when a process of this host was started, in the system's own words; empty where it is gone."""
    if os.name != "posix":
        return "unknown"
    if not BOOT.is_file():
        command = ["ps", "-o", "lstart=", "-p", str(process)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in GONE else f"{_boot()} {fields[19]}"


@cache
def _boot() -> str:
    return BOOT.read_text().strip()
