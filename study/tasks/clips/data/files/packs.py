"""Frames decoded and resized once, in files that training maps: the same pixels as from the files they came from.

::

    OUT/shard-00000.npy   uint8 (frames, C, H, W), clip after clip
    OUT/pack.json         what is in them, with checksums; written last, so that without it there is no pack
    OUT/unfinished.json   the shards that are done, while a pack is being made
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from study.errors import InputError, StudyError
from study.files import write, writing
from study.hashing import digest
from study.tasks.clips.data.contract import ClipShape, Pixels
from study.tasks.clips.data.files.frames import ClipCheck, Decoder
from study.tasks.clips.data.files.listing import Entry, Listing, some
from study.tasks.clips.data.sets.recorded import Progress, Raw, Recorded, cores

_log = logging.getLogger(__name__)

FORMAT = 1
"""Counts up whenever packs of before cannot be read any more, or would hold other pixels."""
MANIFEST, UNFINISHED = "pack.json", "unfinished.json"
SHARD_BYTES = 256 << 20
"""A shard is no larger, but for a single clip that is."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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


_MANIFEST, _SHARDS = TypeAdapter(Manifest), TypeAdapter(dict[str, Shard])


@dataclass(frozen=True)
class Made:
    """What `pack` did."""

    out: Path
    clips: int
    frames: int
    bytes: int
    shards: int
    kept: int
    """Shards that were there already and matched their checksums."""
    skipped: tuple[str, ...]
    digest: str


def pack(
    data: Recorded, out: Path, *, shard_bytes: int = SHARD_BYTES, progress: Progress | None = None
) -> Made:
    """Write all frames of every listed clip to `out`, decoded and resized as the data set is configured.

    Shards that are there already and match their checksums are not made again: a pack that was interrupted goes on,
    one that is damaged is mended, one that is whole is only verified. The manifest is written last.

    Args:
        data: Read from its files, by every fold that is to be trained on.
        out: A folder that does not exist, is empty, or holds a pack of the same clips, finished or not.
        shard_bytes: The greatest size of a file, single larger clips excepted.
        progress: Is told how many clips are in the pack, and how many will be.

    Raises:
        InputError: The data set is packed already, a clip cannot be read and is not to be skipped, `out` holds
            something else or may not be written.
        StudyError: The disk is full.
    """
    raw = data.source
    if not isinstance(raw, Raw):
        raise InputError(
            f"{data.listing.name}: pack: a pack is made from the frames themselves; leave it out."
        )
    known = data.inspect()
    _ = data.digest  # refuses clips that cannot be read and are not to be skipped
    entries = data.listing.entries
    manifest, groups = _planned(data, known, shard_bytes)
    try:
        out.mkdir(parents=True, exist_ok=True)
        done = _done(out, manifest)
        missing = [shard for shard in manifest.shards if shard.file not in done]
        _check_room(out, missing, data.shape)
        reader = replace(raw, memory_bytes=0)
        packed = sum(len(groups[s.file]) for s in manifest.shards if s.file in done)
        for shard in missing:
            clips = ((entries[i], known[i].frames) for i in groups[shard.file])

            def tell(clips_written: int, before: int = packed) -> None:
                if progress:
                    progress(before + clips_written, sum(map(len, groups.values())))

            checksum = _write_shard(out / shard.file, shard.frames, data.shape, reader, list(clips), tell)
            done[shard.file] = replace(shard, sha256=checksum)
            packed += len(groups[shard.file])
            write(out / UNFINISHED, _SHARDS.dump_json(done, indent=1))
        whole = replace(manifest, shards=tuple(done[shard.file] for shard in manifest.shards))
        write(out / MANIFEST, _MANIFEST.dump_json(whole, indent=1))
        (out / UNFINISHED).unlink(missing_ok=True)
        _sweep(out, {shard.file for shard in whole.shards})
    except OSError as error:
        raise _told(error, out) from None
    frames = sum(shard.frames for shard in whole.shards)
    return Made(
        out=out,
        clips=sum(map(len, groups.values())),
        frames=frames,
        bytes=frames * _frame_bytes(data.shape),
        shards=len(whole.shards),
        kept=len(whole.shards) - len(missing),
        skipped=data.skipped,
        digest=whole.digest,
    )


def _planned(
    data: Recorded, known: Mapping[str, ClipCheck], shard_bytes: int
) -> tuple[Manifest, dict[str, list[str]]]:
    """Return the manifest of the pack to be, its checksums empty, and the clips of each shard."""
    most = max(1, shard_bytes // _frame_bytes(data.shape))
    groups: list[list[str]] = []
    room = 0
    for i in sorted(i for i, verdict in known.items() if verdict.is_sound):
        if known[i].frames > room or not groups:
            groups.append([])
            room = most
        groups[-1].append(i)
        room -= known[i].frames
    clips = {i: Packed(-1, 0, verdict) for i, verdict in sorted(known.items())}
    shards = []
    for number, group in enumerate(groups):
        first = 0
        for i in group:
            clips[i] = Packed(number, first, known[i])
            first += known[i].frames
        key = digest([FORMAT, data.shape.channels, data.shape.height, data.decoder, _contents(group, known)])
        shards.append(Shard(f"shard-{number:05d}.npy", key, first, ""))
    manifest = Manifest(
        data=data.listing.name,
        version=_version(data.listing),
        channels=data.shape.channels,
        size=data.shape.height,
        decoder=data.decoder,
        digest=digest(_contents(clips, known)),
        clips=clips,
        shards=tuple(shards),
    )
    return manifest, {shard.file: group for shard, group in zip(shards, groups, strict=True)}


def _contents(ids: Iterable[str], known: Mapping[str, ClipCheck]) -> list[list[str]]:
    return [[i, known[i].digest] for i in ids]


def _version(listing: Listing) -> str:
    return listing.facts.get("version", "")


def _frame_bytes(shape: ClipShape) -> int:
    return shape.channels * shape.height * shape.width


def _done(out: Path, planned: Manifest) -> dict[str, Shard]:
    """Return the shards of `planned` that are in `out` and match their checksums.

    Raises:
        InputError: The folder holds something that is no pack, or a pack of something else.
    """
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    found: dict[str, Shard] = {}
    if MANIFEST in names:
        there = _read_manifest(out)
        if difference := _difference(there, planned) or _other_clips(there, planned):
            raise InputError(f"{out} holds another pack: {difference}. Name another folder, or remove it.")
        found = {shard.file: shard for shard in there.shards}
    elif UNFINISHED in names:
        with contextlib.suppress(ValidationError):
            found = _SHARDS.validate_json((out / UNFINISHED).read_bytes())
    elif names - {shard.file for shard in planned.shards}:
        raise InputError(f"{out} exists and is not an empty folder; name another one.")
    keys = {shard.file: shard.key for shard in planned.shards}
    same = [shard for shard in found.values() if keys.get(shard.file) == shard.key]
    return {shard.file: shard for shard in same if _is_whole(out, shard)}


def _other_clips(there: Manifest, planned: Manifest) -> str:
    if there.digest == planned.digest:
        return ""
    both = planned.clips.keys() & there.clips.keys()
    changed = sorted(i for i in both if there.clips[i].verdict.digest != planned.clips[i].verdict.digest)
    new = [i for i in planned.clips if i not in there.clips]
    gone = [i for i in there.clips if i not in planned.clips]
    return "; ".join(
        f"{some(ids)} {what}"
        for ids, what in ((changed, "with other frames"), (new, "not in it"), (gone, "not listed any more"))
        if ids
    )


def _is_whole(out: Path, shard: Shard) -> bool:
    try:
        with (out / shard.file).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256
    except FileNotFoundError:
        return False


def _check_room(out: Path, missing: Sequence[Shard], shape: ClipShape) -> None:
    needed = sum(shard.frames for shard in missing) * _frame_bytes(shape)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise StudyError(
            f"{out}: the pack needs {needed / 1e9:.1f} GB more and the disk has {free / 1e9:.1f} GB."
        )


def _write_shard(
    path: Path,
    frames: int,
    shape: ClipShape,
    source: Raw,
    clips: Sequence[tuple[Entry, int]],
    tell: Callable[[int], None],
) -> str:
    """Write one shard aside, sync it and give it its name; return its checksum."""
    header = io.BytesIO()
    rows = {"descr": "|u1", "fortran_order": False, "shape": (frames, shape.channels, *shape[2:])}
    np.lib.format.write_array_header_1_0(header, rows)

    def read(clip: tuple[Entry, int]) -> Pixels:
        entry, count = clip
        return source.read(entry, np.arange(count))

    # written, not mapped: on a full disk a map ends the process, a write says why
    with writing(path) as file, ThreadPoolExecutor(cores()) as threads:
        checksum = hashlib.sha256(header.getvalue())
        file.write(header.getvalue())
        with contextlib.closing(_in_order(threads, read, clips)) as decoded:
            for number, pixels in enumerate(decoded, start=1):
                content = np.ascontiguousarray(pixels).data
                checksum.update(content)
                file.write(content)
                tell(number)
    return checksum.hexdigest()


def _in_order(
    threads: ThreadPoolExecutor, read: Callable[[Any], Pixels], asked: Sequence[Any]
) -> Generator[Pixels, None, None]:
    """Yield ``read(a)`` of all that is asked, in order; closed early, it gives up what is not begun."""
    yield from threads.map(read, asked)


def _sweep(out: Path, files: set[str]) -> None:
    """Remove what killed attempts left: files aside, and shards that the finished pack does not have."""
    for path in out.iterdir():
        if path.name.startswith(".shard-") or (path.match("shard-*.npy") and path.name not in files):
            path.unlink(missing_ok=True)


def _told(error: OSError, out: Path) -> StudyError:
    if error.errno in _NO_ROOM:
        return StudyError(
            f"{out}: {error.strerror}; whole shards are kept, and the same command goes on from there."
        )
    if (
        isinstance(error, PermissionError | FileExistsError | NotADirectoryError)
        or error.errno == errno.EROFS
    ):
        return InputError(f"{error.filename or out} cannot be written: {error.strerror}.")
    return StudyError(f"{error.filename or out}: {error.strerror or error}.")


def _read_manifest(out: Path) -> Manifest:
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
        return _MANIFEST.validate_python(content)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not what a pack says of itself; pack again. ({error})") from None


def made_with(out: Path) -> dict[str, int | str]:
    """Return the parameters of a data set that reads this pack.

    Raises:
        InputError: There is no pack, it is not finished, or a newer version made it.
    """
    manifest = _read_manifest(out)
    return {"size": manifest.size, "channels": manifest.channels, "decoder": manifest.decoder}


def _difference(there: Manifest, asked: Manifest) -> str:
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
    manifest = _read_manifest(out)
    asked = replace(
        manifest,
        data=listing.name,
        version=_version(listing),
        channels=shape.channels,
        size=shape.height,
        decoder=decoder,
    )
    if difference := _difference(manifest, asked):
        raise InputError(f"{listing.name}: pack: {out} is of something else: {difference}.")
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
        with ThreadPoolExecutor(cores()) as threads:
            whole = threads.map(lambda shard: _is_whole(self.out, shard), unknown)
            for shard, is_whole in zip(unknown, whole, strict=True):
                if not is_whole:
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
