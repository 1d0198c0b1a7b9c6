"""Recorded data sets: damaged files, changed files, and protocols."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.trees import clips

from study.errors import InputError
from study.tasks.clips.data.files import source
from study.tasks.clips.data.files.frames import ClipVerdict, Footage, by_number, inspect
from study.tasks.clips.data.sets.recorded import Recorded

Tree = Callable[..., Path]


def frames(folder: Path, levels: list[int], suffix: str) -> None:
    folder.mkdir(parents=True)
    for number, level in enumerate(levels, start=1):
        picture = np.full((40, 40, 3), level, np.uint8)
        picture[:, :8] = 0  # a dark left edge, so that a mirror image is another picture
        Image.fromarray(picture).save(folder / f"{number}.{suffix}")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write 8 train and 4 test clips of two classes; frame t of clip n has the grey level 10 n + t."""

    def build(count: int = 16, name: str = "tree", suffix: str = "png") -> Path:
        root = tmp_path / name
        rows = []
        for n in range(12):
            frames(root / f"c{n}", [10 * n + t for t in range(count)], suffix)
            rows.append(f"c{n},{'ab'[n % 2]},{'test' if n >= 8 else 'train'}\n")
        (root / "clips.csv").write_text("path,label,split\n" + "".join(rows))
        return root

    return build


def open_tree(root: Path, **parameters: Any) -> Recorded:
    return clips(**{"root": str(root), "frames": 4, "size": 20, "validation_share": 0.25, **parameters})


def levels(pixels: np.ndarray) -> list[list[int]]:
    return [[int(level) for level in clip[0, :, 10, 12]] for clip in pixels]


def refusal(root: Path, **parameters: Any) -> str:
    with pytest.raises(InputError) as caught:
        assert open_tree(root, **parameters).digest
    assert caught.value.exit_code == 2
    return str(caught.value)


def truncate(root: Path) -> None:
    file = root / "c9/3.jpg"
    file.write_bytes(file.read_bytes()[:-80])


def empty_video(root: Path) -> None:
    (root / "c9.mp4").touch()
    replace_row(root, "c9.mp4,b,test")


def not_a_video(root: Path) -> None:
    (root / "c9.mp4").write_bytes(b"nothing of the kind" * 20)
    replace_row(root, "c9.mp4,b,test")


def replace_row(root: Path, row: str) -> None:
    path = root / "clips.csv"
    path.write_text(path.read_text().replace("c9,b,test", row))


def outside(root: Path) -> None:
    (root / "c9").rename(root.parent / "elsewhere")
    (root / "c9").symlink_to(root.parent / "elsewhere")


MISTAKES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated JPEG": (truncate, "c9/3.jpg cannot be read as an image"),
    "zero-byte video": (empty_video, "c9.mp4 is an empty file"),
    "no video": (not_a_video, "c9.mp4 cannot be read as a video"),
    "missing clip": (lambda root: replace_row(root, "c77,b,test"), "there is no c77"),
    "label outside the classes": (
        lambda root: replace_row(root, "c9,c,test"),
        "unknown label 'c' of clip c9",
    ),
    "path out of the root": (lambda root: replace_row(root, "../c9,b,test"), "must be inside the root"),
    "link that leads out": (outside, "leads out of the root"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_names_file_and_row_or_is_skipped_on_request_and_recorded(
    tree: Tree, mistake: str
) -> None:
    plant, expected = MISTAKES[mistake]
    if mistake == "no video":
        pytest.importorskip("av", reason="videos need PyAV, of the extra 'video'")
    root = tree(suffix="jpg")
    classes = ["a", "b"]
    sound = open_tree(root, classes=classes, skip_bad=True)
    assert sound.skipped == ()
    plant(root)
    message = refusal(root, classes=classes)
    assert expected in message
    assert f"{root / 'clips.csv'}:11: " in message
    data = open_tree(root, classes=classes, skip_bad=True)
    (skipped,) = data.skipped
    assert expected in skipped
    assert skipped.startswith("clips.csv:11: ")
    assert data.split("test").ids == ("c8", "c10", "c11")
    assert data.split("test").read(np.arange(3), None).shape == (3, 1, 4, 20, 20)
    assert data.digest != sound.digest
    assert data.split("validation").ids == sound.split("validation").ids


def test_many_bad_clips_are_counted_and_the_first_are_explained(tree: Tree) -> None:
    root = tree()
    for n in (2, 5, 9, 11):
        (root / f"c{n}/1.png").write_bytes(b"")
    message = refusal(root)
    assert "4 clips (c11, c2, c5, c9) of 12 listed cannot be used" in message
    assert "skip_bad = true" in message


def test_an_unreadable_root_is_refused(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree()

    def denied(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", denied)
    assert f"clips: root: no permission to read the folder {str(root)!r}" in refusal(root)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_root_without_permission_is_refused(tree: Tree) -> None:
    root = tree()
    root.chmod(0)
    try:
        assert "no permission" in refusal(root)
    finally:
        root.chmod(0o755)


def test_a_folder_of_lists_that_may_not_be_searched_is_refused(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree()
    exists = Path.exists

    def denied(self: Path, **options: bool) -> bool:
        if self.parent == root:
            raise PermissionError(13, "Permission denied", str(self))
        return exists(self, **options)

    monkeypatch.setattr(Path, "exists", denied)
    assert f"no permission to look into the folder {str(root)!r}" in refusal(root)


def test_a_linked_table_that_leads_out_of_the_root_is_refused(tree: Tree) -> None:
    root = tree()
    (root / "clips.csv").rename(root.parent / "away.csv")
    (root / "clips.csv").symlink_to(root.parent / "away.csv")
    message = refusal(root)
    assert "leads out of the root" in message
    assert "away.csv" in message
    assert "leads out of the root" in refusal(root, skip_bad=True)


def test_a_missing_extra_is_named_and_not_replaced(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(suffix="jpg")
    (root / "c9.mp4").write_bytes(b"something")
    replace_row(root, "c9.mp4,b,test")

    def absent(name: str) -> Any:
        if name.startswith("study."):
            return sys.modules[name]
        raise ImportError(name)

    monkeypatch.setattr("study.tasks.clips.data.files.pictures.importlib.import_module", absent)
    assert "pip install 'study[video]'" in refusal(root, skip_bad=True)
    with pytest.raises(InputError, match=r"decoder 'simplejpeg' needs simplejpeg: pip install"):
        open_tree(root, decoder="simplejpeg").split("train").read(np.array([0]), None)


@pytest.mark.parametrize("kind", ["avi", "mp4"])
def test_a_video_that_was_cut_off_is_refused(tree: Tree, kind: str) -> None:
    av = pytest.importorskip("av", reason="videos need PyAV, of the extra 'video'")
    root = tree()
    noise = np.random.default_rng(0)
    video = root / f"c9.{kind}"
    options = {"movflags": "faststart"} if kind == "mp4" else {}
    with av.open(str(video), "w", options=options) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(40):
            picture = noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    replace_row(root, f"{video.name},b,test")
    assert open_tree(root).inspect()[video.name].frames == 40
    whole = video.read_bytes()
    for share in (0.4, 0.6, 0.8):
        video.write_bytes(whole[: int(share * len(whole))])
        assert f"{video.name} cannot be read as a video" in refusal(root)


def test_a_changed_pixel_changes_the_digest_and_a_touched_or_moved_file_does_not(
    tree: Tree, tmp_path: Path
) -> None:
    root, cache = tree(), str(tmp_path / "cache")
    before = open_tree(root, cache=cache).digest
    assert open_tree(tree(name="elsewhere")).digest == before
    file = root / "c3/2.png"
    os.utime(file, ns=(1, 1))
    assert open_tree(root, cache=cache).digest == before
    with Image.open(file) as image:
        pixels = np.array(image)
    pixels[5, 5] += 1
    Image.fromarray(pixels).save(file)
    assert open_tree(root, cache=cache).digest != before


def test_files_that_have_not_changed_are_not_read_again(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = tree(), str(tmp_path / "cache")
    read: list[str] = []

    def recording(footage: Footage) -> ClipVerdict:
        read.append(footage.files[0].parent.name)
        return inspect(footage)

    monkeypatch.setattr(source, "inspect", recording)
    calls: list[tuple[int, int]] = []
    digest = open_tree(root).digest
    read.clear()
    data = open_tree(root, cache=cache)
    data.inspect(lambda done, total: calls.append((done, total)))
    assert data.digest == digest
    assert sorted(read) == sorted(f"c{n}" for n in range(12))
    assert calls == [(n, 12) for n in range(1, 13)]
    read.clear()
    calls.clear()
    assert open_tree(root, cache=cache).digest == digest
    assert read == []
    os.utime(root / "c3/2.png", ns=(1, 1))
    again = open_tree(root, cache=cache)
    again.inspect(lambda done, total: calls.append((done, total)))
    assert again.digest == digest
    assert read == ["c3"]
    assert calls == [(1, 1)]


@pytest.mark.parametrize(
    "damage", ["", "{", '{"reader": 2}\n', "[]", '{"reader": 3}\n00000000 ["c1", "", "", 3, [], []]\n']
)
def test_a_damaged_cache_is_made_anew(tree: Tree, tmp_path: Path, damage: str, caplog: Any) -> None:
    root, cache = tree(), tmp_path / "cache"
    digest = open_tree(root, cache=str(cache)).digest
    (file,) = cache.iterdir()
    whole = sorted(file.read_text().split("\n"))
    file.write_text(damage)
    with caplog.at_level(logging.WARNING):
        assert open_tree(root, cache=str(cache)).digest == digest
    assert sorted(file.read_text().split("\n")) == whole
    assert [path.name for path in cache.iterdir()] == [file.name]


def test_a_cache_that_cannot_be_written_stops_nothing(tree: Tree, tmp_path: Path, caplog: Any) -> None:
    root, blocked = tree(), tmp_path / "a file"
    blocked.touch()
    with caplog.at_level(logging.WARNING):
        assert open_tree(root, cache=str(blocked / "cache")).digest == open_tree(root).digest
    assert "cannot be written" in caplog.text


def test_selection_on_test_is_named_optimistic_and_leaves_all_of_train(tree: Tree) -> None:
    held_out, on_test = (open_tree(tree(name=name), select_on=name) for name in ("held-out", "test"))
    assert not held_out.is_optimistic
    assert on_test.is_optimistic
    assert on_test.split("validation").ids == on_test.split("test").ids
    assert on_test.split("train").ids == tuple(f"c{n}" for n in range(8))
    assert len(held_out.split("train").ids) == 6
    assert "optimistic" in on_test.facts["validation split"]
    assert held_out.digest != on_test.digest


def test_two_by_two_views_are_two_moments_by_the_clip_and_its_mirror_image(tree: Tree) -> None:
    test = open_tree(tree(32), views="2x2").split("test")
    assert test.views is not None
    assert test.views.clip.tolist() == [n for n in range(4) for _ in range(4)]
    pixels = test.views.read(np.array([0, 1, 2, 3]))
    assert levels(pixels[[0, 2]]) == [[80 + t for t in (2, 10, 18, 26)], [80 + t for t in (6, 14, 22, 30)]]
    np.testing.assert_array_equal(pixels[1], pixels[0][..., ::-1])
    np.testing.assert_array_equal(pixels[3], pixels[2][..., ::-1])
    assert not np.array_equal(pixels[1], pixels[0])
    assert open_tree(tree(32, name="other"), views="2x2").split("train").views is None


def test_all_consecutive_windows_are_read_and_the_last_one_ends_with_the_clip(tree: Tree) -> None:
    data = open_tree(tree(18), sampling="window", stride=2, views="windows")
    test = data.split("test")
    assert test.views is not None
    assert test.views.clip.tolist() == [n for n in range(4) for _ in range(3)]
    assert levels(test.views.read(np.arange(3))) == [
        [80, 82, 84, 86],
        [87, 89, 91, 93],
        [91, 93, 95, 97],
    ]
    assert levels(test.read(np.array([0]), None)) == [[85, 87, 89, 91]]


def test_scaled_decoding_is_another_reading_and_plain_decoding_nearly_the_same(tree: Tree) -> None:
    pytest.importorskip("simplejpeg", reason="of the extra 'video'")
    root = tree(suffix="jpg")
    read = {
        name: open_tree(root, decoder=name, channels=3).split("test").read(np.arange(4), None).astype(int)
        for name in ("pillow", "simplejpeg", "simplejpeg-scaled")
    }
    for name in ("simplejpeg", "simplejpeg-scaled"):
        assert np.abs(read[name] - read["pillow"]).mean() < 2
    assert open_tree(root, decoder="simplejpeg").digest != open_tree(root).digest


def test_a_split_can_be_read_in_another_process(tree: Tree) -> None:
    for views in ("1x1", "2x2"):
        split = open_tree(tree(name=f"tree {views}"), views=views).split("test")
        before = split.read(np.array([2]), None)
        sent = pickle.loads(pickle.dumps(split))
        np.testing.assert_array_equal(sent.read(np.array([2]), None), before)
        if split.views is not None:
            np.testing.assert_array_equal(sent.views.read(np.array([3])), split.views.read(np.array([3])))


def test_memory_that_is_full_changes_no_pixel(tree: Tree) -> None:
    root = tree()
    data = open_tree(root)
    full = source.Raw(data.listing, data.shape, "pillow", None, memory_bytes=400)
    entry = data.listing.entries["c8"]
    for indices in (np.array([3, 3, 0]), np.array([0, 3, 15])):
        np.testing.assert_array_equal(full.read(entry, indices), data.source.read(entry, indices))


def test_facts_name_what_a_reader_must_know_and_not_where_it_lies(tree: Tree) -> None:
    root = tree()
    facts = open_tree(root, sampling="window", stride=3, short="last", views="windows").facts
    text = " ".join(facts.values())
    for word in ("folders of frames", "stride 3", "all consecutive windows", "last frame repeated", "pillow"):
        assert word in text
    assert str(root) not in text


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"stride": 2}, "only sampling = 'window' has a stride"),
        ({"views": "windows"}, "needs sampling = 'window'"),
    ],
)
def test_settings_that_would_change_nothing_are_refused(tree: Tree, parameters: Any, expected: str) -> None:
    assert expected in refusal(tree(), **parameters)


def test_frames_are_sorted_by_every_number_in_their_names() -> None:
    names = [
        "00010_00002.jpg",
        "2.jpg",
        "10.jpg",
        "1.jpg",
        "00002_00010.jpg",
        "00002_00009.jpg",
        "a3b20.jpg",
        "a3b3.jpg",
    ]
    ordered = sorted(names, key=by_number)
    assert ordered == [
        "1.jpg",
        "2.jpg",
        "00002_00009.jpg",
        "00002_00010.jpg",
        "10.jpg",
        "00010_00002.jpg",
        "a3b3.jpg",
        "a3b20.jpg",
    ]
