"""Checks of a data set before training: each mistake is planted and must be reported."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.trees import dfew
from typer.testing import CliRunner, Result

from study.cli.app import app
from study.config.registry import Registry
from study.errors import InputError
from study.tasks.clips.data.check.checks import check_dataset
from study.tasks.clips.data.check.order import OrderDoubt, doubt_of_order
from study.tasks.clips.data.check.report import Item, Remark, RemarkKind, Report
from study.tasks.clips.data.check.text import described, item_text
from study.tasks.clips.data.contract import Dataset
from study.tasks.clips.data.make import LAYOUTS, make
from study.tasks.clips.data.sets.packing import pack
from study.tasks.clips.data.sets.recorded import Recorded

FRAMES = 4
FOOTAGE = Path("Clip/clip_224x224_16f")
LISTS = Path("EmoLabel_DataSplit")
REAL = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("trees")
    for layout in LAYOUTS:
        parameters = {"clips_per_person": 7, "frames": FRAMES}
        make(root / layout, layout=layout, clips=70, size=32, parameters=parameters)
    return {layout: root / layout for layout in LAYOUTS}


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


def names_of(remarks: Iterable[Remark], kind: RemarkKind) -> list[str]:
    """Return the items of the remarks of one kind, as a person reads them."""
    return [item_text(kind, item) for remark in remarks if remark.kind == kind for item in remark.items]


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


def link_out_of_the_root(tree: Path) -> str:
    outside = tree.parent / "outside"
    shutil.move(clip(tree, "00013"), outside)
    clip(tree, "00013").symlink_to(outside)
    return "00013"


def unknown_label(tree: Path) -> str:
    row = len(listed(tree, "train").read_text().splitlines()) + 1
    add_row(tree, "train", "00099,9")
    return f"set_1.csv:{row}"


def path_out_of_the_root(tree: Path) -> str:
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
    trained, tested = names(tree, "train")[0], names(tree, "test")[0]
    shutil.rmtree(clip(tree, trained))
    shutil.copytree(clip(tree, tested), clip(tree, trained))
    return f"clip {trained} = "


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


PLANTED: dict[Callable[[Path], str], RemarkKind] = {
    missing: RemarkKind.CLIPS_MISSING,
    empty: RemarkKind.CLIPS_EMPTY,
    truncated: RemarkKind.CLIPS_UNREADABLE,
    link_out_of_the_root: RemarkKind.CLIPS_UNREADABLE,
    unknown_label: RemarkKind.ROWS_UNUSABLE,
    path_out_of_the_root: RemarkKind.ROWS_UNUSABLE,
    twice_in_a_list: RemarkKind.ROWS_UNUSABLE,
    in_both_lists: RemarkKind.ROWS_UNUSABLE,
    copied_from_test: RemarkKind.TEST_CLIPS_IN_TRAIN,
    same_number_twice: RemarkKind.FRAME_NUMBERS_REPEATED,
    without_numbers: RemarkKind.FRAME_NUMBERS_ABSENT,
    not_the_official_data: RemarkKind.COUNTS_NOT_OFFICIAL,
    class_without_training: RemarkKind.CLASSES_NOT_TRAINED,
}


@pytest.mark.parametrize(("plant", "kind"), PLANTED.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_each_planted_mistake_is_named_with_its_position(
    tree: Path, plant: Callable[[Path], str], kind: RemarkKind
) -> None:
    position = plant(tree)
    report = checked("dfew", tree, folds=[1])
    assert not report.is_sound
    assert any(position in name for name in names_of(report.mistakes, kind)), described(report)
    assert position in described(report)


def test_all_mistakes_are_reported_at_once(tree: Path) -> None:
    together = (
        missing,
        empty,
        truncated,
        unknown_label,
        path_out_of_the_root,
        in_both_lists,
        same_number_twice,
    )
    positions = [plant(tree) for plant in together]
    text = described(checked("dfew", tree, folds=[1]))
    assert text.splitlines()[0].endswith("NOT SOUND: 7 things to fix")
    for position in positions:
        assert position in text
    assert text.index("To fix") < text.index("digest")


def wide(tree: Path) -> tuple[RemarkKind, str]:
    for file in clip(tree, "00021").iterdir():
        Image.new("RGB", (64, 36), (int(file.stem),) * 3).save(file)
    return RemarkKind.FRAMES_NOT_SQUARE, "clip 00021"


def mixed(tree: Path) -> tuple[RemarkKind, str]:
    Image.new("RGB", (48, 48)).save(clip(tree, "00022") / "2.jpg")
    return RemarkKind.CLIPS_OF_SEVERAL_SIZES, "clip 00022: 32x32, 48x48"


def short(tree: Path) -> tuple[RemarkKind, str]:
    (clip(tree, "00023") / "4.jpg").unlink()
    return RemarkKind.FRAMES_TOO_FEW, "clip 00023: 3"


def gaps(tree: Path) -> tuple[RemarkKind, str]:
    (clip(tree, "00024") / "2.jpg").unlink()
    return RemarkKind.FRAME_NUMBERS_WITH_GAPS, "clip 00024: no frame 2"


def two_labels(tree: Path) -> tuple[RemarkKind, str]:
    first, second = names(tree, "train")[:2]
    shutil.rmtree(clip(tree, second))
    shutil.copytree(clip(tree, first), clip(tree, second))
    return RemarkKind.COPIES_WITH_OTHER_LABEL, f"clip {first} (happy) = clip {second} (sad)"


def one_person_in_both(tree: Path) -> tuple[RemarkKind, str]:
    path = tree / LISTS / "sources.csv"
    rows = dict(row.split(",") for row in path.read_text().splitlines()[1:])
    rows[names(tree, "test")[0]] = rows[names(tree, "train")[0]]
    path.write_text("video_name,source\n" + "".join(f"{i},{source}\n" for i, source in rows.items()))
    return RemarkKind.SOURCES_SHARED, f"fold 1: {rows[names(tree, 'train')[0]]}"


@pytest.mark.parametrize("plant", [wide, mixed, short, gaps, two_labels, one_person_in_both])
def test_what_is_odd_is_a_warning_and_leaves_training_sound(
    tree: Path, plant: Callable[[Path], tuple[RemarkKind, str]]
) -> None:
    kind, position = plant(tree)
    report = checked("dfew", tree, folds=[1])
    assert report.is_sound, described(report)
    assert report.digest
    assert any(position in name for name in names_of(report.warnings, kind)), described(report)


def test_a_version_with_16_frames_has_16_frames(tree: Path) -> None:
    """An official tree has 16 frames a clip; in a synthetic one the user chooses the number."""
    (tree / "about.json").unlink()
    report = checked("dfew", tree, folds=[1])
    remark = next(r for r in report.mistakes if r.kind == RemarkKind.FRAME_COUNT_WRONG)
    assert remark.needed_frames == 16
    assert [item.count for item in remark.items] == [FRAMES] * 70


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
    assert {remark.kind for remark in report.warnings} >= {
        RemarkKind.CLIPS_MISSING,
        RemarkKind.CLIPS_UNREADABLE,
        RemarkKind.ROWS_UNUSABLE,
    }


def test_the_order_of_frames_is_unambiguous_or_the_reason_is_returned() -> None:
    unambiguous = (
        [f"{n}.jpg" for n in range(8, 12)],
        ["00017_00001.jpg", "00017_00002.jpg"],
        ["1_1.png", "1_2.png", "2_1.png"],
        ["frame7b.png"],
    )
    assert [doubt_of_order(files) for files in unambiguous] == [None] * len(unambiguous)
    repeated, absent = RemarkKind.FRAME_NUMBERS_REPEATED, RemarkKind.FRAME_NUMBERS_ABSENT
    for kind, files in (
        (repeated, ("1.jpg", "1.png")),
        (absent, ("first.jpg", "last.jpg")),
        (absent, ("1.jpg", "2_1.jpg")),
    ):
        assert doubt_of_order(files) == OrderDoubt(kind, Item(files=files))
    gap = OrderDoubt(RemarkKind.FRAME_NUMBERS_WITH_GAPS, Item(absent_frame=4))
    assert doubt_of_order(["3.jpg", "5.jpg"]) == gap


def test_a_zero_byte_video_is_empty(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="videos need PyAV, of the extra 'video'")
    parameters = {"clips_per_person": 7, "frames": FRAMES}
    make(tmp_path / "tree", layout="clips", clips=70, size=32, video=True, parameters=parameters)
    videos = sorted(path for path in (tmp_path / "tree").rglob("*") if path.suffix in {".mp4", ".avi"})
    videos[3].write_bytes(b"")
    videos[5].write_bytes(videos[5].read_bytes()[:500])
    report = checked("clips", tmp_path / "tree")
    (empty_video,) = names_of(report.mistakes, RemarkKind.CLIPS_EMPTY)
    (damaged_video,) = names_of(report.mistakes, RemarkKind.CLIPS_UNREADABLE)
    assert videos[3].name in empty_video
    assert videos[5].name in damaged_video


def test_a_damaged_pack_and_one_of_older_frames_are_found(tree: Path, tmp_path: Path) -> None:
    def build() -> Recorded:
        return dfew(root=str(tree), folds=[1], frames=FRAMES)

    for out in ("damaged", "older"):
        pack(build(), tmp_path / out)
    file = tmp_path / "damaged" / "shard-00000.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    Image.new("RGB", (32, 32)).save(clip(tree, "00031") / "1.jpg")
    (remark,) = checked("dfew", tree, folds=[1], pack=str(tmp_path / "damaged")).mistakes
    assert remark.kind == RemarkKind.PACK_DAMAGED
    assert "shard-00000.npy" in remark.error
    (remark,) = checked("dfew", tree, folds=[1], pack=str(tmp_path / "older")).mistakes
    assert remark.kind == RemarkKind.PACK_OUTDATED
    assert [item.clip for item in remark.items] == ["00031"]


@pytest.mark.skipif(not REAL.is_dir(), reason="the official split lists are not on this machine")
@pytest.mark.parametrize(
    ("layout", "clips"), [("dfew", (9356, 2341)), ("ferv39k", (31088, 7847))], ids=["dfew", "ferv39k"]
)
def test_official_lists_have_the_official_counts_and_every_missing_clip_is_counted(
    tmp_path: Path, layout: str, clips: tuple[int, int]
) -> None:
    """The lists are whole, the frames are not there."""
    root = Path(shutil.copytree(REAL / {"dfew": "DFEW", "ferv39k": "FERV39k"}[layout], tmp_path / layout))
    (root / {"dfew": FOOTAGE, "ferv39k": Path("2_ClipsforFaceCrop")}[layout]).mkdir(parents=True)
    folds: dict[str, Any] = {"folds": [1]} if layout == "dfew" else {}
    report = checked(layout, root, **folds)
    (remark,) = report.mistakes
    assert remark.kind == RemarkKind.CLIPS_MISSING
    assert len(remark.items) == sum(clips)
    train, validation, test = report.counts
    assert (train.clips + validation.clips, test.clips) == (train.official, test.official) == clips


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["data", "check", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the caches of commands out of this project."""
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
    assert "NOT SOUND: 1 thing to fix" in unsound.stdout
    assert run("dfew", tree, *few, "--skip-bad").exit_code == 0
    for mistake in (("dfew", tree / "nowhere"), ("dfew", tree, "--set", "size=1"), ("dfw", tree), ("dfew",)):
        refused = run(*mistake).exception
        assert isinstance(refused, InputError)
        assert refused.exit_code == 2


def test_json_is_one_object_whatever_is_printed_beside_it(tree: Path) -> None:
    missing(tree)
    report = json.loads(run("dfew", tree, "--set", "folds=[1]", "--json").stdout)
    assert report["schema"] == 1
    assert report["sound"] is False
    assert report["digest"] is None
    assert [(m["kind"], m["code"]) for m in report["mistakes"]] == [("missing", "clips-missing")]
    assert report["counts"][0]["split"] == "train"
    assert report["counts"][2]["classes"]["happy"] == 2
    fields = {field.name for field in dataclasses.fields(Report)} - {"remarks"}
    assert set(report) == fields | {"schema", "sound", "mistakes", "warnings"}


def test_procedural_clips_have_a_digest_and_counts() -> None:
    report = json.loads(run("faces", "--json").stdout)
    assert report["sound"] is True
    assert report["root"] is None
    assert [count["clips"] for count in report["counts"]] == [4000, 1000, 4000]
    registry = Registry()
    assert report["digest"] == registry.build("dataset", registry.resolve("dataset", "faces", "")).digest


def test_a_class_that_the_official_lists_do_not_have_is_no_mistake(tmp_path: Path) -> None:
    """MAFW's lists with captions are without a neutral clip."""
    root = tmp_path / "MAFW"
    make(root, layout="mafw", clips=70, size=32, folds=2)
    (root / "about.json").unlink()
    bare = next(root.rglob("no_caption"))
    for path in sorted(bare.rglob("*.txt")):
        rows = [row for row in path.read_text().splitlines() if not row.endswith("neutral")]
        captioned = path.parents[2] / "with_caption" / path.relative_to(bare)
        captioned.parent.mkdir(parents=True, exist_ok=True)
        captioned_rows = "".join(f"{row.replace(' ', chr(9))}\t笑\ta smile\n" for row in rows)
        captioned.write_text(captioned_rows, encoding="gbk")
    report = checked("mafw", root, folds=[1], captions="with")
    (remark,) = (remark for remark in report.mistakes if remark.kind == RemarkKind.CLASSES_NOT_TRAINED)
    assert Item(fold=1, split="train", name="contempt") in remark.items
    assert "neutral" not in {item.name for item in remark.items}


def test_a_manifest_finds_damage_that_still_decodes(tree: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "files.sha256"
    check = ("data", "check", "dfew", str(tree), "--set", f"frames={FRAMES}", "--manifest", str(manifest))
    assert CliRunner().invoke(app, [*check], catch_exceptions=False).exit_code == 0
    files = sorted(path for path in (tree / FOOTAGE).rglob("*") if path.is_file())
    lines = [line.split("  ") for line in manifest.read_text().splitlines()]
    assert {name: checksum for checksum, name in lines} == {
        path.relative_to(tree).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    assert CliRunner().invoke(app, [*check], catch_exceptions=False).exit_code == 0
    with Image.open(files[3]) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(files[3])  # sound, and another picture
    (files[9].parent / "0099.jpg").write_bytes(files[9].read_bytes())
    changed = CliRunner().invoke(app, [*check], catch_exceptions=False)
    assert changed.exit_code == 1
    assert f"{files[3].relative_to(tree).as_posix()}: its content has changed" in changed.output
    assert "0099.jpg: the manifest does not list it" in changed.output
    files[3].unlink()
    assert "it is missing" in CliRunner().invoke(app, [*check], catch_exceptions=False).output


def test_no_manifest_of_damaged_files_is_written(tree: Path, tmp_path: Path) -> None:
    next(path for path in (tree / FOOTAGE).rglob("*") if path.is_file()).write_bytes(b"")
    check = (
        "data",
        "check",
        "dfew",
        str(tree),
        "--set",
        f"frames={FRAMES}",
        "--manifest",
        str(tmp_path / "m"),
    )
    assert CliRunner().invoke(app, [*check], catch_exceptions=False).exit_code == 1
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("content", ["", "no checksum\n", "abc  a/1.png\n"])
def test_what_is_no_manifest_is_refused_with_its_row(tree: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "m").write_text(content)
    with pytest.raises(InputError, match="--manifest"):
        CliRunner().invoke(
            app,
            ["data", "check", "dfew", str(tree), "--manifest", str(tmp_path / "m")],
            catch_exceptions=False,
        )
