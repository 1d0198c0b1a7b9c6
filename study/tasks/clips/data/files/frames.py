"""Reads one clip from disk, a folder of frames or a video: its files, a verdict on them, its pixels."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import re
import stat
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from study.errors import InputError, quoted
from study.hashing import digest
from study.tasks.clips.data.contract import Pixels
from study.tasks.clips.data.files.listing import VIDEOS, check_inside

Decoder = Literal["pillow", "simplejpeg", "simplejpeg-scaled"]
READER = 2
"""Incremented whenever the same files would give other clips; named in CHANGELOG.md under Changes numbers."""
IMAGES = frozenset({".jpg", ".jpeg", ".png"})
_JPEGS = frozenset({".jpg", ".jpeg"})
_DAMAGES = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""The errors that Pillow, simplejpeg and PyAV raise for a damaged file."""


@dataclass(frozen=True)
class Footage:
    """The files of one clip: its frames in the order of their numbers, or one video."""

    root: Path
    files: tuple[Path, ...]
    is_video: bool

    @property
    def stamp(self) -> str:
        """A digest of the files' names, sizes and times of modification, which changes if their content may have."""
        files = [(file.name, file.stat()) for file in self.files]
        return digest([[name, status.st_size, status.st_mtime_ns] for name, status in files])


@dataclass(frozen=True)
class ClipVerdict:
    """The verdict on a clip after all of it was read."""

    digest: str
    """Digest of the content of its files, in their order; empty if it cannot be read."""
    frames: int
    sizes: tuple[tuple[int, int], ...]
    """Width and height in pixels, each pair once, in order of appearance."""
    error: str = ""
    """Why the clip cannot be used; files are named relative to the root."""

    @property
    def is_sound(self) -> bool:
        """Whether every frame of the clip can be read."""
        return not self.error


def find(path: Path, root: Path) -> Footage:
    """Return the files of the clip at `path`: a folder of images, or a video.

    Raises:
        InputError: The clip is missing, has no frames, or leads out of the root.
    """
    check_inside(path, root)
    name = _relative_name(path, root)
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            if path.suffix.lower() not in VIDEOS:
                raise InputError(
                    f"{name} is neither a folder of frames nor a video ({quoted(sorted(VIDEOS))})"
                )
            if status.st_size == 0:
                raise InputError(f"{name} is an empty file")
            return Footage(root, (path,), is_video=True)
        with os.scandir(path) as found:
            images = [
                (file.name, file.is_symlink())
                for file in found
                if Path(file.name).suffix.lower() in IMAGES and not file.name.startswith(".")
            ]
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"there is no {name}") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from None
    if not images:
        raise InputError(f"no frames ({quoted(sorted(IMAGES))}) in {name}")
    for image, is_link in images:
        if is_link:
            check_inside(path / image, root)
    names = sorted((image for image, _ in images), key=by_number)
    return Footage(root, tuple(path / image for image in names), is_video=False)


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
    for file in footage.files:
        try:
            content = file.read_bytes()
            with Image.open(io.BytesIO(content)) as image:
                sizes[image.size] = None
                if file.suffix.lower() in _JPEGS:
                    image.draft("L", (1, 1))  # every coded byte is read, an eighth of the pixels computed
                image.load()
        except _DAMAGES as error:
            return ClipVerdict("", 0, (), _unreadable_message(file, footage.root, error))
        contents.append(hashlib.sha256(content).hexdigest())
    return ClipVerdict(digest(contents), len(contents), tuple(sizes))


def _inspect_video(footage: Footage) -> ClipVerdict:
    (file,) = footage.files
    try:
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        sizes = [frame.size for frame in _video_frames(file, whole=True)]
        if not sizes:
            raise ValueError("it holds no frame")
    except _DAMAGES as error:
        return ClipVerdict("", 0, (), _unreadable_message(file, footage.root, error))
    return ClipVerdict(digest([content]), len(sizes), tuple(dict.fromkeys(sizes)))


def read(
    footage: Footage, indices: Sequence[int] | NDArray[np.int64], channels: int, size: int, decoder: Decoder
) -> Pixels:
    """Return the frames at `indices`, (n, C, size, size), resized by Pillow's antialiased bilinear filter.

    ``simplejpeg-scaled`` decodes a JPEG at the least of libjpeg's scales that is not smaller than `size`, and
    resizes from there: faster, and other pixels. Frames that are no JPEGs are decoded by Pillow or PyAV.

    Raises:
        InputError: A file cannot be read; it is named below the root.
    """
    if not footage.is_video:
        return np.stack(
            [_read_image(footage.files[int(i)], footage.root, channels, size, decoder) for i in indices]
        )
    (file,) = footage.files
    wanted = {int(index) for index in indices}
    found: dict[int, Pixels] = {}
    try:
        for number, picture in enumerate(_video_frames(file, whole=False)):
            if number in wanted:
                found[number] = _resized(picture, channels, size)
            if len(found) == len(wanted):
                break
        else:
            raise ValueError(f"it ends before frame {max(wanted) + 1}")
    except _DAMAGES as error:
        raise InputError(_unreadable_message(file, footage.root, error)) from None
    return np.stack([found[int(index)] for index in indices])


def _read_image(file: Path, root: Path, channels: int, size: int, decoder: Decoder) -> Pixels:
    try:
        if decoder != "pillow" and file.suffix.lower() in _JPEGS:
            least = {"min_height": size, "min_width": size} if decoder == "simplejpeg-scaled" else {}
            colours = "GRAY" if channels == 1 else "RGB"
            decoded = _import_extra("simplejpeg").decode_jpeg(file.read_bytes(), colours, **least)
            if decoded.shape[:2] == (size, size):  # what resizing would return
                return np.asarray(decoded, dtype=np.uint8).transpose(2, 0, 1)
            return _resized(Image.fromarray(decoded.squeeze()), channels, size)
        with Image.open(file) as image:
            return _resized(image, channels, size)
    except _DAMAGES as error:
        raise InputError(_unreadable_message(file, root, error)) from None


def _resized(image: Image.Image, channels: int, size: int) -> Pixels:
    """Return an image as (C, size, size)."""
    picture = image.convert("L" if channels == 1 else "RGB")
    resized = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)
    return resized[None] if channels == 1 else resized.transpose(2, 0, 1)


def _video_frames(file: Path, *, whole: bool) -> Iterator[Image.Image]:
    """Yield the frames of a video; raise ValueError if `whole` and its end is missing."""
    av = _import_extra("av")
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise ValueError("it holds no video")
            stream = container.streams.video[0]
            packets = 0
            for packet in container.demux(stream):
                packets += packet.size > 0
                for frame in packet.decode():
                    yield frame.to_image()
            if whole and packets < stream.frames:
                raise ValueError(f"it is cut off: {packets} of {stream.frames} frames")
    except av.FFmpegError as error:
        raise ValueError(error.strerror) from None


_EXTRAS: Mapping[str, str] = {"av": "reading videos", "simplejpeg": "the decoder 'simplejpeg'"}


def _import_extra(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"{_EXTRAS[module]} needs {module}: pip install 'study[video]'.") from None


def _unreadable_message(file: Path, root: Path, error: Exception) -> str:
    kind = "a video" if file.suffix.lower() in VIDEOS else "an image"
    if isinstance(error, UnidentifiedImageError):
        reason = "its format is not that of an image"
    else:
        reason = str(error.strerror or error) if isinstance(error, OSError) else str(error)
    return f"{_relative_name(file, root)} cannot be read as {kind}: {reason}"


def _relative_name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
