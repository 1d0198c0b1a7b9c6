"""Whether another machine sees the ledger and the code of this one, on the same paths."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import study
from study.executors.base import Work
from study.files import write

VISIBLE_S = 15.0
"""A file that another machine wrote is visible after so many seconds, whatever the disk caches."""
POLL_S = 0.2
PACKAGE = Path(study.__file__).parent


@dataclass(frozen=True)
class Shared:
    """What every machine that runs calls must have."""

    marker: Path
    """A file in the ledger."""
    token: str
    """What it holds."""
    python: str
    package: str
    """The digest of the text of this package."""
    code: Sequence[tuple[Path, str]]
    """Folders of the user's code with the digests of the Python files in them."""


@contextmanager
def shared(work: Work) -> Iterator[Shared]:
    """Put a marker into the ledger while machines are checked."""
    token = uuid.uuid4().hex
    marker = work.ledger / f".shared-{token[:12]}"
    write(marker, token)
    folders = [Path(path) for path in dict.fromkeys((str(work.root), *work.import_paths))]
    code = [(folder, _digest(folder.glob("*.py"))) for folder in folders]
    try:
        yield Shared(marker, token, _python(), _digest(PACKAGE.rglob("*.py")), code)
    finally:
        marker.unlink(missing_ok=True)


def problem_here(expected: Shared) -> str:
    """Return what this machine lacks, in one line; empty if it has everything."""
    deadline = time.monotonic() + VISIBLE_S
    while _content(expected.marker) != expected.token:
        if time.monotonic() > deadline:
            return f"the ledger {expected.marker.parent} is not the same folder there"
        time.sleep(POLL_S)
    if expected.python != _python():
        return f"it has Python {_python()}, this machine {expected.python}"
    if expected.package != _digest(PACKAGE.rglob("*.py")):
        return f"the package study in {PACKAGE} has other code than here"
    for folder, digest in expected.code:
        if not folder.is_dir():
            return f"the folder {folder} of the study's code does not exist there"
        if digest != _digest(folder.glob("*.py")):
            return f"the code in {folder} differs from that here"
    return ""


def _python() -> str:
    return ".".join(map(str, sys.version_info[:2]))


def _content(path: Path) -> str:
    try:
        os.scandir(path.parent).close()  # lets NFS ask the server again
        return path.read_text()
    except OSError:
        return ""


def _digest(files: Iterator[Path]) -> str:
    """Return the digest of files with their names."""
    found = hashlib.sha256()
    for file in sorted(files):
        found.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()
