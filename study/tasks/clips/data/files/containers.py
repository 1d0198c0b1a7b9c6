"""Reads from the structure of video files what decoders do not report: cropping, a missing end."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, NamedTuple

_HEADER_BYTES = 64 << 20
"""Boxes with more bytes than this hold no header and are not read."""
_BOX_PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_SAMPLE_ENTRY_BYTES = 86
"""The fixed part of a visual sample entry, with its size and type."""
_MEDIA_BOXES = frozenset({b"mdat", b"moov", b"moof"})
_FIRST_BOXES = _MEDIA_BOXES | {b"ftyp", b"free", b"skip", b"wide", b"styp", b"pnot"}
_UNKNOWN_LENGTH = 0xFFFFFFFF
_AVI_CHUNK = re.compile(rb"\d\d[a-zA-Z][a-zA-Z]|ix\d\d|JUNK|LIST|idx1")
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_TRACKS, _TRACK, _TRACK_TYPE, _VIDEO = 0x1654AE6B, 0xAE, 0x83, 0xE0
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_PACK, _PROGRAM_END = b"\0\0\1\xba", b"\0\0\1\xb9"
_TS_PACKETS = {188: 0, 192: 4}
"""Bytes of a packet of a transport stream, and the place of its synchronisation byte: bare, and with a time (m2ts)."""
_TS_LOOKED_AT = 5
_CROPS = {0x54CC: "left", 0x54BB: "top", 0x54DD: "right", 0x54AA: "bottom"}


class Crop(NamedTuple):
    """Columns and rows of a decoded picture that a player does not show."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


@dataclass(frozen=True)
class _Part:
    """A box of MP4, or an element of Matroska, by its position in the file."""

    name: bytes | int
    start: int
    """The position of its content, in bytes."""
    end: int | None
    """The position of its end; None where none is stated."""


def crop(path: Path) -> Crop:
    """Return the cropping that a container states for its first video: ``clap`` or ``PixelCrop``."""
    with path.open("rb") as file:
        start = file.read(12)
        size = file.seek(0, 2)
        try:
            if start[4:8] in _FIRST_BOXES:
                return _mp4_crop(file, size)
            if start[:4] == _EBML.to_bytes(4):
                return _matroska_crop(file, size)
        except (struct.error, ZeroDivisionError, IndexError, RecursionError):
            return Crop()  # a damaged header, which the decoder reports
    return Crop()


def structure_damage(path: Path) -> str:
    """Return what is wrong with a container's structure in bytes, empty if nothing; it counts no frames.

    Decoders resume after such damage without a word.
    """
    with path.open("rb") as file:
        start = file.read(12)
        size = file.seek(0, 2)
        try:
            is_cut_off = _is_cut_off(file, start, size)
            is_avi = start[:4] == b"RIFF" and start[8:12] == b"AVI "
            if not is_cut_off and is_avi and not _has_sound_chunks(file, size):
                return "chunks of it are overwritten"
        except (struct.error, IndexError):
            is_cut_off = True
    return "it is cut off: its container states more bytes than the file has" if is_cut_off else ""


def _is_cut_off(file: IO[bytes], start: bytes, size: int) -> bool:
    if start[4:8] in _FIRST_BOXES:
        return any(
            box.name in _MEDIA_BOXES and box.end is not None and box.end > size
            for box in _boxes(file, 0, size)
        )
    if start[:4] == _EBML.to_bytes(4):
        return any(
            part.name == _SEGMENT and part.end is not None and part.end > size
            for part in _elements(file, 0, size)
        )
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        (stated,) = struct.unpack("<I", start[4:8])
        return 0 < stated < _UNKNOWN_LENGTH and 8 + int(stated) > size
    if start[:3] == b"FLV":
        return _flv_is_cut_off(file, size)
    if start == _ASF_HEADER[:12]:
        return _asf_is_cut_off(file, size)
    if start[:4] == _PACK:
        return _mpeg_is_cut_off(file, size)
    return any(size % packet for packet, sync in _TS_PACKETS.items() if _are_packets(file, packet, sync))


def _flv_is_cut_off(file: IO[bytes], size: int) -> bool:
    """Return whether the last tag of a Flash video, or the size that follows it, ends beyond the file."""
    file.seek(5)
    (at,) = struct.unpack(">I", file.read(4))
    at += 4
    while at + 11 <= size:
        file.seek(at + 1)
        at += 11 + int.from_bytes(file.read(3)) + 4
    return at not in (size, size + 4)  # some writers leave the last size out


def _asf_is_cut_off(file: IO[bytes], size: int) -> bool:
    """Return whether an object of a Windows media file ends beyond the file; a live stream states no sizes."""
    at = 0
    while at + 24 <= size:
        file.seek(at + 16)
        (length,) = struct.unpack("<Q", file.read(8))
        if length < 24:
            return False
        at += length
    return at > size


def _mpeg_is_cut_off(file: IO[bytes], size: int) -> bool:
    """Return whether the last packet of an MPEG program stream ends beyond the file."""
    at = 0
    while at + 6 <= size:
        file.seek(at)
        head = file.read(14)
        if head[:4] == _PROGRAM_END or head[:3] != _PACK[:3]:
            return False  # what follows packets is skipped by decoders
        if head[:4] == _PACK:
            at += 12 if head[4] >> 6 == 0 else 14 + (head[13] & 7)
        else:
            at += 6 + int.from_bytes(head[4:6])
    return at != size


def _are_packets(file: IO[bytes], packet: int, sync: int) -> bool:
    """Return whether a file starts with packets of an MPEG transport stream, which have a byte at a fixed place."""
    for at in range(sync, _TS_LOOKED_AT * packet, packet):
        file.seek(at)
        if file.read(1) != b"G":
            return False
    return True


def _has_sound_chunks(file: IO[bytes], size: int) -> bool:
    """Return whether the chunks of the first list ``movi`` of an AVI follow each other."""
    at = 12
    while at + 12 <= size:
        file.seek(at)
        name, length, kind = struct.unpack("<4sI4s", file.read(12))
        if name == b"LIST" and kind == b"movi":
            end = min(size, at + 8 + length)
            return 0 in (length, ~length & _UNKNOWN_LENGTH) or _follow(file, at + 12, end)
        at += 8 + length + length % 2
    return True


def _follow(file: IO[bytes], at: int, end: int) -> bool:
    while at + 8 <= end:
        file.seek(at - 1)
        _, name, length = struct.unpack("<c4sI", file.read(9))
        if not _AVI_CHUNK.fullmatch(name):
            file.seek(at - 1)  # a chunk of odd length without its padding
            name, length = struct.unpack("<4sI", file.read(8))
            if not _AVI_CHUNK.fullmatch(name):
                return False
            at -= 1
        is_list = name == b"LIST"
        at += 12 if is_list else 8 + length + length % 2
    return at <= end + 1


def _boxes(file: IO[bytes], start: int, end: int) -> Iterator[_Part]:
    """Yield the boxes of MP4 between two positions."""
    while start + 8 <= end:
        file.seek(start)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            head = 16
        if size == 0:
            yield _Part(name, start + head, end)
            return
        if size < head:
            return
        yield _Part(name, start + head, start + size)
        start += size


def _mp4_crop(file: IO[bytes], size: int) -> Crop:
    for table in _nested_boxes(file, 0, size, _BOX_PATH):
        for entry in _boxes(file, table.start + 8, _end(table, size)):
            file.seek(entry.start)
            head = file.read(_SAMPLE_ENTRY_BYTES - 8)
            width, height = struct.unpack(">HH", head[24:28])
            if not width or not height:
                continue
            for box in _boxes(file, entry.start + len(head), _end(entry, size)):
                if box.name == b"clap":
                    file.seek(box.start)
                    return _clean_aperture(struct.unpack(">IIIIiIiI", file.read(32)), width, height)
    return Crop()


def _nested_boxes(file: IO[bytes], start: int, end: int, names: tuple[bytes, ...]) -> Iterator[_Part]:
    for box in _boxes(file, start, end):
        if box.name == names[0] and _end(box, end) - box.start <= _HEADER_BYTES:
            if len(names) == 1:
                yield box
            else:
                yield from _nested_boxes(file, box.start, _end(box, end), names[1:])


def _clean_aperture(fields: tuple[int, ...], width: int, height: int) -> Crop:
    """Return the cropping of a ``clap`` box: ISO 14496-12, 12.1.4."""
    clean_width, clean_height, right, down = (
        Fraction(number, of) for number, of in zip(fields[::2], fields[1::2], strict=True)
    )
    left, top = (width - clean_width) / 2 + right, (height - clean_height) / 2 + down
    found = Crop(*map(round, (left, top, width - left - clean_width, height - top - clean_height)))
    is_inside = min(found) >= 0 and found.left + found.right < width and found.top + found.bottom < height
    return found if is_inside else Crop()


def _matroska_crop(file: IO[bytes], size: int) -> Crop:
    for segment in _elements(file, 0, size):
        if segment.name != _SEGMENT:
            continue
        for part in _elements(file, segment.start, _end(segment, size)):
            if part.name == _CLUSTER:
                break
            if part.name == _TRACKS:
                for track in _elements(file, part.start, _end(part, size)):
                    parts = {p.name: p for p in _elements(file, track.start, _end(track, size))}
                    if track.name == _TRACK and _VIDEO in parts and _number(file, parts[_TRACK_TYPE]) == 1:
                        video = parts[_VIDEO]
                        crops = {
                            _CROPS[p.name]: _number(file, p)
                            for p in _elements(file, video.start, _end(video, size))
                            if isinstance(p.name, int) and p.name in _CROPS
                        }
                        return Crop(**crops)
    return Crop()


def _elements(file: IO[bytes], start: int, end: int) -> Iterator[_Part]:
    """Yield the elements of Matroska between two positions."""
    while start < end:
        file.seek(start)
        name, name_bytes = _variable(file, keeps_marker=True)
        length, length_bytes = _variable(file, keeps_marker=False)
        content = start + name_bytes + length_bytes
        if length == (1 << 7 * length_bytes) - 1:  # of unknown length
            yield _Part(name, content, None)
            return
        yield _Part(name, content, content + length)
        start = content + length


def _variable(file: IO[bytes], *, keeps_marker: bool) -> tuple[int, int]:
    """Return a number of variable length, and how many bytes it has: RFC 8794, 4."""
    first = file.read(1)[0]
    length = 9 - first.bit_length()
    rest = file.read(length - 1)
    if length > 8 or len(rest) < length - 1:
        raise IndexError
    value = int.from_bytes(bytes([first]) + rest)
    return (value if keeps_marker else value & ((1 << 7 * length) - 1)), length


def _number(file: IO[bytes], part: _Part) -> int:
    file.seek(part.start)
    return int.from_bytes(file.read(min(8, _end(part, part.start) - part.start)))


def _end(part: _Part, outer: int) -> int:
    return outer if part.end is None else part.end
