"""Reads packs: frames that were decoded and resized once, in files that training maps, with the same pixels.

::

    OUT/shard-00000.npy   uint8 (frames, C, H, W), clip after clip
    OUT/pack.json         their content, with checksums; written last: a folder without it is not a pack
    OUT/unfinished.json   the shards that are written, while packing is unfinished
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
from study.files import check_regular, write
from study.hashing import digest
from study.machine import cpu_cores
from study.task import Progress
from study.tasks.clips.data.contract import ClipShape, Pixels
from study.tasks.clips.data.files.frames import ClipVerdict
from study.tasks.clips.data.files.listing import Entry, Listing, some_clips
from study.tasks.clips.data.files.pictures import Decoder

_log = logging.getLogger(__name__)

FORMAT = 2
"""Incremented whenever older packs cannot be read any more, or would hold other pixels."""
MANIFEST, UNFINISHED = "pack.json", "unfinished.json"


@dataclass(frozen=True)
class Packed:
    """One clip of a pack."""

    shard: int
    """-1 for a clip that was left out because it cannot be read."""
    first: int
    """The row of its first frame in the shard."""
    verdict: ClipVerdict
    """The verdict on its files, so that a packed data set has the digest of the raw one."""


@dataclass(frozen=True)
class Shard:
    """One file of a pack."""

    file: str
    key: str
    """Digest of the clips that it was made from."""
    frames: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of a pack and the data set that it was made from."""

    data: str
    """The name of the data set's component."""
    version: str
    """The version of the data set's frames, if it has several."""
    channels: int
    size: int
    decoder: str
    digest: str
    """Digest of the content of every clip's files."""
    clips: Mapping[str, Packed]
    """By id, unreadable ones included."""
    shards: tuple[Shard, ...]
    format: int = FORMAT


MANIFESTS = TypeAdapter(Manifest)


def frames_version(listing: Listing) -> str:
    """Return the version of a listing's frames, as a manifest records it."""
    return listing.facts.get("version", "")


def is_whole(out: Path, shard: Shard) -> bool:
    """Return whether a shard's file is there and matches its checksum."""
    try:
        check_regular(out / shard.file)
        with (out / shard.file).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256
    except FileNotFoundError:
        return False


def read_manifest(out: Path) -> Manifest:
    """Return the manifest of a pack.

    Raises:
        InputError: The pack is missing, unfinished, or made by a newer version.
    """
    path = out / MANIFEST
    if not path.is_file():
        reason = (
            "packing was interrupted; the same `study data pack` command resumes it"
            if (out / UNFINISHED).is_file()
            else f"it has no {MANIFEST}"
            if out.is_dir()
            else "the folder does not exist"
        )
        raise InputError(f"{out} is not a pack: {reason}.")
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise InputError(
                f"{path}: has format {content['format']}, this version reads {FORMAT}; pack again."
            )
        return MANIFESTS.validate_python(content)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: is not the manifest of a pack; pack again. ({error})") from None


def pack_parameters(out: Path) -> dict[str, int | str]:
    """Return the parameters that a data set needs to read this pack.

    Raises:
        InputError: The pack is missing, unfinished, or made by a newer version.
    """
    manifest = read_manifest(out)
    return {"size": manifest.size, "channels": manifest.channels, "decoder": manifest.decoder}


def difference(packed: Manifest, requested: Manifest) -> str:
    """Return the first setting in which two packs differ, in words; empty if there is none."""
    for name, label in (
        ("data", "data set"),
        ("version", "version of the frames"),
        ("size", "size"),
        ("channels", "channels"),
        ("decoder", "decoder"),
    ):
        if getattr(packed, name) != getattr(requested, name):
            return f"its {label} is {getattr(packed, name)!r}, not {getattr(requested, name)!r}"
    return ""


def open_pack(
    out: Path, listing: Listing, shape: ClipShape, decoder: Decoder, cache: Path | None = None
) -> Pack:
    """Return a pack as the source of a data set's frames; no frame is read.

    Args:
        out: The pack's folder.
        listing: The requested clips; their files need not exist any more.
        shape: The shape of one clip.
        decoder: The decoder that the pack must have been made with.
        cache: The folder that stores which shards matched their checksums; None to compare them every time.

    Raises:
        InputError: The pack is missing, holds other frames, or lacks files.
    """
    manifest = read_manifest(out)
    requested = replace(
        manifest,
        data=listing.name,
        version=frames_version(listing),
        channels=shape.channels,
        size=shape.height,
        decoder=decoder,
    )
    if mismatch := difference(manifest, requested):
        raise InputError(f"{listing.name}: pack: {out} holds other data: {mismatch}.")
    absent = [i for i in listing.entries if i not in manifest.clips]
    if absent:
        raise InputError(
            f"{listing.name}: pack: {out} lacks {some_clips(absent)} of {len(listing.entries)} listed."
        )
    for shard in manifest.shards:
        if not (out / shard.file).is_file():
            raise InputError(f"{out}: {shard.file} is missing; `study data pack` writes it again.")
    return Pack(out, manifest, cache)


@dataclass(frozen=True)
class Pack:
    """A `study.tasks.clips.data.files.source.Source`: frames of a pack, mapped at the first read."""

    out: Path
    manifest: Manifest
    cache: Path | None
    _maps: dict[int, Pixels] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the maps of this process."""
        return {**self.__dict__, "_maps": {}}

    def inspect(self, entries: Sequence[Entry], progress: Progress | None = None) -> list[ClipVerdict]:
        """Return the verdicts on the clips when they were packed, after comparing every shard with its checksum.

        Raises:
            InputError: Shards are damaged; the message names them.
        """
        if damaged := self.damaged(progress):
            raise InputError(
                f"{self.out}: {', '.join(damaged)} {'is' if len(damaged) == 1 else 'are'} damaged: the checksum "
                "does not match. `study data pack` writes the damaged files again."
            )
        return [self.manifest.clips[entry.id].verdict for entry in entries]

    def damaged(self, progress: Progress | None = None) -> list[str]:
        """Return the files that do not match their checksums; unchanged ones that matched before are not read."""
        known = self._verified()
        stamps = {shard.file: self._stamp(shard) for shard in self.manifest.shards}
        unknown = [s for s in self.manifest.shards if known.get(s.file) != stamps[s.file]]
        in_shard = Counter(clip.shard for clip in self.manifest.clips.values())
        clips = {shard.file: in_shard[number] for number, shard in enumerate(self.manifest.shards)}
        damaged, read = [], 0
        with ThreadPoolExecutor(len(cpu_cores())) as threads:
            results = threads.map(lambda shard: is_whole(self.out, shard), unknown)
            for shard, matches in zip(unknown, results, strict=True):
                if not matches:
                    damaged.append(shard.file)
                read += clips[shard.file]
                if progress:
                    progress(read, sum(clips[s.file] for s in unknown))
        if self._verified_path and unknown:
            verified = {file: stamp for file, stamp in stamps.items() if file not in damaged}
            try:
                write(self._verified_path, json.dumps(verified, indent=1))
            except OSError as error:
                _log.warning("%s cannot be written: %s", self._verified_path, error)
        return damaged

    @property
    def _verified_path(self) -> Path | None:
        return self.cache / f"pack-{digest(os.path.realpath(self.out))}.json" if self.cache else None

    def _verified(self) -> dict[str, str]:
        if self._verified_path is None:
            return {}
        try:
            stamps = json.loads(self._verified_path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return stamps if isinstance(stamps, dict) else {}

    def _stamp(self, shard: Shard) -> str:
        status = (self.out / shard.file).stat()
        return digest([shard.sha256, status.st_size, status.st_mtime_ns])

    def count(self, entry: Entry) -> int:
        """Return the number of frames of a clip."""
        return self._clip(entry).verdict.frames

    def read(self, entry: Entry, indices: NDArray[np.int64]) -> Pixels:
        """Return the frames at `indices`, (n, C, H, W), read-only: consecutive frames are a view of the map."""
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
                check_regular(path)
                mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise InputError(f"{path} cannot be read: {error}.") from None
            shape = (shard.frames, self.manifest.channels, self.manifest.size, self.manifest.size)
            if mapped.shape != shape or mapped.dtype != np.uint8:
                raise InputError(f"{path} is damaged; `study data pack` writes it again.")
            self._maps[number] = np.asarray(mapped)
        return self._maps[number]
