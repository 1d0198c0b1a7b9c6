"""What would break for a user who looks at a data set before training on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from study.cli.app import app
from study.errors import InputError
from study.tasks.clips.data.contract import Clips, ClipShape, Pixels, Split
from study.tasks.clips.data.faces.dataset import faces
from study.tasks.clips.data.sheet import CURVES, choose, write_sheet

SMALL = ClipShape(1, 5, 20, 30)
LEVELS = (40, 120, 200)


@dataclass(frozen=True)
class Plain:
    """A minimal data set: the clips of a class have one level of grey."""

    shape: ClipShape = SMALL
    labels: tuple[int, ...] = (0, 0, 1, 1, 1, 2)
    folds: tuple[int, ...] = ()
    truth: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    classes: tuple[str, ...] = ("glad", "Überraschung", "τρίτο")
    digest: str = "0"
    is_synthetic: bool = False
    is_optimistic: bool = False
    skipped: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    def digest_of(self, fold: int | None) -> str:
        return self.digest

    def split(self, name: Split, fold: int | None = None) -> Clips:
        if (fold is None) == bool(self.folds):
            raise InputError(f"no fold {fold!r}")
        ids = tuple(f"{name}-{fold}-{i}" for i in range(len(self.labels)))

        def read(indexes: NDArray[np.int64], generator: np.random.Generator | None) -> Pixels:
            assert generator is None, "a sheet shows the deterministic reading"
            levels = np.array([LEVELS[self.labels[i]] for i in indexes], dtype=np.uint8)
            return np.broadcast_to(levels[:, None, None, None, None], (len(indexes), *self.shape))

        return Clips(ids, ids, np.array(self.labels, dtype=np.int64), read, truth=self.truth)


def grey(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def test_every_data_set_can_be_shown_through_its_protocol_alone(tmp_path: Path) -> None:
    sheet = write_sheet(Plain(), "mine", tmp_path / "OUT.png")
    assert (sheet.rows, sheet.missing) == (3, ())
    picture = grey(tmp_path / "OUT.png")
    pixels = [int((picture == level).sum()) for level in LEVELS]
    assert all(abs(count - 5 * 80 * 120) < 200 for count in pixels), (
        "a tile is enlarged four times, five a row"
    )
    rows = [int(np.flatnonzero((picture == level).sum(axis=1) > 500)[0]) for level in LEVELS]
    assert rows == sorted(rows), "classes come in their order"


@pytest.mark.parametrize(
    "shape",
    [ClipShape(1, 16, 32, 32), ClipShape(3, 1, 224, 224), ClipShape(3, 40, 300, 20), ClipShape(1, 2, 7, 7)],
)
@pytest.mark.parametrize("rows", [1, 3, 6])
def test_any_shape_of_clips_fits_on_the_sheet(shape: ClipShape, rows: int, tmp_path: Path) -> None:
    truth = {"intensity": np.full((6, shape.frames), 0.7, dtype=np.float32)}
    assert write_sheet(Plain(shape, truth=truth), "mine", tmp_path / "OUT.jpg", rows=rows).rows == rows
    with Image.open(tmp_path / "OUT.jpg") as image:
        assert image.format == "JPEG"


def test_classes_take_turns_and_clips_come_from_all_over_the_split() -> None:
    labels = np.arange(700) % 7
    chosen = choose(labels, 7, 16)
    assert labels[chosen].tolist() == sorted(labels[chosen].tolist())
    assert np.bincount(labels[chosen]).tolist() == [3, 3, 2, 2, 2, 2, 2]
    assert len(set(chosen.tolist())) == 16
    one_each = choose(labels, 7, 7)
    assert choose(np.array([0, 0, 0, 1]), 3, 4).tolist() == [0, 1, 2, 3], (
        "others fill what a rare class lacks"
    )
    assert one_each.max() - one_each.min() > 500


def test_a_class_with_few_clips_or_none_is_told_and_shows_none_twice(tmp_path: Path) -> None:
    sheet = write_sheet(Plain(labels=(0, 0, 2)), "mine", tmp_path / "OUT.png", rows=9)
    assert (sheet.rows, sheet.missing) == (3, ("Überraschung",))
    assert write_sheet(Plain(), "mine", tmp_path / "OUT.png", rows=1).missing == ("Überraschung", "τρίτο")


def test_the_first_fold_is_shown_or_the_one_asked_for(tmp_path: Path) -> None:
    write_sheet(Plain(folds=(2, 4)), "mine", tmp_path / "first.png")
    write_sheet(Plain(folds=(2, 4)), "mine", tmp_path / "named.png", fold=2)
    write_sheet(Plain(folds=(2, 4)), "mine", tmp_path / "other.png", fold=4)
    first, named, other = (grey(tmp_path / f"{name}.png") for name in ("first", "named", "other"))
    np.testing.assert_array_equal(first, named)
    assert first.shape != other.shape or (first != other).any()


def test_the_intensity_of_faces_is_drawn_below_their_frames(tmp_path: Path) -> None:
    write_sheet(faces(train_clips=14, size=96), "faces", tmp_path / "OUT.png")
    with Image.open(tmp_path / "OUT.png") as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    blue = (np.abs(picture - CURVES["intensity"][1]).sum(axis=2) < 30).any(axis=1)
    bands = int((np.diff(blue.astype(int)) == 1).sum())
    assert bands >= 7, "one curve a row"


def test_a_row_whose_label_is_wrong_says_what_it_shows(tmp_path: Path) -> None:
    for noise in (0.0, 1.0):
        write_sheet(faces(train_clips=14, label_noise=noise), "faces", tmp_path / f"{noise}.png")
    red = []
    for noise in (0.0, 1.0):
        with Image.open(tmp_path / f"{noise}.png") as image:
            r, g, b = np.asarray(image.convert("RGB")).astype(int).transpose(2, 0, 1)
        red.append(int(((r > 150) & (g < 90) & (b < 90)).sum()))
    assert red[0] == 0 < red[1]


def test_an_unknown_format_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    for name, message in (("OUT.bmp", "'.png'"), ("OUT", "unknown format ''"), ("OUT.jpgg", "mean '.jpg'")):
        result = CliRunner().invoke(app, ["data", "show", "dfew", str(tmp_path / name)])
        assert isinstance(result.exception, InputError)
        assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_that_fails_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "OUT.png").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_sheet(Plain(), "mine", tmp_path / "OUT.png")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("OUT.png", b"old")]


def test_an_empty_split_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clip"):
        write_sheet(Plain(labels=()), "mine", tmp_path / "OUT.png")


def test_the_command_takes_settings_and_writes_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["data", "show", "faces", "OUT.png", "--n", "9", "--set", "imbalance=1", "--set", "size=48"]
    result = CliRunner().invoke(app, arguments)
    assert result.output == "OUT.png: 9 clips\n"
    assert [path.name for path in tmp_path.iterdir()] == ["OUT.png"], "no cache for a few clips"
    with Image.open("OUT.png") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["faxes", "OUT.png"], "Did you mean 'faces'"),
        (["faces", "OUT.png", "--set", "oclusion=1"], "Did you mean 'occlusion'"),
        (["faces", "OUT.png", "--set", "occlusion=2"], "faces.occlusion: must be a number from 0 to 1"),
        (["faces", "OUT.png", "--fold", "1"], "no folds"),
        (["dfew", "OUT.png"], "needs 'root'"),
    ],
)
def test_a_mistake_on_the_command_line_is_explained(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["data", "show", *arguments])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_is_named_as_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    result = CliRunner().invoke(app, ["data", "show", "faces", "file/OUT.png", "--n", "1"])
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith("file/OUT.png cannot be written: ")
