from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.errors import InputError
from study.ledger.predictions import Predictions, load, save

SOME = Predictions(
    ids=np.array(["a/1", "ü"]),
    sources=np.array(["person-1", "person-2"]),
    labels=np.array([1, 0]),
    logits=np.array([[0.25, -3.5], [1e-30, 7.0]], dtype=np.float32),
)


def test_what_is_saved_is_read_back_without_pickles(tmp_path: Path) -> None:
    save(tmp_path / "p.npz", SOME)
    again = load(tmp_path / "p.npz")
    for name in ("ids", "sources", "labels", "logits"):
        np.testing.assert_array_equal(getattr(again, name), getattr(SOME, name), strict=True)


def test_scenes_are_kept_where_they_are_known(tmp_path: Path) -> None:
    known = replace(SOME, parts=np.array(["Action", "War"]))
    save(tmp_path / "p.npz", known)
    np.testing.assert_array_equal(load(tmp_path / "p.npz").parts, known.parts, strict=True)


def test_files_without_scenes_are_as_they_always_were(tmp_path: Path) -> None:
    save(tmp_path / "p.npz", SOME)
    with np.load(tmp_path / "p.npz") as stored:
        assert stored.files == ["ids", "sources", "labels", "logits"]
    assert len(load(tmp_path / "p.npz").parts) == 0


def test_the_same_predictions_give_the_same_bytes(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", SOME)
    save(tmp_path / "b.npz", SOME)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"not an archive"])
def test_another_file_is_refused_with_its_name(tmp_path: Path, content: Any) -> None:
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"p\.npz: not a file of predictions"):
        load(tmp_path / "p.npz")
