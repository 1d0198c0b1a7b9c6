"""Reads one clip from disk, a folder of frames or a video: its files, a verdict on them, its pixels."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from study.errors import InputError, quoted
from study.files import check_regular, read_regular
from study.hashing import digest
from study.tasks.clips.data.contract import Pixels
from study.tasks.clips.data.files.pictures import (
    DAMAGES,
    FORMATS,
    Decoder,
    PictureNote,
    decoded,
    inspected,
    resized,
)
from study.tasks.clips.data.files.places import VIDEOS, Places, is_there, names_in
from study.tasks.clips.data.files.videos import shown_frames

READER = 3
"""Incremented whenever the same files would give other clips; named in CHANGELOG.md under Changes numbers."""
IMAGES = frozenset([".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"])


@dataclass(frozen=True, slots=True)
class Footage:
    """The files of one clip: its frames in the order of their numbers, or one video."""

    places: Places
    path: str
    """The video, or the folder of the frames."""
    joined: str = ""
    """The names of the frames, joined by ``/``: a tuple would take several times the memory."""

    @property
    def is_video(self) -> bool:
        """Whether the clip is one video."""
        return not self.joined

    @property
    def names(self) -> tuple[str, ...]:
        """The file names of the frames in their order; empty for a video."""
        return tuple(self.joined.split("/")) if self.joined else ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the frames in their order, or the video."""
        folder = Path(self.path)
        return tuple(folder / name for name in self.names) if self.joined else (folder,)

    @property
    def stamp(self) -> str:
        """A digest of the files' names, sizes and times of modification, which changes if their content may have."""
        if self.is_video:
            files = [(os.path.basename(self.path), os.stat(self.path))]  # noqa: PTH116, PTH119  # faster than Path
        else:
            files = [(name, os.stat(f"{self.path}/{name}")) for name in self.names]  # noqa: PTH116
        return digest([[printable(name), status.st_size, status.st_mtime_ns] for name, status in files])


@dataclass(frozen=True, slots=True)
class ClipVerdict:
    """The verdict on a clip after all of it was read."""

    digest: str
    """Digest of the content of its files, in their order; empty if it cannot be read."""
    frames: int
    sizes: tuple[tuple[int, int], ...]
    """Width and height in pixels as shown, each pair once, in order of appearance."""
    error: str = ""
    """Why the clip cannot be used; files are named relative to the root."""
    notes: tuple[PictureNote, ...] = ()
    """What a viewer may show otherwise, sorted."""

    @property
    def is_sound(self) -> bool:
        """Whether every frame of the clip can be read."""
        return not self.error


def find(path: Path, places: Places) -> Footage:
    """Return the files of the clip at `path`: a folder of images, or a video.

    Raises:
        InputError: The clip is missing, has no frames, or leads out of the places.
    """
    path = existing(path, places)
    places.check(path)
    name = printable(places.name(path))
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            if path.suffix.lower() not in VIDEOS:
                raise InputError(
                    f"{name} is neither a folder of frames nor a video ({quoted(sorted(VIDEOS))})"
                )
            check_regular(path)
            if status.st_size == 0:
                raise InputError(f"{name} is an empty file")
            return Footage(places, str(path))
        with os.scandir(path) as found:
            images = [
                (file.name, file.is_symlink(), file.is_file())
                for file in found
                if os.path.splitext(file.name)[1].lower() in IMAGES  # noqa: PTH122  # faster than Path
                and not file.name.startswith(".")
            ]
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"there is no {name}") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from None
    if not images:
        raise InputError(f"no frames ({quoted(sorted(IMAGES))}) in {name}")
    for image, is_link, is_file in images:
        if is_link:
            places.check(path / image)
        if not is_file:
            _check_file(path / image, places)
    names = sorted((image for image, _, _ in images), key=by_number)
    return Footage(places, str(path), sys.intern("/".join(names)))  # many clips have files of the same names


def _check_file(path: Path, places: Places) -> None:
    """Raise InputError where a frame is a folder, FIFO or device; one that is missing fails when it is read."""
    try:
        check_regular(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(_unreadable_message(path, places, error)) from None


def existing(path: Path, places: Places) -> Path:
    """Return the path in the same place whose names are those of `path`, composed or decomposed (NFC or NFD).

    Lists are read as NFC; names on the disk may have either form. What exists as written comes first.
    """
    if str(path).isascii() or is_there(path) or (top := places.top_of(path)) is None:
        return path
    found = top
    for part in path.relative_to(top).parts:
        if not os.path.lexists(found / part) and found.is_dir():
            composed = unicodedata.normalize("NFC", part)
            part = next(
                (
                    name
                    for name in names_in(found, str(found))
                    if unicodedata.normalize("NFC", name) == composed
                ),
                part,
            )
        found /= part
    return found


def by_number(name: str) -> tuple[Any, ...]:
    """Return a sorting key in which runs of digits count as numbers: 1, 2, …, 10."""
    parts = re.split(r"(\d+)", name)
    return (*(int(part) if part.isdecimal() else part for part in parts), name)


def inspect(footage: Footage) -> ClipVerdict:
    """Read all of a clip, every frame decoded once, and return the verdict; a damaged file raises nothing.

    Raises:
        InputError: It is a video and PyAV is not installed.
    """
    return _inspect_video(footage) if footage.is_video else _inspect_images(footage)


def _inspect_images(footage: Footage) -> ClipVerdict:
    contents: list[str] = []
    sizes: dict[tuple[int, int], None] = {}
    notes: set[PictureNote] = set()
    for file in footage.files:
        try:
            content = read_regular(file)
            size, noted = inspected(content)
        except DAMAGES as error:
            return ClipVerdict("", 0, (), _unreadable_message(file, footage.places, error))
        sizes[size] = None
        notes |= noted
        contents.append(hashlib.sha256(content).hexdigest())
    return ClipVerdict(digest(contents), len(contents), tuple(sizes), notes=tuple(sorted(notes)))


def _inspect_video(footage: Footage) -> ClipVerdict:
    (file,) = footage.files
    try:
        check_regular(file)
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        sizes, notes = [], set[PictureNote]()
        for frame in shown_frames(file, verify=True):
            sizes.append(frame.size)
            notes |= frame.notes
        if not sizes:
            raise ValueError("it holds no frame")
    except DAMAGES as error:
        return ClipVerdict("", 0, (), _unreadable_message(file, footage.places, error))
    return ClipVerdict(digest([content]), len(sizes), tuple(dict.fromkeys(sizes)), notes=tuple(sorted(notes)))


def read(
    footage: Footage, indices: Sequence[int] | NDArray[np.int64], channels: int, size: int, decoder: Decoder
) -> Pixels:
    """Return the frames at `indices`, (n, C, size, size), resized by Pillow's antialiased bilinear filter.

    Pictures are read as a viewer shows them: turned and mirrored by EXIF or a display matrix, cropped, in 8 bits.
    ``simplejpeg-scaled`` decodes a JPEG at the least of libjpeg's scales that is not smaller than `size`, and
    resizes from there: faster, and other pixels. Frames that are no JPEGs, or in CMYK, are decoded by Pillow or PyAV.

    Raises:
        InputError: A file cannot be read; it is named below the root.
    """
    if not footage.is_video:
        files = footage.files
        return np.stack(
            [_read_image(files[int(i)], footage.places, channels, size, decoder) for i in indices]
        )
    (file,) = footage.files
    wanted = {int(index) for index in indices}
    found: dict[int, Pixels] = {}
    try:
        check_regular(file)
        for number, frame in enumerate(shown_frames(file)):
            if number in wanted:
                found[number] = resized(frame.image, channels, size)
            if len(found) == len(wanted):
                break
        else:
            raise ValueError(f"it ends before frame {max(wanted) + 1}")
    except DAMAGES as error:
        raise InputError(_unreadable_message(file, footage.places, error)) from None
    return np.stack([found[int(index)] for index in indices])


def _read_image(file: Path, places: Places, channels: int, size: int, decoder: Decoder) -> Pixels:
    try:
        return decoded(read_regular(file), channels, size, decoder)
    except DAMAGES as error:
        raise InputError(_unreadable_message(file, places, error)) from None


def _unreadable_message(file: Path, places: Places, error: Exception) -> str:
    kind = "a video" if file.suffix.lower() in VIDEOS else "an image"
    if isinstance(error, UnidentifiedImageError):
        reason = f"its format is none of {', '.join(FORMATS)}"
    else:
        reason = str(error.strerror or error) if isinstance(error, OSError) else str(error)
    return f"{printable(places.name(file))} cannot be read as {kind}: {reason}"


def printable(name: str) -> str:
    """Return a file name for messages and digests: bytes that are not UTF-8 as ``\\xff``."""
    return os.fsencode(name).decode(errors="backslashreplace") if not name.isascii() else name
