"""DFEW, on small trees and on the official lists."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.trees import dfew

from study.errors import InputError
from study.tasks.clips.data.contract import Clips
from study.tasks.clips.data.emotions import DFEW_CLIPS
from study.tasks.clips.data.sets.recorded import Recorded, held_out

REAL = Path(__file__).parents[3] / "shared" / "data" / "DFEW"
FOLDER = Path("Clip/clip_224x224_16f")
LISTS = Path("EmoLabel_DataSplit")
Tree = Callable[..., Path]


def write_list(
    root: Path, part: str, rows: Mapping[str, Any], fold: int = 1, header: str = "video_name,label\n"
) -> None:
    path = root / LISTS / f"{part}(single-labeled)" / f"set_{fold}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + "".join(f"{i},{label}\n" for i, label in rows.items()))


def write_clip(
    root: Path, name: str, levels: list[int], folder: Path = FOLDER, pattern: str = "{}.png"
) -> None:
    (root / folder / name).mkdir(parents=True)
    for number, level in enumerate(levels, start=1):
        Image.new("RGB", (40, 40), (level, level, level)).save(root / folder / name / pattern.format(number))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write 14 train and 7 test clips, whose frame t of clip n has the grey level 10 n + t."""

    def build(base: int = 1, frames: int = 16, *, name: str = "tree", **clip: Any) -> Path:
        root = tmp_path / name
        rows = {f"{n:05d}": n % 7 + base for n in range(21)}
        for n, i in enumerate(rows):
            write_clip(root, i, [10 * n + t for t in range(frames)], **clip)
        write_list(root, "train", dict(list(rows.items())[:14]))
        write_list(root, "test", dict(list(rows.items())[14:]))
        return root

    return build


def open_tree(root: Path, **parameters: Any) -> Recorded:
    return dfew(**{"root": str(root), "folds": [1], "size": 16, **parameters})


def levels(clips: Clips, index: int = 0, generator: np.random.Generator | None = None) -> list[int]:
    return [int(v) for v in clips.read(np.array([index]), generator)[0, 0, :, 3, 3]]


def refusal(root: Path, **parameters: Any) -> str:
    with pytest.raises(InputError) as caught:
        assert open_tree(root, **parameters).digest
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("pattern", ["{}.png", "{:05d}.png", "00014_{}.jpg", "frame{}b.png"])
def test_frames_come_in_the_order_of_their_numbers(tree: Tree, pattern: str) -> None:
    clips = open_tree(tree(pattern=pattern)).split("test", 1)
    np.testing.assert_allclose(levels(clips), [140 + t for t in range(16)], atol=1)


@pytest.mark.parametrize("base", [0, 1])
def test_the_label_base_is_inferred(tree: Tree, base: int) -> None:
    clips = open_tree(tree(base)).split("test", 1)
    assert clips.ids == tuple(f"{n:05d}" for n in range(14, 21))
    assert clips.labels.tolist() == list(range(7))


def test_clips_without_a_single_label_are_skipped(tree: Tree) -> None:
    root = tree()
    write_list(root, "test", {"00014": 0, "00015": 7, "00016": 1})
    clips = open_tree(root).split("test", 1)
    assert dict(zip(clips.ids, clips.labels.tolist(), strict=True)) == {"00015": 6, "00016": 0}


def test_labels_that_may_count_from_0_or_1_are_refused_until_the_user_chooses(tree: Tree) -> None:
    root = tree()
    write_list(root, "train", {"00001": 1, "00002": 2})
    write_list(root, "test", {"00003": 3})
    message = refusal(root)
    assert "[1, 2, 3]" in message
    assert "label_base" in message
    assert open_tree(root, label_base=1).split("test", 1).labels.tolist() == [2]
    assert open_tree(root, label_base=0).split("test", 1).labels.tolist() == [3]


def test_bare_integer_ids_and_missing_headers_are_read(tree: Tree) -> None:
    root = tree()
    write_list(root, "test", {"14": 1, "15": 7}, header="")
    assert open_tree(root).split("test", 1).ids == ("00014", "00015")


def test_a_list_saved_by_a_spreadsheet_is_read(tree: Tree) -> None:
    root = tree()
    path = root / LISTS / "test(single-labeled)/set_1.csv"
    path.write_bytes(b"\xef\xbb\xbfvideo_name,label\r\n00014, 1\r\n00015,7\r\n\r\n")
    assert open_tree(root).split("test", 1).ids == ("00014", "00015")


def test_long_clips_are_sampled_and_short_ones_repeated(tmp_path: Path) -> None:
    original = Path("Clip/clip_224x224")
    write_clip(tmp_path, "00001", list(range(0, 240, 5)), original)
    write_clip(tmp_path, "00002", [10, 200], original)
    write_list(tmp_path, "train", {"00001": 1, "00002": 7})
    write_list(tmp_path, "test", {"00003": 2})
    write_clip(tmp_path, "00003", [7], original)
    data = open_tree(tmp_path, version="original", frames=4, validation_share=0.01)
    train = data.split("train", 1)
    assert levels(train, 0) == [5 * index for index in (6, 18, 30, 42)]
    assert levels(train, 1) == [10, 200, 200, 200]
    assert levels(data.split("test", 1)) == [7] * 4
    sampled = [levels(train, 0, np.random.default_rng(seed)) for seed in range(30)]
    assert len({tuple(indices) for indices in sampled}) > 20
    assert all(60 * i <= level < 60 * (i + 1) for indices in sampled for i, level in enumerate(indices))


def test_frames_are_resized_without_aliasing(tmp_path: Path) -> None:
    checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for name in ("00001", "00002"):
        (tmp_path / FOLDER / name).mkdir(parents=True)
        Image.fromarray(checkers).save(tmp_path / FOLDER / name / "1.png")
    write_list(tmp_path, "train", {"00001": 1})
    write_list(tmp_path, "test", {"00002": 7})
    clip = open_tree(tmp_path, validation_share=0.01).split("test", 1).read(np.array([0]), None)
    assert clip.shape == (1, 1, 16, 16, 16)
    np.testing.assert_allclose(clip[0, 0, 0, 2:-2, 2:-2], 127.5, atol=2)


def test_colours_come_as_red_green_blue(tmp_path: Path) -> None:
    for name in ("00001", "00002"):
        (tmp_path / FOLDER / name).mkdir(parents=True)
        Image.new("RGB", (20, 20), (200, 100, 50)).save(tmp_path / FOLDER / name / "1.png")
    write_list(tmp_path, "train", {"00001": 1})
    write_list(tmp_path, "test", {"00002": 7})
    clip = open_tree(tmp_path, channels=3, frames=2).split("test", 1).read(np.array([0]), None)
    assert clip.shape == (1, 3, 2, 16, 16)
    assert clip[0, :, 1, 8, 8].tolist() == [200, 100, 50]


def test_selection_is_a_stratified_seeded_part_of_train() -> None:
    listed = {f"{n:05d}": n % 3 for n in range(300)}
    part = held_out(listed, {}, 0.15, 0)
    assert Counter(listed[i] for i in part) == {0: 15, 1: 15, 2: 15}
    assert part == held_out(dict(reversed(listed.items())), {}, 0.15, 0)
    assert part != held_out(listed, {}, 0.15, 1)


def test_selection_takes_whole_sources_and_still_keeps_its_share() -> None:
    listed = {f"{n:05d}": n % 7 for n in range(1400)}
    sources = {i: f"person {int(i) // 20}" for i in listed}
    part = held_out(listed, sources, 0.15, 0)
    assert not {sources[i] for i in part} & {sources[i] for i in listed if i not in part}
    counts = Counter(listed[i] for i in part)
    assert all(abs(counts[label] - 30) <= 4 for label in range(7))


def test_train_and_selection_partition_the_train_list(tree: Tree) -> None:
    data = open_tree(tree(), validation_share=0.5)
    train, validation, test = (data.split(name, 1) for name in ("train", "validation", "test"))
    assert sorted(train.ids + validation.ids) == [f"{n:05d}" for n in range(14)]
    assert sorted(validation.labels.tolist()) == list(range(7))
    assert not set(test.ids) & set(train.ids + validation.ids)


def test_a_clip_is_the_same_in_every_split_order_and_cache(tree: Tree, tmp_path: Path) -> None:
    root, cache = tree(), tmp_path / "cache"
    fresh = open_tree(root).split("test", 1)
    kept = open_tree(root, cache=str(cache)).split("test", 1)
    order = np.array([3, 0, 6])
    np.testing.assert_array_equal(kept.read(order, None), fresh.read(order, None))
    np.testing.assert_array_equal(fresh.read(np.array([0]), None)[0], fresh.read(order, None)[1])
    (root / FOLDER / "00014" / "16.png").unlink()
    changed = open_tree(root, cache=str(cache)).split("test", 1)
    assert levels(changed)[-1] == levels(fresh)[-2]


def test_the_digest_follows_the_content_and_not_the_folder(tree: Tree, tmp_path: Path) -> None:
    first, second = open_tree(tree()), open_tree(tree(name="elsewhere"))
    assert first.digest == second.digest
    assert open_tree(first.listing.root, cache=str(tmp_path / "cache")).digest == first.digest
    others = [
        open_tree(first.listing.root, **change).digest
        for change in (
            {"frames": 8},
            {"size": 20},
            {"channels": 3},
            {"validation_share": 0.3},
            {"validation_seed": 1},
        )
    ]
    write_clip(second.listing.root, "extra", [1])
    assert open_tree(second.listing.root).digest == first.digest
    (second.listing.root / FOLDER / "00003" / "16.png").unlink()
    others.append(open_tree(second.listing.root).digest)
    write_list(first.listing.root, "test", {"00014": 7})
    others.append(open_tree(first.listing.root).digest)
    assert len({first.digest, *others}) == len(others) + 1


def test_a_root_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere")


def test_a_missing_split_list_names_what_was_searched_and_where(tree: Tree) -> None:
    root = tree()
    shutil.rmtree(root / LISTS / "test(single-labeled)")
    message = refusal(root)
    assert "test(single-labeled)/set_1.csv" in message
    assert repr(str(root)) in message


def test_a_root_one_folder_too_high_is_recognised(tree: Tree) -> None:
    root = tree(name="DFEW")
    assert f"Did you mean root = {str(root)!r}?" in refusal(root.parent)


def test_an_unknown_fold_names_those_that_exist(tree: Tree) -> None:
    message = refusal(tree(), folds=[1, 6])
    assert "no fold 6" in message
    assert message.endswith("has 1.")


@pytest.mark.parametrize("folds", [[], [1, 1]])
def test_no_fold_or_one_fold_twice_is_refused(tree: Tree, folds: list[int]) -> None:
    assert "at least one fold, none twice" in refusal(tree(), folds=folds)


def test_a_fold_that_was_not_requested_is_refused(tree: Tree) -> None:
    for fold in (None, 2):
        with pytest.raises(InputError, match=r"folds = \[1\]"):
            open_tree(tree(name=f"tree{fold}")).split("train", fold)


def test_missing_clips_are_named_and_counted(tree: Tree) -> None:
    root = tree()
    for name in ("00003", "00017"):
        shutil.rmtree(root / FOLDER / name)
    assert "2 clips (00003, 00017) of 21 listed" in refusal(root)


def test_a_clip_without_frames_is_named(tree: Tree) -> None:
    root = tree()
    for file in (root / FOLDER / "00003").iterdir():
        file.unlink()
    assert "clip 00003: no frames" in refusal(root)


def test_the_version_on_disk_is_offered(tree: Tree) -> None:
    assert "version = '16f'" in refusal(tree(), version="original")


def test_a_missing_frame_folder_is_named(tree: Tree) -> None:
    root = tree()
    shutil.rmtree(root / "Clip")
    assert f"looked for {FOLDER} in {str(root)!r}" in refusal(root)


@pytest.mark.parametrize("label", ["8", "-1", "happy", "1.5", ""])
def test_an_unknown_label_names_file_line_and_clip(tree: Tree, label: str) -> None:
    root = tree()
    write_list(root, "test", {"00014": 1, "00015": label})
    assert re.search(r"set_1\.csv:3: unknown label .* of clip 00015", refusal(root))


def test_a_row_of_another_shape_is_shown(tree: Tree) -> None:
    root = tree()
    write_list(root, "test", {"00014": "1,2"})
    assert "set_1.csv:2: must be video_name,label. Got '00014,1,2'" in refusal(root)


def test_an_empty_list_is_refused(tree: Tree) -> None:
    root = tree()
    write_list(root, "test", {})
    assert "the list is empty" in refusal(root)


def test_a_clip_listed_twice_is_refused(tree: Tree) -> None:
    root = tree()
    write_list(root, "test", {"00014": 1, "14": 2})
    assert "set_1.csv:3: clip 00014 is listed twice" in refusal(root)


def test_a_clip_in_train_and_test_is_refused(tree: Tree) -> None:
    root = tree()
    write_list(root, "test", {"00014": 1, "00002": 7})
    assert "1 clip (00002) in both the train and the test list" in refusal(root)


@pytest.mark.parametrize("name", ["../outside", "..", "/etc", "a/../../b", "a\\b"])
def test_a_name_that_climbs_out_of_the_root_is_refused(tree: Tree, name: str) -> None:
    root = tree()
    write_list(root, "test", {name: 7})
    assert "must be one folder inside the root" in refusal(root)


@pytest.mark.parametrize("what", ["clip", "frame", "all clips"])
def test_a_link_that_leads_out_of_the_root_is_refused(tree: Tree, tmp_path: Path, what: str) -> None:
    root = tree()
    inside = {"clip": FOLDER / "00014", "frame": FOLDER / "00014" / "3.png", "all clips": FOLDER}[what]
    outside = tmp_path / "outside"
    (root / inside).rename(outside)
    (root / inside).symlink_to(outside)
    message = refusal(root)
    assert "leads out of the root" in message
    assert str(outside) in message


def test_links_inside_the_root_and_a_linked_root_are_read(tree: Tree, tmp_path: Path) -> None:
    root = tree()
    shutil.rmtree(root / FOLDER / "00014")
    (root / FOLDER / "00014").symlink_to(root / FOLDER / "00015")
    (tmp_path / "link").symlink_to(root)
    assert levels(open_tree(tmp_path / "link").split("test", 1))[0] == 150


def test_a_broken_link_is_named(tree: Tree) -> None:
    root = tree()
    (root / FOLDER / "00014" / "17.png").symlink_to("nothing.png")
    assert "17.png cannot be read" in refusal(root)


@pytest.mark.parametrize("damage", [b"not an image", b""])
def test_an_unreadable_image_is_named(tree: Tree, damage: bytes) -> None:
    root = tree()
    (root / FOLDER / "00014" / "3.png").write_bytes(damage)
    with pytest.raises(InputError, match=r"00014/3\.png cannot be read as an image"):
        levels(open_tree(root).split("test", 1))


def test_a_truncated_image_is_named(tree: Tree) -> None:
    root = tree(pattern="{}.jpg")
    picture = root / FOLDER / "00014" / "3.jpg"
    picture.write_bytes(picture.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"00014/3\.jpg cannot be read as an image"):
        levels(open_tree(root).split("test", 1))


def test_sources_must_name_every_clip(tree: Tree) -> None:
    root = tree()
    rows = "".join(f"{n},film {n % 4}\n" for n in range(20))
    (root / LISTS / "sources.csv").write_text("video_name,source\n" + rows)
    message = refusal(root)
    assert "set_1.csv:" in message
    assert "sources.csv names no source of clip 00020" in message
    data = dfew(root=str(root), folds=[1], skip_bad=True)
    assert len(data.skipped) == 1
    assert "00020" not in data.listing.entries


needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the official split lists are not at {REAL}")


def official_tree(root: Path, recode: Callable[[str], str]) -> Path:
    """Copy the official lists with recoded labels, and make an empty folder for every clip."""
    for path in (REAL / LISTS).rglob("*.csv"):
        target = root / path.relative_to(REAL)
        target.parent.mkdir(parents=True, exist_ok=True)
        header, *rows = path.read_text().splitlines()
        pairs = (row.split(",") for row in rows)
        target.write_text("\n".join([header, *(f"{i},{recode(label)}" for i, label in pairs)]) + "\n")
    listed = [REAL / LISTS / f"{part}(single-labeled)" / "set_1.csv" for part in ("train", "test")]
    for path in listed:
        for row in path.read_text().splitlines()[1:]:
            (root / FOLDER / row.split(",")[0]).mkdir(parents=True)
    return root


@needs_real
@pytest.mark.parametrize("shift", [0, 1])
def test_the_official_lists_give_the_official_splits(tmp_path: Path, shift: int) -> None:
    root = official_tree(tmp_path, lambda label: str(int(label) - shift))
    data = dfew(root=str(root))
    tests = [data.split("test", fold) for fold in data.folds]
    assert [len(clips.ids) for clips in tests] == [2341, 2341, 2340, 2339, 2336]
    assert len({i for clips in tests for i in clips.ids}) == 11697
    assert tuple(np.bincount(np.concatenate([clips.labels for clips in tests]))) == DFEW_CLIPS
    train, validation = data.split("train", 1), data.split("validation", 1)
    assert len(train.ids) + len(validation.ids) == 9356
    assert np.bincount(validation.labels).tolist() == [
        round(0.15 * n) for n in (1956, 1515, 2135, 1738, 1175, 116, 721)
    ]


@needs_real
def test_official_lists_recoded_in_another_order_are_refused(tmp_path: Path) -> None:
    root = official_tree(tmp_path, lambda label: str(8 - int(label)))
    message = refusal(root)
    assert "The labels were reordered" in message
    assert "happy 902" in message
