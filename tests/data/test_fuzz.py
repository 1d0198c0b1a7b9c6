"""Tables and pictures at random: each is read or refused in one line, and nothing outside of the root is read."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.errors import InputError
from study.tasks.clips.data.files.frames import find, inspect, read
from study.tasks.clips.data.files.places import Places
from study.tasks.clips.data.sets.dfew import dfew_listing
from study.tasks.clips.data.sets.ferv39k import ferv39k_listing
from study.tasks.clips.data.sets.folder import clips_listing
from study.tasks.clips.data.sets.mafw import mafw_listing

COUNTS = [pytest.param(200, id="200"), pytest.param(5000, id="5000", marks=pytest.mark.slow)]
WORDS = (
    *(
        "path",
        "label",
        "split",
        "fold",
        "source",
        "video_name",
        "clip",
        "emotion",
        "frames",
        "Unnamed: 0",
        "",
        "index",
    ),
    *(
        "a",
        "b/c",
        "c0",
        "../x",
        "/etc/passwd",
        "..",
        ".",
        "~",
        "C:\\x\\c0",
        "\\\\host\\c0",
        "c0/../c1",
        "./c1",
        "c1/",
    ),
    *(
        "train",
        "test",
        "Val",
        "1",
        "1.0",
        "01",
        "0",
        "7",
        "-1",
        "9" * 30,
        "1e9",
        "nan",
        "happy",
        "Happy",
        "anger",
    ),
    *(
        "Action/Happy/0001",
        "Happy",
        "00001.mp4",
        "1.avi",
        '"',
        '"a"',
        '"a',
        'a"b"',
        "é",
        "e\u0301",
        "高兴",
        "\u200b",
    ),
    *("\x85", "\u2028", "\x1b[31m", "\ufeff", "٣", "²", "x" * 300, "{fold}", "%s", "\t", "  "),
)
SEPARATORS = (",", ";", "\t", "|", " ", ", ", " ;", ",,")
ENDS = ("\n", "\r\n", "\r", "\n\n", ",\n")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030", "cp1252")


def table(chance: random.Random) -> bytes:
    """Return a table of random words, mostly of one separator and width; sometimes cut or with a byte changed."""
    separator, end, width = chance.choice(SEPARATORS), chance.choice(ENDS), chance.randint(1, 5)
    rows = []
    for number in range(chance.randint(0, 8)):
        if number == 0 and chance.random() < 0.6:
            rows.append(
                separator.join(
                    chance.choice(("path,label", "path,label,split", "path,label,fold")).split(",")
                )
            )
            width = rows[0].count(separator) + 1
            continue
        count = width if chance.random() < 0.9 else chance.randint(0, 6)
        rows.append(separator.join(chance.choice(WORDS) for _ in range(count)))
    content = (chance.choice(("", "sep=;\n", "\n")) * (chance.random() < 0.2) + end.join(rows) + end).encode(
        chance.choice(ENCODINGS), errors="replace"
    )
    if content and chance.random() < 0.2:
        at = chance.randrange(len(content))
        content = content[:at] + bytes([chance.randrange(256)]) * chance.randint(0, 2) + content[at + 1 :]
    return content


def check_refusal(message: str) -> None:
    """Assert that a refusal is one line that a terminal can print."""
    assert "\n" not in message
    assert message.encode().decode() == message
    assert len(message) < 3000


@pytest.mark.parametrize("count", COUNTS)
def test_random_tables_are_read_or_refused_in_one_line(tmp_path: Path, count: int) -> None:
    chance, read_ones = random.Random(0), 0
    for name in ("c0", "c1", "a", "b/c"):
        (tmp_path / name).mkdir(parents=True)
    for _ in range(count):
        (tmp_path / "clips.csv").write_bytes(table(chance))
        try:
            listing = clips_listing(str(tmp_path), skip_bad=chance.random() < 0.5)
        except InputError as error:
            check_refusal(str(error))
            continue
        read_ones += 1
        assert len(listing.classes) >= 2
        for entry in listing.entries.values():
            path = (tmp_path / entry.path).resolve()
            assert path.is_relative_to(tmp_path)
            assert path != tmp_path
            assert 0 <= entry.label < len(listing.classes)
    assert read_ones > count // 50


@pytest.mark.parametrize("count", COUNTS)
def test_random_lists_of_published_data_sets_are_read_or_refused_in_one_line(
    tmp_path: Path, count: int
) -> None:
    chance = random.Random(1)
    for _ in range(count):
        lists = [table(chance) for _ in range(2)]
        for train, test in (
            ("EmoLabel_DataSplit/train/set_1.csv", "EmoLabel_DataSplit/test/set_1.csv"),
            ("All_scenes/train_All.csv", "All_scenes/test_All.csv"),
            ("split/single/no_caption/set_1/train.txt", "split/single/no_caption/set_1/test.txt"),
        ):
            for name, content in zip((train, test), lists, strict=True):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(content)
        skip = chance.random() < 0.5
        for opened in (
            lambda skip=skip: dfew_listing(str(tmp_path), [1], skip_bad=skip, needs_footage=False),
            lambda skip=skip: ferv39k_listing(str(tmp_path), skip_bad=skip, needs_footage=False),
            lambda skip=skip: mafw_listing(str(tmp_path), [1], skip_bad=skip, needs_footage=False),
        ):
            try:
                listing = opened()
            except InputError as error:
                check_refusal(str(error))
                continue
            for entry in listing.entries.values():
                assert (listing.footage / entry.path).resolve().is_relative_to(listing.footage)


def pictures() -> Iterator[tuple[str, bytes]]:
    """Yield sound pictures of every format that is read, by suffix."""
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    modes = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "L", "RGBA", "P", "I;16"), "GIF": ("P",)}
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"):
        for mode in modes.get(kind, ("RGB",)):
            buffer = io.BytesIO()
            (
                Image.fromarray(pixels[..., 0].astype(np.uint16)) if mode == "I;16" else image.convert(mode)
            ).save(buffer, kind)
            yield {"JPEG": "jpg", "TIFF": "tif"}.get(kind, kind.lower()), buffer.getvalue()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.filterwarnings("ignore")
def test_damaged_pictures_are_read_or_refused_in_one_line(tmp_path: Path, count: int) -> None:
    chance, sound = random.Random(2), list(pictures())
    for number in range(count):
        suffix, content = chance.choice(sound)
        damage = chance.randrange(5)
        at = chance.randrange(len(content))
        if damage == 0:
            content = content[:at]
        elif damage == 1:
            content = content[:at] + bytes(chance.randrange(256) for _ in range(8)) + content[at + 8 :]
        elif damage == 2:
            content = content[:at] + bytes(chance.randrange(1, 40)) + content[at:]
        elif damage == 3:
            content = chance.choice(sound)[1][:at] + content[at:]
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / f"1.{chance.choice((suffix, suffix.upper(), 'png'))}").write_bytes(content)
        footage = find(folder, Places(tmp_path))
        verdict = inspect(footage)
        check_refusal(verdict.error)
        for decoder in ("pillow", "simplejpeg"):
            try:
                frame = read(footage, [0], 3, 16, decoder)  # type: ignore[arg-type]
            except InputError as error:
                check_refusal(str(error))
                assert not verdict.is_sound
            else:
                assert frame.shape == (1, 3, 16, 16)
        if damage == 4:
            assert verdict.is_sound
