"""Lock a study or a run for one process, with hard links only, which work on shared disks too."""

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
"""States of a Linux process that has ended and that its parent has not waited for."""


@dataclass(frozen=True)
class Holder:
    """A process, distinct from every later one with the same number."""

    host: str
    process: int
    started: str
    """Its start time as the system reports it; empty if an older version wrote the lock."""

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"

    @property
    def is_gone(self) -> bool:
        """Whether it has certainly ended; unknown, and therefore False, for processes on other hosts."""
        if self.host != socket.gethostname():
            return False
        started = start_time(self.process)
        return not started or self.started not in ("", started)


def take(lock: Path, own_lock: Path | None = None) -> Holder | None:
    """Acquire `lock` for this process and return None, or return its holder.

    The lock of a process of this host that has ended is taken over; if several try, one succeeds.

    Args:
        lock: The path of the lock.
        own_lock: A lock that this process holds already: a link to it saves a write.

    Raises:
        StudyError: The disk does not support hard links.
    """
    own_content = _own_content()
    while True:
        content = _content_of(lock)
        if content is None:
            if _link(lock, own_lock) if own_lock else _create(lock, own_content):
                return None
            continue
        holder = _parse(content)
        if holder is not None and not holder.is_gone:
            return holder
        takeover = lock.with_name(f"{lock.name}-{digest(content, 8)}")
        if faster := take(takeover):
            return faster
        try:
            if _content_of(lock) == content:
                write(lock, own_content)
                return None
        finally:
            release(takeover)


def release(lock: Path) -> None:
    """Release a lock of this process; a lock that another process has by now stays."""
    if _content_of(lock) == _own_content():
        lock.unlink(missing_ok=True)


def holder_of(lock: Path) -> Holder | None:
    """Return the holder of a lock; None if the lock is free or its holder has ended."""
    content = _content_of(lock)
    holder = _parse(content) if content is not None else None
    return holder if holder is not None and not holder.is_gone else None


def start_time(process: int) -> str:
    """Return when a process of this host was started, as the system reports it; empty if it has ended."""
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


def _create(lock: Path, content: str) -> bool:
    """Create the lock with its content in one step; return False if it exists."""
    aside = lock.with_name(f".{lock.name}.{uuid.uuid4().hex[:12]}")
    write(aside, content)
    try:
        return _link(lock, aside)
    finally:
        aside.unlink(missing_ok=True)


def _link(lock: Path, content: Path) -> bool:
    """Create the lock as a hard link to a file; return False if it exists."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(content, lock)
    except FileExistsError:
        return _is_same_file(lock, content)  # NFS may report an error after success, if the reply was lost
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        raise StudyError(f"{lock}: this disk does not support hard links, which locks need.") from None
    return True


def _is_same_file(lock: Path, content: Path) -> bool:
    try:
        return lock.samefile(content)
    except FileNotFoundError:
        return False


def _own_content() -> str:
    process = os.getpid()
    return f"{socket.gethostname()} {process} {start_time(process)}"


def _content_of(lock: Path) -> str | None:
    try:
        return lock.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _parse(content: str) -> Holder | None:
    """Return the holder that a lock names; None if the lock is torn, as after a crash of the disk."""
    host, _, rest = content.strip().partition(" ")
    process, _, started = rest.partition(" ")
    return Holder(host, int(process), started) if process.isdecimal() else None


@cache
def _boot() -> str:
    return BOOT.read_text().strip()
