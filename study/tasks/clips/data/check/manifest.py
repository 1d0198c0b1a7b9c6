"""Manifests of a data set's files: SHA-256 and path of each, as ``sha256sum`` writes them.

They find damage that no format can tell, such as overwritten bytes that still decode.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from study.errors import InputError
from study.files import check_regular, read_regular, write
from study.machine import cpu_cores
from study.task import Progress
from study.tasks.clips.data.check.report import Item
from study.tasks.clips.data.files.frames import Footage, find
from study.tasks.clips.data.files.listing import Listing

_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")
_CLIPS_WAITING = 1000


@dataclass(frozen=True)
class Comparison:
    """A data set's files compared with a manifest, or written to it."""

    files: int
    is_new: bool
    """The manifest did not exist and was written."""
    differences: tuple[Item, ...]
    """Files that are changed, missing or not listed, with the reason."""


def compare(path: Path, listing: Listing, progress: Progress | None = None) -> Comparison:
    """Compare every file of every listed clip with the manifest at `path`; write it if it does not exist.

    Paths are relative to the data set's root. Clips that cannot be found are left to the check of the data set.

    Raises:
        InputError: The manifest cannot be read or written, or is none.
    """
    listed = _read(path) if path.exists() or path.is_symlink() else None
    found: dict[str, str] = {}
    entries = list(listing.entries.values())
    clip_of: dict[str, tuple[str, str]] = {}
    with ThreadPoolExecutor(len(cpu_cores())) as threads:
        for first in range(0, len(entries), _CLIPS_WAITING):
            some = entries[first : first + _CLIPS_WAITING]
            digests = threads.map(lambda entry: _digests(listing, entry.path), some)
            for number, (entry, files) in enumerate(zip(some, digests, strict=True), start=first + 1):
                found |= files
                clip_of |= dict.fromkeys(files, (entry.id, entry.where))
                if progress:
                    progress(number, len(entries))
    if listed is None:
        content = "".join(f"{_as_line(name, found[name])}\n" for name in sorted(found) if found[name])
        try:
            write(path, content.encode(errors="surrogateescape"))
        except OSError as error:
            raise InputError(f"--manifest: {path} cannot be written: {error.strerror}.") from None
        return Comparison(len(found), True, ())
    return Comparison(len(found), False, tuple(_differences(listed, found, clip_of)))


def _digests(listing: Listing, path: str) -> dict[str, str]:
    """Return the digest of each file of a clip by its path below the root; an empty one if it cannot be read."""
    try:
        footage: Footage = find(listing.footage / path, listing.places)
    except InputError:
        return {}
    digests = {}
    for file in footage.files:
        name = listing.places.name(file)
        try:
            check_regular(file)
            with file.open("rb") as opened:
                digests[name] = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError:
            digests[name] = ""
    return digests


def _differences(
    listed: dict[str, str], found: dict[str, str], clip_of: dict[str, tuple[str, str]]
) -> Iterator[Item]:
    for name, digest in found.items():
        if listed.get(name) != digest:
            reason = "its content has changed" if name in listed else "the manifest does not list it"
            clip, where = clip_of[name]
            yield Item(clip, where, reason=f"{name}: {reason}")
    for name in listed:
        if name not in found:
            yield Item(reason=f"{name}: it is missing, or of no listed clip")


def _as_line(name: str, digest: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n")
    mark = "" if escaped == name else "\\"
    return f"{mark}{digest}  {escaped}"


def _read(path: Path) -> dict[str, str]:
    try:
        text = read_regular(path).decode(errors="surrogateescape")
    except OSError as error:
        raise InputError(f"--manifest: {path} cannot be read: {error.strerror}.") from None
    listed = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(
                f"--manifest: {path}:{number}: must be a SHA-256, two spaces and a path, as sha256sum writes them. "
                f"Got {line[:80]!r} instead."
            )
        is_escaped, digest, name = match.groups()
        if is_escaped:
            name = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], name)
        listed[name] = digest
    if not listed:
        raise InputError(f"--manifest: {path} is empty; remove it, and the check writes it anew.")
    return listed
