"""Frames decoded and resized once, in files that training maps: the same pixels as from the files they came from.

::

    OUT/shard-00000.npy   uint8 (frames, C, H, W), clip after clip
    OUT/pack.json         what is in them, with checksums; written last, so that without it there is no pack
    OUT/unfinished.json   the shards that are done, while a pack is being made
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from study.errors import InputError
from study.files import write
from study.hashing import digest
from study.machine import cpu_cores
from study.task import Progress
from study.tasks.clips.data.contract import ClipShape, Pixels
from study.tasks.clips.data.files.frames import ClipCheck, Decoder
from study.tasks.clips.data.files.listing import Entry, Listing, some

_log = logging.getLogger(__name__)

FORMAT = 1
"""Counts up whenever packs of before cannot be read any more, or would hold other pixels."""
MANIFEST, UNFINISHED = "pack.json", "unfinished.json"


@dataclass(frozen=True)
class Packed:
    """One clip of a pack."""

    shard: int
    """-1 where the clip could not be read and was left out."""
    first: int
    """The row of its first frame."""
    verdict: ClipCheck
    """What its files were, so that a packed data set has the digest of the raw one."""


@dataclass(frozen=True)
class Shard:
    """One file of a pack."""

    file: str
    key: str
    """Of what it was made from."""
    frames: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a pack holds and what it was made from."""

    data: str
    """The data set's component."""
    version: str
    """Which of the data set's frames they are, where there are several."""
    channels: int
    size: int
    decoder: str
    digest: str
    """Of the content of every clip's files."""
    clips: Mapping[str, Packed]
    """By their ids, those that could not be read among them."""
    shards: tuple[Shard, ...]
    format: int = FORMAT


MANIFESTS = TypeAdapter(Manifest)


def frames_version(listing: Listing) -> str:
    """Return which of the data set's frames a listing names, as a manifest records it."""
    return listing.facts.get("version", "")


def is_whole(out: Path, shard: Shard) -> bool:
    """Return whether a shard's file is there and matches its checksum."""
    try:
        with (out / shard.file).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256
    except FileNotFoundError:
        return False


def read_manifest(out: Path) -> Manifest:
    """Return what a pack says of itself.

    Raises:
        InputError: There is no pack, it is not finished, or a newer version made it.
    """
    path = out / MANIFEST
    if not path.is_file():
        why = (
            "its making was interrupted; the same `study data pack` goes on with it"
            if (out / UNFINISHED).is_file()
            else f"there is no {MANIFEST} in it"
            if out.is_dir()
            else "there is no such folder"
        )
        raise InputError(f"{out} is no pack: {why}.")
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise InputError(
                f"{path}: is of format {content['format']}, this version reads {FORMAT}; pack again."
            )
        return MANIFESTS.validate_python(content)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not what a pack says of itself; pack again. ({error})") from None


def made_with(out: Path) -> dict[str, int | str]:
    """Return the parameters of a data set that reads this pack.

    Raises:
        InputError: There is no pack, it is not finished, or a newer version made it.
    """
    manifest = read_manifest(out)
    return {"size": manifest.size, "channels": manifest.channels, "decoder": manifest.decoder}


def difference(there: Manifest, asked: Manifest) -> str:
    """Say in which setting two packs differ, the first one found; empty where in none."""
    for name, what in (
        ("data", "data set"),
        ("version", "version of the frames"),
        ("size", "size"),
        ("channels", "channels"),
        ("decoder", "decoder"),
    ):
        if getattr(there, name) != getattr(asked, name):
            return f"its {what} is {getattr(there, name)!r}, not {getattr(asked, name)!r}"
    return ""


def open_pack(
    out: Path, listing: Listing, shape: ClipShape, decoder: Decoder, cache: Path | None = None
) -> Pack:
    """Return a pack as the place that a data set's frames come from; no frame is read.

    Args:
        out: The pack's folder.
        listing: The clips that are asked for; the files they were made from need not be there any more.
        shape: Of one clip.
        decoder: How frames would be decoded.
        cache: The folder that remembers which shards matched their checksums; None to compare them every time.

    Raises:
        InputError: There is no such pack, it is of other frames, or files of it are missing.
    """
    manifest = read_manifest(out)
    asked = replace(
        manifest,
        data=listing.name,
        version=frames_version(listing),
        channels=shape.channels,
        size=shape.height,
        decoder=decoder,
    )
    if mismatch := difference(manifest, asked):
        raise InputError(f"{listing.name}: pack: {out} is of something else: {mismatch}.")
    absent = [i for i in listing.entries if i not in manifest.clips]
    if absent:
        raise InputError(
            f"{listing.name}: pack: {out} is without {some(absent)} of {len(listing.entries)} listed."
        )
    for shard in manifest.shards:
        if not (out / shard.file).is_file():
            raise InputError(f"{out}: {shard.file} is missing; `study data pack` makes it again.")
    return Pack(out, manifest, cache)


@dataclass(frozen=True)
class Pack:
    """A `study.tasks.clips.data.sets.recorded.Source`: frames of a pack, mapped when they are first read."""

    out: Path
    manifest: Manifest
    cache: Path | None
    _maps: dict[int, Pixels] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """What is mapped stays in this process."""
        return {**self.__dict__, "_maps": {}}

    def inspect(self, entries: Sequence[Entry], progress: Progress | None = None) -> list[ClipCheck]:
        """Return what the clips' files were when they were packed, once every shard matches its checksum.

        Raises:
            InputError: Shards are damaged; they are named.
        """
        if damaged := self.damaged(progress):
            raise InputError(
                f"{self.out}: {', '.join(damaged)} {'is' if len(damaged) == 1 else 'are'} damaged: what is read is "
                "not what was written. `study data pack` makes the damaged files again."
            )
        return [self.manifest.clips[entry.id].verdict for entry in entries]

    def damaged(self, progress: Progress | None = None) -> list[str]:
        """Return the files that do not match their checksums; those that did and have not changed are not read."""
        known = self._verified()
        stamps = {shard.file: self._stamp(shard) for shard in self.manifest.shards}
        unknown = [s for s in self.manifest.shards if known.get(s.file) != stamps[s.file]]
        in_shard = Counter(clip.shard for clip in self.manifest.clips.values())
        clips = {shard.file: in_shard[number] for number, shard in enumerate(self.manifest.shards)}
        damaged, read = [], 0
        with ThreadPoolExecutor(len(cpu_cores())) as threads:
            whole = threads.map(lambda shard: is_whole(self.out, shard), unknown)
            for shard, matches in zip(unknown, whole, strict=True):
                if not matches:
                    damaged.append(shard.file)
                read += clips[shard.file]
                if progress:
                    progress(read, sum(clips[s.file] for s in unknown))
        if self._memory and unknown:
            kept = {file: stamp for file, stamp in stamps.items() if file not in damaged}
            try:
                write(self._memory, json.dumps(kept, indent=1))
            except OSError as error:
                _log.warning("%s cannot be written: %s", self._memory, error)
        return damaged

    @property
    def _memory(self) -> Path | None:
        return self.cache / f"pack-{digest(os.path.realpath(self.out))}.json" if self.cache else None

    def _verified(self) -> dict[str, str]:
        if self._memory is None:
            return {}
        try:
            found: dict[str, str] = json.loads(self._memory.read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def _stamp(self, shard: Shard) -> str:
        found = (self.out / shard.file).stat()
        return digest([shard.sha256, found.st_size, found.st_mtime_ns])

    def count(self, entry: Entry) -> int:
        """Return how many frames a clip has."""
        return self._clip(entry).verdict.frames

    def read(self, entry: Entry, indices: NDArray[np.int64]) -> Pixels:
        """Return the frames at `indices`, (n, C, H, W), not to be written to: neighbours are not even copied."""
        clip = self._clip(entry)
        rows = self._rows(clip.shard)
        start = clip.first + int(indices[0])
        if int(indices[-1]) - int(indices[0]) == len(indices) - 1 and (np.diff(indices) == 1).all():
            return rows[start : start + len(indices)]
        return rows[clip.first + indices]

    def _clip(self, entry: Entry) -> Packed:
        clip = self.manifest.clips[entry.id]
        if clip.shard < 0:
            raise InputError(f"{entry.where}: clip {entry.id}: {clip.verdict.error}.")
        return clip

    def _rows(self, number: int) -> Pixels:
        if number not in self._maps:
            shard = self.manifest.shards[number]
            path = self.out / shard.file
            try:
                mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise InputError(f"{path} cannot be read: {error}.") from None
            shape = (shard.frames, self.manifest.channels, self.manifest.size, self.manifest.size)
            if mapped.shape != shape or mapped.dtype != np.uint8:
                raise InputError(f"{path} is damaged; `study data pack` makes it again.")
            self._maps[number] = np.asarray(mapped)
        return self._maps[number]
