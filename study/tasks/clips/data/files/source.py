"""Sources of frames: the protocol, and the files themselves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from study.errors import InputError
from study.machine import cpu_cores
from study.task import Progress
from study.tasks.clips.data.contract import ClipShape, Pixels
from study.tasks.clips.data.files.frames import ClipVerdict, Footage, existing, find, inspect, read
from study.tasks.clips.data.files.listing import Entry, Listing
from study.tasks.clips.data.files.pictures import Decoder, PictureNote, can_verify
from study.tasks.clips.data.files.verdicts import VerdictStore

V = TypeVar("V")
_log = logging.getLogger(__name__)

_MEMORY_BYTES = 1 << 30
"""Decoded frames are kept in memory up to this."""
_SECONDS_BETWEEN_LINES = 2.0
_CLIPS_WAITING = 1000
_VERDICTS_PER_WRITE = 500
"""New verdicts after which they are appended to the cache."""


class Source(Protocol):
    """A source of frames: the files themselves (`Raw`), or a pack (`study.tasks.clips.data.files.packs.Pack`)."""

    def inspect(self, entries: Sequence[Entry], progress: Progress | None = None) -> list[ClipVerdict]:
        """Return the verdict on each clip, after reading all of it; a damaged clip raises nothing."""

    def count(self, entry: Entry) -> int:
        """Return the number of frames of a clip; raise InputError with file and row if that fails."""

    def read(self, entry: Entry, indices: NDArray[np.int64]) -> Pixels:
        """Return the frames at `indices`, (n, C, H, W); raise InputError with file and row if that fails."""


@dataclass(frozen=True)
class Raw:
    """Frames from the files themselves; decoded frames are kept in memory up to `memory_bytes`."""

    listing: Listing
    shape: ClipShape
    decoder: Decoder
    cache: Path | None
    """The folder that keeps verdicts between processes."""
    memory_bytes: int = _MEMORY_BYTES
    _names: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Names of frames by the path of their clip, as `Footage` joins them."""
    _counts: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _frames: dict[tuple[str, int], Pixels] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what this process knows of clips."""
        return {**self.__dict__, "_names": {}, "_counts": {}, "_frames": {}}

    def inspect(self, entries: Sequence[Entry], progress: Progress | None = None) -> list[ClipVerdict]:
        """Return the verdict on each clip, from the cache if its files have not changed.

        `progress` counts the clips that must be read; before that, if it takes long, those that were looked up.
        """
        store = VerdictStore(self.listing, self.cache)
        report = progress or _logged_progress(self.listing.name)
        found: list[ClipVerdict | None] = []
        with ThreadPoolExecutor(len(cpu_cores())) as threads:
            reported = time.monotonic()
            for verdict in _mapped(threads, partial(self._known, store), entries):
                found.append(verdict)
                if time.monotonic() - reported > _SECONDS_BETWEEN_LINES:
                    reported = time.monotonic()
                    report(len(found), len(entries))
            unknown = [number for number, verdict in enumerate(found) if verdict is None]
            read = _mapped(threads, partial(self._verdict, store), [entries[number] for number in unknown])
            try:
                for done, (number, verdict) in enumerate(zip(unknown, read, strict=True), start=1):
                    found[number] = verdict
                    report(done, len(unknown))
                    store.save(at_least=_VERDICTS_PER_WRITE)
            finally:
                store.save(at_least=1)
        verdicts = [verdict for verdict in found if verdict is not None]
        for entry, verdict in zip(entries, verdicts, strict=True):
            if verdict.is_sound:
                self._counts[entry.path] = verdict.frames
        return verdicts

    def _known(self, store: VerdictStore, entry: Entry) -> ClipVerdict | None:
        """Return the verdict on a clip if it is known without reading the clip."""
        try:
            footage = find(self.listing.footage / entry.path, self.listing.places)
        except InputError as error:
            return ClipVerdict("", 0, (), str(error))
        self._names[entry.path] = footage.joined
        try:
            verdict = store.get(entry.path, footage.stamp)
        except OSError:  # a dangling link: reading it gives the verdict
            return None
        is_stale = verdict is not None and PictureNote.NOT_VERIFIED in verdict.notes and can_verify()
        return None if is_stale else verdict

    def file_names(self, entry: Entry) -> tuple[str, ...]:
        """Return the names of a clip's frames in their order; empty for a video."""
        return self._footage_of(entry).names

    def _verdict(self, store: VerdictStore, entry: Entry) -> ClipVerdict:
        footage = self._footage_of(entry)
        verdict = inspect(footage)
        if verdict.is_sound:
            store.put(entry.path, footage.stamp, verdict)
        return verdict

    def count(self, entry: Entry) -> int:
        """Return the number of frames of a clip; those of a video are counted once."""
        if entry.path not in self._counts:
            footage = self._footage_of(entry)
            if footage.is_video:
                verdict = self._known(self._store, entry) or self._verdict(self._store, entry)
                if not verdict.is_sound:
                    raise InputError(f"{self._position(entry)}: {verdict.error}.")
                self._counts[entry.path] = verdict.frames
            else:
                self._counts[entry.path] = len(footage.files)
        return self._counts[entry.path]

    @cached_property
    def _store(self) -> VerdictStore:
        return VerdictStore(self.listing, self.cache)

    def read(self, entry: Entry, indices: NDArray[np.int64]) -> Pixels:
        """Return the frames at `indices`, (n, C, H, W)."""
        channels, _, size, _ = self.shape
        wanted = dict.fromkeys(indices.tolist())
        missing = [index for index in wanted if (entry.path, index) not in self._frames]
        fresh: dict[int, Pixels] = {}
        if missing:
            try:
                pictures = read(self._footage_of(entry), missing, channels, size, self.decoder)
            except InputError as error:
                raise InputError(f"{self._position(entry)}: {error}.") from None
            fresh = dict(zip(missing, pictures, strict=True))
            if (len(self._frames) + len(fresh)) * channels * size * size <= self.memory_bytes:
                self._frames.update({(entry.path, index): picture for index, picture in fresh.items()})
        return np.stack([fresh[i] if i in fresh else self._frames[entry.path, i] for i in indices.tolist()])

    def _footage_of(self, entry: Entry) -> Footage:
        path, places = self.listing.footage / entry.path, self.listing.places
        if entry.path in self._names:
            return Footage(places, str(existing(path, places)), self._names[entry.path])
        try:
            footage = find(path, places)
        except InputError as error:
            raise InputError(f"{self._position(entry)}: {error}.") from None
        self._names[entry.path] = footage.joined
        return footage

    def _position(self, entry: Entry) -> str:
        return f"{self.listing.root / entry.where}: clip {entry.id}"


def _mapped(
    threads: ThreadPoolExecutor, function: Callable[[Entry], V], entries: Sequence[Entry]
) -> Iterator[V]:
    """Yield ``function(entry)`` of every entry in order; few are waiting at a time, as each takes memory."""
    for first in range(0, len(entries), _CLIPS_WAITING):
        yield from threads.map(function, entries[first : first + _CLIPS_WAITING])


def _logged_progress(name: str) -> Progress:
    """Return a progress report that writes a line to the log at times."""
    logged = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal logged
        if time.monotonic() - logged > _SECONDS_BETWEEN_LINES:
            logged = time.monotonic()
            _log.info("%s: %d of %d clips read", name, done, total)

    return report
