"""What would break for a user who writes procedural faces to disk and trains on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.trees import dfew

from study.errors import InputError
from study.tasks.clips.data.faces.dataset import faces
from study.tasks.clips.data.make import WrittenTree, make
from study.tasks.clips.data.sets.recorded import Recorded

SMALL: dict[str, Any] = {
    "clips": 42,
    "size": 32,
    "folds": 3,
    "parameters": {"clips_per_person": 7, "frames": 5},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "some" / "OUT"
    assert make(out, **SMALL) == WrittenTree(out, clips=42, frames=5, people=6, folds=3)
    return out


def read(out: Path, **parameters: Any) -> Recorded:
    return dfew(**{"root": str(out), "folds": [1, 2, 3], "frames": 5, **parameters})


def test_the_reader_reads_what_was_written(made: Path) -> None:
    clips = read(made).split("test", 1)
    original = faces(train_clips=42, clips_per_person=7, frames=5, channels=3).split("train")
    indices = [int(i) - 1 for i in clips.ids]
    assert clips.labels.tolist() == original.labels[indices].tolist()
    colour = original.read(np.array(indices), None).astype(float)
    grey = np.tensordot([0.299, 0.587, 0.114], colour, axes=(0, 1))
    assert np.abs(clips.read(np.arange(len(indices)), None)[:, 0] - grey).mean() < 2.0


def test_the_folds_partition_the_clips_and_share_no_person(made: Path) -> None:
    data = read(made)
    tests = [data.split("test", fold) for fold in data.folds]
    assert sorted(i for clips in tests for i in clips.ids) == [f"{n:05d}" for n in range(1, 43)]
    for fold in data.folds:
        parts = [data.split(name, fold) for name in ("train", "validation", "test")]
        assert sum(len(part.ids) for part in parts) == 42
        people = [set(part.sources) for part in parts]
        assert len(set.union(*people)) == sum(map(len, people)) == 6


def test_frames_are_jpeg_in_the_official_folders(made: Path) -> None:
    folder = made / "Clip/clip_224x224_16f/00042"
    assert sorted(file.name for file in folder.iterdir()) == [f"{n}.jpg" for n in range(1, 6)]
    with Image.open(folder / "1.jpg") as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (32, 32), "RGB")


def test_lists_look_like_the_official_ones(made: Path) -> None:
    rows = (made / "EmoLabel_DataSplit/train(single-labeled)/set_1.csv").read_text().splitlines()
    assert rows[:2] == ["video_name,label", "00008,1"]
    labels = {row.split(",")[1] for row in rows[1:]}
    assert labels == set("1234567")


def test_grey_clips_can_be_written(tmp_path: Path) -> None:
    parameters = {**SMALL["parameters"], "channels": 1}
    make(tmp_path / "OUT", **{**SMALL, "parameters": parameters})
    with Image.open(tmp_path / "OUT/Clip/clip_224x224_16f/00001/1.jpg") as image:
        assert image.mode == "L"


def test_progress_ends_at_the_number_of_clips(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    make(tmp_path / "OUT", **SMALL, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (42, 42)
    assert calls == sorted(calls)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "OUT").mkdir()
    make(tmp_path / "OUT", **SMALL)
    assert read(tmp_path / "OUT").digest


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "OUT").mkdir()
    (tmp_path / "OUT" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        make(tmp_path / "OUT", **SMALL)
    assert [path.name for path in tmp_path.rglob("*")] == ["OUT", "thesis.tex"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "OUT").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        make(tmp_path / "OUT", **SMALL)


def test_an_interrupted_make_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "OUT", **SMALL, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": "dfwe"}, "unknown layout 'dfwe'. Did you mean 'dfew'"),
        ({"size": 20}, "faces.size: must be an integer from 32 to 224"),
        ({"parameters": {"dilutoin": 0.1}}, "Did you mean 'dilution'"),
        ({"folds": 7}, "number of people, 6"),
        ({"folds": 1}, "from 2"),
    ],
)
def test_a_mistake_is_explained_and_nothing_is_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        make(tmp_path / "OUT", **{**SMALL, **change})
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_same_parameters_give_the_same_data_set(made: Path, tmp_path: Path) -> None:
    make(tmp_path / "OUT", **SMALL)
    assert read(tmp_path / "OUT").digest == read(made).digest
