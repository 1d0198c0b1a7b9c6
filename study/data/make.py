"""Writes procedural faces to disk as a data set that a user could have been given."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from study.data.clips import Clips
from study.data.dfew import FOLDERS, LISTS, PARTS
from study.data.faces import Faces
from study.errors import InputError, listing, nearest
from study.ledger.files import write
from study.registry import Registry

Progress = Callable[[int, int], None]
"""Called with the number of clips written and of all clips."""

LAYOUTS = ("dfew",)
_JPEG_QUALITY = 95
_CLIPS_AT_ONCE = 16
_CLIPS_PER_PERSON = 7
"""Each person shows each emotion once, so that also a small set has people enough for its folds."""


@dataclass(frozen=True)
class Made:
    """What was written."""

    out: Path
    clips: int
    frames: int
    """Of one clip."""
    people: int
    folds: int


def make(
    out: Path,
    *,
    layout: str = "dfew",
    clips: int = 700,
    size: int = 64,
    folds: int = 5,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Made:
    """Write procedural clips as JPEG frames, with split lists, in the official layout of a data set.

    The folds' test lists share no person and together hold every clip. Everything is written beside `out`
    and takes its name in the end, so that a half-written tree is never found there.

    Args:
        out: The folder to write; it must not exist, or be empty.
        layout: One of `LAYOUTS`.
        clips: How many clips.
        size: Height and width of the frames in pixels.
        folds: How many train and test lists.
        parameters: Further parameters of the data set ``faces``.
        progress: Is told how far it is.

    Raises:
        InputError: `out` is in use, the layout is unknown, a parameter is wrong, there are fewer people than folds.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}.{nearest(layout, LAYOUTS)} Allowed: {listing(LAYOUTS)}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder; name another one.")
    own = {"channels": 3, "clips_per_person": _CLIPS_PER_PERSON, **(parameters or {})}
    config = {"name": "faces", **own, "train_clips": clips, "size": size}
    registry = Registry()
    data: Faces = registry.build("dataset", registry.resolve("dataset", config, "faces"))
    shown = data.split("train")
    people = list(dict.fromkeys(shown.sources))
    if not 2 <= folds <= len(people):
        raise InputError(f"folds must be from 2 to the number of people, {len(people)}. Got {folds} instead.")

    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        _write_frames(shown, aside / FOLDERS["16f"], progress)
        _write_lists(shown, aside / LISTS, {person: 1 + i % folds for i, person in enumerate(people)})
        about = {
            "made": "procedural faces; no evidence about real ones",
            "digest": data.digest,
            "parameters": config,
        }
        write(aside / "about.json", json.dumps(about, indent=1) + "\n")
        aside.chmod(0o755)
        if out.exists():
            out.rmdir()
        aside.rename(out)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return Made(out, clips, data.shape.frames, len(people), folds)


def _id(index: int) -> str:
    return f"{index + 1:05d}"


def _write_frames(shown: Clips, folder: Path, progress: Progress | None) -> None:
    total = len(shown.ids)
    for start in range(0, total, _CLIPS_AT_ONCE):
        indexes = np.arange(start, min(start + _CLIPS_AT_ONCE, total))
        for index, clip in zip(indexes.tolist(), shown.read(indexes, None), strict=True):
            place = folder / _id(index)
            place.mkdir(parents=True)
            for number, frame in enumerate(clip.transpose(1, 2, 3, 0), start=1):
                Image.fromarray(frame.squeeze()).save(place / f"{number}.jpg", quality=_JPEG_QUALITY)
        if progress:
            progress(min(start + _CLIPS_AT_ONCE, total), total)


def _write_lists(shown: Clips, folder: Path, fold_of: Mapping[str, int]) -> None:
    """Write, for each fold, its people's clips as the test list and all others as the train list."""
    clips = [(_id(i), label + 1, shown.sources[i]) for i, label in enumerate(shown.labels.tolist())]
    for fold in sorted(set(fold_of.values())):
        for part in PARTS:
            rows = [
                f"{name},{label}\n"
                for name, label, person in clips
                if (fold_of[person] == fold) == (part == "test")
            ]
            write(
                folder / f"{part}(single-labeled)" / f"set_{fold}.csv", "video_name,label\n" + "".join(rows)
            )
    sources = [f"{name},{person}\n" for name, _, person in clips]
    write(folder / "sources.csv", "video_name,source\n" + "".join(sources))
