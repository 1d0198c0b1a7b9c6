"""Tables as spreadsheets, scripts and people write them: each is read as the same clips, or refused in one line."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from study.errors import InputError
from study.tasks.clips.data.files.listing import Listing
from study.tasks.clips.data.sets.folder import clips_listing

LABELS = ("happy", "sad", "angry")
CLIPS = [(f"c{label}_{n:03d}", LABELS[label]) for label in range(3) for n in range(10)]
PLAIN = "path,label\n" + "".join(f"{clip},{label}\n" for clip, label in CLIPS)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a table over thirty empty folders."""
    for clip, _ in CLIPS:
        (tmp_path / clip).mkdir()

    def written(table: str | bytes, encoding: str = "utf-8", name: str = "clips.csv") -> Path:
        (tmp_path / name).write_bytes(table.encode(encoding) if isinstance(table, str) else table)
        return tmp_path

    return written


def labels(listing: Listing) -> dict[str, str]:
    return {entry.id: listing.classes[entry.label] for entry in listing.entries.values()}


def refusal(root: Path, **parameters: object) -> str:
    with pytest.raises(InputError) as caught:
        clips_listing(str(root), **parameters)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def quoted(table: str) -> str:
    return "".join(",".join(f'"{field}"' for field in line.split(",")) + "\n" for line in table.split())


SAME: dict[str, tuple[str, str]] = {
    "as made": (PLAIN, "utf-8"),
    "semicolons of a European Excel": (PLAIN.replace(",", ";"), "utf-8"),
    "tabs": (PLAIN.replace(",", "\t"), "utf-8"),
    "bars": (PLAIN.replace(",", "|"), "utf-8"),
    "blanks": (PLAIN.replace(",", "   "), "utf-8"),
    "Excel names the separator": ("sep=;\n" + PLAIN.replace(",", ";"), "utf-8"),
    "Excel's Unicode text": (PLAIN.replace(",", "\t"), "utf-16"),
    "UTF-16 with commas": (PLAIN, "utf-16"),
    "UTF-32": (PLAIN, "utf-32"),
    "a byte order mark": (PLAIN, "utf-8-sig"),
    "quotes": (quoted(PLAIN), "utf-8"),
    "blanks before quotes": (quoted(PLAIN).replace(",", ",  "), "utf-8"),
    "blanks after quotes": (quoted(PLAIN).replace(",", "  ,"), "utf-8"),
    "blanks after commas": (PLAIN.replace(",", ", "), "utf-8"),
    "commas at the ends of rows": (PLAIN.replace("\n", ",\n"), "utf-8"),
    "commas at the ends of rows but the header's": (
        PLAIN.replace("\n", ",\n").replace("label,", "label"),
        "utf-8",
    ),
    "empty rows of a spreadsheet": (PLAIN + ",\n,\n\n", "utf-8"),
    "lines of Windows": (PLAIN.replace("\n", "\r\n"), "utf-8"),
    "lines of an old Mac": (PLAIN.replace("\n", "\r"), "utf-8"),
    "an index of pandas": (
        "".join(f"{n - 1 if n else ''},{x}\n" for n, x in enumerate(PLAIN.split())),
        "utf-8",
    ),
    "no header": (PLAIN.partition("\n")[2], "utf-8"),
    "no header, blanks": (PLAIN.partition("\n")[2].replace(",", " "), "utf-8"),
    "path frames label": (PLAIN.partition("\n")[2].replace(",", " 14 "), "utf-8"),
    "a number of frames": (
        PLAIN.replace("label", "n_frames,label")
        .replace(",h", ",9,h")
        .replace(",s", ",9,s")
        .replace(",a", ",9,a"),
        "utf-8",
    ),
    "capitals in the header": (PLAIN.replace("path,label", "Path,LABEL"), "utf-8"),
    "video_name,emotion": (PLAIN.replace("path,label", "video_name,emotion"), "utf-8"),
    "filename,class": (PLAIN.replace("path,label", "filename,class"), "utf-8"),
    "a path of this folder": (PLAIN.replace("c0", "./c0"), "utf-8"),
    "a suffix that the folders of frames lack": (PLAIN.replace(",happy", ".mp4,happy"), "utf-8"),
    "a blank that does not break a line": (PLAIN.replace("happy", "happy\N{NO-BREAK SPACE}", 3), "utf-8"),
    "a blank of no width": (PLAIN.replace("happy", "happy\N{ZERO WIDTH SPACE}", 3), "utf-8"),
}


@pytest.mark.parametrize("name", SAME)
def test_a_table_however_it_is_written_is_the_same_clips(write: Write, name: str) -> None:
    table, encoding = SAME[name]
    listing = clips_listing(str(write(table, encoding)))
    found = {clip.removesuffix(".mp4"): label for clip, label in labels(listing).items()}
    assert found == dict(CLIPS)
    assert listing.classes == ("angry", "happy", "sad")
    assert listing.doubts == ()
    assert {entry.path for entry in listing.entries.values()} == {clip for clip, _ in CLIPS}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_labels_beyond_ascii_are_read_in_the_encodings_of_spreadsheets(write: Write, encoding: str) -> None:
    listing = clips_listing(str(write(PLAIN.replace("happy", "fröhlich"), encoding)))
    assert listing.classes == ("angry", "fröhlich", "sad")


def test_labels_in_gbk_are_read(write: Write) -> None:
    assert "高兴" in clips_listing(str(write(PLAIN.replace("happy", "高兴"), "gbk"))).classes


def test_one_label_in_two_unicode_forms_is_one_class(write: Write) -> None:
    table = PLAIN.replace("happy", "fr\N{LATIN SMALL LETTER O WITH DIAERESIS}h", 5)
    table = table.replace("happy", unicodedata.normalize("NFD", "fröh"))
    assert clips_listing(str(write(table))).classes == ("angry", "fröh", "sad")


@pytest.mark.parametrize(
    "written", [("1", "2", "10"), ("1.0", "2.0", "10.0"), ("01", "2", "10"), ("1.", "2.0", "10")]
)
def test_numbers_of_classes_sort_as_numbers_however_they_are_written(
    write: Write, written: tuple[str, ...]
) -> None:
    table = PLAIN
    for name, number in zip(LABELS, written, strict=True):
        table = table.replace(name, number)
    listing = clips_listing(str(write(table)))
    assert listing.classes == ("1", "2", "10")
    assert labels(listing)["c2_003"] == "10"


def test_1_and_1_0_are_one_class(write: Write) -> None:
    table = PLAIN.replace("happy", "1", 5).replace("happy", "1.0").replace("sad", "2").replace("angry", "3")
    assert clips_listing(str(write(table))).classes == ("1", "2", "3")


def test_numbers_inside_names_of_classes_sort_as_numbers(write: Write) -> None:
    table = PLAIN.replace("happy", "class 10").replace("sad", "class 9").replace("angry", "class 1")
    assert clips_listing(str(write(table))).classes == ("class 1", "class 9", "class 10")


def test_paths_of_windows_are_read(write: Write) -> None:
    root = write("")
    for n in range(4):
        (root / f"people/{n}").mkdir(parents=True)
    rows = "".join(f"people\\{n},{'ab'[n % 2]}\n" for n in range(4))
    assert list(clips_listing(str(write("path,label\n" + rows))).entries) == [f"people/{n}" for n in range(4)]


def test_zeros_that_a_spreadsheet_removed_are_found(tmp_path: Path) -> None:
    for n in range(4):
        (tmp_path / f"{n:04d}").mkdir()
    (tmp_path / "clips.csv").write_text("path,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(4)))
    assert [e.path for e in clips_listing(str(tmp_path)).entries.values()] == [f"{n:04d}" for n in range(4)]


@pytest.mark.parametrize("case", ["mp4", "MP4", "webm"])
def test_a_clip_without_the_suffix_of_its_video_is_found(tmp_path: Path, case: str) -> None:
    for n in range(4):
        (tmp_path / f"{n}.{case}").touch()
    (tmp_path / "clips.csv").write_text("path,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(4)))
    listing = clips_listing(str(tmp_path))
    assert [entry.path for entry in listing.entries.values()] == [f"{n}.{case}" for n in range(4)]
    assert listing.facts["version"] == "videos"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (
            PLAIN.replace("path,label", "path,label,emotion").replace("\n", ",x\n").replace("n,x", "n"),
            "emotion",
        ),
        (PLAIN.replace("happy", '"hap\npy"', 1), "clips.csv:2: its quotes do not match"),
        (PLAIN.replace("happy", "Happy", 1), "differs only in case"),
        (b"path,label\0\n", "save it as UTF-8"),
        ("a,b,c,d\n1/2,3,4,5\n", "unknown column 'a'"),
        ("x/1,a,b,c\nx/2,a,b,c\n", "has no header"),
        (PLAIN.replace("happy", "9" * 5000, 1), "a label of 5000 characters"),
        ("path\nc0_000\nc1_000\n", "no column 'label'"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_in_one_line(
    write: Write, table: str | bytes, expected: str
) -> None:
    assert expected in refusal(write(table))


def test_words_for_the_splits_are_read(write: Write) -> None:
    words = ("Train", "training", "dev", "VAL", "Testing", "test")
    table = "path,label,Set\n" + "".join(f"{c},{x},{words[n % 6]}\n" for n, (c, x) in enumerate(CLIPS))
    splits = clips_listing(str(write(table))).folds[None]
    assert {split: len(of) for split, of in splits.items()} == {"train": 10, "validation": 10, "test": 10}


@pytest.mark.parametrize(
    "numbers", ["12345", ["fold1", "fold2", "fold3", "fold4", "fold5"], ["1.0", "2", "3", "4", "5"]]
)
def test_a_column_of_folds_tests_each_clip_once(write: Write, numbers: Sequence[str]) -> None:
    rows = [f"{clip},{label},{numbers[n % 5]}\n" for n, (clip, label) in enumerate(CLIPS)]
    root = write("path,label,fold\n" + "".join(rows))
    listing = clips_listing(str(root))
    assert list(listing.folds) == [1, 2, 3, 4, 5]
    tested = [entry.id for of in listing.folds.values() for entry in of["test"]]
    assert sorted(tested) == sorted(clip for clip, _ in CLIPS)
    for of in listing.folds.values():
        assert {e.id for e in of["train"]} | {e.id for e in of["test"]} == {clip for clip, _ in CLIPS}
        assert len(of["train"]) == 24
    assert list(clips_listing(str(root), folds=[2, 4]).folds) == [2, 4]
    assert clips_listing(str(root), folds=[2]).folds[2] == listing.folds[2]
    assert "no fold 6" in refusal(root, folds=[6])


def test_one_list_a_fold_and_split_is_read(write: Write) -> None:
    root = write("")
    (root / "clips.csv").unlink()
    for fold in range(1, 4):
        (root / f"split0{fold}").mkdir()
        rows = [f"/mnt/data1/faces/{clip} {LABELS.index(label)}\n" for clip, label in CLIPS]
        parts = {"test": rows[fold::3], "train": [row for n, row in enumerate(rows) if n % 3 != fold % 3]}
        for split, of in parts.items():
            (root / f"split0{fold}" / f"{split}.csv").write_text("".join(of))
    listing = clips_listing(str(root), table="split0{fold}/{split}.csv")
    assert list(listing.folds) == [1, 2, 3]
    assert listing.classes == ("0", "1", "2")
    assert [len(of["train"]) for of in listing.folds.values()] == [20, 20, 20]
    assert listing.folds[1]["test"][0].id == CLIPS[1][0]
    assert "there is no other{fold}.csv" in refusal(root, table="other{fold}.csv")


def test_folds_of_a_table_without_any_are_refused(write: Write) -> None:
    assert "has no column fold" in refusal(write(PLAIN), folds=[1])
