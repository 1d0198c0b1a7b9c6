"""What would break for a user who writes the same procedural clips in the layout of another data set."""

from __future__ import annotations

import csv
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from study.cli.app import app
from study.config.registry import Registry
from study.config.tables import parse_setting
from study.errors import InputError
from study.tasks.clips.data.contract import Dataset
from study.tasks.clips.data.faces.dataset import faces
from study.tasks.clips.data.make import LAYOUTS, SCENES, make

CLIPS, PEOPLE, FRAMES, FOLDS = 70, 10, 3, 5
REPOSITORY = Path(__file__).parents[2]
PARAMETERS: dict[str, Any] = {"clips_per_person": 7, "frames": FRAMES}
EMOTIONS = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
MAFW = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
"""In the order of `EMOTIONS`."""


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    project = tmp_path_factory.mktemp("made")
    for layout in LAYOUTS:
        made = make(project / layout, layout=layout, clips=CLIPS, size=32, folds=FOLDS, parameters=PARAMETERS)
        assert (made.clips, made.people) == (CLIPS, PEOPLE)
    return {layout: project / layout for layout in LAYOUTS}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("av", reason="writing videos needs PyAV, of the extra 'video'")
    project = tmp_path_factory.mktemp("videos")
    having = [layout for layout, form in LAYOUTS.items() if form.video]
    for layout in having:
        make(
            project / layout,
            layout=layout,
            clips=CLIPS,
            size=32,
            folds=FOLDS,
            video=True,
            parameters=PARAMETERS,
        )
    return {layout: project / layout for layout in having}


def emotion(number: int) -> str:
    return EMOTIONS[(number - 1) % 7]


def in_test(number: int, fold: int) -> bool:
    """Whether the person of a clip is in the test list of a fold: people take turns."""
    return (number - 1) // 7 % FOLDS == fold - 1


def test_ferv39k_lists_name_scene_class_and_clip_of_folders_that_are_there(trees: dict[str, Path]) -> None:
    root = trees["ferv39k"]
    seen: Counter[str] = Counter()
    for part in ("train", "test"):
        rows = (root / f"4_setups/All_scenes/{part}_All.csv").read_text().splitlines()
        for row in rows:
            path, label = row.split(" ")
            scene, folder, clip = path.split("/")
            assert scene in SCENES
            assert label == folder == emotion(int(clip)).capitalize()
            assert len(clip) == 4
            assert in_test(int(clip), 1) == (part == "test")
            assert len(list((root / "2_ClipsforFaceCrop" / path).glob("*.jpg"))) == FRAMES
            seen[clip] += 1
    assert len(seen) == CLIPS
    assert set(seen.values()) == {1}


def test_ferv39k_scenes_are_the_official_ones(shared_lists: Path) -> None:
    official = {
        line.split("/")[0] for line in (shared_lists / "FERV39k/4_setups/All_scenes/train_All.csv").open()
    }
    assert set(SCENES) == official


@pytest.fixture
def shared_lists() -> Path:
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the official split lists are not on this machine")
    return folder


def test_mafw_lists_name_videos_and_its_own_classes(trees: dict[str, Path]) -> None:
    lists = trees["mafw"] / "Train & Test Set" / "single" / "no_caption"
    assert sorted(folder.name for folder in lists.iterdir()) == [f"set_{n}" for n in range(1, 6)]
    tested: list[str] = []
    for fold in range(1, 6):
        parts = {
            part: (lists / f"set_{fold}/{part}.txt").read_text().splitlines() for part in ("train", "test")
        }
        assert len(parts["train"]) + len(parts["test"]) == CLIPS
        for part, rows in parts.items():
            for row in rows:
                name, label = row.split(" ")
                number = int(name.removesuffix(".mp4"))
                assert label == MAFW[(number - 1) % 7]
                assert in_test(number, fold) == (part == "test")
        tested += parts["test"]
    assert len(set(tested)) == len(tested) == CLIPS
    folder = trees["mafw"] / "data/frames/00070"
    assert sorted(file.name for file in folder.iterdir()) == ["00001.png", "00002.png", "00003.png"]
    with Image.open(folder / "00001.png") as image:
        assert (image.format, image.size) == ("PNG", (32, 32))


def test_the_csv_of_clips_names_path_label_person_and_split(trees: dict[str, Path]) -> None:
    with (trees["clips"] / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == CLIPS
    assert list(rows[0]) == ["path", "label", "source", "split"]
    for row in rows:
        folder = trees["clips"] / row["path"]
        number = int(folder.name)
        assert len(list(folder.glob("*.jpg"))) == FRAMES
        assert row["label"] == emotion(number)
        assert row["split"] == ("test" if in_test(number, 1) else "train")
    assert len({row["source"] for row in rows}) == PEOPLE
    assert not {r["source"] for r in rows if r["split"] == "test"} & {
        r["source"] for r in rows if r["split"] == "train"
    }


def test_every_layout_records_that_its_clips_are_procedural(trees: dict[str, Path]) -> None:
    texts = {(tree / "about.json").read_text() for tree in trees.values()}
    assert len(texts) == 1
    assert "no evidence about real" in texts.pop()


def test_pixels_of_png_frames_are_the_ones_that_were_rendered(trees: dict[str, Path]) -> None:
    rendered = faces(train_clips=CLIPS, channels=3, size=32, frames=FRAMES, clips_per_person=7).split("train")
    pixels = rendered.read(np.array([41]), None)[0]
    for frame in range(FRAMES):
        with Image.open(trees["mafw"] / f"data/frames/00042/{frame + 1:05d}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), pixels[:, frame].transpose(1, 2, 0))


def test_videos_hold_every_frame_in_its_order(videos: dict[str, Path]) -> None:
    av = pytest.importorskip("av", reason="reading videos needs PyAV, of the extra 'video'")
    rendered = faces(train_clips=CLIPS, channels=3, size=32, frames=FRAMES, clips_per_person=7).split("train")
    for layout, path in (
        ("dfew", "Clip/original/42.mp4"),
        ("mafw", "data/clips/00042.mp4"),
        ("clips", "clips/00042.mp4"),
    ):
        with av.open(str(videos[layout] / path)) as container:
            found = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
        assert len(found) == FRAMES
        expected = rendered.read(np.array([41]), None)[0].transpose(1, 2, 3, 0)
        for frame, picture in zip(expected, found, strict=True):  # colour is kept at half the resolution
            assert np.abs(frame.mean(axis=2) - picture.mean(axis=2)).mean() < 5


def build(setting: str, **further: Any) -> Dataset:
    key, table = parse_setting(setting)
    assert key == "base.dataset"
    registry = Registry()
    if table["name"] not in registry.names("dataset"):
        pytest.skip(f"this version has no reader of the layout {table['name']!r}")
    data: Dataset = registry.build("dataset", registry.resolve("dataset", {**table, **further}, "dataset"))
    return data


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_its_reader_reads_the_same_clips_from_every_layout(
    layout: str, video: bool, trees: dict[str, Path], request: pytest.FixtureRequest
) -> None:
    if video and not LAYOUTS[layout].video:
        return
    root = (request.getfixturevalue("videos") if video else trees)[layout]
    further = LAYOUTS[layout].of_video if video else LAYOUTS[layout].parameters
    setting = f'base.dataset={{name="{layout}", root="{root}"' + (f", {further}}}" if further else "}")
    data = build(setting, frames=FRAMES, size=32, channels=3)
    assert data.is_synthetic
    assert data.digest
    fold = next(iter(data.folds), None)
    rendered = faces(train_clips=CLIPS, channels=3, size=32, frames=FRAMES, clips_per_person=7).split("train")
    named = dict(zip(MAFW, EMOTIONS, strict=True)) if layout == "mafw" else {}
    numbers: list[int] = []
    for split in ("train", "validation", "test"):
        clips = data.split(split, fold)
        read = [int(Path(name).stem) for name in clips.ids]
        labels = [data.classes[label].lower() for label in clips.labels]
        assert [named.get(name, name) for name in labels] == [emotion(number) for number in read]
        assert all(in_test(number, 1) == (split == "test") for number in read)
        pixels = clips.read(np.arange(len(read)), None).astype(float).mean(axis=1)
        expected = rendered.read(np.array(read) - 1, None).astype(float).mean(axis=1)
        assert np.abs(pixels - expected).mean() < (5 if video else 2)
        numbers += read
    assert sorted(numbers) == list(range(1, CLIPS + 1))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_the_printed_command_can_be_carried_out(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    out = tmp_path / 'it\'s a "tree" of mine'
    arguments = ["data", "make", "faces", str(out), "--layout", layout, "--clips", "70", "--size", "32"]
    result = CliRunner().invoke(app, [*arguments, "--set", "frames=3"])
    assert result.exit_code == 0, result.output
    program, command, study, *options = shlex.split(result.output.splitlines()[-1])
    assert (program, command, study) == ("study", "run", "ablations/issm.toml")
    build(options[1])
    (tmp_path / "study.toml").write_text("mlflow = 'off'\n")
    monkeypatch.chdir(tmp_path)
    planned = CliRunner().invoke(app, ["plan", "--verbose", str(REPOSITORY / study), *options])
    assert planned.exit_code == 0, planned.output
    assert layout in planned.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": "ferv39", "video": False}, "Did you mean 'ferv39k'"),
        ({"layout": "ferv39k"}, "'ferv39k' has no videos; layouts with videos: 'dfew', 'mafw' or 'clips'"),
        ({"size": 33}, "must be even"),
        ({"parameters": {"label_noise": 0.1}}, "label_noise: must be 0 here"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        make(tmp_path / "OUT", **{"layout": "clips", "clips": CLIPS, "size": 32, "video": True, **change})
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"study\[video\]"):
        make(tmp_path / "OUT", layout="clips", clips=CLIPS, size=32, video=True)
    assert list(tmp_path.iterdir()) == []


def test_a_harder_set_can_be_written(tmp_path: Path) -> None:
    harder = {**PARAMETERS, "occlusion": 1.0, "imbalance": 1.0}
    make(tmp_path / "OUT", layout="clips", clips=CLIPS, size=32, parameters=harder)
    rows = (tmp_path / "OUT/clips.csv").read_text().splitlines()[1:]
    counts = Counter(row.split(",")[1] for row in rows)
    expected = dict(
        zip(EMOTIONS, np.array([2445, 1894, 2669, 2173, 1469, 145, 902]) * CLIPS / 11697, strict=True)
    )
    assert all(abs(counts[name] - share) < 1.5 for name, share in expected.items())
