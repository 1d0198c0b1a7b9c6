"""Composed and decomposed letters (NFC and NFD) are one in lists and on the disk; tables are regular files."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.trees import clips

from study.errors import InputError

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))


def write_clip(folder: Path, level: int) -> None:
    folder.mkdir(parents=True)
    for number in (1, 2):
        Image.fromarray(np.full((16, 16), level, np.uint8)).save(folder / f"{number}.png")


def tree(root: Path, on_disk: str, in_table: str) -> Path:
    rows = ["path,label,source,split"]
    for number in range(8):
        write_clip(root / f"caf{on_disk}/ol{on_disk}{number}", 10 * number)
        letter = (COMPOSED, DECOMPOSED)[number % 4 // 2]
        label = f"gên{letter}" if number % 2 else "sad"
        rows.append(
            f"caf{in_table}/ol{in_table}{number},{label},Zo{letter},{'test' if number > 3 else 'train'}"
        )
    (root / "clips.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.mark.parametrize("on_disk", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("in_table", [COMPOSED, DECOMPOSED])
def test_a_clip_is_found_and_named_alike_in_either_form(tmp_path: Path, on_disk: str, in_table: str) -> None:
    parameters = {"frames": 2, "size": 16, "validation_share": 0.5}
    data = clips(root=str(tree(tmp_path / "a", on_disk, in_table)), **parameters)
    assert data.classes == (unicodedata.normalize("NFC", f"gên{COMPOSED}"), "sad")
    test = data.split("test")
    assert test.ids == tuple(f"caf{COMPOSED}/ol{COMPOSED}{number}" for number in range(4, 8))
    assert set(test.sources) == {f"Zo{COMPOSED}"}
    assert test.read(np.arange(4), None)[:, 0, 0, 0, 0].tolist() == [40, 50, 60, 70]
    other = clips(root=str(tree(tmp_path / "b", COMPOSED, COMPOSED)), **parameters)
    assert data.digest == other.digest


def test_a_clip_listed_in_both_forms_is_listed_twice(tmp_path: Path) -> None:
    root = tree(tmp_path / "a", COMPOSED, COMPOSED)
    table = root / "clips.csv"
    table.write_text(table.read_text() + f"caf{DECOMPOSED}/ol{DECOMPOSED}1,sad,Zo,test\n")
    with pytest.raises(InputError, match="listed twice"):
        clips(root=str(root), frames=2, size=16)


def test_classes_are_named_in_either_form(tmp_path: Path) -> None:
    root = tree(tmp_path / "a", COMPOSED, COMPOSED)
    named = ["sad", unicodedata.normalize("NFD", f"gên{COMPOSED}")]
    data = clips(root=str(root), frames=2, size=16, classes=named)
    assert data.split("test").labels.tolist() == [0, 1, 0, 1]


def test_a_table_that_is_a_fifo_is_named_and_not_opened(tmp_path: Path) -> None:
    root = tree(tmp_path / "a", COMPOSED, COMPOSED)
    (root / "clips.csv").unlink()
    os.mkfifo(root / "clips.csv")
    with pytest.raises(InputError, match="FIFO"):
        clips(root=str(root), frames=2, size=16)
