"""Stores the verdicts on clips between processes."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from study.files import write
from study.hashing import digest
from study.tasks.clips.data.files.frames import READER, ClipVerdict
from study.tasks.clips.data.files.listing import Listing

_log = logging.getLogger(__name__)
_STORED = TypeAdapter(dict[str, tuple[str, ClipVerdict]])


class VerdictStore:
    """Verdicts on the clips of one tree, in one file, by path and by size and time of modification of their files.

    A file that cannot be read back is ignored. Only verdicts on sound clips are stored.
    """

    def __init__(self, listing: Listing, folder: Path | None) -> None:
        tree = digest([os.path.realpath(listing.root), os.path.realpath(listing.footage)])
        self._path = folder / f"{listing.name}-{tree}.json" if folder else None
        self._known: dict[str, tuple[str, ClipVerdict]] = {}
        self._new = 0
        if self._path and self._path.is_file():
            try:
                stored = json.loads(self._path.read_bytes())
                if stored["reader"] == READER:
                    self._known = _STORED.validate_python(stored["clips"])
            except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
                _log.warning("%s cannot be read, so every clip is read again: %s", self._path, error)

    def get(self, path: str, stamp: str) -> ClipVerdict | None:
        """Return the verdict on a clip whose files have this stamp; None where it is unknown."""
        known_stamp, verdict = self._known.get(path, ("", None))
        return verdict if known_stamp == stamp else None

    def put(self, path: str, stamp: str, verdict: ClipVerdict) -> None:
        """Add a verdict; `save` writes it."""
        self._known[path] = (stamp, verdict)
        self._new += 1

    def save(self, *, at_least: int) -> None:
        """Write all verdicts if at least so many are new; a failure to write is logged as a warning."""
        if self._path is None or self._new < at_least:
            return
        self._new = 0
        clips = {path: (stamp, asdict(verdict)) for path, (stamp, verdict) in self._known.copy().items()}
        try:
            write(self._path, json.dumps({"reader": READER, "clips": clips}))
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._path, error)
