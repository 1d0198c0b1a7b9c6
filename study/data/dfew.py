"""DFEW (Jiang et al., 2020) in its official layout, and any data set that is written in the same one.

::

    <root>/Clip/clip_224x224_16f/<id5>/*.jpg      interpolated to 16 frames
    <root>/Clip/clip_224x224/<id5>/*.jpg          original frames
    <root>/EmoLabel_DataSplit/train(single-labeled)/set_1.csv    header video_name,label
    <root>/EmoLabel_DataSplit/test(single-labeled)/set_1.csv
    <root>/EmoLabel_DataSplit/sources.csv         optional, not DFEW's: header video_name,source
"""

from __future__ import annotations

import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from study.data.clips import Clips, ClipShape, Pixels, Split
from study.data.sampling import uniform
from study.data.store import Rows
from study.errors import InputError, listing
from study.hashing import digest, seed_of
from study.registry import Place, Range, component

_log = logging.getLogger(__name__)

READER = 1
"""Counts up whenever the same files would give other clips; named in CHANGELOG.md under Changes numbers."""
CLASSES = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
OFFICIAL_COUNTS = (2445, 1894, 2669, 2173, 1469, 145, 902)
"""Clips a class in any one train list together with its test list."""
LISTS = "EmoLabel_DataSplit"
FOLDERS: Mapping[str, str] = {"16f": "Clip/clip_224x224_16f", "original": "Clip/clip_224x224"}
PARTS = ("train", "test")
_IMAGES = {".jpg", ".jpeg", ".png"}
_NOT_SINGLE_LABELLED = 0

Listed = Mapping[str, int]
"""Clip id to label, in the order of the list."""


@dataclass(frozen=True)
class Dfew:
    """A `study.data.clips.Dataset` read from DFEW's layout; frames are decoded when clips are read."""

    root: Path
    folds: tuple[int, ...]
    frame_folder: Path
    lists: Mapping[int, Mapping[str, Listed]]
    """Fold, then ``train`` or ``test``; labels from 0."""
    source_of: Mapping[str, str]
    shape: ClipShape
    selection_share: float
    selection_seed: int
    cache: Path | None

    @property
    def is_procedural(self) -> bool:
        """Whether `study.data.make` wrote the tree; it leaves a file that says so."""
        return (self.root / "about.json").is_file()

    @property
    def is_optimistic(self) -> bool:
        """The selection split is held apart."""
        return False

    @property
    def facts(self) -> Mapping[str, str]:
        """Nothing beyond the configuration."""
        return {}

    @property
    def skipped(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The seven emotions, in the order of the official labels."""
        return CLASSES

    @cached_property
    def digest(self) -> str:
        """The lists, the names and sizes of the frame files, and how clips are sampled and resized."""
        return digest(
            {
                "dfew": READER,
                "lists": {
                    str(fold): {part: list(ids.items()) for part, ids in of.items()}
                    for fold, of in self.lists.items()
                },
                "sources": dict(self.source_of),
                "frames": self._frames_digest,
                "shape": self.shape,
                "selection": [self.selection_share, self.selection_seed],
            }
        )

    def split(self, name: Split, fold: int | None = None) -> Clips:
        """Return one split of a fold.

        Raises:
            InputError: The configuration does not ask for this fold, or a frame file cannot be read.
        """
        if fold not in self.folds:
            raise InputError(f"dfew: fold {fold!r} is not asked for; folds = {list(self.folds)}.")
        listed = self.lists[fold]["test" if name == "test" else "train"]
        if name != "test":
            held_out = selection_part(listed, self.source_of, self.selection_share, self.selection_seed)
            listed = {i: label for i, label in listed.items() if (i in held_out) == (name == "selection")}
        if not listed:
            raise InputError(f"dfew: the {name} split of fold {fold} is empty.")
        ids = tuple(listed)
        places = np.array([self._place[i] for i in ids])
        return Clips(
            ids=ids,
            sources=tuple(self.source_of.get(i, i) for i in ids),
            labels=np.array(list(listed.values()), dtype=np.int64),
            read=lambda indexes, generator: self._read(places[indexes], generator),
        )

    def _read(self, places: NDArray[np.int64], generator: np.random.Generator | None) -> Pixels:
        channels, frames, height, width = self.shape
        rows = [self._first[p] + uniform(len(self._files[p]), frames, generator) for p in places]
        pictures = self._pictures.read(np.concatenate(rows)) if rows else np.empty((0, *self.shape), np.uint8)
        return pictures.reshape(len(places), frames, channels, height, width).swapaxes(1, 2)

    @cached_property
    def _place(self) -> Mapping[str, int]:
        ids = {i for of in self.lists.values() for listed in of.values() for i in listed}
        return {i: place for place, i in enumerate(sorted(ids))}

    @cached_property
    def _files(self) -> Sequence[Sequence[tuple[str, int]]]:
        """Name and size in bytes of every frame of every listed clip, in their order."""
        return [_frame_files(self.frame_folder / i, self.root) for i in self._place]

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        """The row of each clip's first frame among all frames."""
        return np.cumsum([0, *(len(files) for files in self._files)], dtype=np.int64)

    @cached_property
    def _frames_digest(self) -> str:
        return digest([self.frame_folder.name, dict(zip(self._place, self._files, strict=True))])

    @cached_property
    def _pictures(self) -> Rows:
        channels, _, height, width = self.shape
        key = digest([READER, self._frames_digest, channels, height, width])
        path = self.cache / f"dfew-{key}.npy" if self.cache else None
        names = [
            self.frame_folder / i / file
            for i, files in zip(self._place, self._files, strict=True)
            for file, _ in files
        ]
        return Rows(
            (len(names), channels, height, width), lambda row: _decoded(names[row], channels, height), path
        )


@component("dataset")
def dfew(
    *,
    root: Annotated[str, Place(), "folder that holds Clip/ and EmoLabel_DataSplit/"],
    folds: Annotated[list[int], "official folds, all five for a published figure"] = [1, 2, 3, 4, 5],  # noqa: B006
    version: Annotated[Literal["16f", "original"], "frames interpolated to 16, or the original ones"] = "16f",
    frames: Annotated[int, Range(1, 1024), "frames a clip, one from each of as many equal segments"] = 16,
    size: Annotated[int, Range(16, 512), "height and width in pixels, by antialiased bilinear resizing"] = 32,
    channels: Annotated[Literal[1, 3], "1 for grey, 3 for colour"] = 1,
    selection_share: Annotated[float, Range(0.01, 0.5), "share of the train list that chooses epochs"] = 0.15,
    selection_seed: Annotated[int, Range(0), "another seed holds out other clips"] = 0,
    label_base: Annotated[Literal["infer", 0, 1], "the label of happy in the lists"] = "infer",
    cache: Annotated[str, Place(), "folder that keeps decoded frames; empty for none"] = "",
) -> Dfew:
    """DFEW, or clips written in its layout: seven emotions, official folds, part of train held out."""
    home = Path(root).expanduser()
    if not home.is_dir():
        raise InputError(f"dfew: root: there is no folder {str(home)!r}.")
    found = _read_lists(home, folds)
    base = _label_base(found, label_base)
    _log.info("dfew: %s has the label %d in these lists", CLASSES[0], base)
    lists = {
        fold: {
            part: {i: label - base for i, label in rows.items() if label >= base} for part, rows in of.items()
        }
        for fold, of in found.items()
    }
    ids = sorted({i for of in lists.values() for listed in of.values() for i in listed})
    return Dfew(
        root=home,
        folds=tuple(folds),
        frame_folder=_frame_folder(home, version, ids),
        lists=lists,
        source_of=_read_sources(home, ids),
        shape=ClipShape(channels, frames, size, size),
        selection_share=selection_share,
        selection_seed=selection_seed,
        cache=Path(cache).expanduser() if cache else None,
    )


def selection_part(listed: Listed, source_of: Mapping[str, str], share: float, seed: int) -> frozenset[str]:
    """Return the ids of a train list that are held out: whole sources, classes near their share.

    Sources come in an order that depends on `seed` and on their own names alone. Each is taken if that brings the
    numbers of held-out clips a class closer, in sum, to ``share`` times the numbers in the list.
    """
    members: dict[str, list[str]] = {}
    for i in listed:
        members.setdefault(source_of.get(i, i), []).append(i)
    missing = {label: share * count for label, count in Counter(listed.values()).items()}
    held_out: set[str] = set()
    for source in sorted(members, key=lambda name: seed_of("selection", seed, name)):
        brought = Counter(listed[i] for i in members[source])
        if sum(abs(missing[c] - n) - abs(missing[c]) for c, n in brought.items()) < 0:
            held_out.update(members[source])
            for label, count in brought.items():
                missing[label] -= count
    return frozenset(held_out)


def _list_path(root: Path, part: str, fold: int) -> Path:
    return root / LISTS / f"{part}(single-labeled)" / f"set_{fold}.csv"


def _read_lists(root: Path, folds: Sequence[int]) -> dict[int, dict[str, dict[str, int]]]:
    """Return fold, part, id and label as they are written."""
    if not folds or len(set(folds)) < len(folds):
        raise InputError(
            f"dfew: folds: must name at least one fold, none twice. Got {list(folds)!r} instead."
        )
    found: dict[int, dict[str, dict[str, int]]] = {}
    for fold in folds:
        found[fold] = {}
        for part in PARTS:
            path = _list_path(root, part, fold)
            if not path.is_file():
                raise InputError(_missing_list(root, path, fold))
            found[fold][part] = _read_list(path)
        twice = sorted(found[fold]["train"].keys() & found[fold]["test"].keys())
        if twice:
            raise InputError(f"dfew: fold {fold}: {_some(twice)} in both the train and the test list.")
    return found


def _missing_list(root: Path, path: Path, fold: int) -> str:
    there = sorted(int(p.stem[4:]) for p in path.parent.glob("set_*.csv") if p.stem[4:].isdecimal())
    if there:
        return f"dfew: folds: no fold {fold}: {path} does not exist; that folder has {', '.join(map(str, there))}."
    nested = root / "DFEW"
    hint = f" Did you mean root = {str(nested)!r}?" if (nested / LISTS).is_dir() else ""
    return f"dfew: root: no split list: looked for {path.relative_to(root)} in {str(root)!r}.{hint}"


def _rows(path: Path, columns: tuple[str, str]) -> Iterable[tuple[int, str, str]]:
    """Yield line number and two fields of each row, the header left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}.") from None
    for number, row in enumerate(csv.reader(text.splitlines()), start=1):
        fields = tuple(field.strip() for field in row)
        if not any(fields) or (number == 1 and fields == columns):
            continue
        if len(fields) != 2:
            raise InputError(f"{path}:{number}: must be {','.join(columns)}. Got {','.join(row)!r} instead.")
        yield number, _padded(fields[0], f"{path}:{number}"), fields[1]


def _padded(name: str, where: str) -> str:
    """Return the name of the clip's folder: bare integers are padded to five digits."""
    if not name or name in {".", ".."} or set(name) & set("/\\:\0"):
        raise InputError(
            f"{where}: {name!r} is not the name of a clip: it must be one folder inside the root."
        )
    return name.zfill(5) if name.isdecimal() else name


def _read_list(path: Path) -> dict[str, int]:
    listed: dict[str, int] = {}
    for number, name, text in _rows(path, ("video_name", "label")):
        if text not in {"0", "1", "2", "3", "4", "5", "6", "7"}:
            raise InputError(
                f"{path}:{number}: unknown label {text!r} of clip {name}; allowed: 1 to 7, or 0 to 6."
            )
        if name in listed:
            raise InputError(f"{path}:{number}: clip {name} is listed twice.")
        listed[name] = int(text)
    if not listed:
        raise InputError(f"{path}: the list is empty.")
    return listed


def _label_base(found: Mapping[int, Mapping[str, Listed]], asked: Literal["infer", 0, 1]) -> int:
    """Return the label of the first class: 1 in the official lists, 0 in recoded copies."""
    labels = {label for of in found.values() for listed in of.values() for label in listed.values()}
    if asked == "infer":
        if not labels & {0, 7}:
            raise InputError(
                f"dfew: the labels are {sorted(labels)}: with neither 0 nor 7 among them they may count from 0 or "
                f"from 1. Say which: label_base = 1 if 1 is {CLASSES[0]}, 0 if 1 is {CLASSES[1]}."
            )
        base = 1 if 7 in labels else 0
    else:
        base = asked
        if base == 0 and 7 in labels:
            raise InputError("dfew: label_base = 0, but the lists hold the label 7: they count from 1.")
    for fold, of in found.items():
        counts = Counter(label for listed in of.values() for label in listed.values() if label >= base)
        ordered = tuple(counts[label] for label in range(base, base + len(CLASSES)))
        if sum(ordered) == sum(OFFICIAL_COUNTS) and ordered != OFFICIAL_COUNTS:
            raise InputError(
                f"dfew: fold {fold} has as many clips as DFEW, but not its classes: read from {base}, the labels count "
                f"{_counts(ordered)}; official are {_counts(OFFICIAL_COUNTS)}. They were recoded in another order."
            )
    return base


def _counts(counts: Sequence[int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in zip(CLASSES, counts, strict=True))


def _read_sources(root: Path, ids: Sequence[str]) -> Mapping[str, str]:
    """Return id to source, empty where the tree does not tell: each clip is then a source of its own."""
    path = root / LISTS / "sources.csv"
    if not path.is_file():
        return {}
    source_of = {name: source for _, name, source in _rows(path, ("video_name", "source"))}
    unknown = [i for i in ids if not source_of.get(i)]
    if unknown:
        raise InputError(f"{path}: names no source for {_some(unknown)}.")
    return {i: source_of[i] for i in ids}


def _frame_folder(root: Path, version: str, ids: Sequence[str]) -> Path:
    """Return the folder of the clips' folders, once every listed clip has one inside the root."""
    folder = root / FOLDERS[version]
    if not folder.is_dir():
        other = [name for name, place in FOLDERS.items() if (root / place).is_dir()]
        hint = f" There is {FOLDERS[other[0]]}: version = {other[0]!r}." if other else ""
        raise InputError(f"dfew: root: no frames: looked for {FOLDERS[version]} in {str(root)!r}.{hint}")
    _inside(folder, root)
    with os.scandir(folder) as entries:
        there = {entry.name: entry.is_symlink() for entry in entries if entry.is_dir()}
    missing = [i for i in ids if i not in there]
    if missing:
        raise InputError(f"dfew: {_some(missing)} of {len(ids)} listed: no such folder in {folder}.")
    for i in ids:
        if there[i]:
            _inside(folder / i, root)
    return folder


def _frame_files(folder: Path, root: Path) -> list[tuple[str, int]]:
    """Return name and size of the frame files in the order of their numbers: 1, 2, …, 10."""
    files = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if Path(entry.name).suffix.lower() in _IMAGES and not entry.name.startswith("."):
                if entry.is_symlink():
                    _inside(folder / entry.name, root)
                files.append((entry.name, _size(entry)))
    if not files:
        raise InputError(f"dfew: clip {folder.name}: no frames ({listing(sorted(_IMAGES))}) in {folder}.")
    return sorted(files, key=lambda file: _by_number(file[0]))


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError as error:
        raise InputError(f"dfew: {entry.path} cannot be read: {error.strerror}.") from None


def _by_number(name: str) -> tuple[Any, ...]:
    """Return a sorting key in which runs of digits count as numbers."""
    parts = re.split(r"(\d+)", name)
    return (*(int(part) if part.isdecimal() else part for part in parts), name)


def _inside(path: Path, root: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"dfew: {path} leads out of the root, to {path.resolve()}; copy or mount it inside.")


def _some(names: Sequence[str]) -> str:
    """Return how many clips there are, and the first of them."""
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{len(names)} clip{'s' * (len(names) != 1)} ({shown})"


def _decoded(path: Path, channels: int, size: int) -> Pixels:
    """Return one frame, (C, size, size), resized by Pillow's antialiased bilinear filter."""
    try:
        with Image.open(path) as image:
            picture = image.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"dfew: {path} cannot be read as an image: {error}.") from None
    resized = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)
    return resized[None] if channels == 1 else resized.transpose(2, 0, 1)
