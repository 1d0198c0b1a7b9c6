"""Stores arrays of pixels that are costly to compute: in memory, or in a file that later processes map."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.files import writing
from study.tasks.clips.data.contract import Pixels

_log = logging.getLogger(__name__)
_MEMORY_BYTES = 1 << 30
"""Rows are kept in memory if all of them fit into this."""
_SECONDS_BETWEEN_LINES = 5.0


class CachedRows:
    """An array of `shape`, uint8, whose row i is ``compute(i)``.

    With a `path` the first read computes every row and writes them to that file, complete or not at all; later
    reads map it. Two processes that start at once write the same bytes twice, which is harmless. Without one,
    rows are computed at the first read and kept in memory if all of them fit, else computed at each read.
    """

    def __init__(self, shape: tuple[int, ...], compute: Callable[[int], Pixels], path: Path | None) -> None:
        self._shape = shape
        self._compute = compute
        self._path = path
        self._is_known = np.zeros(shape[0], dtype=bool)

    def read(self, indexes: NDArray[np.int64]) -> Pixels:
        """Return the rows `indexes`, in that order."""
        if self._path is not None:
            return np.asarray(self._mapped[indexes])
        if int(np.prod(self._shape)) > _MEMORY_BYTES:
            return np.stack([self._compute(int(i)) for i in indexes])
        for i in indexes[~self._is_known[indexes]]:
            self._in_memory[i] = self._compute(int(i))
            self._is_known[i] = True
        return np.asarray(self._in_memory[indexes])

    @cached_property
    def _in_memory(self) -> Pixels:
        return np.empty(self._shape, dtype=np.uint8)

    @cached_property
    def _mapped(self) -> Pixels:
        assert self._path is not None
        rows = _mapped_file(self._path, self._shape)
        if rows is None:
            _log.info("%s: computing %d rows, once", self._path.name, self._shape[0])
            self._write(self._path)
            rows = _mapped_file(self._path, self._shape)
        if rows is None:
            raise OSError(f"{self._path} cannot be read back after it was written")
        return rows

    def _write(self, path: Path) -> None:
        with writing(path) as file:
            file.write(npy_header(self._shape))
            logged = time.monotonic()
            for i in range(self._shape[0]):
                file.write(np.ascontiguousarray(self._compute(i)).data)
                if time.monotonic() - logged > _SECONDS_BETWEEN_LINES:
                    _log.info("%s: %d of %d rows", path.name, i + 1, self._shape[0])
                    logged = time.monotonic()


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of a ``.npy`` file of uint8 values of this shape, which follow in C order."""
    header = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


def _mapped_file(path: Path, shape: tuple[int, ...]) -> Pixels | None:
    """Map the file; return None if it is missing or does not hold such rows."""
    try:
        rows: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.shape == shape and rows.dtype == np.uint8 else None
