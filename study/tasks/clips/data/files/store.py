"""Pixels that are costly to make, each row made once: kept in memory, or in a file that later processes map."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.tasks.clips.data.contract import Pixels

_log = logging.getLogger(__name__)
_MEMORY_BYTES = 1 << 30
"""Rows are kept in memory where all of them fit in this."""
_SECONDS_BETWEEN_LINES = 5.0


class CachedRows:
    """An array of `shape`, uint8, whose row i is ``make(i)``.

    With a `path` the first read makes every row and keeps them in that file, complete or not at all; later
    reads map it. Two processes that start at once make the same bytes twice and hurt nobody. Without one,
    rows are made when first read and kept in memory where all of them fit, else made at each read.
    """

    def __init__(self, shape: tuple[int, ...], make: Callable[[int], Pixels], path: Path | None) -> None:
        self._shape = shape
        self._make = make
        self._path = path
        self._known = np.zeros(shape[0], dtype=bool)

    def read(self, indexes: NDArray[np.int64]) -> Pixels:
        """Return the rows `indexes`, in that order."""
        if self._path is not None:
            return np.asarray(self._mapped[indexes])
        if int(np.prod(self._shape)) > _MEMORY_BYTES:
            return np.stack([self._make(int(i)) for i in indexes])
        for i in indexes[~self._known[indexes]]:
            self._kept[i] = self._make(int(i))
            self._known[i] = True
        return np.asarray(self._kept[indexes])

    @cached_property
    def _kept(self) -> Pixels:
        return np.empty(self._shape, dtype=np.uint8)

    @cached_property
    def _mapped(self) -> Pixels:
        assert self._path is not None
        found = _open(self._path, self._shape)
        if found is None:
            _log.info("%s: making %d rows, once", self._path.name, self._shape[0])
            self._write(self._path)
            found = _open(self._path, self._shape)
        if found is None:
            raise OSError(f"{self._path} cannot be read back after it was written")
        return found

    def _write(self, path: Path) -> None:
        """Make every row in a file aside, sync it and give it its name in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        aside = Path(name)
        try:
            rows = np.lib.format.open_memmap(aside, mode="w+", dtype=np.uint8, shape=self._shape)
            told = time.monotonic()
            for i in range(self._shape[0]):
                rows[i] = self._make(i)
                if time.monotonic() - told > _SECONDS_BETWEEN_LINES:
                    _log.info("%s: %d of %d rows", path.name, i + 1, self._shape[0])
                    told = time.monotonic()
            rows.flush()
            del rows
            aside.chmod(0o644)
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def _open(path: Path, shape: tuple[int, ...]) -> Pixels | None:
    """Map the file, or return None where there is none or it does not hold such rows."""
    try:
        found: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.uint8 else None
