"""Decodes images as a viewer shows them: turned by their EXIF orientation, in eight bits, on a white page."""

from __future__ import annotations

import importlib
import importlib.util
import io
import struct
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms, ImageOps

from study.errors import InputError
from study.tasks.clips.data.contract import Pixels

Decoder = Literal["pillow", "simplejpeg", "simplejpeg-scaled"]
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""The formats that are decoded, by content: others, such as EPS, would start programs."""
MOST_PIXELS = 1 << 26
"""The most pixels of one picture: a larger one would fill the memory."""
DAMAGES = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""The errors that Pillow, simplejpeg and PyAV raise for a damaged file."""
_JPEG_START, _EXIF = b"\xff\xd8", b"Exif\0\0"
_ORIENTATION = 0x0112
_IGNORED_METADATA = ("xmp", "XML:com.adobe.xmp", "Raw profile type exif")
"""Metadata by which Pillow turns an image and viewers do not."""
_DAMAGE_WARNINGS = ("corrupt", "premature")
"""Words of libjpeg's warnings about coded data; its other warnings leave every pixel right."""
_SRGB_GAMMA = 0.45455


class PictureNote(StrEnum):
    """What a viewer may show otherwise, or what could not be verified."""

    TRANSPARENT = "transparent"
    """An image is composed on white, a video without transparency; a viewer uses its own background."""
    HDR = "hdr"
    """A video's brightness is beyond that of a display (PQ, HLG), and is not mapped to it."""
    PROFILE = "profile"
    """A colour profile that is not sRGB is not applied."""
    CMYK = "cmyk"
    """Converted to RGB without a profile."""
    NOT_VERIFIED = "not-verified"
    """Coded data of a JPEG were not searched for damage, as simplejpeg is not installed."""


def opened(content: bytes) -> Image.Image:
    """Return an image whose header is read.

    Raises:
        ValueError: It has too many pixels, or is animated; other errors of `DAMAGES` for damaged and unknown files.
    """
    image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
    check_size(*image.size)
    if image.format != "MPO" and getattr(
        image, "is_animated", False
    ):  # the second picture of an MPO is a preview
        raise ValueError("it holds several pictures, and a frame is one")
    return image


def check_size(width: int, height: int) -> None:
    """Raise ValueError where a picture has more than `MOST_PIXELS`."""
    if width * height > MOST_PIXELS:
        raise ValueError(f"it has {width} x {height} pixels, more than {MOST_PIXELS}")


def is_jpeg(content: bytes) -> bool:
    """Return whether the content, whatever the file is called, is that of a JPEG."""
    return content.startswith(_JPEG_START)


def decoded(content: bytes, channels: int, size: int, decoder: Decoder) -> Pixels:
    """Return an image as (C, size, size), resized by Pillow's antialiased bilinear filter.

    JPEGs, by content, are decoded by the decoder that is asked for; CMYK and every other format by Pillow.

    Raises:
        ValueError: Or another error of `DAMAGES`, for a damaged file.
    """
    if decoder != "pillow" and is_jpeg(content):
        least = {"min_height": size, "min_width": size} if decoder == "simplejpeg-scaled" else {}
        array = _simplejpeg(content, "GRAY" if channels == 1 else "RGB", least)
        if array is not None:
            array = _turned(array, content)
            if array.shape[:2] == (size, size):  # what resizing would return
                return np.ascontiguousarray(array.reshape(size, size, -1).transpose(2, 0, 1))
            squeezed = array[:, :, 0] if array.shape[2] == 1 else array
            return resized(Image.fromarray(np.ascontiguousarray(squeezed)), channels, size)
    with opened(content) as image:
        return resized(as_shown(image), channels, size)


def resized(image: Image.Image, channels: int, size: int) -> Pixels:
    """Return an image as (C, size, size)."""
    picture = image.convert("L" if channels == 1 else "RGB")
    result = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)
    return result[None] if channels == 1 else result.transpose(2, 0, 1)


def as_shown(image: Image.Image) -> Image.Image:
    """Return an image with 8 bits a channel and no transparency, turned upright."""
    image.load()
    is_png = image.format == "PNG"
    image = _upright(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and is_png):  # of 16 bits: PNG has no more
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, for which no range of brightness is defined")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1 where it has none or one that cannot be read."""
    for key in _IGNORED_METADATA:
        image.info.pop(key, None)
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block, whose parser raises errors of any kind
        return 1
    return value if value in range(1, 9) else 1


def _upright(image: Image.Image) -> Image.Image:
    return image if orientation(image) == 1 else ImageOps.exif_transpose(image)


def _turned(array: Pixels, content: bytes) -> Pixels:
    """Return decoded pixels, (H, W, C), turned by the EXIF orientation of the file."""
    if _EXIF not in content:
        return array
    with opened(content) as header:
        value = orientation(header)
    if value >= 5:  # mirrored at the diagonal first
        array = array.swapaxes(0, 1)
    # rows and columns to reverse, by orientation: EXIF 2.32, 4.6.4
    rows, columns = {2: (0, 1), 3: (1, 1), 4: (1, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}.get(value, (0, 0))
    return array[:: -1 if rows else 1, :: -1 if columns else 1]


def _simplejpeg(content: bytes, colours: str, least: Mapping[str, int]) -> Pixels | None:
    """Return the pixels, (H, W, C); None for a JPEG in CMYK, which simplejpeg does not convert."""
    simplejpeg = import_extra("simplejpeg")
    try:
        height, width, stored, _ = simplejpeg.decode_jpeg_header(content, strict=False)
    except KeyError:  # of a number that is no colour space
        raise ValueError("its colour space or subsampling is unknown") from None
    if stored in ("CMYK", "YCCK"):
        return None
    check_size(width, height)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(content, colours, **least)
    except ValueError as error:
        if _is_damage(error):
            raise
        pixels = simplejpeg.decode_jpeg(content, colours, **least, strict=False)
    return pixels


def _is_damage(warning: ValueError) -> bool:
    return any(word in str(warning).lower() for word in _DAMAGE_WARNINGS)


def inspected(content: bytes) -> tuple[tuple[int, int], set[PictureNote]]:
    """Read all of an image; return its width and height as shown, and what to note.

    Every coded byte of a JPEG is read, by both decoders, and an eighth of its pixels computed.

    Raises:
        ValueError: Or another error of `DAMAGES`, for a damaged file.
    """
    with opened(content) as image:
        notes = set(_notes(image))
        size = image.size
        if image.format in ("JPEG", "MPO"):
            if image.mode == "CMYK":
                notes.add(PictureNote.CMYK)
            turn = orientation(image)
            image.draft("L", (1, 1))
            image.load()
            notes |= _verified_jpeg(content)
        else:
            image.load()
            turn = orientation(image)  # PNG may have it after the pixels
            size = image.size
            if (
                image.mode[0] != "I"
                and image.has_transparency_data
                and image.convert("RGBA").getchannel("A").getextrema() != (255, 255)
            ):
                notes.add(PictureNote.TRANSPARENT)
            if image.mode in ("I", "F"):
                as_shown(image)  # raises
            if image.mode == "CMYK":
                notes.add(PictureNote.CMYK)
    return (size[::-1] if turn >= 5 else size), notes


def can_verify() -> bool:
    """Return whether damage in the coded data of a JPEG is found."""
    return importlib.util.find_spec("simplejpeg") is not None


def _verified_jpeg(content: bytes) -> set[PictureNote]:
    """Raise ValueError where libjpeg reports damage, which Pillow does not pass on."""
    if not can_verify():
        return {PictureNote.NOT_VERIFIED}
    _simplejpeg(content, "GRAY", {"min_height": 1, "min_width": 1})
    return set()


def _notes(image: Image.Image) -> Iterator[PictureNote]:
    profile = image.info.get("icc_profile")
    gamma = None if "srgb" in image.info else image.info.get("gamma")
    if profile:
        if image.mode != "CMYK" and not _is_srgb(profile):
            yield PictureNote.PROFILE
    elif gamma and abs(gamma - _SRGB_GAMMA) > 0.01:
        yield PictureNote.PROFILE


@lru_cache(maxsize=32)
def _is_srgb(profile: bytes) -> bool:
    """Return whether a profile changes colours by at most three levels, or cannot be read: viewers ignore it then."""
    levels = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3), axis=-1).reshape(-1, 1, 3).astype(np.uint8)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        is_grey = source.profile.xcolor_space.strip() == "GRAY"
        colours = Image.fromarray(levels)
        given = colours.convert("L") if is_grey else colours
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            given.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
        shown = ImageCms.applyTransform(given, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return True
    if shown is None:
        return True
    difference = np.asarray(shown, dtype=np.int64) - np.asarray(given.convert("RGB"), dtype=np.int64)
    return bool(np.abs(difference).max() <= 3)


_EXTRAS: Mapping[str, str] = {"av": "reading videos", "simplejpeg": "the decoder 'simplejpeg'"}


def import_extra(module: str) -> Any:
    """Return an optional package; raise InputError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"{_EXTRAS[module]} needs {module}: pip install 'study[video]'.") from None
