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

    A missing folder is created. On any error the target is unchanged and the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


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
