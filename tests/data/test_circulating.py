"""Layouts and lists of code bases that use DFEW, FERV39k and MAFW: read as the official ones, or named."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.errors import InputError
from study.tasks.clips.data.emotions import EMOTIONS
from study.tasks.clips.data.files.listing import Listing
from study.tasks.clips.data.sets import mafw as mafw_layout
from study.tasks.clips.data.sets.dfew import dfew_listing
from study.tasks.clips.data.sets.ferv39k import ferv39k_listing
from study.tasks.clips.data.sets.mafw import CLASSES, mafw_listing

SHARED = Path(__file__).parents[3] / "shared" / "data"
PARTS = ("train", "test")


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)


def content(listing: Listing, fold: int | None = 1) -> dict[str, list[tuple[str, str]]]:
    """Return id and class of each clip by split, in the order of the lists."""
    return {
        split: [(entry.id, listing.classes[entry.label]) for entry in entries]
        for split, entries in listing.folds[fold].items()
    }


# DFEW

CLIPS = [(f"{n:05d}", EMOTIONS[n % 7]) for n in range(1, 29)]
BY_PART = {"train": CLIPS[:21], "test": CLIPS[21:]}


def table(part: str, row: str, header: str = "", base: int = 1) -> str:
    return header + "".join(
        row.format(id=i, number=int(i), label=EMOTIONS.index(name) + base, name=name) + "\n"
        for i, name in BY_PART[part]
    )


HEADER = "video_name,label\n"
FOREIGN = "/home/user/datasets/DFEW_Face/Clip/clip_224x224/{id}"
DFEW_LISTS: dict[str, tuple[str, str, str, int]] = {
    "official": ("EmoLabel_DataSplit/{part}(single-labeled)/set_1.csv", HEADER, "{id},{label}", 1),
    "IFDD": ("EmoLabel_DataSplit/{part}_single-labeled/set_1.csv", HEADER, "{id},{label}", 1),
    "S2D and S4D": ("EmoLabel_DataSplit/{part}(single-labeled)/{part}_set_1.csv", HEADER, "{id},{label}", 1),
    "S2D, one folder": ("EmoLabel_DataSplit/{part}_set_1.csv", HEADER, "{id},{label}", 1),
    "the authors' code": ("label/single_{part}set_1.csv", HEADER, "{number},{label}", 0),
    "Former-DFER, DFER-CLIP, IAL": ("annotation/DFEW_set_1_{part}.txt", "", FOREIGN + " 93 {label}", 0),
    "DFER-CLIP's script": ("annotation/DFEW_set_1_{part}(single-labeled).txt", "", FOREIGN + " 7 {label}", 0),
    "MAE-DFER, SVFAP": ("split01/{part}.csv", "", "/mnt/data1/DFEW/Clip/jpg_256/{id} {label}", 0),
    "MAE-DFER's folder": ("org/split01/{part}.csv", "", "/mnt/data1/DFEW/Clip/jpg_256/{id} {label}", 0),
    "a Windows machine": ("annotation/set_1_{part}.txt", "", "D:\\DFEW\\{id} 16 {label}", 0),
    "paths below the root": ("split/set_1/{part}.txt", "", "Clip/jpg_256/{id} {label}", 1),
    "no zeros, numbers of pandas": ("lists/{part}_set_1.csv", HEADER, "{number}.0,{label}.0", 1),
    "names of videos": ("lists/{part}_set_1.csv", HEADER, "{id}.mp4,{label}", 1),
    "semicolons": ("lists/{part}_set_1.csv", HEADER.replace(",", ";"), "{id};{label}", 1),
    "tabs": ("lists/{part}_set_1.csv", HEADER.replace(",", "\t"), "{id}\t{label}", 1),
    "emotions by name": ("lists/{part}_set_1.csv", HEADER, "{id},{name}", 1),
    "other headers": ("lists/{part}_set_1.csv", "clip,emotion\n", "{id},{label}", 1),
    "a third column": ("lists/{part}_set_1.csv", "video_name,label,note\n", "{id},{label},x", 1),
}


@pytest.mark.parametrize("name", DFEW_LISTS)
def test_lists_of_dfew_in_circulation_are_read_clip_by_clip(tmp_path: Path, name: str) -> None:
    path, header, row, base = DFEW_LISTS[name]
    for part in PARTS:
        write(tmp_path / path.format(part=part), table(part, row, header, base))
    found = dfew_listing(str(tmp_path), [1], needs_footage=False)
    assert content(found) == BY_PART
    assert not found.skipped_rows


@pytest.mark.parametrize("folder", ["Clip/jpg_256", "data", "Clip/clip_224x224/clip_224x224", "clip_224x224"])
def test_folders_of_dfew_in_circulation_are_found(tmp_path: Path, folder: str) -> None:
    for part in PARTS:
        write(
            tmp_path / f"EmoLabel_DataSplit/{part}(single-labeled)/set_1.csv",
            table(part, "{id},{label}", HEADER),
        )
    for clip, _ in CLIPS:
        (tmp_path / folder / clip).mkdir(parents=True)
    found = dfew_listing(str(tmp_path), [1], "original")
    assert found.footage == tmp_path / folder
    assert {entry.path for entry in found.entries.values()} == {clip for clip, _ in CLIPS}
    assert ("not a folder of DFEW's own" in found.facts["version"]) == (folder in ("Clip/jpg_256", "data"))


def test_lists_of_dfew_that_were_unpacked_twice_are_found(tmp_path: Path) -> None:
    lists = tmp_path / "EmoLabel_DataSplit/EmoLabel_DataSplit"
    for part in PARTS:
        write(lists / f"{part}(single-labeled)/set_1.csv", table(part, "{id},{label}", HEADER))
    assert content(dfew_listing(str(tmp_path), [1], needs_footage=False)) == BY_PART


def test_two_folders_of_lists_of_dfew_are_refused_until_one_is_named(tmp_path: Path) -> None:
    for folder in ("label", "annotation"):
        for part in PARTS:
            write(tmp_path / f"{folder}/single_{part}set_1.csv", table(part, "{id},{label}", HEADER))
    with pytest.raises(InputError, match="split_root: must name the lists"):
        dfew_listing(str(tmp_path), [1], needs_footage=False)
    found = dfew_listing(str(tmp_path), [1], split_root="label", needs_footage=False)
    assert content(found) == BY_PART


def dfew_of(root: Path, labels: dict[str, list[int]], **parameters: object) -> Listing:
    number = 0
    for part, of in labels.items():
        rows = []
        for label in of:
            number += 1
            rows.append(f"{number:05d},{label}\n")
        write(root / f"EmoLabel_DataSplit/{part}(single-labeled)/set_1.csv", HEADER + "".join(rows))
    return dfew_listing(str(root), [1], needs_footage=False, **parameters)  # type: ignore[arg-type]


def test_lists_that_count_from_0_and_from_1_are_not_read_as_one(tmp_path: Path) -> None:
    labels = {"train": [1, 2, 3, 4, 5, 6, 7], "test": [0, 1, 2, 3, 4, 5, 6]}
    with pytest.raises(InputError, match="holds the label 0 and no 7") as caught:
        dfew_of(tmp_path, labels)
    assert "label_base = 1" in str(caught.value)
    found = dfew_of(tmp_path, labels, label_base=1)
    assert [label for _, label in content(found)["test"]] == list(EMOTIONS[:6])
    assert "1 clips with the label 0" in found.facts["label base"]


def test_clips_of_no_single_emotion_are_counted_in_the_facts(tmp_path: Path) -> None:
    found = dfew_of(tmp_path, {"train": [1, 0, 3, 7], "test": [0, 7, 2]})
    assert "2 clips with the label 0, of no single emotion, are left out" in found.facts["label base"]
    assert [len(of) for of in found.folds[1].values()] == [3, 2]


# FERV39k

SCENES = ("Action", "School", "Talkshow")
FERV39K = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
ALPHABETICAL = sorted(FERV39K)
FACES = [(f"{SCENES[n % 3]}/{FERV39K[n % 7]}/{n:04d}", FERV39K[n % 7]) for n in range(42)]
FACES_BY_PART = {"train": FACES[:28], "test": FACES[28:]}
FERV39K_LISTS: dict[str, tuple[str, str, Callable[[str, str], str]]] = {
    "official": ("4_setups/All_scenes/{part}_All.csv", "", lambda clip, name: f"{clip} {name}"),
    "S2D": ("Annotation/{part}.csv", "path,id\n", lambda clip, name: f"{clip},{ALPHABETICAL.index(name)}"),
    "DFER-CLIP": (
        "annotation/FERV39K_{part}.txt",
        "",
        lambda clip, name: f"/data/x/FERV39K/2_ClipsforFaceCrop/{clip} 25 {FERV39K.index(name)}",
    ),
    "MAE-DFER": (
        "all_scenes/{part}.csv",
        "",
        lambda clip, name: f"/mnt/data1/2_ClipsforFaceCrop/{clip} {FERV39K.index(name)}",
    ),
    "commas": ("lists/{part}_All.csv", "", lambda clip, name: f"{clip},{name}"),
    "videos": ("lists/{part}_All.csv", "", lambda clip, name: f"{clip}.avi {name}"),
}


@pytest.mark.parametrize("name", FERV39K_LISTS)
def test_lists_of_ferv39k_in_circulation_are_read_clip_by_clip(tmp_path: Path, name: str) -> None:
    path, header, row = FERV39K_LISTS[name]
    for part, clips in FACES_BY_PART.items():
        write(tmp_path / path.format(part=part), header + "".join(row(*clip) + "\n" for clip in clips))
    found = ferv39k_listing(str(tmp_path), needs_footage=False)
    assert content(found, None) == FACES_BY_PART
    assert {entry.scene for entry in found.entries.values()} == set(SCENES)


def test_a_number_that_contradicts_the_path_of_its_clip_is_refused(tmp_path: Path) -> None:
    path, header, row = FERV39K_LISTS["S2D"]
    for part, clips in FACES_BY_PART.items():
        write(tmp_path / path.format(part=part), header + "".join(row(*clip) + "\n" for clip in clips))
    lists = tmp_path / "Annotation/test.csv"
    lists.write_text(lists.read_text().replace("Happy/0028,3", "Happy/0028,5"))
    with pytest.raises(
        InputError, match=r"test\.csv:2: clip School/Happy/0028 lies in 'Happy' and is labelled 'Sad'"
    ):
        ferv39k_listing(str(tmp_path), needs_footage=False)


def test_clips_of_ferv39k_that_were_unpacked_twice_are_found(tmp_path: Path) -> None:
    for part, clips in FACES_BY_PART.items():
        write(tmp_path / f"4_setups/All_scenes/{part}_All.csv", "".join(f"{c} {name}\n" for c, name in clips))
    for clip, _ in FACES:
        (tmp_path / "2_ClipsforFaceCrop/2_ClipsforFaceCrop" / clip).mkdir(parents=True)
    found = ferv39k_listing(str(tmp_path))
    assert found.footage == tmp_path / "2_ClipsforFaceCrop/2_ClipsforFaceCrop"
    assert found.facts["version"] == "face frames, original frames"


# MAFW

SINGLE = [(f"{n:05d}", CLASSES[n % 11]) for n in range(33)]
SINGLE_BY_PART = {"train": SINGLE[:22], "test": SINGLE[22:]}
MAFW_LISTS = {
    "official": "Train & Test Set/single/no_caption/set_1/{part}.txt",
    "IFDD": "label/no_caption/set_1/{part}.txt",
    "EmoCLIP": "Train_Test_Set/single/no_caption_new/set_1/{part}.txt",
    "S2D": "anno/single/no_caption/set_1/{part}.txt",
    "at the root": "single/no_caption/set_1/{part}.txt",
    "tables": "anno/single/no_caption/set_1/{part}.csv",
}


@pytest.mark.parametrize("name", MAFW_LISTS)
@pytest.mark.parametrize(
    "row", ["{clip}.mp4 {label}", "{clip}.mp4\t{label}", "{clip},{label}", "data/x/{clip} {label}"]
)
def test_lists_of_mafw_in_circulation_are_read_clip_by_clip(tmp_path: Path, name: str, row: str) -> None:
    for part, clips in SINGLE_BY_PART.items():
        rows = "".join(row.format(clip=clip, label=label) + "\n" for clip, label in clips)
        write(tmp_path / MAFW_LISTS[name].format(part=part), rows)
    assert content(mafw_listing(str(tmp_path), [1], needs_footage=False)) == SINGLE_BY_PART


@pytest.mark.parametrize("order", [CLASSES, tuple(sorted(CLASSES))])
def test_numbers_of_mafw_are_read_in_the_order_that_the_official_counts_tell(
    tmp_path: Path, order: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    official = (8, 4, 5, 7, 6, 9, 10, 3, 12, 2, 1)
    monkeypatch.setattr(mafw_layout, "_SINGLE_COUNTS", official)
    clips: Iterator[str] = iter(f"{n:05d}" for n in range(sum(official)))
    listed = [
        (next(clips), name) for name, count in zip(CLASSES, official, strict=True) for _ in range(count)
    ]
    parts = {"train": listed[::2], "test": listed[1::2]}
    for part, of in parts.items():
        rows = "".join(f"/data/MAFW/data/faces/{clip} 74 {order.index(name)}\n" for clip, name in of)
        write(tmp_path / f"annotation/MAFW_set_1_{part}.txt", rows)
    found = mafw_listing(str(tmp_path), [1], needs_footage=False)
    assert content(found) == parts
    assert "numbered from 0" in found.facts["labels"]
    monkeypatch.setattr(mafw_layout, "_SINGLE_COUNTS", tuple(reversed(official)))
    with pytest.raises(InputError, match="number the classes, in an order"):
        mafw_listing(str(tmp_path), [1], needs_footage=False)


# The real lists, in the layouts of others

real = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the official lists are not at {SHARED}")


@real
@pytest.mark.parametrize("fold", [1, 5])
def test_the_official_lists_of_dfew_in_other_layouts_are_the_same_clips(tmp_path: Path, fold: int) -> None:
    expected = dfew_listing(str(SHARED / "DFEW"), [fold], needs_footage=False)
    lists = SHARED / "DFEW/EmoLabel_DataSplit"
    for part in PARTS:
        with (lists / f"{part}(single-labeled)/set_{fold}.csv").open() as file:
            rows = list(csv.DictReader(file))
        frames = "".join(f"/x/DFEW/{r['video_name']} 93 {int(r['label']) - 1}\n" for r in rows)
        write(tmp_path / f"annotation/DFEW_set_{fold}_{part}.txt", frames)
    found = dfew_listing(str(tmp_path), [fold], needs_footage=False)
    assert content(found, fold) == content(expected, fold)


@real
def test_the_official_lists_of_ferv39k_with_numbers_are_the_same_clips(tmp_path: Path) -> None:
    expected = ferv39k_listing(str(SHARED / "FERV39k"), needs_footage=False)
    for part in PARTS:
        lines = (SHARED / f"FERV39k/4_setups/All_scenes/{part}_All.csv").read_text().split("\n")
        pairs = [line.split() for line in lines if line]
        rows = "".join(f"{clip},{ALPHABETICAL.index(name)}\n" for clip, name in pairs)
        write(tmp_path / f"Annotation/{part}.csv", "path,id\n" + rows)
    found = ferv39k_listing(str(tmp_path), needs_footage=False)
    assert content(found, None) == content(expected, None)
