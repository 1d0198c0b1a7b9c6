"""Lock a study or a run for one process, with hard links only, which work on shared disks too.

A conductor renews the lock of its study by its modification time; its locks of runs are links to the same file. Where
no process of another machine has renewed a lock for longer than it promised, the lock is free.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from study.errors import StudyError
from study.files import PARTIAL_SUFFIX, write
from study.hashing import digest

BOOT = Path("/proc/sys/kernel/random/boot_id")
SELF = Path("/proc/self")
MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
GONE = ("Z", "X")
"""States of a Linux process that has ended and that its parent has not waited for."""
BEAT_S = 30.0
"""Between two renewals of a lock."""
LEASE_S = 300.0
"""A lock that was not renewed for so long is free for other machines: longer than a network disk caches attributes."""
UNKNOWN = "unknown"
"""The start time of a running process where the system does not report it."""


@dataclass(frozen=True)
class Place:
    """Where processes have numbers of their own: a PID namespace of one start of one machine."""

    host: str
    machine: str = ""
    """Its id, the same after a restart; empty where it has none, or if an older version wrote the lock."""
    boot: str = ""
    """The id of its start; empty where the system has none."""
    namespace: str = ""
    """The inode of the PID namespace; empty where there are none."""


@dataclass(frozen=True)
class Holder:
    """A process, distinct from every later one with the same number."""

    host: str
    process: int
    started: str
    """Its start time as the system reports it, after the id of the machine's start; empty if unknown."""
    machine: str = ""
    """The id of its machine; empty where it has none, or if an older version wrote the lock."""
    namespace: str = ""
    """The inode of its PID namespace; empty as `machine`."""
    lease_s: float = field(default=0.0, compare=False)
    """How long other machines wait for a renewal of its lock; 0 if it does not renew it."""

    def __str__(self) -> str:
        """Return the process in words."""
        where = f"process {self.process} on {self.host}"
        if self.host != socket.gethostname() or not self.is_elsewhere:
            return where
        here = own_place()
        other_machine = bool(self.machine and here.machine) and self.machine != here.machine
        return f"{where}, {'another machine of that name' if other_machine else 'in another PID namespace'}"

    @property
    def is_elsewhere(self) -> bool:
        """Whether this process cannot see it: it is on another machine, or in another PID namespace of this one."""
        here = own_place()
        if self.host != here.host:
            return True
        if not self.machine and not self.namespace:
            return False  # an older version wrote the lock
        if self.machine != here.machine:
            return True
        if self._is_of_other_boot:
            return not here.machine  # without ids, machines of one name cannot be distinguished
        return self.namespace != here.namespace

    @property
    def is_gone(self) -> bool:
        """Whether it has certainly ended; unknown, and therefore False, for processes elsewhere."""
        if self.is_elsewhere:
            return False
        if self.machine and self._is_of_other_boot:
            return True
        started = start_time(self.process)
        return not started or (UNKNOWN not in (started, self.started) and self.started not in ("", started))

    @property
    def _is_of_other_boot(self) -> bool:
        boot, _, ticks = self.started.partition(" ")
        return bool(ticks) and BOOT.is_file() and boot != _boot()


def take(lock: Path, own_lock: Path | None = None, lease_s: float = 0.0) -> Holder | None:
    """Acquire `lock` for this process and return None, or return its holder.

    A lock is taken over if its process ran on this host and has ended, or if its lease has expired; if several try,
    one succeeds.

    Args:
        lock: The path of the lock.
        own_lock: A lock that this process holds already: a link to it saves a write, and is renewed with it.
        lease_s: How long other machines wait for a renewal of the lock; 0 if `renewing` does not renew it.

    Raises:
        StudyError: The disk does not support hard links.
    """
    own_content = _own_content(lease_s)
    while True:
        content = _content_of(lock)
        if content is None:
            if _link(lock, own_lock) if own_lock else _create(lock, own_content):
                return None
            continue
        holder = _parse(content)
        if holder is not None and not _is_free(lock, holder):
            return holder
        takeover = lock.with_name(f"{lock.name}-{digest(content, 8)}")
        if faster := take(takeover):
            return faster
        try:
            if _content_of(lock) == content and (holder is None or _is_free(lock, holder)):
                _replace(lock, own_lock, own_content)
                return None
        finally:
            release(takeover)


def release(lock: Path) -> None:
    """Release a lock of this process; a lock that another process has by now stays."""
    if is_own(lock):
        lock.unlink(missing_ok=True)


@contextmanager
def renewing(lock: Path) -> Iterator[None]:
    """Renew a lock of this process, and the locks that are links to it, every `BEAT_S` seconds inside the block."""
    ends = threading.Event()

    def renew() -> None:
        while not ends.wait(BEAT_S):
            with suppress(OSError):
                if is_own(lock):
                    os.utime(lock)

    thread = threading.Thread(target=renew, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def seconds_since_renewal(lock: Path) -> float | None:
    """Return the age of a lock's last renewal, by the clock of its disk; None if the lock is gone."""
    try:
        renewed = lock.stat().st_mtime
    except OSError:
        return None
    try:
        with tempfile.TemporaryFile(dir=lock.parent) as file:
            return os.fstat(file.fileno()).st_mtime - renewed
    except OSError:  # a disk that this process may not write to
        return time.time() - renewed


def _is_free(lock: Path, holder: Holder) -> bool:
    """Return whether the holder of a lock has ended, or has not renewed it in time."""
    if holder.is_gone:
        return True
    if not holder.lease_s or not holder.is_elsewhere:
        return False
    seconds = seconds_since_renewal(lock)
    return seconds is not None and seconds > holder.lease_s


def holder_of(lock: Path) -> Holder | None:
    """Return the holder of a lock; None if the lock is free or its holder has ended."""
    content = _content_of(lock)
    holder = _parse(content) if content is not None else None
    return holder if holder is not None and not _is_free(lock, holder) else None


def is_own(lock: Path) -> bool:
    """Return whether this process holds a lock."""
    return named_holder(lock) == _parse(_own_content())


def named_holder(lock: Path) -> Holder | None:
    """Return the process that a lock names, whether it has ended or not; None if the lock is free or torn."""
    content = _content_of(lock)
    return _parse(content) if content is not None else None


def start_time(process: int) -> str:
    """Return when a process of this PID namespace was started, as the system reports it; empty if it has ended."""
    if os.name != "posix":
        return UNKNOWN
    if not BOOT.is_file():
        command = ["ps", "-o", "lstart=", "-p", str(process)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if not _sees_own_namespace():
        return UNKNOWN if _exists(process) else ""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in GONE else f"{_boot()} {fields[19]}"


def own_place() -> Place:
    """Return where this process runs."""
    boot = _boot() if BOOT.is_file() else ""
    return Place(socket.gethostname(), _machine_id(), boot, _namespace())


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sees_own_namespace() -> bool:
    """Return whether /proc shows the processes of this PID namespace, not of one around it."""
    try:
        return str(SELF.readlink()) == str(os.getpid())
    except OSError:
        return False


def _namespace() -> str:
    """Return the inode of this process's PID namespace; empty where there are none."""
    try:
        return str((SELF / "ns" / "pid").readlink()).strip("pid:[]")
    except OSError:
        return ""


@cache
def _machine_id() -> str:
    """Return an id of this machine that a restart does not change; empty where there is none."""
    for path in MACHINE_IDS:
        try:
            if found := path.read_text(encoding="ascii").strip():
                return found
        except (OSError, ValueError):
            continue
    if os.name == "posix" and not BOOT.is_file():  # macOS
        command = ["sysctl", "-n", "kern.uuid"]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip().lower()
        except OSError:
            return ""
    return ""


def _create(lock: Path, content: str) -> bool:
    """Create the lock with its content in one step; return False if it exists."""
    aside = lock.with_name(f".{lock.name}.{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}")
    write(aside, content)
    try:
        return _link(lock, aside)
    finally:
        aside.unlink(missing_ok=True)


def _replace(lock: Path, own_lock: Path | None, content: str) -> None:
    """Replace a lock by one of this process: a link to `own_lock` if there is one, which is renewed with it."""
    if own_lock is None:
        write(lock, content)
        return
    aside = lock.with_name(f".{lock.name}.{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}")
    os.link(own_lock, aside)
    aside.replace(lock)


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


def _own_content(lease_s: float = 0.0) -> str:
    """Return what a lock of this process holds: host|machine|namespace|lease, process and start time.

    An older version reads the first word as the name of another host, and leaves the lock alone.
    """
    process, here = os.getpid(), own_place()
    lease = f"|{lease_s:g}" if lease_s else ""
    return f"{here.host}|{here.machine}|{here.namespace}{lease} {process} {start_time(process)}"


def _content_of(lock: Path) -> str | None:
    try:
        return lock.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return _content_of(lock)  # another host has replaced the file since this one looked it up


def _parse(content: str) -> Holder | None:
    """Return the holder that a lock names; None if the lock is torn, as after a crash of the disk."""
    place, _, rest = content.strip().partition(" ")
    process, _, started = rest.partition(" ")
    host, machine, namespace, lease = (*place.split("|"), "", "", "")[:4]
    if not process.isdecimal():
        return None
    lease_s = float(lease) if lease.replace(".", "", 1).isdecimal() else 0.0
    return Holder(host, int(process), started, machine, namespace, lease_s)


@cache
def _boot() -> str:
    return BOOT.read_text().strip()
