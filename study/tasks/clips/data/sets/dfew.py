"""Reads DFEW (Jiang et al., 2020) in its official layout, and in those of code bases that use it.

::

    <root>/Clip/clip_224x224_16f/<id5>/*.jpg      interpolated to 16 frames
    <root>/Clip/clip_224x224/<id5>/*.jpg          original frames
    <root>/Clip/original/<id>.mp4                 the videos that the faces were cut from
    <root>/EmoLabel_DataSplit/train(single-labeled)/set_1.csv    header video_name,label
    <root>/EmoLabel_DataSplit/test(single-labeled)/set_1.csv
    <root>/EmoLabel_DataSplit/sources.csv         optional, not DFEW's: header video_name,source

Folders are found without regard to case and punctuation, and under the other names in `FOOTAGE`, `LIST_FOLDERS` and
`LIST_FILES`. A list may name clips by paths on another machine: the last part of a path is the clip.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from study.config.registry import LocalPath, component
from study.errors import InputError
from study.tasks.clips.data.contract import Split
from study.tasks.clips.data.emotions import DFEW_CLIPS, EMOTIONS
from study.tasks.clips.data.files.fold_lists import FoldLists
from study.tasks.clips.data.files.listing import (
    LISTED_SPLITS,
    Entry,
    Fold,
    Listing,
    Official,
    RowFilter,
    RowProblem,
    check_folds,
    is_synthetic,
    name_reason,
    twice_reason,
    without_tested,
)
from study.tasks.clips.data.files.places import (
    Places,
    clips_folder,
    find,
    members,
    named_path,
    not_found_message,
    open_places,
    padded,
    searched,
    without_suffix,
)
from study.tasks.clips.data.files.tables import SOURCES, listed_clips, sources_beside, with_sources
from study.tasks.clips.data.sets.recorded import Folds, Recorded, Recording, recorded

_log = logging.getLogger(__name__)

Version = Literal["16f", "original", "video"]
LabelBase = Literal["infer", 0, 1]
OFFICIAL = Official(
    {1: (9356, 2341), 2: (9356, 2341), 3: (9357, 2340), 4: (9358, 2339), 5: (9361, 2336)}, DFEW_CLIPS
)
LISTS = "EmoLabel_DataSplit"
LIST_FOLDERS = (LISTS, "label", "labels", "annotation", "annotations", "anno", "lists", "split", "splits")
"""Where the lists may lie, the official folder first."""
LIST_FILES = (
    "{split}(single-labeled)/set_{fold}.csv",
    "{split}(single-labelled)/set_{fold}.csv",
    "{split}/set_{fold}.csv",
    "{split}(single-labeled)/{split}_set_{fold}.csv",
    "{split}_set_{fold}.csv",
    "single_{split}set_{fold}.csv",
    "DFEW_set_{fold}_{split}.txt",
    "DFEW_set_{fold}_{split}(single-labeled).txt",
    "set_{fold}_{split}.txt",
    "set_{fold}/{split}.csv",
    "set_{fold}/{split}.txt",
    "split0{fold}/{split}.csv",
    "org/split0{fold}/{split}.csv",
)
"""Names of the lists in such a folder, the official ones first."""
FOOTAGE: Mapping[Version, tuple[str, ...]] = {
    "16f": ("Clip/clip_224x224_16f", "clip_224x224_16f", "Clip/clip_16f", "Clip/jpg_224_16f"),
    "original": ("Clip/clip_224x224", "clip_224x224", "Clip/jpg_256", "jpg_256", "DFEW_Frame_Face", "data"),
    "video": ("Clip/original", "original", "Clip/videos", "videos"),
}
"""Where the clips of each version may lie, the official folder first."""
ARCHIVED = (
    "Clip/clip_224x224_16f",
    "Clip/clip_224x224",
    "Clip/original",
    "clip_224x224_16f",
    "clip_224x224",
    "original",
)
"""The folders of the authors' own archives."""
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
    split_root: Annotated[str, LocalPath(), "folder of the lists; empty to look for it"] = "",
    clips_root: Annotated[str, LocalPath(), "folder of the clips' folders; empty to look for it"] = "",
    recording: Recording,
) -> Recorded:
    """DFEW, or clips written in its layout: seven emotions, official folds, part of train held out."""
    return recorded(
        dfew_listing(
            root,
            folds,
            version,
            label_base=label_base,
            split_root=split_root,
            clips_root=clips_root,
            allow=recording.allowed,
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
    split_root: str = "",
    clips_root: str = "",
    allow: Sequence[str] = (),
    skip_bad: bool = False,
    needs_footage: bool = True,
) -> Listing:
    """Read the lists of the given folds; no frame is opened.

    Raises:
        InputError: A list or folder is missing, the label of the first class is ambiguous, or a row cannot be used and
            is not to be skipped.
    """
    places = open_places(root, allow, "dfew")
    check_folds(folds, "dfew")
    lists, places = _lists(places, split_root)
    kept = RowFilter(places, skip_bad)
    found = {
        fold: {split: _rows(lists.path(split, fold, places), kept, fold) for split in LISTED_SPLITS}
        for fold in folds
    }
    labels = _all_labels(lists, places)
    base = _label_base(labels, label_base)
    _check_order(found, base)
    _log.info("dfew: %s has the label %d in these lists", EMOTIONS[0], base)
    source_of = sources_beside(lists.folder, places, _clip_id)
    footage = clips_folder(
        places, FOOTAGE, version, ARCHIVED, "dfew", clips_root=clips_root, is_needed=needs_footage
    )
    path_of = members(
        footage.path, {i for of in found.values() for part in of.values() for i in part}, DIGITS
    )
    entries: dict[Fold, dict[Split, tuple[Entry, ...]]] = {}
    for fold, of in found.items():
        kept.fold = fold
        train, test = (
            with_sources(
                (
                    Entry(i, _class(label, base), path_of[i], where, i)
                    for i, (label, where) in of[split].items()
                    if _class(label, base) >= 0
                ),
                source_of,
                lists.folder,
                kept,
            )
            for split in LISTED_SPLITS
        )
        entries[fold] = {"train": without_tested(train, test, kept, fold, "dfew"), "test": test}
    synthetic = is_synthetic(places.root)
    unlabelled = {
        i for of in found.values() for part in of.values() for i, (label, _) in part.items() if label == 0
    }
    note = f"; {len(unlabelled)} clips with the label 0, of no single emotion, are left out"
    return Listing(
        name="dfew",
        root=places.root,
        footage=footage.path,
        classes=EMOTIONS,
        folds=entries,
        facts={
            "version": DESCRIBED[version]
            if footage.is_official
            else f"{version}: clips in {footage.path.name}, not a folder of DFEW's own archives",
            "label base": f"{base}: {EMOTIONS[0]} is {base} in the lists{note * (base == 1 and bool(unlabelled))}",
            **({"sources": SOURCES} if source_of else {}),
        },
        official=None if synthetic else OFFICIAL,
        skipped_rows=tuple(kept.skipped_rows),
        is_synthetic=synthetic,
        frames_per_clip=16 if version == "16f" else None,
        is_video=version == "video",
        allowed=footage.places.allowed,
    )


Label = int | str
"""A number as the list has it, or the name of an emotion."""
Row = tuple[Label, str]
"""Label and position."""


def _lists(places: Places, split_root: str) -> tuple[FoldLists, Places]:
    """Return the lists, and the places with their folder.

    Raises:
        InputError: There are none, or several of them.
    """
    if split_root:
        folder = named_path(split_root, places, "dfew: split_root")
        places = places.adding(folder)
        found = list(_named_lists([folder, *_folders(folder, places)], places))
        if not found:
            raise InputError(
                f"dfew: split_root: no split lists in {str(folder)!r}: looked for "
                f"{', '.join(file.format(split='train', fold=1) for file in LIST_FILES)}."
            )
        return found[0], places
    found = list(_named_lists(_folders(places.root, places), places))
    if not found:
        found = list(_named_lists([places.root], places))
    if not found:
        raise InputError(_no_lists(places))
    if len(found) > 1 and found[0].file not in LIST_FILES[:_OFFICIAL_FILES]:
        folders = " and ".join(str(lists.folder) for lists in found)
        raise InputError(f"dfew: split_root: must name the lists: both {folders} hold some.")
    return found[0], places


_OFFICIAL_FILES = 3
"""The first names of lists are spellings of the official one."""


def _folders(base: Path, places: Places) -> list[Path]:
    return list(dict.fromkeys(path for name in LIST_FOLDERS if (path := find(base, [name], places))))


def _named_lists(folders: Iterable[Path], places: Places) -> Iterable[FoldLists]:
    """Yield the lists in those folders that have some."""
    for folder in folders:
        for file in LIST_FILES:
            names = [file.format(split=s, fold=f) for f in range(1, 6) for s in LISTED_SPLITS]
            if find(folder, names, places):
                yield FoldLists(folder, file, "dfew")
                break


def _no_lists(places: Places) -> str:
    first, nested = f"{LISTS}/train(single-labeled)/set_1.csv", places.root / "DFEW"
    if (nested / LISTS).is_dir():
        hint = f" Did you mean root = {str(nested)!r}?"
        return f"dfew: root: no split list: {searched([first], places.root)}.{hint}"
    missing = not_found_message("split list", [first], places.root, "dfew")
    return f"{missing} split_root = '…' names the folder of the lists."


def _clip_id(name: str) -> str:
    """Return the id of a clip from its name in a list: ``7``, ``7.0`` and ``7.mp4`` are 00007."""
    return padded(re.sub(r"^(\d+)\.0+$", r"\1", without_suffix(name)), DIGITS)


def _rows(path: Path, kept: RowFilter, fold: Fold) -> dict[str, Row]:
    listed: dict[str, Row] = {}
    kept.fold = fold
    for row in listed_clips(path, kept, "video_name,label"):
        name, label = _clip_id("".join(row.parts(1))), _label(row.label)
        if not name:
            kept.reject(row.where, RowProblem.BAD_PATH, name_reason(row.path))
        elif label is None or any(type(label) is not type(other) for other, _ in [*listed.values()][:1]):
            reason = (
                f"unknown label {row.label!r} of clip {name}; allowed: 1 to 7, 0 to 6, or the emotions' names"
            )
            kept.reject(row.where, RowProblem.UNKNOWN_LABEL, reason, name)
        elif name in listed:
            kept.reject(row.where, RowProblem.LISTED_TWICE, twice_reason(name, listed[name][1]), name)
        else:
            listed[name] = (label, row.where)
    if not listed:
        raise InputError(f"{path}: the list is empty.")
    return listed


def _label(text: str) -> Label | None:
    """Return a number from 0 to 7, or the name of an emotion; None for any other label."""
    if match := re.fullmatch(r"([0-7])(\.0*)?", text):
        return int(match[1])
    return text.lower() if text.lower() in EMOTIONS else None


def _class(label: Label, base: int) -> int:
    """Return the class of a label; -1 where a clip has no single emotion."""
    return EMOTIONS.index(label) if isinstance(label, str) else label - base


def _all_labels(lists: FoldLists, places: Places) -> dict[Path, set[Label]]:
    """Return the labels of every list of the tree, so that a fold is read alike whichever folds are requested."""
    found = {}
    for path in lists.all(places):
        clips = listed_clips(path, RowFilter(places, skip=True), "")
        found[path] = {label for clip in clips if (label := _label(clip.label)) is not None}
    return found


def _label_base(labels_of: Mapping[Path, set[Label]], requested: LabelBase) -> int:
    """Return the label of the first class: 1 in the official lists, 0 in recoded copies.

    Raises:
        InputError: It cannot be known, or is not the requested one.
    """
    labels = {label for of in labels_of.values() for label in of if isinstance(label, int)}
    if requested == 0 and 7 in labels:
        raise InputError("dfew: label_base = 0, but the lists hold the label 7: they count from 1.")
    if requested != "infer":
        return requested
    if not labels:
        return 1
    if not labels & {0, 7}:
        raise InputError(
            f"dfew: the labels are {sorted(labels)}: with neither 0 nor 7 among them they may count from 0 or "
            f"from 1. Set label_base = 1 if 1 is {EMOTIONS[0]}, 0 if 1 is {EMOTIONS[1]}."
        )
    with_zero = next((path for path, of in labels_of.items() if 0 in of and 7 not in of), None)
    with_seven = next((path for path, of in labels_of.items() if 7 in of), None)
    if with_zero and with_seven:
        raise InputError(
            f"dfew: {with_zero} holds the label 0 and no 7, {with_seven} holds a 7: one may count from 0 and the other "
            "from 1. Recode them alike; or, where 0 marks clips of no single emotion, set label_base = 1."
        )
    return 1 if 7 in labels else 0


def _check_order(found: Mapping[int, Mapping[Split, Mapping[str, Row]]], base: int) -> None:
    """Raise InputError where a fold has as many clips as DFEW and other numbers of each class."""
    for fold, of in found.items():
        counts = Counter(_class(label, base) for listed in of.values() for label, _ in listed.values())
        ordered = tuple(counts[label] for label in range(len(EMOTIONS)))
        if sum(ordered) == sum(DFEW_CLIPS) and ordered != DFEW_CLIPS:
            raise InputError(
                f"dfew: fold {fold} has as many clips as DFEW, but not its classes: read from {base}, the labels count "
                f"{_class_counts(ordered)}; official are {_class_counts(DFEW_CLIPS)}. The labels were reordered."
            )


def _class_counts(counts: Sequence[int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in zip(EMOTIONS, counts, strict=True))
