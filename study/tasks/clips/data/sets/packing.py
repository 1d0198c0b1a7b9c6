"""Writes packs: all frames of a recorded data set, decoded and resized once."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from study.errors import InputError, StudyError
from study.files import write, writing
from study.hashing import digest
from study.machine import cpu_cores
from study.task import Progress
from study.tasks.clips.data.contract import ClipShape, Pixels
from study.tasks.clips.data.files.frames import ClipCheck
from study.tasks.clips.data.files.listing import Entry, some
from study.tasks.clips.data.files.packs import (
    FORMAT,
    MANIFEST,
    MANIFESTS,
    UNFINISHED,
    Manifest,
    Packed,
    Shard,
    difference,
    frames_version,
    is_whole,
    read_manifest,
)
from study.tasks.clips.data.files.source import Raw
from study.tasks.clips.data.sets.recorded import Recorded

SHARD_BYTES = 256 << 20
"""A shard is no larger, but for a single clip that is."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SHARDS = TypeAdapter(dict[str, Shard])


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
        write(out / MANIFEST, MANIFESTS.dump_json(whole, indent=1))
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
        version=frames_version(data.listing),
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
        there = read_manifest(out)
        if mismatch := difference(there, planned) or _other_clips(there, planned):
            raise InputError(f"{out} holds another pack: {mismatch}. Name another folder, or remove it.")
        found = {shard.file: shard for shard in there.shards}
    elif UNFINISHED in names:
        with contextlib.suppress(ValidationError):
            found = _SHARDS.validate_json((out / UNFINISHED).read_bytes())
    elif names - {shard.file for shard in planned.shards}:
        raise InputError(f"{out} exists and is not an empty folder; name another one.")
    keys = {shard.file: shard.key for shard in planned.shards}
    same = [shard for shard in found.values() if keys.get(shard.file) == shard.key]
    return {shard.file: shard for shard in same if is_whole(out, shard)}


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
    with writing(path) as file, ThreadPoolExecutor(len(cpu_cores())) as threads:
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
