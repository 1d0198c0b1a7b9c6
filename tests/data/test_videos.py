"""Videos are read as a player shows them; damage is found, and good videos are not refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.tasks.clips.data.files.containers import Crop, crop, structure_damage
from study.tasks.clips.data.files.frames import ClipVerdict, find, inspect, read
from study.tasks.clips.data.files.pictures import PictureNote
from study.tasks.clips.data.files.places import Places

av = pytest.importorskip("av", reason="videos need PyAV, of the extra 'video'")
WIDTH, HEIGHT, SIZE = 96, 64, 32
LEVELS = {"a": 20, "b": 90, "c": 160, "d": 240}
Setup = Callable[[Any], None]


def picture(number: int) -> Any:
    """Return a picture of four corners, a and b above c and d, with a bar that moves."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for corner, level in LEVELS.items():
        top, left = corner in "cd", corner in "bd"
        pixels[top * HEIGHT // 2 :][: HEIGHT // 2, left * WIDTH // 2 :][:, : WIDTH // 2] = level
    at = 3 * number % WIDTH
    pixels[HEIGHT // 2 - 4 : HEIGHT // 2 + 4, at : at + 6] = 255 * (number % 2)
    return pixels


def video(
    path: Path, codec: str = "libx264", frames: int = 40, setup: Setup = lambda stream: None, **options: str
) -> Path:
    if codec not in av.codecs_available:
        pytest.skip(f"PyAV was built without {codec}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = 10
        setup(stream)
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode())
    return path


def verdict(path: Path) -> ClipVerdict:
    return inspect(find(path, Places(path.parent)))


def corners(path: Path) -> str:
    pixels = read(find(path, Places(path.parent)), [0], 1, SIZE, "pillow")[0][0]
    levels = [pixels[y, x] for y in (4, SIZE - 5) for x in (4, SIZE - 5)]
    return "".join(min(LEVELS, key=lambda corner: abs(LEVELS[corner] - int(level))) for level in levels)


MATRICES = {
    "none": ((1, 0, 0, 1), "abcd"),
    "clockwise, as phones": ((0, 1, -1, 0), "cadb"),
    "half a turn": ((-1, 0, 0, -1), "dcba"),
    "counterclockwise": ((0, -1, 1, 0), "bdac"),
    "mirrored": ((-1, 0, 0, 1), "badc"),
    "upside down": ((1, 0, 0, -1), "cdab"),
    "transposed": ((0, 1, 1, 0), "acbd"),
    "transversed": ((0, -1, -1, 0), "dbca"),
}
"""Factors a, b, c, d of a track's matrix, which shows pixel (p, q) at (a p + c q, b p + d q), and what it shows."""


@pytest.mark.parametrize("name", MATRICES)
def test_a_video_is_turned_and_mirrored_by_the_matrix_of_its_track(tmp_path: Path, name: str) -> None:
    (a, b, c, d), expected = MATRICES[name]
    path = video(tmp_path / "v.mp4", frames=3)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4
    at += 40 if content[at] == 0 else 52
    content[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    assert corners(path) == expected
    assert verdict(path).sizes == (((HEIGHT, WIDTH) if a == 0 else (WIDTH, HEIGHT)),)


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_a_video_turned_by_another_angle_is_named(tmp_path: Path, kind: str) -> None:
    path = video(tmp_path / f"v.{kind}", frames=3, setup=lambda stream: stream.set_display_rotation(30))
    assert "no multiple of 90 degrees" in verdict(path).error


def test_pixels_that_are_not_square_count_in_the_size(tmp_path: Path) -> None:
    def wide(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)

    def wide_and_turned(stream: Any) -> None:
        wide(stream)
        stream.set_display_rotation(90)

    assert verdict(video(tmp_path / "a.mp4", frames=3, setup=wide)).sizes == ((2 * WIDTH, HEIGHT),)
    turned = video(tmp_path / "b.mp4", frames=3, setup=wide_and_turned)
    assert verdict(turned).sizes == ((HEIGHT, 2 * WIDTH),)


def with_clap(content: bytes) -> bytes:
    """Return an MP4 that shows the right half of its pictures alone, by a box ``clap`` in its sample entry."""
    clap = struct.pack(">I4sIIIIiIiI", 40, b"clap", WIDTH // 2, 1, HEIGHT, 1, WIDTH // 4, 1, 0, 1)
    at = content.index(b"avc1", content.index(b"stsd")) - 4
    end = at + struct.unpack(">I", content[at : at + 4])[0]
    changed = bytearray(content[:end] + clap + content[end:])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        start = changed.index(name, changed.index(b"moov")) - 4
        (size,) = struct.unpack(">I", changed[start : start + 4])
        changed[start : start + 4] = struct.pack(">I", size + len(clap))
    return bytes(changed)


def test_a_clean_aperture_crops(tmp_path: Path) -> None:
    path = video(tmp_path / "v.mp4", frames=3)
    assert crop(path) == Crop()
    path.write_bytes(with_clap(path.read_bytes()))
    assert crop(path) == Crop(left=WIDTH // 2)
    assert verdict(path).sizes == ((WIDTH // 2, HEIGHT),)
    assert corners(path) == "bbdd"


def test_cropping_in_matroska_crops(tmp_path: Path) -> None:
    path = video(tmp_path / "v.mkv", frames=3)
    content = path.read_bytes()
    at = content.index(b"\x54\xb2\x81")  # the unit of the display size, an element of one byte
    changed = content[:at] + b"\x54\xdd\x81" + bytes([WIDTH // 2]) + content[at + 4 :]  # PixelCropRight
    path.write_bytes(changed)
    assert crop(path) == Crop(right=WIDTH // 2)
    assert corners(path) == "aacc"


def pixels_of(path: Path) -> list[bytes]:
    """Return what a player that ignores damage shows."""
    shown = []
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                try:
                    shown += [frame.to_ndarray().tobytes() for frame in packet.decode()]
                except av.FFmpegError:
                    continue
    except av.FFmpegError:
        pass
    return shown


CODECS = {
    "h264.mp4": "libx264",
    "h264.mkv": "libx264",
    "mpeg4.avi": "mpeg4",
    "mpeg4.mp4": "mpeg4",
    "mjpeg.avi": "mjpeg",
    "vp8.webm": "libvpx",
    "vp9.webm": "libvpx-vp9",
}


@pytest.mark.parametrize("name", CODECS)
def test_a_sound_video_is_sound_and_a_cut_one_is_not(tmp_path: Path, name: str) -> None:
    path = video(tmp_path / name, CODECS[name])
    assert verdict(path) == ClipVerdict(verdict(path).digest, 40, ((WIDTH, HEIGHT),))
    content = path.read_bytes()
    for share in (0.3, 0.5, 0.7, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        assert not verdict(path).is_sound, share


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4.avi", "mjpeg.avi", "mpeg4.mp4"])
def test_overwritten_bytes_of_a_video_are_found(tmp_path: Path, name: str) -> None:
    path = video(tmp_path / name, CODECS[name])
    content, noise = path.read_bytes(), np.random.default_rng(0)
    whole, found, visible = pixels_of(path), 0, 0
    for _ in range(10):
        damaged = bytearray(content)
        start = max(content.find(b"mdat"), content.find(b"movi"))
        at = start + int(noise.integers(100, (len(content) - start) // 2))
        length = (len(content) - start) // 8
        damaged[at : at + length] = noise.integers(0, 256, length, dtype=np.uint8).tobytes()
        path.write_bytes(damaged)
        is_visible = pixels_of(path) != whole
        visible += is_visible
        found += is_visible and not verdict(path).is_sound
    assert found == visible >= 5


def cut(source: Path, target: Path, start: Fraction, shift: Fraction, *, at_keyframe: bool = True) -> Path:
    """Copy the packets from `start`, in seconds, as tools cut a clip out of a film; `shift` is the new zero."""
    with av.open(str(source)) as film, av.open(str(target), "w") as clip:
        stream = film.streams.video[0]
        out = clip.add_stream_from_template(stream)
        offset, begun = int(shift / stream.time_base), not at_keyframe
        for packet in film.demux(stream):
            if packet.dts is None or packet.pts * stream.time_base < start:
                continue
            begun = begun or packet.is_keyframe
            if begun:
                packet.pts -= offset
                packet.dts -= offset
                packet.stream = out
                clip.mux(packet)
    return target


def test_a_clip_cut_out_of_a_film_is_sound(tmp_path: Path) -> None:
    def film(stream: Any) -> None:
        stream.codec_context.max_b_frames = 2

    source = video(tmp_path / "film.mp4", frames=100, setup=film)
    plain = cut(source, tmp_path / "a.mp4", Fraction(1), Fraction(1))
    hidden = cut(source, tmp_path / "b.mp4", Fraction(1), Fraction(5, 4))
    middle = cut(source, tmp_path / "c.mp4", Fraction(11, 10), Fraction(11, 10), at_keyframe=False)
    for path in (plain, hidden, middle):
        with av.open(str(path)) as container:
            shown = sum(1 for _ in container.decode(video=0))
        assert verdict(path).frames == shown, path
    with av.open(str(hidden)) as container:
        assert container.streams.video[0].frames > verdict(hidden).frames  # an edit list hides the first ones


def test_a_video_trimmed_by_an_edit_list_is_sound(tmp_path: Path) -> None:
    path = video(tmp_path / "v.mp4")
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12
    (duration,) = struct.unpack(">I", content[at : at + 4])
    content[at : at + 4] = struct.pack(">I", duration // 2)
    path.write_bytes(content)
    assert 0 < verdict(path).frames < 40


def with_dropped_frames(content: bytes) -> bytes:
    """Return an AVI in which every seventh chunk is empty: the frame before is shown again."""
    movi = content.index(b"movi")
    end = movi + struct.unpack("<I", content[movi - 4 : movi])[0]
    chunks, index, at, number = b"", b"", movi + 4, 0
    while at < end:
        name, size = content[at : at + 4], struct.unpack("<I", content[at + 4 : at + 8])[0]
        body = b"" if number % 7 == 3 else content[at + 8 : at + 8 + size]
        index += struct.pack("<4sIII", name, 16, len(chunks) + 4, len(body))
        chunks += name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        at, number = at + 8 + size + size % 2, number + 1
    lists = b"LIST" + struct.pack("<I", 4 + len(chunks)) + b"movi" + chunks
    whole = bytearray(content[: movi - 8] + lists + b"idx1" + struct.pack("<I", len(index)) + index)
    whole[4:8] = struct.pack("<I", len(whole) - 8)
    return bytes(whole)


def test_an_avi_with_dropped_frames_is_sound(tmp_path: Path) -> None:
    path = video(tmp_path / "v.avi", "mjpeg")
    path.write_bytes(with_dropped_frames(path.read_bytes()))
    assert not structure_damage(path)
    assert verdict(path).is_sound
    assert verdict(path).frames == 34


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("v.flv", "flv1"),
        ("v.wmv", "wmv2"),
        ("v.mpg", "mpeg1video"),
        ("v.mpg", "mpeg2video"),
        ("v.ts", "libx264"),
        ("v.m2ts", "libx264"),
        ("v.mts", "mpeg2video"),
    ],
)
def test_a_video_of_an_older_container_that_is_cut_off_is_not_sound(
    tmp_path: Path, name: str, codec: str
) -> None:
    path = video(tmp_path / name, codec)
    assert verdict(path).is_sound
    assert verdict(path).frames == 40
    whole = path.read_bytes()
    for share in (0.35, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * share) | 1])
        assert structure_damage(path).startswith("it is cut off"), share
        assert not verdict(path).is_sound
    path.write_bytes(whole)
    assert verdict(path).is_sound


def test_a_playlist_called_a_video_opens_no_other_file(tmp_path: Path) -> None:
    video(tmp_path / "v.mp4", frames=3)
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile v.mp4\n")
    assert not verdict(path).is_sound
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nv.mp4\n#EXT-X-ENDLIST\n")
    assert not verdict(path).is_sound


def test_brightness_follows_the_standard_and_the_range_of_the_video(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        for _ in range(3):
            frame = av.VideoFrame(64, 64, "yuv420p10le")
            for plane, level in zip(frame.planes, (16 + 219 / 2, 128, 128), strict=True):
                plane.update(np.full(plane.buffer_size // 2, round(4 * level), np.uint16).tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    grey = read(find(path, Places(tmp_path)), [0], 1, SIZE, "pillow")
    np.testing.assert_allclose(grey, 127.5, atol=2)  # half of the range of ten-bit video


@pytest.mark.parametrize(("transfer", "notes"), [(1, ()), (16, (PictureNote.HDR,)), (18, (PictureNote.HDR,))])
def test_a_video_in_hdr_is_named(tmp_path: Path, transfer: int, notes: tuple[PictureNote, ...]) -> None:
    def with_transfer(stream: Any) -> None:
        stream.codec_context.color_trc = transfer

    assert verdict(video(tmp_path / "v.mp4", frames=3, setup=with_transfer)).notes == notes


def test_a_transparent_video_is_named(tmp_path: Path) -> None:
    def with_alpha(stream: Any) -> None:
        stream.pix_fmt = "rgba"

    def opaque(stream: Any) -> None:
        stream.pix_fmt = "rgb24"

    assert verdict(video(tmp_path / "a.mov", "png", 3, with_alpha)).notes == (PictureNote.TRANSPARENT,)
    assert verdict(video(tmp_path / "b.mov", "png", 3, opaque)).notes == ()


CONTAINERS = {
    "flv": "flv1",
    "mpg": "mpeg1video",
    "m4v": "libx264",
    "wmv": "wmv2",
    "ts": "libx264",
    "mts": "libx264",
    "mkv": "libx264",
    "webm": "libvpx",
    "MP4": "libx264",
}


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_videos_of_common_containers_are_read(tmp_path: Path, suffix: str) -> None:
    if suffix == "MP4":
        path = video(tmp_path / "v.mp4").rename(tmp_path / "v.MP4")
    else:
        path = video(tmp_path / f"v.{suffix}", CONTAINERS[suffix])
    assert verdict(path).is_sound
    assert verdict(path).frames == 40
    assert corners(path) == "abcd"


def test_a_gif_is_a_video(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.fromarray(picture(number)) for number in range(6)]
    pictures[0].save(tmp_path / "v.gif", save_all=True, append_images=pictures[1:], duration=40)
    assert verdict(tmp_path / "v.gif").frames == 6
    assert corners(tmp_path / "v.gif") == "abcd"
