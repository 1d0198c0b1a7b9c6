"""Reads DFEW (Jiang et al., 2020) in its official layout, and any data set in the same layout.

::

    <root>/Clip/clip_224x224_16f/<id5>/*.jpg      interpolated to 16 frames
    <root>/Clip/clip_224x224/<id5>/*.jpg          original frames
    <root>/Clip/original/<id>.mp4                 the videos that the faces were cut from
    <root>/EmoLabel_DataSplit/train(single-labeled)/set_1.csv    header video_name,label
    <root>/EmoLabel_DataSplit/test(single-labeled)/set_1.csv
    <root>/EmoLabel_DataSplit/sources.csv         optional, not DFEW's: header video_name,source

Folders are found without regard to case and punctuation, and under the other names in `FOOTAGE` and `LISTS`.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from study.config.registry import LocalPath, component
from study.errors import InputError
from study.tasks.clips.data.contract import Split
from study.tasks.clips.data.emotions import DFEW_CLIPS, EMOTIONS
from study.tasks.clips.data.files.listing import (
    LISTED_SPLITS,
    Entry,
    Listing,
    Official,
    RowFilter,
    RowProblem,
    check_folds,
    escapes_root,
    find,
    footage_folder,
    is_synthetic,
    lines,
    members,
    name_reason,
    not_found_message,
    padded,
    root_folder,
    searched,
    twice_reason,
    without_tested,
)
from study.tasks.clips.data.sets.recorded import Folds, Recorded, Recording, recorded

_log = logging.getLogger(__name__)

Version = Literal["16f", "original", "video"]
LabelBase = Literal["infer", 0, 1]
OFFICIAL = Official(
    {1: (9356, 2341), 2: (9356, 2341), 3: (9357, 2340), 4: (9358, 2339), 5: (9361, 2336)}, DFEW_CLIPS
)
LISTS = "EmoLabel_DataSplit"
FOOTAGE: Mapping[Version, tuple[str, ...]] = {
    "16f": ("Clip/clip_224x224_16f", "clip_224x224_16f", "Clip/clip_16f"),
    "original": ("Clip/clip_224x224", "clip_224x224"),
    "video": ("Clip/original", "original", "Clip/videos", "videos"),
}
"""Where the clips of each version may lie, the official folder first."""
DESCRIBED: Mapping[Version, str] = {
    "16f": "16f: aligned faces, interpolated to 16 frames",
    "original": "original: aligned faces, original frames",
    "video": "video: whole frames of the original videos",
}
DIGITS = 5
"""The number of digits in the names of clips."""


@component("dataset")
def dfew(
    *,
    root: Annotated[str, LocalPath(), "folder that holds Clip/ and EmoLabel_DataSplit/"],
    folds: Folds = [1, 2, 3, 4, 5],  # noqa: B006
    version: Annotated[Version, "faces interpolated to 16 frames, or all frames, or whole videos"] = "16f",
    label_base: Annotated[LabelBase, "the label of happy in the lists"] = "infer",
    recording: Recording,
) -> Recorded:
    """DFEW, or clips written in its layout: seven emotions, official folds, part of train held out."""
    return recorded(
        dfew_listing(
            root,
            folds,
            version,
            label_base=label_base,
            skip_bad=recording.skip_bad,
            needs_footage=not recording.pack,
        ),
        recording,
    )


def dfew_listing(
    root: str,
    folds: Sequence[int],
    version: Version = "16f",
    *,
    label_base: LabelBase = "infer",
    skip_bad: bool = False,
    needs_footage: bool = True,
) -> Listing:
    """Read the lists of the given folds; no frame is opened.

    Raises:
        InputError: A list or folder is missing, the label of the first class is ambiguous, or a row cannot be used and
            is not to be skipped.
    """
    top = root_folder(root, "dfew")
    check_folds(folds, "dfew")
    lists = find(top, [LISTS], top)
    if lists is None:
        raise InputError(_no_lists(top))
    rows = RowFilter(top, skip_bad)
    found = {
        fold: {split: _rows(_list_path(lists, split, fold, top), rows, fold) for split in LISTED_SPLITS}
        for fold in folds
    }
    base = _label_base(found, _all_labels(lists, top), label_base)
    _log.info("dfew: %s has the label %d in these lists", EMOTIONS[0], base)
    source_of = _sources(lists, top, found, rows)
    footage = footage_folder(top, FOOTAGE, version, "frames", "dfew", is_needed=needs_footage)
    path_of = members(footage, {i for of in found.values() for listed in of.values() for i in listed}, DIGITS)
    entries: dict[int | None, dict[Split, tuple[Entry, ...]]] = {}
    for fold, of in found.items():
        split_entries = {
            split: tuple(
                Entry(i, label - base, path_of[i], where, source_of.get(i, i))
                for i, (label, where) in of[split].items()
                if label >= base
            )
            for split in LISTED_SPLITS
        }
        rows.fold = fold
        entries[fold] = {
            "train": without_tested(split_entries["train"], split_entries["test"], rows, fold, "dfew"),
            "test": split_entries["test"],
        }
    synthetic = is_synthetic(top)
    return Listing(
        name="dfew",
        root=top,
        footage=footage,
        classes=EMOTIONS,
        folds=entries,
        facts={
            "version": DESCRIBED[version],
            "label base": f"{base}: {EMOTIONS[0]} is {base} in the lists",
        },
        official=None if synthetic else OFFICIAL,
        skipped_rows=tuple(rows.skipped_rows),
        is_synthetic=synthetic,
        frames_per_clip=16 if version == "16f" else None,
        is_video=version == "video",
    )


Row = tuple[int, str]
"""Label as written, and position."""


def _no_lists(top: Path) -> str:
    first, nested = f"{LISTS}/train(single-labeled)/set_1.csv", top / "DFEW"
    if (nested / LISTS).is_dir():
        hint = f" Did you mean root = {str(nested)!r}?"
        return f"dfew: root: no split list: {searched([first], top)}.{hint}"
    return not_found_message("split list", [first], top, "dfew")


def _list_path(lists: Path, split: Split, fold: int, top: Path) -> Path:
    folder = find(lists, [f"{split}(single-labeled)", f"{split}(single-labelled)", split], top)
    path = folder and find(folder, [f"set_{fold}.csv"], top)
    if path is not None:
        return path
    official = f"{split}(single-labeled)/set_{fold}.csv"
    numbers = (
        sorted(int(p.stem[4:]) for p in folder.glob("set_*.csv") if p.stem[4:].isdecimal()) if folder else []
    )
    if numbers:
        raise InputError(
            f"dfew: folds: no fold {fold}: {lists / official} does not exist; that folder has "
            f"{', '.join(map(str, numbers))}."
        )
    raise InputError(
        f"dfew: root: no split list: looked for {lists.relative_to(top) / official} in {str(top)!r}."
    )


def _fields(path: Path, rows: RowFilter, columns: tuple[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield position, clip and second field of each row but the header; integers are padded to five digits."""
    for number, (where, line) in enumerate(lines(path, rows.root)):
        row = next(csv.reader([line]))
        fields = tuple(field.strip() for field in row)
        if not any(fields) or (number == 0 and fields == columns):
            continue
        if len(fields) != 2:
            rows.reject(where, RowProblem.MALFORMED, f"must be {','.join(columns)}. Got {line!r} instead")
        elif escapes_root(fields[0]) or "/" in fields[0]:
            rows.reject(where, RowProblem.BAD_PATH, name_reason(fields[0]))
        else:
            yield where, padded(fields[0], DIGITS), fields[1]


def _rows(path: Path, rows: RowFilter, fold: int) -> dict[str, Row]:
    listed: dict[str, Row] = {}
    rows.fold = fold
    for where, name, text in _fields(path, rows, ("video_name", "label")):
        if text not in {"0", "1", "2", "3", "4", "5", "6", "7"}:
            reason = f"unknown label {text!r} of clip {name}; allowed: 1 to 7, or 0 to 6"
            rows.reject(where, RowProblem.UNKNOWN_LABEL, reason, name)
        elif name in listed:
            rows.reject(where, RowProblem.LISTED_TWICE, twice_reason(name, listed[name][1]), name)
        else:
            listed[name] = (int(text), where)
    if not listed:
        raise InputError(f"{path}: the list is empty.")
    return listed


def _all_labels(lists: Path, top: Path) -> set[int]:
    """Return the labels in every list of the tree, so that a fold is read alike whichever folds are requested."""
    listed = sorted(lists.glob("*/set_*.csv"))
    fields = (
        field
        for path in listed
        for field in _fields(path, RowFilter(top, skip=True), ("video_name", "label"))
    )
    return {int(text) for _, _, text in fields if text in set("01234567")}


def _label_base(
    found: Mapping[int, Mapping[Split, Mapping[str, Row]]], labels: set[int], requested: LabelBase
) -> int:
    """Return the label of the first class: 1 in the official lists, 0 in recoded copies."""
    if requested == "infer":
        if not labels & {0, 7}:
            raise InputError(
                f"dfew: the labels are {sorted(labels)}: with neither 0 nor 7 among them they may count from 0 or "
                f"from 1. Set label_base = 1 if 1 is {EMOTIONS[0]}, 0 if 1 is {EMOTIONS[1]}."
            )
        base = 1 if 7 in labels else 0
    else:
        base = requested
        if base == 0 and 7 in labels:
            raise InputError("dfew: label_base = 0, but the lists hold the label 7: they count from 1.")
    for fold, of in found.items():
        counts = Counter(label for listed in of.values() for label, _ in listed.values() if label >= base)
        ordered = tuple(counts[label] for label in range(base, base + len(EMOTIONS)))
        if sum(ordered) == sum(DFEW_CLIPS) and ordered != DFEW_CLIPS:
            raise InputError(
                f"dfew: fold {fold} has as many clips as DFEW, but not its classes: read from {base}, the labels count "
                f"{_class_counts(ordered)}; official are {_class_counts(DFEW_CLIPS)}. The labels were reordered."
            )
    return base


def _class_counts(counts: Sequence[int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in zip(EMOTIONS, counts, strict=True))


def _sources(
    lists: Path, top: Path, found: Mapping[int, Mapping[Split, dict[str, Row]]], rows: RowFilter
) -> Mapping[str, str]:
    """Return id to source; empty if the tree has no list of sources: each clip is then a source of its own.

    Clips without a source in that list are removed from the lists.
    """
    path = lists / "sources.csv"
    if not path.is_file():
        return {}
    source_of = {
        name: source
        for _, name, source in _fields(path, RowFilter(top, skip=False), ("video_name", "source"))
    }
    for fold, of in found.items():
        rows.fold = fold
        for listed in of.values():
            for name in [name for name in listed if not source_of.get(name)]:
                _, where = listed.pop(name)
                reason = f"{path.relative_to(top)} names no source of clip {name}"
                rows.reject(where, RowProblem.NO_SOURCE, reason, name)
    return source_of
