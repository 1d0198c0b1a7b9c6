"""Files that another host wrote: network disks show them late, and not in the order in which they were written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from study.files import PARTIAL_SUFFIX
from study.ledger.layout import CLAIM

MOST_FILES = 1000


def written_files(folder: Path) -> dict[str, int]:
    """Return the size in bytes of each file below a folder, by its path in it; locks are left out."""
    found: dict[str, int] = {}
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.endswith(PARTIAL_SUFFIX) or name.partition("-")[0] == CLAIM or len(found) == MOST_FILES:
                continue
            path = Path(parent, name)
            found[str(path.relative_to(folder))] = path.stat().st_size
    return found


def all_visible(folder: Path, files: Mapping[str, int]) -> bool:
    """Return whether this host sees each file of `written_files` with its size."""
    return all(_size(folder / name) == size for name, size in files.items())


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
