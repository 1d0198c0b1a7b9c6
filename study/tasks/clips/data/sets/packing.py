"""Writes packs: all frames of a recorded data set, decoded and resized once."""

from __future__ import annotations

import contextlib
import errno
import hashlib
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
from study.tasks.clips.data.files.frames import ClipVerdict
from study.tasks.clips.data.files.listing import Entry, some_clips
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
from study.tasks.clips.data.files.store import npy_header, preallocate
from study.tasks.clips.data.sets.recorded import Recorded

SHARD_BYTES = 256 << 20
"""The greatest size of a shard, larger single clips excepted."""
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SHARDS = TypeAdapter(dict[str, Shard])


@dataclass(frozen=True)
class PackResult:
    """The result of `pack`."""

    out: Path
    clips: int
    frames: int
    bytes: int
    shards: int
    kept: int
    """Shards that existed already and matched their checksums."""
    skipped: tuple[str, ...]
    digest: str


def pack(
    data: Recorded, out: Path, *, shard_bytes: int = SHARD_BYTES, progress: Progress | None = None
) -> PackResult:
    """Write all frames of every listed clip to `out`, decoded and resized as the data set is configured.

    Shards that exist already and match their checksums are kept: an interrupted pack is resumed, a damaged one is
    repaired, a complete one is only verified. The manifest is written last.

    Args:
        data: Read from its files, with every fold that is to be trained on.
        out: A folder that does not exist, is empty, or holds a pack of the same clips, finished or not.
        shard_bytes: The greatest size of a file, single larger clips excepted.
        progress: Called with the number of clips that are packed, and of all clips.

    Raises:
        InputError: The data set is packed already, a clip cannot be read and is not to be skipped, `out` holds
            other files or is not writable.
        StudyError: The disk is full.
    """
    raw = data.source
    if not isinstance(raw, Raw):
        raise InputError(
            f"{data.listing.name}: pack: a pack is made from the frames themselves; remove this parameter."
        )
    verdicts = data.inspect()
    _ = data.digest  # raises for clips that cannot be read and are not to be skipped
    entries = data.listing.entries
    manifest, groups = _planned(data, verdicts, shard_bytes)
    try:
        out.mkdir(parents=True, exist_ok=True)
        done = _finished_shards(out, manifest)
        missing = [shard for shard in manifest.shards if shard.file not in done]
        _check_disk_space(out, missing, data.shape)
        reader = replace(raw, memory_bytes=0)
        packed = sum(len(groups[s.file]) for s in manifest.shards if s.file in done)
        for shard in missing:
            clips = ((entries[i], verdicts[i].frames) for i in groups[shard.file])

            def report(clips_written: int, before: int = packed) -> None:
                if progress:
                    progress(before + clips_written, sum(map(len, groups.values())))

            checksum = _write_shard(out / shard.file, shard.frames, data.shape, reader, list(clips), report)
            done[shard.file] = replace(shard, sha256=checksum)
            packed += len(groups[shard.file])
            write(out / UNFINISHED, _SHARDS.dump_json(done, indent=1))
        complete = replace(manifest, shards=tuple(done[shard.file] for shard in manifest.shards))
        write(out / MANIFEST, MANIFESTS.dump_json(complete, indent=1))
        (out / UNFINISHED).unlink(missing_ok=True)
        _remove_leftovers(out, {shard.file for shard in complete.shards})
    except OSError as error:
        raise _as_study_error(error, out) from None
    frames = sum(shard.frames for shard in complete.shards)
    return PackResult(
        out=out,
        clips=sum(map(len, groups.values())),
        frames=frames,
        bytes=frames * _frame_bytes(data.shape),
        shards=len(complete.shards),
        kept=len(complete.shards) - len(missing),
        skipped=data.skipped,
        digest=complete.digest,
    )


def _planned(
    data: Recorded, verdicts: Mapping[str, ClipVerdict], shard_bytes: int
) -> tuple[Manifest, dict[str, list[str]]]:
    """Return the manifest of the pack to write, without checksums, and the clips of each shard."""
    shard_frames = max(1, shard_bytes // _frame_bytes(data.shape))
    groups: list[list[str]] = []
    room = 0
    for i in sorted(i for i, verdict in verdicts.items() if verdict.is_sound):
        if verdicts[i].frames > room or not groups:
            groups.append([])
            room = shard_frames
        groups[-1].append(i)
        room -= verdicts[i].frames
    clips = {i: Packed(-1, 0, verdict) for i, verdict in sorted(verdicts.items())}
    shards = []
    for number, group in enumerate(groups):
        first = 0
        for i in group:
            clips[i] = Packed(number, first, verdicts[i])
            first += verdicts[i].frames
        key = digest(
            [FORMAT, data.shape.channels, data.shape.height, data.decoder, _contents(group, verdicts)]
        )
        shards.append(Shard(f"shard-{number:05d}.npy", key, first, ""))
    manifest = Manifest(
        data=data.listing.name,
        version=frames_version(data.listing),
        channels=data.shape.channels,
        size=data.shape.height,
        decoder=data.decoder,
        digest=digest(_contents(clips, verdicts)),
        clips=clips,
        shards=tuple(shards),
    )
    return manifest, {shard.file: group for shard, group in zip(shards, groups, strict=True)}


def _contents(ids: Iterable[str], verdicts: Mapping[str, ClipVerdict]) -> list[list[str]]:
    return [[i, verdicts[i].digest] for i in ids]


def _frame_bytes(shape: ClipShape) -> int:
    return shape.channels * shape.height * shape.width


def _finished_shards(out: Path, planned: Manifest) -> dict[str, Shard]:
    """Return the shards of `planned` that are in `out` and match their checksums.

    Raises:
        InputError: The folder holds other files, or a pack of other data.
    """
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    shards: dict[str, Shard] = {}
    if MANIFEST in names:
        packed = read_manifest(out)
        if mismatch := difference(packed, planned) or _clip_differences(packed, planned):
            raise InputError(f"{out} holds another pack: {mismatch}. Name another folder, or remove it.")
        shards = {shard.file: shard for shard in packed.shards}
    elif UNFINISHED in names:
        with contextlib.suppress(ValidationError):
            shards = _SHARDS.validate_json((out / UNFINISHED).read_bytes())
    elif names - {shard.file for shard in planned.shards}:
        raise InputError(f"{out} exists and is not an empty folder; name another one.")
    keys = {shard.file: shard.key for shard in planned.shards}
    same = [shard for shard in shards.values() if keys.get(shard.file) == shard.key]
    return {shard.file: shard for shard in same if is_whole(out, shard)}


def _clip_differences(packed: Manifest, planned: Manifest) -> str:
    """Return the clips in which two packs differ, in words; empty if there are none."""
    if packed.digest == planned.digest:
        return ""
    both = planned.clips.keys() & packed.clips.keys()
    changed = sorted(i for i in both if packed.clips[i].verdict.digest != planned.clips[i].verdict.digest)
    added = [i for i in planned.clips if i not in packed.clips]
    removed = [i for i in packed.clips if i not in planned.clips]
    return "; ".join(
        f"{some_clips(ids)} {change}"
        for ids, change in (
            (changed, "with other frames"),
            (added, "not in it"),
            (removed, "not listed any more"),
        )
        if ids
    )


def _check_disk_space(out: Path, missing: Sequence[Shard], shape: ClipShape) -> None:
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
    report: Callable[[int], None],
) -> str:
    """Write one shard atomically and return its checksum."""
    header = npy_header((frames, shape.channels, *shape[2:]))

    def read(clip: tuple[Entry, int]) -> Pixels:
        entry, count = clip
        return source.read(entry, np.arange(count))

    # written, not mapped: on a full disk a map kills the process, a write raises
    with writing(path) as file, ThreadPoolExecutor(len(cpu_cores())) as threads:
        preallocate(file, len(header) + frames * _frame_bytes(shape))
        checksum = hashlib.sha256(header)
        file.write(header)
        with contextlib.closing(_in_order(threads, read, clips)) as decoded:
            for number, pixels in enumerate(decoded, start=1):
                content = np.ascontiguousarray(pixels).data
                checksum.update(content)
                file.write(content)
                report(number)
    return checksum.hexdigest()


def _in_order(
    threads: ThreadPoolExecutor, read: Callable[[Any], Pixels], items: Sequence[Any]
) -> Generator[Pixels, None, None]:
    """Yield ``read(item)`` of every item, in order; closing the generator cancels what has not begun."""
    yield from threads.map(read, items)


def _remove_leftovers(out: Path, files: set[str]) -> None:
    """Remove what killed attempts left: temporary files, and shards that the finished pack does not have."""
    for path in out.iterdir():
        if path.name.startswith(".shard-") or (path.match("shard-*.npy") and path.name not in files):
            path.unlink(missing_ok=True)


def _as_study_error(error: OSError, out: Path) -> StudyError:
    if error.errno in _DISK_FULL:
        return StudyError(
            f"{out}: {error.strerror}; complete shards are kept, and the same command resumes from them."
        )
    if (
        isinstance(error, PermissionError | FileExistsError | NotADirectoryError)
        or error.errno == errno.EROFS
    ):
        return InputError(f"{error.filename or out} cannot be written: {error.strerror}.")
    return StudyError(f"{error.filename or out}: {error.strerror or error}.")
