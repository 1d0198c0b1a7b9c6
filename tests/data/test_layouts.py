"""What would break for a user of FERV39k, of MAFW, or of clips of their own: small trees and the official lists."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.trees import clips, dfew, ferv39k, mafw

from study.errors import InputError
from study.tasks.clips.data.contract import Split
from study.tasks.clips.data.sets.dfew import dfew_listing
from study.tasks.clips.data.sets.ferv39k import ferv39k_listing
from study.tasks.clips.data.sets.mafw import CLASSES, mafw_listing
from study.tasks.clips.data.sets.recorded import Recorded

SHARED = Path(__file__).parents[3] / "shared" / "data"
FERV39K_CLIPS = Path("2_ClipsforFaceCrop")
SETUPS = Path("4_setups/All_scenes")
SINGLE = Path("Train & Test Set/single/no_caption")
EMOTIONS = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)


def frames(folder: Path, levels: list[int], suffix: str = "png") -> None:
    folder.mkdir(parents=True)
    for number, level in enumerate(levels, start=1):
        Image.new("RGB", (24, 24), (level, level, level)).save(folder / f"{number}.{suffix}")


def video(path: Path, levels: list[int]) -> None:
    av = pytest.importorskip("av", reason="videos need PyAV, of the extra 'video'")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.bit_rate = 4_000_000
        for level in levels:
            picture = Image.new("RGB", (32, 32), (level, level, level))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def levels(data: Recorded, split: Split = "test", index: int = 0, fold: int | None = None) -> list[int]:
    read = data.split(split, fold).read(np.array([index]), None)
    return [int(level) for level in read[0, 0, :, 8, 8]]


def refusal(build: Callable[[], Recorded]) -> str:
    with pytest.raises(InputError) as caught:
        assert build().digest
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """FERV39k with two scenes, 14 train and 7 test clips of 12 frames; frame t of clip n has the level 10 n + t."""
    root, listed = tmp_path / "FERV39k", []
    for n in range(21):
        path = f"{('Action', 'School')[n % 2]}/{EMOTIONS[n % 7]}/{n:04d}"
        frames(root / FERV39K_CLIPS / path, [10 * n + t for t in range(12)])
        listed.append(f"{path} {EMOTIONS[n % 7]}\n")
    write(root / SETUPS / "train_All.csv", "".join(listed[:14]))
    write(root / SETUPS / "test_All.csv", "".join(listed[14:]) + "\n")
    return root


def test_ferv39k_classes_are_names_and_each_clip_has_its_scene(scenes: Path) -> None:
    data = ferv39k(root=str(scenes), size=16, frames=4)
    test = data.split("test")
    assert data.folds == ()
    assert [data.classes[label] for label in test.labels] == list(EMOTIONS)
    assert test.scenes == tuple(("Action", "School")[n % 2] for n in range(14, 21))
    assert test.ids[0] == "Action/Happy/0014"
    assert levels(data) == [140 + t for t in (1, 4, 7, 10)]


def test_ferv39k_folders_may_be_written_otherwise(scenes: Path) -> None:
    (scenes / FERV39K_CLIPS).rename(scenes / "2_clips_for_face_crop")
    (scenes / "4_setups").rename(scenes / "4_Setups")
    assert levels(ferv39k(root=str(scenes), frames=4)) == [141, 144, 147, 150]


def test_ferv39k_names_the_missing_folder_and_the_nearest_one(scenes: Path) -> None:
    (scenes / FERV39K_CLIPS).rename(scenes / "3_ClipsforFaceCropp")
    message = refusal(lambda: ferv39k(root=str(scenes)))
    assert "looked for 2_ClipsforFaceCrop" in message
    assert "Did you mean '3_ClipsforFaceCropp'?" in message
    message = refusal(lambda: ferv39k(root=str(scenes.parent)))
    assert f"Did you mean root = {str(scenes)!r}?" in message


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("Action/Happy/0014 Happ", "unknown label 'Happ'"),
        ("Action/Happy/0014 Sad", "lies in 'Happy' and is labelled 'Sad'"),
        ("Action/Happy/0014", "must be Scene/Emotion/clip"),
        ("../Happy/0014 Happy", "inside the root"),
    ],
)
def test_a_wrong_row_of_ferv39k_names_file_and_row(scenes: Path, row: str, expected: str) -> None:
    path = scenes / SETUPS / "test_All.csv"
    path.write_text(path.read_text().rstrip("\n") + f"\n{row}\n")
    message = refusal(lambda: ferv39k(root=str(scenes)))
    assert f"{path}:8: " in message
    assert expected in message
    data = ferv39k(root=str(scenes), skip_bad=True)
    assert len(data.split("test").ids) == 7
    assert len(data.skipped) == 1
    assert "test_All.csv:8" in data.skipped[0]


@pytest.mark.skipif(not (SHARED / "FERV39k").is_dir(), reason="the official lists of FERV39k are not there")
def test_the_official_lists_of_ferv39k_give_its_official_counts(tmp_path: Path) -> None:
    found = ferv39k_listing(str(SHARED / "FERV39k"), needs_footage=False)
    train, test = found.folds[None]["train"], found.folds[None]["test"]
    assert (len(train), len(test)) == (31088, 7847)
    counts = Counter(entry.label for entry in (*train, *test))
    assert found.official is not None
    assert tuple(counts[label] for label in range(7)) == found.official.classes
    assert round(max(counts.values()) / 38935, 3) == 0.250
    assert len({entry.scene for entry in (*train, *test)}) == 22
    assert not found.skipped_rows


@pytest.mark.skipif(not (SHARED / "DFEW").is_dir(), reason="the official lists of DFEW are not there")
def test_the_official_lists_of_dfew_give_its_official_counts_without_a_frame() -> None:
    found = dfew_listing(str(SHARED / "DFEW"), [1, 2, 3, 4, 5], needs_footage=False)
    sizes = {fold: (len(parts["train"]), len(parts["test"])) for fold, parts in found.folds.items()}
    assert sizes == {1: (9356, 2341), 2: (9356, 2341), 3: (9357, 2340), 4: (9358, 2339), 5: (9361, 2336)}
    assert found.official is not None
    assert found.official.clips == sizes
    counts = Counter(entry.label for parts in found.folds.values() for entry in parts["test"])
    assert [counts[label] for label in range(7)] == [2445, 1894, 2669, 2173, 1469, 145, 902]


@pytest.fixture
def mafw_tree(tmp_path: Path) -> Path:
    """MAFW with 22 train and 11 test clips in fold 1, two frames each."""
    root = tmp_path / "MAFW"
    for n in range(33):
        frames(root / "data/frames" / f"{n:05d}", [n, n + 100])
    rows = [f"{n:05d}.mp4 {CLASSES[n % 11]}\n" for n in range(33)]
    write(root / SINGLE / "set_1/train.txt", "".join(rows[:22]))
    write(root / SINGLE / "set_1/test.txt", "".join(rows[22:]))
    return root


def open_mafw(root: Path, **parameters: object) -> Recorded:
    return mafw(**{"root": str(root), "folds": [1], "frames": 2, "size": 16, **parameters})


@pytest.mark.parametrize("name", ["Train & Test Set", "split", "anno", "Train_Test_Set", "label"])
def test_the_lists_of_mafw_are_found_under_their_many_names(mafw_tree: Path, name: str) -> None:
    (mafw_tree / "Train & Test Set").rename(mafw_tree / "away")
    (mafw_tree / "away").rename(mafw_tree / name)
    data = open_mafw(mafw_tree)
    assert data.split("test", 1).labels.tolist() == list(range(11))
    assert levels(data, fold=1) == [22, 122]


def test_two_folders_of_lists_are_refused_until_one_is_named(mafw_tree: Path) -> None:
    shutil.copytree(mafw_tree / "Train & Test Set", mafw_tree / "split")
    assert "split_root: must name the lists" in refusal(lambda: open_mafw(mafw_tree))
    assert len(open_mafw(mafw_tree, split_root="split").split("test", 1).ids) == 11
    assert len(open_mafw(mafw_tree, split_root=str(mafw_tree / "split")).split("test", 1).ids) == 11
    assert "there is no 'splits'" in refusal(lambda: open_mafw(mafw_tree, split_root="splits"))


@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "utf-8-sig"])
def test_lists_with_captions_are_read_in_utf_8_and_gbk(mafw_tree: Path, encoding: str) -> None:
    rows = [
        f"{n:05d}.mp4\t{CLASSES[n % 11]}\t他笑了，很高兴\tHe smiles, and more.\n"
        for n in range(33)
        if n % 11 != 4
    ]
    for part, chosen in (("train", rows[:20]), ("test", rows[20:])):
        write(mafw_tree / f"Train & Test Set/single/with_caption/set_1/{part}.txt", "".join(chosen), encoding)
    data = open_mafw(mafw_tree, captions="with")
    assert data.split("test", 1).labels.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert "with captions" in data.facts["labels"]


def test_lists_with_captions_do_not_stand_in_silently_for_those_without(mafw_tree: Path) -> None:
    (mafw_tree / SINGLE).rename(mafw_tree / "Train & Test Set/single/with_caption")
    message = refusal(lambda: open_mafw(mafw_tree))
    assert "captions = 'with'" in message
    assert "No captioned clip is neutral" in message


def test_compound_classes_are_the_same_in_every_fold(mafw_tree: Path) -> None:
    lists = mafw_tree / "Train & Test Set/compound/no_caption"
    rows = {
        1: ["00000.mp4 anger_disgust", "00001.mp4 fear_surprise", "00002.mp4 neutral"],
        2: ["00003.mp4 sadness", "00004.mp4 anger_disgust_contempt", "00005.mp4 disgust_anger"],
    }
    for fold, (first, second, third) in rows.items():
        write(lists / f"set_{fold}/train.txt", f"{first}\n{second}\n")
        write(lists / f"set_{fold}/test.txt", f"{third}\n")
    expected = (*CLASSES, "anger_disgust", "anger_disgust_contempt", "fear_surprise")
    for folds in ([1], [2], [1, 2]):
        found = mafw_listing(str(mafw_tree), folds, "compound")
        assert found.classes == expected
    assert [expected[entry.label] for entry in found.folds[2]["test"]] == ["anger_disgust"]
    refused = refusal(lambda: open_mafw(mafw_tree, labels="single", split_root=str(lists)))
    assert "no single/no_caption" in refused


def test_raw_frames_and_face_frames_are_distinguished(mafw_tree: Path) -> None:
    faces = open_mafw(mafw_tree)
    assert "version = 'faces'" in refusal(lambda: open_mafw(mafw_tree, version="raw"))
    (mafw_tree / "data/frames").rename(mafw_tree / "data/my_frames")
    raw = open_mafw(mafw_tree, version="raw", clips_root="data/my_frames")
    assert raw.facts["version"] != faces.facts["version"]
    assert "cut from the videos by the user" in raw.facts["version"]


def test_bare_ids_of_mafw_are_padded(mafw_tree: Path) -> None:
    write(mafw_tree / SINGLE / "set_1/test.txt", "22.mp4 anger\n32 disappointment\n")
    assert open_mafw(mafw_tree).split("test", 1).ids == ("00022", "00032")


def test_an_unknown_label_of_mafw_names_file_row_and_the_nearest(mafw_tree: Path) -> None:
    write(mafw_tree / SINGLE / "set_1/test.txt", "00022.mp4 anger\n00023.mp4 angre\n")
    message = refusal(lambda: open_mafw(mafw_tree))
    assert "test.txt:2: unknown label 'angre' of clip 00023" in message
    assert "Did you mean 'anger'" in message


def test_the_videos_of_dfew_are_read(tmp_path: Path) -> None:
    lists = tmp_path / "EmoLabel_DataSplit"
    write(lists / "train(single-labeled)/set_1.csv", "video_name,label\n00001,1\n00002,7\n")
    write(lists / "test(single-labeled)/set_1.csv", "video_name,label\n00003,2\n")
    for n in (1, 2, 3):
        video(tmp_path / f"Clip/original/{n}.mp4", [60 * n + 5 * t for t in range(8)])
    data = dfew(root=str(tmp_path), folds=[1], version="video", frames=4, size=16, validation_share=0.01)
    np.testing.assert_allclose(levels(data, fold=1), [180 + 5 * t for t in (1, 3, 5, 7)], atol=3)
    assert "videos" in data.facts["version"]
    assert [verdict.frames for verdict in data.inspect().values()] == [8, 8, 8]
    assert data.inspect()["00001"].sizes == ((32, 32),)


def films(root: Path, ids: Iterable[str]) -> None:
    """Write a list of sources: neighbouring clips are of one film."""
    rows = "".join(f"{i},film {number // 3}\n" for number, i in enumerate(sorted(ids)))
    write(root / "sources.csv", f"video_name,source\n{rows}")


def test_a_list_of_sources_names_the_films_of_ferv39k(scenes: Path) -> None:
    without = ferv39k(root=str(scenes), frames=4)
    assert without.split("test").sources == without.split("test").ids, "each clip is a source of its own"
    films(scenes / SETUPS, without.listing.entries)
    data = ferv39k(root=str(scenes), frames=4)
    place = {i: number // 3 for number, i in enumerate(sorted(without.listing.entries))}
    test = data.split("test")
    assert test.sources == tuple(f"film {place[i]}" for i in test.ids)
    assert data.facts["sources"] == "sources.csv"
    assert data.digest != without.digest


def test_a_list_of_sources_names_the_films_of_mafw(mafw_tree: Path) -> None:
    ids = open_mafw(mafw_tree).listing.entries
    films(mafw_tree / SINGLE, (f"{i}.mp4" for i in ids))
    place = {i: number // 3 for number, i in enumerate(sorted(ids))}
    test = open_mafw(mafw_tree).split("test", 1)
    assert test.sources == tuple(f"film {place[i]}" for i in test.ids)


def test_a_clip_without_a_source_is_named(scenes: Path) -> None:
    ids = list(ferv39k(root=str(scenes), frames=4).listing.entries)
    films(scenes / SETUPS, [i for i in ids if i != "Action/Happy/0014"])
    assert "sources.csv names no source of clip Action/Happy/0014" in refusal(
        lambda: ferv39k(root=str(scenes))
    )
    data = ferv39k(root=str(scenes), frames=4, skip_bad=True)
    assert "Action/Happy/0014" not in data.listing.entries
    (scenes / SETUPS / "sources.csv").write_text("Action/Happy/14,a\nAction/Happy/0014,b\n")
    assert "sources.csv:2" in refusal(lambda: ferv39k(root=str(scenes)))
    (scenes / SETUPS / "sources.csv").write_text("Action/Happy/14\n")
    assert "must be video_name,source" in refusal(lambda: ferv39k(root=str(scenes)))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """28 clips of two classes and seven people, half of them with two frames, half with five."""
    rows = []
    for n in range(28):
        frames(tmp_path / f"people/{n % 7}/{n}", [n] * (2 if n % 2 else 5), "jpg")
        rows.append(f"people/{n % 7}/{n},{('yes', 'no')[n // 7 % 2]},person {n % 7}\n")
    write(tmp_path / "clips.csv", "path,label,source\n" + "".join(rows))
    return tmp_path


def test_own_clips_are_divided_by_source_and_class_and_always_alike(own: Path) -> None:
    data = clips(root=str(own), frames=2, size=16, test_share=0.3, validation_share=0.3)
    splits = [data.split(name) for name in ("train", "validation", "test")]
    people = [set(split.sources) for split in splits]
    assert all(people)
    assert not people[0] & people[1]
    assert not people[2] & (people[0] | people[1])
    assert sorted(i for split in splits for i in split.ids) == sorted(
        f"people/{n % 7}/{n}" for n in range(28)
    )
    assert data.classes == ("no", "yes")
    assert all(np.ptp(np.bincount(split.labels)) == 0 for split in splits)
    again = clips(root=str(own), frames=2, size=16, test_share=0.3, validation_share=0.3)
    assert again.split("test").ids == splits[2].ids
    assert clips(root=str(own), test_share=0.3, test_seed=1).split("test").ids != splits[2].ids


def test_own_splits_and_class_order_are_kept(own: Path) -> None:
    table = (
        "path,label,split\npeople/0/0,yes,train\npeople/1/1,no,val\npeople/2/2,yes,test\npeople/3/3,no,test\n"
    )
    write(own / "other.csv", table)
    data = clips(root=str(own), table="other.csv", classes=["yes", "no"], frames=2, size=16)
    assert data.classes == ("yes", "no")
    assert [data.split(name).ids for name in ("train", "validation")] == [("people/0/0",), ("people/1/1",)]
    assert data.split("test").labels.tolist() == [0, 1]
    assert data.facts["validation split"] == "the data set's own"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("path,label,valence\na,b,1\n", "clips.csv:1: unknown column 'valence'"),
        ("path,source\na,b\n", "clips.csv:1: no column 'label'"),
        ("path,label\n", "the table is empty"),
        ("path,label\npeople/0/0,yes\n../x,no\n", "clips.csv:3: '../x' is not the path of a clip"),
        ("path,label\npeople/0/0,yes\npeople/0/0,no\n", "clips.csv:3: clip people/0/0 is listed twice"),
        ("path,label,split\npeople/0/0,yes,tset\n", "unknown split 'tset' of clip people/0/0"),
        ("path,label,split\npeople/0/0,yes,train\npeople/1/1,no,train\n", "no clip has the split 'test'"),
        (
            "path,label\npeople/0/0,yes\npeople/7/7,no\n",
            "clips.csv:3: clip people/7/7: there is no people/7/7",
        ),
    ],
)
def test_a_table_of_own_clips_that_cannot_be_used_names_the_reason(
    own: Path, table: str, expected: str
) -> None:
    write(own / "clips.csv", table)
    assert expected in refusal(lambda: clips(root=str(own)))


def test_a_label_that_is_not_among_the_named_classes_is_refused(own: Path) -> None:
    message = refusal(lambda: clips(root=str(own), classes=["yes", "noo"]))
    assert "clips.csv:9: unknown label 'no' of clip people/0/7" in message
    assert "Did you mean 'noo'" in message


def test_a_missing_table_is_named_and_the_one_that_is_there(own: Path) -> None:
    (own / "clips.csv").rename(own / "my.csv")
    assert "looked for clips.csv" in refusal(lambda: clips(root=str(own)))
    assert "table = " in refusal(lambda: clips(root=str(own)))


def test_a_misspelt_label_of_own_clips_is_reported_with_its_row_also_in_reports(own: Path) -> None:
    path = own / "clips.csv"
    path.write_text(path.read_text().replace(",yes", ",happy").replace("people/0/0,happy", "people/0/0,hapy"))
    data = clips(root=str(own))
    assert data.listing.doubts == ("clips.csv:2: is the label 'hapy' (1 in all) 'happy', misspelt?",)
    assert data.facts["doubtful labels"] == data.listing.doubts[0]
    assert clips(root=str(own), classes=["happy", "hapy", "no"]).listing.doubts == ()


def test_labels_of_own_clips_that_differ_in_case_alone_are_no_two_classes(own: Path) -> None:
    path = own / "clips.csv"
    path.write_text(path.read_text().replace("people/0/0,yes", "people/0/0,Yes"))
    assert f"{path}:3: the label 'yes' differs only in case from 'Yes' of clips.csv:2" in refusal(
        lambda: clips(root=str(own))
    )
    assert clips(root=str(own), classes=["yes", "Yes", "no"]).classes == ("yes", "Yes", "no")


def test_people_in_train_and_test_are_named_in_every_report(own: Path) -> None:
    table = "path,label,source,split\npeople/0/0,yes,ann,train\npeople/1/1,no,bob,train\npeople/2/2,yes,ann,test\n"
    write(own / "clips.csv", table)
    data = clips(root=str(own))
    assert data.listing.shared_sources == {None: ("ann",)}
    assert data.facts["in both train and test"] == "1 of the people or films: ann"


def test_a_file_that_is_not_a_list_is_refused_without_a_traceback(own: Path) -> None:
    path = own / "clips.csv"
    path.write_text(path.read_text() + "x" * 200_000 + ",yes,ann\n")
    assert f"{path}:30: is a row of 200008 characters" in refusal(lambda: clips(root=str(own)))
