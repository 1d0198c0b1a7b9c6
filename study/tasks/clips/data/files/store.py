"""Stores arrays of pixels that are costly to compute: in memory, or in a file that later processes map."""

from __future__ import annotations

import io
import logging
import os
import time
import zlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from study.files import is_disk_full, writing
from study.tasks.clips.data.contract import Pixels

_log = logging.getLogger(__name__)
_MEMORY_BYTES = 1 << 30
"""Rows are kept in memory if all of them fit into this."""
_SECONDS_BETWEEN_LINES = 5.0


class CachedRows:
    """An array of `shape`, uint8, whose row i is ``compute(i)``.

    With a `path` the first read computes every row and writes them to that file, complete or not at all; later
    reads map it. The checksums of the rows follow them: a row that disagrees with its own, at its first read by a
    process, has the file written again. Two processes that start at once write the same bytes twice, which is
    harmless. Without one, rows are computed at the first read and kept in memory if all of them fit, else computed
    at each read.
    """

    def __init__(self, shape: tuple[int, ...], compute: Callable[[int], Pixels], path: Path | None) -> None:
        self._shape = shape
        self._compute = compute
        self._path = path
        self._is_known = np.zeros(shape[0], dtype=bool)

    def read(self, indexes: NDArray[np.int64]) -> Pixels:
        """Return the rows `indexes`, in that order."""
        if self._path is not None:
            self._check(indexes[~self._is_known[indexes]], self._path)
            return np.asarray(self._mapped[0][indexes])
        if int(np.prod(self._shape)) > _MEMORY_BYTES:
            return np.stack([self._compute(int(i)) for i in indexes])
        for i in indexes[~self._is_known[indexes]]:
            self._in_memory[i] = self._compute(int(i))
            self._is_known[i] = True
        return np.asarray(self._in_memory[indexes])

    @cached_property
    def _in_memory(self) -> Pixels:
        return np.empty(self._shape, dtype=np.uint8)

    def _check(self, indexes: NDArray[np.int64], path: Path) -> None:
        """Compare rows with their checksums; write the file again if one differs."""
        rows, checksums = self._mapped
        if any(_checksum(path, int(i), rows[i]) != checksums[i] for i in indexes):
            _log.warning("%s was changed after it was written; its rows are computed again.", path)
            self._write(path)
            del self._mapped
            rows, checksums = self._mapped
            if any(_checksum(path, int(i), rows[i]) != checksums[i] for i in indexes):
                raise OSError(f"{path} differs from what was written to it")
        self._is_known[indexes] = True

    @cached_property
    def _mapped(self) -> tuple[Pixels, NDArray[np.uint32]]:
        """The rows, and the checksum of each."""
        assert self._path is not None
        mapped = _mapped_file(self._path, self._shape)
        if mapped is None:
            _log.info("%s: computing %d rows, once", self._path.name, self._shape[0])
            self._write(self._path)
            mapped = _mapped_file(self._path, self._shape)
        if mapped is None:
            raise OSError(f"{self._path} cannot be read back after it was written")
        return mapped

    def _write(self, path: Path) -> None:
        header = npy_header(self._shape)
        with writing(path) as file:
            preallocate(file, len(header) + int(np.prod(self._shape)) + 4 * self._shape[0])
            file.write(header)
            logged = time.monotonic()
            checksums = np.zeros(self._shape[0], dtype="<u4")
            for i in range(self._shape[0]):
                row = np.ascontiguousarray(self._compute(i))
                checksums[i] = _checksum(path, i, row)
                file.write(row.data)
                if time.monotonic() - logged > _SECONDS_BETWEEN_LINES:
                    _log.info("%s: %d of %d rows", path.name, i + 1, self._shape[0])
                    logged = time.monotonic()
            file.write(checksums.data)


def preallocate(file: IO[bytes], size: int) -> None:
    """Take `size` bytes of the disk for a new file, so that a full disk is known before the content is computed.

    Raises:
        OSError: The disk has less.
    """
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if is_disk_full(error):
                raise
            # a file system without this: a write finds out


def _checksum(path: Path, index: int, row: Pixels) -> int:
    """Return the CRC-32 of the name of the file, the index of a row and its bytes."""
    return zlib.crc32(np.ascontiguousarray(row).data, zlib.crc32(f"{path.name} {index}".encode()))


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of a ``.npy`` file of uint8 values of this shape, which follow in C order."""
    header = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


def _mapped_file(path: Path, shape: tuple[int, ...]) -> tuple[Pixels, NDArray[np.uint32]] | None:
    """Map the file and read its checksums; return None if it is missing, or does not hold such rows with theirs.

    Raises:
        OSError: The file exists and cannot be read.
    """
    start = len(npy_header(shape)) + int(np.prod(shape))
    try:
        with path.open("rb") as file:
            if file.read(len(npy_header(shape))) != npy_header(shape):
                return None
            file.seek(start)
            checksums = np.frombuffer(file.read(), dtype=np.uint8)
        if checksums.nbytes != 4 * shape[0]:
            return None
        rows: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return rows, checksums.view("<u4")
