"""Images are read as a viewer shows them: orientation, transparency, depth, formats, and damage."""

from __future__ import annotations

import io
import os
import socket
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image, ImageCms

from study.errors import InputError
from study.tasks.clips.data.files.frames import ClipVerdict, find, inspect, read
from study.tasks.clips.data.files.pictures import Decoder, PictureNote
from study.tasks.clips.data.files.places import Places

DECODERS = ("pillow", "simplejpeg", "simplejpeg-scaled")
SIZE = 32
CORNERS = {1: "abcd", 2: "badc", 3: "dcba", 4: "cdab", 5: "acbd", 6: "cadb", 7: "dbca", 8: "bdac"}
"""The corners that a viewer shows (top left, top right, bottom left, bottom right), by EXIF orientation: the stored
picture has a, b above c, d. In the EXIF standard, 6 is "0th row: right-hand side, 0th column: top"."""
LEVELS = {"a": 20, "b": 90, "c": 160, "d": 240}


def quarters(width: int = 64, height: int = 64) -> Image.Image:
    pixels = np.zeros((height, width, 3), np.uint8)
    for corner, level in LEVELS.items():
        top, left = corner in "cd", corner in "bd"
        pixels[top * height // 2 :][: height // 2, left * width // 2 :][:, : width // 2] = level
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(value: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = value
    return block


def clip(folder: Path, content: bytes, name: str = "1.jpg") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder


def shown(folder: Path, decoder: str = "pillow", channels: int = 1) -> Any:
    return read(find(folder, Places(folder.parent)), [0], channels, SIZE, cast(Decoder, decoder))[0]


def verdict(folder: Path) -> ClipVerdict:
    return inspect(find(folder, Places(folder.parent)))


def corners(pixels: Any) -> str:
    quarter, rest = SIZE // 4, 3 * SIZE // 4
    levels = [pixels[0][y, x] for y in (quarter, rest) for x in (quarter, rest)]
    return "".join(min(LEVELS, key=lambda corner: abs(LEVELS[corner] - int(level))) for level in levels)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("value", CORNERS)
def test_a_jpeg_is_turned_by_its_exif_orientation(tmp_path: Path, value: int, decoder: str) -> None:
    pytest.importorskip("simplejpeg", reason="of the extra 'video'")
    folder = clip(tmp_path / "c", encoded(quarters(96, 64), "JPEG", quality=95, exif=exif(value)))
    for channels in (1, 3):
        assert corners(shown(folder, decoder, channels)) == CORNERS[value]
    assert verdict(folder).sizes == (((64, 96) if value >= 5 else (96, 64)),)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", [1, 3, 5, 6, 8])
def test_other_formats_are_turned_too(tmp_path: Path, value: int, kind: str) -> None:
    folder = clip(tmp_path / "c", encoded(quarters(96, 64), kind, exif=exif(value)), "1.png")
    for decoder in DECODERS:
        assert corners(shown(folder, decoder)) == CORNERS[value]
    assert verdict(folder).sizes == (((64, 96) if value >= 5 else (96, 64)),)


def test_metadata_that_no_viewer_follows_turns_nothing(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    assert corners(shown(clip(tmp_path / "xmp", encoded(quarters(), "JPEG", xmp=xmp)))) == "abcd"
    broken = encoded(quarters(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert corners(shown(clip(tmp_path / "broken", broken))) == "abcd"
    nonsense = clip(tmp_path / "nonsense", encoded(quarters(), "JPEG", exif=exif(99)))
    assert corners(shown(nonsense)) == "abcd"
    assert verdict(nonsense).is_sound


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_order_of_brightness(tmp_path: Path, kind: str) -> None:
    ramp = np.repeat(np.arange(SIZE, dtype=np.uint16)[None] * 2048, SIZE, axis=0)
    folder = clip(tmp_path / "c", encoded(Image.fromarray(ramp), kind), "1.png")
    expected = np.arange(SIZE) * 8  # the high byte, as libpng and ffmpeg reduce it
    np.testing.assert_array_equal(shown(folder)[0][0], expected)
    assert verdict(folder).is_sound


def test_low_depths_and_palettes_fill_the_range(tmp_path: Path) -> None:
    bits = np.zeros((SIZE, SIZE), np.uint8)
    bits[:, SIZE // 2 :] = 255
    for name, image in {
        "one": Image.fromarray(bits).convert("1"),
        "palette": Image.fromarray(bits).convert("P"),
    }.items():
        pixels = shown(clip(tmp_path / name, encoded(image, "PNG"), "1.png"))
        assert (pixels[0, 0, 0], pixels[0, 0, -1]) == (0, 255)


def test_transparent_pixels_are_white_and_named(tmp_path: Path) -> None:
    pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
    pixels[:, : SIZE // 2] = (200, 0, 0, 255)
    pixels[:, SIZE // 2 :] = (0, 200, 0, 0)  # a colour that no viewer shows
    folder = clip(tmp_path / "c", encoded(Image.fromarray(pixels), "PNG"), "1.png")
    colours = shown(folder, channels=3)
    assert colours[:, 0, 0].tolist() == [200, 0, 0]
    assert colours[:, 0, -1].tolist() == [255, 255, 255]
    assert verdict(folder).notes == (PictureNote.TRANSPARENT,)
    pixels[..., 3] = 255
    opaque = clip(tmp_path / "opaque", encoded(Image.fromarray(pixels), "PNG"), "1.png")
    assert verdict(opaque).notes == ()


def test_a_jpeg_in_cmyk_is_read_alike_by_every_decoder_and_named(tmp_path: Path) -> None:
    pytest.importorskip("simplejpeg", reason="of the extra 'video'")
    image = Image.new("RGB", (64, 64), (200, 40, 90)).convert("CMYK")
    folder = clip(tmp_path / "c", encoded(image, "JPEG", quality=95))
    for decoder in DECODERS:
        np.testing.assert_allclose(shown(folder, decoder, 3)[:, 5, 5], (200, 40, 90), atol=4)
    assert verdict(folder).notes == (PictureNote.CMYK,)


def test_a_profile_that_is_not_srgb_is_named(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = clip(tmp_path / "srgb", encoded(quarters(), "JPEG", icc_profile=srgb))
    assert verdict(plain).notes == ()
    at = srgb.index(b"rXYZ", 128)
    start = struct.unpack(">I", srgb[at + 4 : at + 8])[0]
    other = srgb[: start + 8] + struct.pack(">i", int(0.61 * 65536)) + srgb[start + 12 :]
    wide = clip(tmp_path / "wide", encoded(quarters(), "PNG", icc_profile=other), "1.png")
    assert verdict(wide).notes == (PictureNote.PROFILE,)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_content_and_not_the_name_chooses_the_decoder(tmp_path: Path, decoder: str) -> None:
    pytest.importorskip("simplejpeg", reason="of the extra 'video'")
    png = clip(tmp_path / "png", encoded(quarters(), "PNG"), "1.jpg")
    jpeg = clip(tmp_path / "jpeg", encoded(quarters(), "JPEG", quality=95), "1.png")
    assert corners(shown(png, decoder)) == corners(shown(jpeg, decoder)) == "abcd"
    assert verdict(png).is_sound
    assert verdict(jpeg).is_sound


def test_overwritten_bytes_of_a_jpeg_are_found_where_libjpeg_reports_them(tmp_path: Path) -> None:
    simplejpeg = pytest.importorskip("simplejpeg", reason="of the extra 'video'")
    noise = np.random.default_rng(0)
    pixels = (
        np.add.outer(np.arange(224), np.arange(224))[..., None] / 2 + noise.normal(0, 8, (224, 224, 3))
    ).clip(0, 255)
    whole = encoded(Image.fromarray(pixels.astype(np.uint8)), "JPEG", quality=90)
    found = 0
    for number in range(40):
        damaged = bytearray(whole)
        at = len(whole) // 4 + number * 200
        damaged[at : at + 40] = noise.integers(0, 256, 40, dtype=np.uint8).tobytes()
        try:
            simplejpeg.decode_jpeg(bytes(damaged), strict=True)
            is_reported = False
        except ValueError:
            is_reported = True
        assert verdict(clip(tmp_path / str(number), bytes(damaged))).is_sound != is_reported
        found += is_reported
    assert found > 10
    assert verdict(clip(tmp_path / "whole", whole)).is_sound
    assert verdict(clip(tmp_path / "trailing", whole + b"junk" * 50)).is_sound
    assert not verdict(clip(tmp_path / "cut", whole[: len(whole) // 2])).is_sound


def test_a_harmless_warning_of_libjpeg_refuses_nothing(tmp_path: Path) -> None:
    simplejpeg = pytest.importorskip("simplejpeg", reason="of the extra 'video'")
    whole = bytearray(encoded(quarters(), "JPEG", quality=95))
    at = whole.index(b"\xff\xda") + 2
    components = whole[at + 2]
    whole[at + 3 + 2 * components + 1] = (
        0  # the end of the spectral selection, which baseline decoders ignore
    )
    with pytest.raises(ValueError, match="SOS"):
        simplejpeg.decode_jpeg(bytes(whole))
    folder = clip(tmp_path / "c", bytes(whole))
    assert verdict(folder).is_sound
    for decoder in DECODERS:
        assert corners(shown(folder, decoder)) == "abcd"


@pytest.mark.parametrize("kind", ["EPS", "PPM", "ICO"])
def test_formats_that_were_not_asked_for_are_refused(tmp_path: Path, kind: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    folder = clip(tmp_path / "c", encoded(quarters(), kind), "1.png")
    assert "its format is none of JPEG, PNG" in verdict(folder).error
    with pytest.raises(InputError, match="its format is none of JPEG, PNG"):
        shown(folder)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "WEBP", "TIFF"])
def test_frames_of_common_formats_are_read(tmp_path: Path, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    folder = clip(tmp_path / "c", encoded(quarters(), kind, **options), f"1.{kind.lower()}")
    assert verdict(folder).is_sound
    assert corners(shown(folder)) == "abcd"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_a_frame_that_holds_several_pictures_is_refused(tmp_path: Path, kind: str) -> None:
    content = encoded(quarters(), kind, save_all=True, append_images=[quarters().rotate(90)])
    folder = clip(tmp_path / "c", content, f"1.{kind.lower()}")
    assert "several pictures" in verdict(folder).error


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems take UTF-8 names alone")
def test_names_of_frames_that_are_not_utf_8_are_read_and_printed(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    for number in (1, 2):
        name = os.fsencode(folder) + b"/fr\xe4me_%d.png" % number
        Path(os.fsdecode(name)).write_bytes(encoded(quarters(), "PNG"))
    assert verdict(folder).frames == 2
    assert find(folder, Places(tmp_path)).stamp
    Path(os.fsdecode(name)).write_bytes(b"")
    assert verdict(folder).error.encode("ascii").startswith(b"c/fr\\xe4me_2.png cannot be read")


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0))
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + header
        + png_chunk(b"IDAT", zlib.compress(bytes(1000)))
        + png_chunk(b"IEND", b"")
    )
    assert "pixels" in verdict(clip(tmp_path / "png", bomb, "1.png")).error
    jpeg = bytearray(encoded(quarters(), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    folder = clip(tmp_path / "jpeg", bytes(jpeg))
    assert "pixels" in verdict(folder).error
    for decoder in DECODERS:
        with pytest.raises(InputError, match="pixels"):
            shown(folder, decoder)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "kind"), [(os.mkfifo, "FIFO"), (a_socket, "socket"), (Path.mkdir, "folder")]
)
@pytest.mark.parametrize("name", ["c/1.png", "c.mp4"])
def test_what_is_no_regular_file_is_named_and_not_opened(
    tmp_path: Path, make: Callable[[Path], None], kind: str, name: str
) -> None:
    (tmp_path / "c").mkdir()
    make(tmp_path / name)
    with pytest.raises(InputError, match=rf"{kind}|no frames"):
        find(tmp_path / name.removesuffix("/1.png"), Places(tmp_path))


def test_a_device_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    a_device(tmp_path / "c/1.png")
    with pytest.raises(InputError, match="leads out of the root"):
        find(tmp_path / "c", Places(tmp_path))
