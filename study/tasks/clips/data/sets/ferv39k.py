"""Reads FERV39k (Wang et al., 2022) in its official layout: one split, 22 scenes.

::

    <root>/2_ClipsforFaceCrop/<Scene>/<Emotion>/<clip4>/*.jpg       face frames, such as Action/Happy/0267
    <root>/4_setups/All_scenes/train_All.csv                        no header: Action/Happy/0267 Happy
    <root>/4_setups/All_scenes/test_All.csv
    <root>/4_setups/All_scenes/sources.csv                          optional, not FERV39k's: header video_name,source

Folders are found without regard to case and punctuation, and under the other names in `FOOTAGE`, `LISTS` and
`LIST_FILES`. A list may name clips by paths on another machine: the last three parts of a path are the clip.
Code bases number the classes differently: numbers are read by the classes that the paths name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from study.config.registry import LocalPath, component
from study.errors import InputError
from study.tasks.clips.data.contract import Split
from study.tasks.clips.data.files.listing import (
    LISTED_SPLITS,
    Entry,
    Listing,
    Official,
    RowFilter,
    RowProblem,
    is_synthetic,
    twice_reason,
    unknown_reason,
    without_tested,
)
from study.tasks.clips.data.files.places import (
    Places,
    clips_folder,
    find,
    named_path,
    not_found_message,
    open_places,
    padded,
    searched,
)
from study.tasks.clips.data.files.tables import (
    SOURCES,
    ListedClip,
    listed_clips,
    sources_beside,
    with_sources,
)
from study.tasks.clips.data.sets.recorded import Recorded, Recording, recorded

CLASSES = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
OFFICIAL = Official({None: (31088, 7847)}, (7327, 6916, 9748, 7393, 3140, 2300, 2111))
FOOTAGE = ("2_ClipsforFaceCrop", "ClipsforFaceCrop", "clips", "frames")
"""Where the scenes' folders may lie, the official folder first."""
ARCHIVED = ("2_ClipsforFaceCrop", "ClipsforFaceCrop")
"""The folders of the authors' own archive."""
LISTS = (
    "4_setups/All_scenes",
    "setups/All_scenes",
    "All_scenes",
    "4_setups",
    "Annotation",
    "annotations",
    "lists",
    ".",
)
"""Where the two lists may lie, the official folder first."""
LIST_FILES = (
    "{split}_All.csv",
    "{split}.csv",
    "FERV39k_{split}.txt",
    "All_scenes_{split}.txt",
    "{split}_All.txt",
)
"""Names of the two lists, the official one first."""
DIGITS = 4
"""The number of digits in the names of clips."""


@component("dataset")
def ferv39k(
    *,
    root: Annotated[str, LocalPath(), "folder that holds 2_ClipsforFaceCrop/ and 4_setups/"],
    split_root: Annotated[str, LocalPath(), "folder of the lists; empty to look for it"] = "",
    clips_root: Annotated[str, LocalPath(), "folder of the scenes' folders; empty to look for it"] = "",
    recording: Recording,
) -> Recorded:
    """FERV39k: seven emotions in 22 scenes, one official split, part of train held out."""
    return recorded(
        ferv39k_listing(
            root,
            split_root=split_root,
            clips_root=clips_root,
            allow=recording.allowed,
            skip_bad=recording.skip_bad,
            needs_footage=not recording.pack,
        ),
        recording,
        "random-window",
    )


def ferv39k_listing(
    root: str,
    *,
    split_root: str = "",
    clips_root: str = "",
    allow: Sequence[str] = (),
    skip_bad: bool = False,
    needs_footage: bool = True,
) -> Listing:
    """Read the two lists; no frame is opened.

    Raises:
        InputError: A list or folder is missing, or a row cannot be used and is not to be skipped.
    """
    places = open_places(root, allow, "ferv39k")
    if split_root:
        folder = named_path(split_root, places, "ferv39k: split_root")
        places = places.adding(folder)
        paths = _lists_in([folder], places)
        if paths is None:
            raise InputError(f"ferv39k: split_root: no lists: {searched(_names('train'), folder)}.")
    else:
        paths = _found_lists(places)
    kept = RowFilter(places, skip_bad)
    lists = paths["test"].parent
    source_of = sources_beside(lists, places, _clip_id)
    test, train = (
        with_sources(_entries(paths[split], kept), source_of, lists, kept) for split in ("test", "train")
    )
    footage = clips_folder(
        places, {"": FOOTAGE}, "", ARCHIVED, "ferv39k", clips_root=clips_root, is_needed=needs_footage
    )
    splits: dict[Split, tuple[Entry, ...]] = {
        "train": without_tested(train, test, kept, None, "ferv39k"),
        "test": test,
    }
    synthetic = is_synthetic(places.root)
    return Listing(
        name="ferv39k",
        root=places.root,
        footage=footage.path,
        classes=CLASSES,
        folds={None: splits},
        facts={
            "version": "face frames, original frames"
            if footage.is_official
            else f"clips in {footage.path.name}, not the folder of FERV39k's own archive",
            "labels": "class names of the lists",
            **({"sources": SOURCES} if source_of else {}),
        },
        official=None if synthetic else OFFICIAL,
        skipped_rows=tuple(kept.skipped_rows),
        is_synthetic=synthetic,
        allowed=footage.places.allowed,
    )


def _names(split: Split) -> list[str]:
    return [name.format(split=split) for name in LIST_FILES]


def _lists_in(folders: Sequence[Path], places: Places) -> dict[Split, Path] | None:
    """Return the two lists, of one kind, from the first folder that has both."""
    for folder in folders:
        for name in LIST_FILES:
            found = {split: find(folder, [name.format(split=split)], places) for split in LISTED_SPLITS}
            paths = {split: path for split, path in found.items() if path is not None}
            if len(paths) == len(LISTED_SPLITS):
                return paths
    return None


def _found_lists(places: Places) -> dict[Split, Path]:
    folders = [path for name in LISTS[:-1] if (path := find(places.root, [name], places))]
    if paths := _lists_in([*folders, places.root], places):
        return paths
    candidates = [f"{folder}/{LIST_FILES[0].format(split='train')}" for folder in LISTS[:-1]]
    nested = places.root / "FERV39k"
    if find(nested, candidates, places):
        hint = f"Did you mean root = {str(nested)!r}?"
        raise InputError(f"ferv39k: root: no lists: {searched(candidates, places.root)}. {hint}")
    missing = not_found_message("train and test list", candidates, places.root, "ferv39k")
    raise InputError(f"{missing} split_root = '…' names the folder of the lists.")


def _entries(path: Path, kept: RowFilter) -> tuple[Entry, ...]:
    rows = list(listed_clips(path, kept, "Scene/Emotion/clip and the emotion"))
    class_of = _classes_of_numbers(rows)
    found: dict[str, Entry] = {}
    for row in rows:
        entry = _entry(row, class_of.get(row.label, row.label), kept)
        if entry is None:
            continue
        if entry.id in found:
            kept.reject(
                entry.where, RowProblem.LISTED_TWICE, twice_reason(entry.id, found[entry.id].where), entry.id
            )
        else:
            found[entry.id] = entry
    if not found:
        raise InputError(f"{path}: the list is empty.")
    return tuple(found.values())


def _classes_of_numbers(rows: Sequence[ListedClip]) -> dict[str, str]:
    """Return the class of each number that labels clips: that of most of their paths."""
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        if re.fullmatch(r"\d(\.0*)?", row.label) and (parts := row.parts(3)):
            counts.setdefault(row.label, Counter())[parts[1]] += 1
    return {label: of.most_common(1)[0][0] for label, of in counts.items()}


def _entry(row: ListedClip, label: str, kept: RowFilter) -> Entry | None:
    """Return the clip of a row; None where the row is rejected."""
    parts = row.parts(3)
    if not parts:
        reason = f"{row.path!r} is not the path of a clip: it must be Scene/Emotion/clip inside the root"
        kept.reject(row.where, RowProblem.BAD_PATH, reason)
    elif label not in CLASSES:
        kept.reject(
            row.where, RowProblem.UNKNOWN_LABEL, unknown_reason("label", label, row.path, CLASSES), row.path
        )
    elif parts[1] != label:
        reason = f"clip {'/'.join(parts)} lies in {parts[1]!r} and is labelled {label!r}"
        kept.reject(row.where, RowProblem.OTHER_LABEL, reason, row.path)
    else:
        clip = _clip_id("/".join(parts))
        return Entry(clip, CLASSES.index(label), clip, row.where, clip, scene=parts[0])
    return None


def _clip_id(name: str) -> str:
    """Return the id of a clip: its path, with the digits of its number."""
    *folders, number = name.rstrip("/").split("/")
    return "/".join([*folders, padded(number, DIGITS)])
