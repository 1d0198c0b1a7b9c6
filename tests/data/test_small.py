"""Few clips and rare classes: an empty split names the key that fills it; official lists are sound as they are."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.trees import clips, mafw

from study.errors import InputError
from study.files import is_disk_full
from study.tasks.clips.data.check.checks import check_dataset
from study.tasks.clips.data.check.report import RemarkKind
from study.tasks.clips.data.files.listing import Official
from study.tasks.clips.data.files.store import CachedRows
from study.tasks.clips.data.sets import mafw as mafw_layout


def write_clip(folder: Path, level: int) -> None:
    folder.mkdir(parents=True)
    for number in (1, 2):
        Image.fromarray(np.full((16, 16), level, np.uint8)).save(folder / f"{number}.png")


def own(root: Path, rows: list[str], header: str = "path,label") -> Path:
    for number, row in enumerate(rows):
        write_clip(root / row.split(",")[0], number)
    (root / "clips.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def empty(root: Path, split: Any, **parameters: Any) -> str:
    data = clips(root=str(root), frames=2, size=16, **parameters)
    with pytest.raises(InputError) as caught:
        data.split(split)
    return str(caught.value)


def test_an_empty_validation_split_names_a_share_that_fills_it(tmp_path: Path) -> None:
    root = own(tmp_path, [f"c{n},{'abc'[n % 3]}" for n in range(9)])
    message = empty(root, "validation", validation_share=0.05)
    named = re.search(r"validation_share = (\S+) leaves", message)
    assert named is not None
    share = float(named[1])
    data = clips(root=str(root), frames=2, size=16, validation_share=share)
    assert len(data.split("validation").ids) > 0
    assert len(data.split("train").ids) > 0


def test_one_person_in_train_cannot_be_divided_and_a_column_is_named(tmp_path: Path) -> None:
    rows = [f"c{n},{'ab'[n % 2]},{'p1' if n < 6 else 'p2'},{'train' if n < 6 else 'test'}" for n in range(8)]
    message = empty(own(tmp_path, rows, "path,label,source,split"), "validation")
    assert "column split" in message


def test_an_empty_test_split_names_test_share(tmp_path: Path) -> None:
    root = own(tmp_path, [f"c{n},{'abc'[n % 3]}" for n in range(6)])
    assert "test_share" in empty(root, "test", test_share=0.05)
    with pytest.raises(InputError, match="test_share"):
        clips(
            root=str(own(tmp_path / "x", ["a,b,train", "c,d,train"], "path,label,split")), frames=2, size=16
        )


def test_a_folder_in_which_no_clip_is_says_what_it_holds(tmp_path: Path) -> None:
    root = own(tmp_path, [f"c{n},{'ab'[n % 2]}" for n in range(4)])
    (root / "inner").mkdir()
    for n in range(4):
        (root / f"c{n}").rename(root / f"inner/c{n}")
    with pytest.raises(InputError, match=r"holds 'clips.csv', 'inner'"):
        assert clips(root=str(root), frames=2, size=16).digest


@pytest.mark.parametrize("is_official", [True, False])
def test_a_class_that_official_lists_have_in_test_alone_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_official: bool
) -> None:
    singles = [name for name in mafw_layout.CLASSES if name != "neutral"]
    train = [f"{n:05d}.mp4\t{singles[n % 10]}\t笑\tSmiles." for n in range(40)]
    test = [f"{n:05d}.mp4\t{singles[n % 10]}\t笑\tSmiles." for n in range(40, 50)]
    test += ["00050.mp4\tanger_disgust\t笑\tSmiles."]
    lists = tmp_path / "anno/compound/with_caption/set_1"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(train), encoding="gbk")
    (lists / "test.txt").write_text("\n".join(test), encoding="gbk")
    for n in range(51):
        write_clip(tmp_path / f"data/frames/{n:05d}", n)
    numbers = Official({1: (40, 11 if is_official else 12)})
    monkeypatch.setitem(mafw_layout.OFFICIAL, ("compound", "with"), numbers)  # type: ignore[misc]
    parameters = {"folds": [1], "labels": "compound", "captions": "with", "frames": 2, "size": 16}
    report = check_dataset("mafw", lambda skip: mafw(root=str(tmp_path), skip_bad=skip, **parameters))
    absent = [remark for remark in report.remarks if remark.kind is RemarkKind.CLASSES_NOT_TRAINED]
    assert [remark.is_mistake for remark in absent] == [not is_official]
    assert {item.name for item in absent[0].items} == {"neutral", "anger_disgust"}


@pytest.mark.skipif(
    not hasattr(os, "posix_fallocate"), reason="files cannot be given their size at once here"
)
def test_a_disk_without_room_is_known_before_a_clip_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, asked = [], []

    def full(descriptor: int, start: int, size: int) -> None:
        asked.append(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def draw(index: int) -> np.ndarray:
        drawn.append(index)
        return np.zeros((3, 4), np.uint8)

    monkeypatch.setattr(os, "posix_fallocate", full)
    rows = CachedRows((5, 3, 4), draw, tmp_path / "rows.npy")
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENOSPC))) as caught:
        rows.read(np.array([0]))
    assert is_disk_full(caught.value)
    assert not drawn
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert rows.read(np.array([4])).shape == (1, 3, 4)
    assert asked == [(tmp_path / "rows.npy").stat().st_size]
