"""What a user must be told of a data set before training on it: each mistake is planted and must be named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image
from support.trees import dfew
from typer.testing import CliRunner

from study.cli.app import app
from study.config.registry import Registry
from study.errors import InputError
from study.tasks.clips.data.check.checks import check_dataset, doubt_of_order
from study.tasks.clips.data.check.report import Report
from study.tasks.clips.data.check.text import described
from study.tasks.clips.data.contract import Dataset
from study.tasks.clips.data.make import LAYOUTS, make
from study.tasks.clips.data.sets.packing import pack

FRAMES = 4
FOOTAGE = Path("Clip/clip_224x224_16f")
LISTS = Path("EmoLabel_DataSplit")
REAL = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("trees")
    for layout in LAYOUTS:
        parameters = {"clips_per_person": 7, "frames": FRAMES}
        make(home / layout, layout=layout, clips=70, size=32, parameters=parameters)
    return {layout: home / layout for layout in LAYOUTS}


@pytest.fixture
def tree(trees: dict[str, Path], tmp_path: Path) -> Path:
    """Return a copy of the tree in DFEW's layout, to be damaged: 70 clips, 14 of them in each test list."""
    return Path(shutil.copytree(trees["dfew"], tmp_path / "tree"))


def checked(name: str, root: Path, *, skip_bad: bool = False, **parameters: Any) -> Report:
    registry = Registry()

    def build(skip: bool) -> Dataset:
        config = {"name": name, "root": str(root), "frames": FRAMES, "skip_bad": skip, **parameters}
        dataset: Dataset = registry.build("dataset", registry.resolve("dataset", config, name))
        return dataset

    return check_dataset(name, build, skip_bad=skip_bad)


def clip(tree: Path, name: str) -> Path:
    return tree / FOOTAGE / name


def listed(tree: Path, part: str, fold: int = 1) -> Path:
    return tree / LISTS / f"{part}(single-labeled)" / f"set_{fold}.csv"


def names(tree: Path, part: str, fold: int = 1) -> list[str]:
    return [row.split(",")[0] for row in listed(tree, part, fold).read_text().splitlines()[1:]]


def add_row(tree: Path, part: str, row: str) -> None:
    with listed(tree, part).open("a") as file:
        file.write(row + "\n")


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_sound_tree_of_each_layout_is_sound_and_has_the_digest_of_its_runs(
    trees: dict[str, Path], layout: str
) -> None:
    report = checked(layout, trees[layout])
    assert report.is_sound, described(report)
    registry = Registry()
    config = {"name": layout, "root": str(trees[layout]), "frames": FRAMES}
    assert report.digest == registry.build("dataset", registry.resolve("dataset", config, "")).digest
    for fold in {count.fold for count in report.counts}:
        assert sum(count.clips for count in report.counts if count.fold == fold) == 70
    assert report.frames == {"clips": 70, "least": FRAMES, "median": FRAMES, "most": FRAMES}
    assert report.sizes == {"32x32": 70}


def missing(tree: Path) -> str:
    shutil.rmtree(clip(tree, "00007"))
    return "00007"


def empty(tree: Path) -> str:
    for file in clip(tree, "00011").iterdir():
        file.unlink()
    return "00011"


def truncated(tree: Path) -> str:
    file = clip(tree, "00012") / "3.jpg"
    file.write_bytes(file.read_bytes()[:400])
    return "00012/3.jpg"


def led_out(tree: Path) -> str:
    outside = tree.parent / "outside"
    shutil.move(clip(tree, "00013"), outside)
    clip(tree, "00013").symlink_to(outside)
    return "00013"


def unknown_label(tree: Path) -> str:
    row = len(listed(tree, "train").read_text().splitlines()) + 1
    add_row(tree, "train", "00099,9")
    return f"set_1.csv:{row}"


def climbing(tree: Path) -> str:
    add_row(tree, "train", "../../secret,1")
    return "'../../secret'"


def twice_in_a_list(tree: Path) -> str:
    name = names(tree, "test")[0]
    add_row(tree, "test", f"{name},1")
    return f"clip {name} is listed twice"


def in_both_lists(tree: Path) -> str:
    row = listed(tree, "test").read_text().splitlines()[1]
    add_row(tree, "train", row)
    return "is in the test list too"


def copied_from_test(tree: Path) -> str:
    learnt, tested = names(tree, "train")[0], names(tree, "test")[0]
    shutil.rmtree(clip(tree, learnt))
    shutil.copytree(clip(tree, tested), clip(tree, learnt))
    return f"clip {learnt} = "


def same_number_twice(tree: Path) -> str:
    shutil.copy(clip(tree, "00005") / "2.jpg", clip(tree, "00005") / "02.jpg")
    return "clip 00005: 02.jpg and 2.jpg"


def without_numbers(tree: Path) -> str:
    for file, name in zip(sorted(clip(tree, "00006").iterdir()), "abcd", strict=True):
        file.rename(file.with_name(f"{name}.jpg"))
    return "clip 00006: a.jpg, b.jpg"


def not_the_official_data(tree: Path) -> str:
    (tree / "about.json").unlink()
    return "fold 1: 56 train clips, official are 9356"


def class_without_training(tree: Path) -> str:
    (tree / "about.json").unlink()
    path = listed(tree, "train")
    path.write_text("\n".join(row for row in path.read_text().splitlines() if not row.endswith(",6")))
    return "train of fold 1: no clip of disgust"


PLANTED: dict[Callable[[Path], str], str] = {
    missing: "missing",
    empty: "empty",
    truncated: "unreadable",
    led_out: "unreadable",
    unknown_label: "lists",
    climbing: "lists",
    twice_in_a_list: "lists",
    in_both_lists: "lists",
    copied_from_test: "duplicates",
    same_number_twice: "order",
    without_numbers: "order",
    not_the_official_data: "counts",
    class_without_training: "classes",
}


@pytest.mark.parametrize(("plant", "kind"), PLANTED.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_each_planted_mistake_is_named_with_its_place(
    tree: Path, plant: Callable[[Path], str], kind: str
) -> None:
    place = plant(tree)
    report = checked("dfew", tree, folds=[1])
    assert not report.is_sound
    found = [remark for remark in report.mistakes if remark.kind == kind]
    assert any(place in name for remark in found for name in remark.named), described(report)
    assert place in described(report)


def test_all_mistakes_are_told_at_once(tree: Path) -> None:
    together = (missing, empty, truncated, unknown_label, climbing, in_both_lists, same_number_twice)
    indices = [plant(tree) for plant in together]
    text = described(checked("dfew", tree, folds=[1]))
    assert text.splitlines()[0].endswith("NOT SOUND: 7 things to mend")
    for place in indices:
        assert place in text
    assert text.index("To mend") < text.index("digest")


def wide(tree: Path) -> tuple[str, str]:
    for file in clip(tree, "00021").iterdir():
        Image.new("RGB", (64, 36), (int(file.stem),) * 3).save(file)
    return "sizes", "clip 00021"


def mixed(tree: Path) -> tuple[str, str]:
    Image.new("RGB", (48, 48)).save(clip(tree, "00022") / "2.jpg")
    return "sizes", "clip 00022: 32x32, 48x48"


def short(tree: Path) -> tuple[str, str]:
    (clip(tree, "00023") / "4.jpg").unlink()
    return "short", "clip 00023: 3"


def gaps(tree: Path) -> tuple[str, str]:
    (clip(tree, "00024") / "2.jpg").unlink()
    return "order", "clip 00024: no frame 2"


def two_labels(tree: Path) -> tuple[str, str]:
    one, other = names(tree, "train")[:2]
    shutil.rmtree(clip(tree, other))
    shutil.copytree(clip(tree, one), clip(tree, other))
    return "duplicates", f"clip {one} (happy) = clip {other} (sad)"


def one_person_in_both(tree: Path) -> tuple[str, str]:
    path = tree / LISTS / "sources.csv"
    rows = dict(row.split(",") for row in path.read_text().splitlines()[1:])
    rows[names(tree, "test")[0]] = rows[names(tree, "train")[0]]
    path.write_text("video_name,source\n" + "".join(f"{i},{source}\n" for i, source in rows.items()))
    return "sources", f"fold 1: {rows[names(tree, 'train')[0]]}"


@pytest.mark.parametrize("plant", [wide, mixed, short, gaps, two_labels, one_person_in_both])
def test_what_is_odd_is_a_warning_and_leaves_training_sound(
    tree: Path, plant: Callable[[Path], tuple[str, str]]
) -> None:
    kind, place = plant(tree)
    report = checked("dfew", tree, folds=[1])
    assert report.is_sound, described(report)
    assert report.digest
    found = [remark for remark in report.warnings if remark.kind == kind]
    assert any(place in name for remark in found for name in remark.named), described(report)


def test_a_version_with_16_frames_has_16_frames(tree: Path) -> None:
    """Of an official tree; in a drawn one the number of frames is the user's."""
    (tree / "about.json").unlink()
    remark = next(r for r in checked("dfew", tree, folds=[1]).mistakes if r.kind == "frames")
    assert remark.summary.startswith("70 clips of the version with 16 frames")


def test_what_is_skipped_on_request_is_no_mistake_and_has_the_digest_of_its_runs(tree: Path) -> None:
    for plant in (missing, truncated, unknown_label):
        plant(tree)
    assert checked("dfew", tree, folds=[1]).digest is None
    report = checked("dfew", tree, folds=[1], skip_bad=True)
    assert report.is_sound, described(report)
    data = dfew(root=str(tree), folds=[1], frames=FRAMES, skip_bad=True)
    assert report.digest == data.digest
    assert report.skipped == data.skipped
    assert len(report.skipped) == 3
    assert {remark.kind for remark in report.warnings} >= {"missing", "unreadable", "lists"}


def test_the_order_of_files_is_plain_or_it_is_said_why_not() -> None:
    plain = (
        [f"{n}.jpg" for n in range(8, 12)],
        ["00017_00001.jpg", "00017_00002.jpg"],
        ["1_1.png", "1_2.png", "2_1.png"],
        ["frame7b.png"],
    )
    assert [doubt_of_order(files) for files in plain] == [None] * len(plain)
    assert doubt_of_order(["1.jpg", "1.png"]) == ("twice", "1.jpg and 1.png")
    assert doubt_of_order(["first.jpg", "last.jpg"]) == ("none", "first.jpg, last.jpg")
    assert doubt_of_order(["1.jpg", "2_1.jpg"]) == ("none", "1.jpg, 2_1.jpg")
    assert doubt_of_order(["3.jpg", "5.jpg"]) == ("gaps", "no frame 4")


def test_a_zero_byte_video_is_empty(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="videos need PyAV, of the extra 'video'")
    parameters = {"clips_per_person": 7, "frames": FRAMES}
    make(tmp_path / "tree", layout="clips", clips=70, size=32, video=True, parameters=parameters)
    videos = sorted(path for path in (tmp_path / "tree").rglob("*") if path.suffix in {".mp4", ".avi"})
    videos[3].write_bytes(b"")
    videos[5].write_bytes(videos[5].read_bytes()[:500])
    report = checked("clips", tmp_path / "tree")
    by_kind = {remark.kind: remark.named for remark in report.mistakes}
    assert videos[3].name in by_kind["empty"][0]
    assert videos[5].name in by_kind["unreadable"][0]


def test_a_damaged_pack_and_one_of_older_frames_are_found(tree: Path, tmp_path: Path) -> None:
    def build() -> Dataset:
        return dfew(root=str(tree), folds=[1], frames=FRAMES)

    for out in ("damaged", "older"):
        pack(build(), tmp_path / out)
    file = tmp_path / "damaged" / "shard-00000.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    Image.new("RGB", (32, 32)).save(clip(tree, "00031") / "1.jpg")
    (remark,) = checked("dfew", tree, folds=[1], pack=str(tmp_path / "damaged")).mistakes
    assert remark.kind == "pack"
    assert "shard-00000.npy" in remark.summary
    (remark,) = checked("dfew", tree, folds=[1], pack=str(tmp_path / "older")).mistakes
    assert remark.kind == "pack"
    assert "clip 00031" in remark.named[0]


@pytest.mark.skipif(not REAL.is_dir(), reason="the official split lists are not on this machine")
@pytest.mark.parametrize(
    ("layout", "clips"), [("dfew", (9356, 2341)), ("ferv39k", (31088, 7847))], ids=["dfew", "ferv39k"]
)
def test_official_lists_have_the_official_counts_and_every_missing_clip_is_counted(
    tmp_path: Path, layout: str, clips: tuple[int, int]
) -> None:
    """The lists are whole, the frames are not there."""
    root = Path(shutil.copytree(REAL / {"dfew": "DFEW", "ferv39k": "FERV39k"}[layout], tmp_path / layout))
    (root / {"dfew": FOOTAGE, "ferv39k": "2_ClipsforFaceCrop"}[layout]).mkdir(parents=True)
    report = checked(layout, root, **({"folds": [1]} if layout == "dfew" else {}))
    (remark,) = report.mistakes
    assert remark.kind == "missing"
    assert len(remark.named) == sum(clips)
    train, validation, test = report.counts
    assert (train.clips + validation.clips, test.clips) == (train.official, test.official) == clips


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["data", "check", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what commands remember of files out of this project."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_the_command_ends_with_0_1_or_2(tree: Path) -> None:
    few = ("--set", f"frames={FRAMES}", "--set", "folds=[1]")
    sound = run("dfew", tree, *few)
    assert sound.exit_code == 0
    assert "sound" in sound.stdout
    missing(tree)
    unsound = run("dfew", tree, *few)
    assert unsound.exit_code == 1
    assert "NOT SOUND: 1 thing to mend" in unsound.stdout
    assert run("dfew", tree, *few, "--skip-bad").exit_code == 0
    for mistake in (("dfew", tree / "nowhere"), ("dfew", tree, "--set", "size=1"), ("dfw", tree), ("dfew",)):
        refused = run(*mistake).exception
        assert isinstance(refused, InputError)
        assert refused.exit_code == 2


def test_json_is_one_object_whatever_is_printed_beside_it(tree: Path) -> None:
    missing(tree)
    told = json.loads(run("dfew", tree, "--set", "folds=[1]", "--json").stdout)
    assert told["schema"] == 1
    assert told["sound"] is False
    assert told["digest"] is None
    assert [mistake["kind"] for mistake in told["mistakes"]] == ["missing"]
    assert told["counts"][0]["split"] == "train"
    assert told["counts"][2]["classes"]["happy"] == 2
    keys = Report.__doc__ or ""
    assert all(f"``{key}``" in keys for key in told)


def test_procedural_clips_have_a_digest_and_counts() -> None:
    told = json.loads(run("faces", "--json").stdout)
    assert told["sound"] is True
    assert told["root"] is None
    assert [count["clips"] for count in told["counts"]] == [3000, 600, 1000]
    registry = Registry()
    assert told["digest"] == registry.build("dataset", registry.resolve("dataset", "faces", "")).digest


def test_a_class_that_the_official_lists_do_not_have_is_no_mistake(tmp_path: Path) -> None:
    """MAFW's lists with captions are without a neutral clip."""
    root = tmp_path / "MAFW"
    make(root, layout="mafw", clips=70, size=32, folds=2)
    (root / "about.json").unlink()
    bare = next(root.rglob("no_caption"))
    for path in sorted(bare.rglob("*.txt")):
        rows = [row for row in path.read_text().splitlines() if not row.endswith("neutral")]
        told = path.parents[2] / "with_caption" / path.relative_to(bare)
        told.parent.mkdir(parents=True, exist_ok=True)
        told.write_text("".join(f"{row.replace(' ', chr(9))}\t笑\ta smile\n" for row in rows), encoding="gbk")
    report = checked("mafw", root, folds=[1], captions="with")
    named = [name for remark in report.mistakes if remark.kind == "classes" for name in remark.named]
    assert "train of fold 1: no clip of contempt" in named
    assert not any("neutral" in name for name in named)
