"""Stores the verdicts on clips between processes."""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from study.files import write
from study.hashing import digest
from study.tasks.clips.data.files.frames import READER, ClipVerdict
from study.tasks.clips.data.files.listing import Listing
from study.tasks.clips.data.files.pictures import PictureNote

_log = logging.getLogger(__name__)
_MOST_STALE = 2
"""The file is written anew if it has this many times the lines that count."""


class VerdictStore:
    """Verdicts on the clips of one tree, by path and by size and time of modification of their files.

    They are one file of lines, each with its own checksum, to which new verdicts are appended; a line that cannot be
    read back is ignored. Only verdicts on sound clips are stored.
    """

    def __init__(self, listing: Listing, folder: Path | None) -> None:
        tree = digest([os.path.realpath(listing.root), os.path.realpath(listing.footage)])
        self._path = folder / f"{listing.name}-{tree}.jsonl" if folder else None
        self._known: dict[str, tuple[str, ClipVerdict]] = {}
        self._new: list[str] = []
        self._is_readable = False
        if self._path and self._path.is_file():
            try:
                self._read(self._path)
            except OSError as error:
                _log.warning("%s cannot be read, so every clip is read again: %s", self._path, error)

    def _read(self, path: Path) -> None:
        lines = damaged = 0
        with path.open("rb") as file:
            if file.readline().rstrip() != _header():
                _log.warning("%s is of another version, so every clip is read again", path)
                return
            for line in file:
                if not line.strip():
                    continue
                lines += 1
                try:
                    clip, stamp, verdict = _from_line(line)
                except (ValueError, TypeError, IndexError):
                    damaged += 1
                else:
                    self._known[clip] = stamp, verdict
        if damaged:
            _log.warning("%s: %d damaged lines; their clips are read again", path, damaged)
        self._is_readable = not damaged and lines <= _MOST_STALE * max(1, len(self._known))

    def get(self, path: str, stamp: str) -> ClipVerdict | None:
        """Return the verdict on a clip whose files have this stamp; None where it is unknown."""
        known_stamp, verdict = self._known.get(path, ("", None))
        return verdict if known_stamp == stamp else None

    def put(self, path: str, stamp: str, verdict: ClipVerdict) -> None:
        """Add a verdict; `save` writes it."""
        self._known[path] = (stamp, verdict)
        self._new.append(path)

    def save(self, *, at_least: int) -> None:
        """Write new verdicts if there are at least so many; a failure to write is logged as a warning."""
        if self._path is None or len(self._new) < at_least:
            return
        new, self._new = self._new, []
        try:
            if self._is_readable and self._path.is_file():
                content = self._lines(new)
                with self._path.open("ab") as file:  # the first line break ends a line that was cut off
                    file.write(b"\n" + content)
            else:
                write(self._path, _header() + b"\n" + self._lines(list(self._known)))
                self._is_readable = True
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._path, error)

    def _lines(self, paths: Iterable[str]) -> bytes:
        return b"".join(_as_line(path, *self._known[path]) for path in paths)


def _header() -> bytes:
    return json.dumps({"reader": READER}).encode()


def _as_line(path: str, stamp: str, verdict: ClipVerdict) -> bytes:
    fields = [path, stamp, verdict.digest, verdict.frames, verdict.sizes, verdict.notes]
    content = json.dumps(fields).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _from_line(line: bytes) -> tuple[str, str, ClipVerdict]:
    """Return path, stamp and verdict; raise ValueError or another error where the line is damaged."""
    checksum, _, content = line.rstrip(b"\n").partition(b" ")
    if int(checksum, 16) != zlib.crc32(content):
        raise ValueError("the checksum does not match")
    fields: list[Any] = json.loads(content)
    path, stamp, content_digest, frames, sizes, notes = fields
    return (
        path,
        stamp,
        ClipVerdict(
            content_digest,
            frames,
            tuple((width, height) for width, height in sizes),
            notes=tuple(map(PictureNote, notes)),
        ),
    )
