"""Write files atomically, read regular files only, and remove files and folders."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from study.errors import DiskFullError

PARTIAL_SUFFIX = ".partial"
"""Ends the name of a file until it is whole."""
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PROBE_BYTES = 1 << 16


def write(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` atomically: a reader sees the old file or the whole new one, never a part."""
    with writing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


_IRREGULAR = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(path: Path) -> os.stat_result:
    """Return the status of a regular file, links followed, without opening it: opening a FIFO may never end.

    Raises:
        OSError: The file is missing or unreadable, or it is a folder, a FIFO, a socket or a device.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
    for is_kind, kind in _IRREGULAR:
        if is_kind(status.st_mode):
            raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
    return status


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: As `check_regular`.
    """
    check_regular(path)
    return path.read_bytes()


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that is synced and renamed to `path` when the block ends.

    A missing folder is created. On any error the target is unchanged and the temporary file is removed; an `OSError`
    without a file name gets that of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL_SUFFIX)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    _sync_folder(path.parent)


def is_disk_full(error: BaseException) -> bool:
    """Return whether a full disk or quota caused an error, at whatever depth of its causes."""
    return any(
        isinstance(cause, DiskFullError) or (isinstance(cause, OSError) and cause.errno in _DISK_FULL)
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it, the latest first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__


def has_full_disk(folder: Path) -> bool:
    """Return whether a file of some kilobytes cannot be written to a folder, or the nearest one that exists."""
    folder = next((found for found in (folder, *folder.parents) if found.is_dir()), folder)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return is_disk_full(error)
    return False


def disk_full_error(reason: str, place: Path | None) -> DiskFullError:
    """Return the error that says what is full, and what to do.

    Args:
        reason: What failed because of it.
        place: A file or folder on the full disk; None if it is not known.
    """
    full = "a disk is full" if place is None else f"the disk of {place} is full ({_free_space(place)})"
    return DiskFullError(
        f"{full}: {reason.rstrip('.')}. Finished work is kept. Free some space (`study gc` lists what is of no use), "
        "then run the same command again."
    )


def _free_space(place: Path) -> str:
    try:
        usage = shutil.disk_usage(next(found for found in (place, *place.parents) if found.exists()))
    except (OSError, StopIteration):
        return "its size is not known"
    return f"{usage.free / 1e6:,.0f} of {usage.total / 1e6:,.0f} MB are free"


@contextmanager
def as_disk_full_error(place: Path) -> Iterator[None]:
    """Turn an error of a full disk inside the block into a `DiskFullError`.

    Args:
        place: What is written inside the block, for errors that name no file.

    Raises:
        DiskFullError: A disk or a quota is full.
    """
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        if known := [cause for cause in _causes(error) if isinstance(cause, DiskFullError)]:
            raise known[-1]  # noqa: B904  # what follows from it says less
        named = getattr(error, "filename", None)
        reason = getattr(error, "strerror", None) or str(error)
        raise disk_full_error(
            reason, Path(os.fsdecode(named)) if isinstance(named, str | bytes) else place
        ) from error


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files in a folder with their names."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = hashlib.sha256()
    for file_path in sorted(file for file in path.rglob("*") if file.is_file()):
        found.update(f"{file_path.relative_to(path)} {content_digest(file_path)}\n".encode())
    return found.hexdigest()


def content_digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the digests of those of the named files and folders that exist."""
    return {name: content_digest(folder / name) for name in names if (folder / name).exists()}


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder; do nothing where it does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that a rename in it survives a crash; do nothing where folders cannot be opened (Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
