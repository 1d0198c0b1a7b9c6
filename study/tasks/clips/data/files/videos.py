"""Decodes videos as a player shows them, and finds damage that decoders report."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from study.tasks.clips.data.files.containers import Crop, crop, structure_damage
from study.tasks.clips.data.files.pictures import PictureNote, check_size, import_extra

_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg,gif"
"""The containers that are read: no playlists, which would open other files."""
_DETECT = "crccheck+bitstream+buffer+explode"
"""FFmpeg's detection of errors: the first one ends decoding."""
_HDR_TRANSFERS = (16, 18)
"""PQ and HLG, by the numbers of ITU-T H.273."""
_QUARTER_TURN_TOLERANCE = 0.02
"""About one degree, as ffmpeg."""


@dataclass(frozen=True)
class Shown:
    """One frame as a player shows it."""

    image: Image.Image
    """With square or other pixels, as coded."""
    size: tuple[int, int]
    """Width and height in square pixels."""
    notes: frozenset[PictureNote] = frozenset()


def shown_frames(file: Path, *, verify: bool = False) -> Iterator[Shown]:
    """Yield the frames that a player shows: cropped and turned as the file states.

    Counts of frames in headers are not used: edit lists and dropped frames make them wrong.

    Args:
        file: A regular file.
        verify: Raise where a decoder reports damage or the file's end is missing; slower.

    Raises:
        ValueError: The file is damaged, holds no video, or turns its pictures by no quarter turn.
        InputError: PyAV is not installed.
    """
    av = import_extra("av")
    if verify and (damage := structure_damage(file)):
        raise ValueError(damage)
    edges = crop(file)
    with _errors(av, collect=verify) as errors:
        try:
            yield from _decoded(av, file, edges, errors, verify=verify)
        except av.FFmpegError as error:
            raise ValueError(_first(errors) or error.strerror) from None
        if message := _first(errors):
            raise ValueError(f"it is damaged: {message}")


def _decoded(av: Any, file: Path, edges: Crop, errors: list[Any], *, verify: bool) -> Iterator[Shown]:
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    if verify:
        options["err_detect"] = _DETECT
    with av.open(str(file), options=options) as container:
        cover = av.stream.Disposition.attached_pic
        stream = next((s for s in container.streams.video if not s.disposition & cover), None)
        if stream is None:
            raise ValueError("it holds no video")
        has_alpha = stream.metadata.get("alpha_mode") == "1"
        check_size(stream.codec_context.width or 0, stream.codec_context.height or 0)
        if verify:
            stream.codec_context.options = {"err_detect": _DETECT}
            stream.codec_context.thread_count = 1  # messages of other threads cannot be assigned to a file
        for packet in container.demux(stream):
            if verify and packet.is_corrupt:
                raise ValueError(f"it is damaged: {_first(errors) or 'a packet is corrupt'}")
            for frame in packet.decode():
                if verify and (frame.is_corrupt or errors):
                    raise ValueError(f"it is damaged: {_first(errors) or 'a frame is corrupt'}")
                check_size(frame.width, frame.height)
                shown = _shown(frame, edges, stream.sample_aspect_ratio)
                notes = set(_notes(frame, has_alpha=has_alpha)) if verify else set()
                yield replace(shown, notes=frozenset(notes)) if notes else shown


def _shown(frame: Any, edges: Crop, aspect: Fraction | None) -> Shown:
    """Return a decoded frame cropped, then turned."""
    image: Image.Image = frame.to_image()
    if any(edges):
        image = image.crop((edges.left, edges.top, image.width - edges.right, image.height - edges.bottom))
    ratio = aspect or Fraction(1)
    width, height = (
        (round(image.width * ratio), image.height)
        if ratio >= 1
        else (image.width, round(image.height / ratio))
    )
    turned, is_transposed = _turned(image, frame)
    return Shown(turned, (height, width) if is_transposed else (width, height))


def _notes(frame: Any, *, has_alpha: bool) -> Iterator[PictureNote]:
    if has_alpha or any(component.is_alpha for component in frame.format.components):
        yield PictureNote.TRANSPARENT
    if getattr(frame, "color_trc", 0) in _HDR_TRANSFERS:
        yield PictureNote.HDR


def _turned(image: Image.Image, frame: Any) -> tuple[Image.Image, bool]:
    """Return an image turned and mirrored by the frame's display matrix, and whether its sides are exchanged.

    The matrix maps a pixel (p, q) to (a p + c q, b p + d q), y downwards: ISO 14496-12, 6.2.2.
    """
    try:
        matrix = bytes(frame.side_data["DISPLAYMATRIX"])
    except KeyError:
        return image, False
    a, b, _, c, d, *_ = struct.unpack("9i", matrix)
    tolerance = _QUARTER_TURN_TOLERANCE * max(map(abs, (a, b, c, d)))
    if not tolerance:
        return image, False
    is_transposed = abs(a) <= tolerance and abs(d) <= tolerance
    if not is_transposed and (abs(b) > tolerance or abs(c) > tolerance):
        raise ValueError("it is shown turned by an angle that is no multiple of 90 degrees")
    if is_transposed:
        image = image.transpose(Image.Transpose.TRANSPOSE)
    if (c if is_transposed else a) < 0:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if (b if is_transposed else d) < 0:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image, is_transposed


def _first(errors: list[Any]) -> str:
    """Return the first message of a decoder or demuxer."""
    return f"{errors[0][1]}: {str(errors[0][2]).strip()}" if errors else ""


_lock = threading.Lock()
_captures = 0
_saved: tuple[int | None, bool] = (None, True)


@contextmanager
def _errors(av: Any, *, collect: bool) -> Iterator[list[Any]]:
    """Collect FFmpeg's messages of errors in this thread; its log level is raised while any thread collects."""
    if not collect:
        yield []
        return
    global _captures, _saved  # the level belongs to the process
    logging = av.logging
    with _lock:
        if not _captures:
            _saved = logging.get_level(), logging.get_skip_repeated()
            logging.set_level(logging.ERROR)
            logging.set_skip_repeated(False)
        _captures += 1
    try:
        with logging.Capture() as messages:
            yield messages
    finally:
        with _lock:
            _captures -= 1
            if not _captures:
                logging.set_level(_saved[0])
                logging.set_skip_repeated(_saved[1])
