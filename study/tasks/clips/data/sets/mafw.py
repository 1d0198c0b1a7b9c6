"""Reads MAFW (Liu et al., 2022) in its official layout: 11 single or 43 compound classes, five folds.

::

    <root>/data/frames/<id5>/*.png                face frames
    <root>/data/clips/<id5>.mp4                   videos
    <root>/<split root>/single/no_caption/set_1/train.txt       00025.mp4 anger
    <root>/<split root>/single/with_caption/set_1/train.txt     00025.mp4, label, Chinese, English, tabs between
    <root>/<split root>/single/no_caption/sources.csv           optional, not MAFW's: header video_name,source
    <root>/<split root>/compound/…                               labels such as anger_disgust

The split root has many names: see `SPLIT_ROOTS`, and the lists of other code bases in `LIST_FILES`. A list may name
clips by paths on another machine: the last part of a path is the clip. Lists are read as UTF-8 or GBK. The lists with
captions have no neutral clip, as these have no caption: they are another data set, so they are requested by name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from study.config.registry import LocalPath, component
from study.errors import InputError
from study.tasks.clips.data.contract import Split
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
    unknown_reason,
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
from study.tasks.clips.data.files.tables import (
    SOURCES,
    ListedClip,
    rows,
    sources_beside,
    with_sources,
)
from study.tasks.clips.data.sets.recorded import Folds, Recorded, Recording, recorded

Version = Literal["faces", "crops", "raw", "video"]
Labels = Literal["single", "compound"]
Captions = Literal["no", "with"]
CLASSES = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
    "contempt",
    "anxiety",
    "helplessness",
    "disappointment",
)
COMPOUND_CLASSES = 43
"""The 11 single classes and 32 combinations of them."""
_SINGLE_COUNTS = (1390, 639, 625, 1242, 1138, 1470, 1072, 236, 916, 262, 182)
OFFICIAL: Mapping[tuple[Labels, Captions], Official] = {
    ("single", "no"): Official(
        {1: (7333, 1839), 2: (7335, 1837), 3: (7339, 1833), 4: (7340, 1832), 5: (7341, 1831)}, _SINGLE_COUNTS
    ),
    ("single", "with"): Official(
        {1: (6423, 1611), 2: (6425, 1609), 3: (6429, 1605), 4: (6429, 1605), 5: (6430, 1604)},
        tuple(0 if name == "neutral" else n for name, n in zip(CLASSES, _SINGLE_COUNTS, strict=True)),
    ),
    ("compound", "no"): Official(
        {1: (7178, 1818), 2: (7187, 1809), 3: (7198, 1798), 4: (7208, 1788), 5: (7213, 1783)}
    ),
    ("compound", "with"): Official(
        {1: (6268, 1590), 2: (6277, 1581), 3: (6288, 1570), 4: (6297, 1561), 5: (6302, 1556)}
    ),
}
SPLIT_ROOTS = (
    "Train & Test Set",
    "split",
    "anno",
    "label",
    "labels",
    "splits",
    "annotation",
    "annotations",
    "lists",
)
"""Where the lists may lie; without regard to case and punctuation, so that Train_Test_Set is the first too."""
LIST_FILES = (
    "set_{fold}/{split}.txt",
    "set_{fold}/{split}.csv",
    "MAFW_set_{fold}_{split}.txt",
    "split0{fold}/{split}.csv",
)
"""Names of the lists, the official one first."""
FOOTAGE: Mapping[Version, tuple[str, ...]] = {
    "faces": ("data/frames", "frames", "data/faces", "faces"),
    "crops": ("data/clips_faces", "clips_faces", "frames_crop_align_224", "data/frames_crop_align_224"),
    "raw": ("data/raw_frames", "raw_frames", "data/clips_frames", "clips_frames"),
    "video": ("data/clips", "clips", "data/videos", "videos"),
}
"""Where the clips of each version may lie, the official folder first."""
ARCHIVED = ("data/frames", "frames", "data/clips", "clips")
"""The folders of the authors' own archive."""
DESCRIBED: Mapping[Version, str] = {
    "faces": "faces: the official face frames",
    "crops": "crops: faces that the user or another code base cut out, not the official face frames",
    "raw": "raw: whole frames, cut from the videos by the user",
    "video": "video: whole frames of the official videos",
}
DIGITS = 5
"""The number of digits in the names of clips."""


@component("dataset")
def mafw(
    *,
    root: Annotated[str, LocalPath(), "folder that holds data/ and the folder of split lists"],
    folds: Folds = [1, 2, 3, 4, 5],  # noqa: B006
    labels: Annotated[Labels, "11 emotions, or 43 with their combinations"] = "single",
    captions: Annotated[Captions, "with: the lists of captioned clips, none of them neutral"] = "no",
    version: Annotated[
        Version,
        "the official face frames, crops of another's making, the user's own whole frames, or the videos",
    ] = "faces",
    split_root: Annotated[
        str, LocalPath(), "folder of the lists, which holds single/; empty to look for it"
    ] = "",
    clips_root: Annotated[str, LocalPath(), "folder of the clips' folders; empty to look for it"] = "",
    recording: Recording,
) -> Recorded:
    """MAFW: 11 emotions or 43 with combinations, official folds, part of train held out."""
    return recorded(
        mafw_listing(
            root,
            folds,
            labels,
            version,
            captions=captions,
            split_root=split_root,
            clips_root=clips_root,
            allow=recording.allowed,
            skip_bad=recording.skip_bad,
            needs_footage=not recording.pack,
        ),
        recording,
        "random-window",
    )


def mafw_listing(
    root: str,
    folds: Sequence[int],
    labels: Labels = "single",
    version: Version = "faces",
    *,
    captions: Captions = "no",
    split_root: str = "",
    clips_root: str = "",
    allow: Sequence[str] = (),
    skip_bad: bool = False,
    needs_footage: bool = True,
) -> Listing:
    """Read the lists of the given folds; no frame is opened.

    Raises:
        InputError: A list or folder is missing or there are several, or a row cannot be used and is not to be skipped.
    """
    places = open_places(root, allow, "mafw")
    check_folds(folds, "mafw")
    lists, places = _lists(places, split_root, labels, captions)
    kept = RowFilter(places, skip_bad)
    read: dict[tuple[int, Split], list[ListedClip]] = {}
    for fold in folds:
        for split in LISTED_SPLITS:
            kept.fold = fold
            read[fold, split] = list(_listed(lists.path(split, fold, places), kept))
    class_of, order = _classes_of_numbers(read, lists, places)
    found: dict[int, dict[Split, dict[str, Row]]] = {fold: {} for fold in folds}
    for (fold, split), listed in read.items():
        kept.fold = fold
        found[fold][split] = _labelled(listed, kept, labels, class_of)
    classes = CLASSES if labels == "single" else _compound_classes(lists, places)
    footage = clips_folder(
        places, FOOTAGE, version, ARCHIVED, "mafw", clips_root=clips_root, is_needed=needs_footage
    )
    source_of = sources_beside(lists.folder, places, lambda name: padded(without_suffix(name), DIGITS))
    path_of = members(
        footage.path, {i for of in found.values() for part in of.values() for i in part}, DIGITS
    )
    entries: dict[Fold, dict[Split, tuple[Entry, ...]]] = {}
    for fold, of in found.items():
        kept.fold = fold
        train, test = (
            with_sources(
                (
                    Entry(i, classes.index(label), path_of[i], where, i)
                    for i, (label, where) in of[split].items()
                ),
                source_of,
                lists.folder,
                kept,
            )
            for split in LISTED_SPLITS
        )
        entries[fold] = {"train": without_tested(train, test, kept, fold, "mafw"), "test": test}
    synthetic = is_synthetic(places.root)
    return Listing(
        name="mafw",
        root=places.root,
        footage=footage.path,
        classes=classes,
        folds=entries,
        facts={
            "version": DESCRIBED[version]
            if footage.is_official or version in ("crops", "raw")
            else f"{version}: clips in {footage.path.name}, not known to be the official ones",
            "labels": f"{labels}, {len(classes)} classes, lists {captions} captions{order}",
            **({"sources": SOURCES} if source_of else {}),
        },
        official=None if synthetic else OFFICIAL[labels, captions],
        skipped_rows=tuple(kept.skipped_rows),
        is_synthetic=synthetic,
        is_video=version == "video",
        allowed=footage.places.allowed,
    )


Row = tuple[str, str]
"""Class and position."""


def _lists(places: Places, split_root: str, labels: Labels, captions: Captions) -> tuple[FoldLists, Places]:
    """Return the lists of the requested labels, and the places with their folder.

    Raises:
        InputError: There are none, or several.
    """
    if split_root:
        named = named_path(split_root, places, "mafw: split_root")
        places, bases = places.adding(named), [named]
    else:
        bases = [path for name in SPLIT_ROOTS if (path := find(places.root, [name], places))]
        bases += [places.root] if find(places.root, [labels], places) or not bases else []
        bases = list(dict.fromkeys(bases))
    fitting = [lists for base in bases if (lists := _lists_below(base, labels, captions, places))]
    if len(fitting) == 1:
        return fitting[0], places
    if fitting:
        folders = " and ".join(str(lists.folder) for lists in fitting)
        raise InputError(f"mafw: split_root: must name the lists: both {folders} exist.")
    other: Captions = "with" if captions == "no" else "no"
    wanted = f"{labels}/{captions}_caption"
    if any(_lists_below(base, labels, other, places) for base in bases):
        note = " No captioned clip is neutral." if other == "with" else ""
        raise InputError(
            f"mafw: captions: no {wanted} in {bases[0]}; there is {labels}/{other}_caption: captions = {other!r}.{note}"
        )
    if not split_root and bases == [places.root]:
        nested = places.root / "MAFW"
        where = searched(SPLIT_ROOTS, places.root)
        if nested.is_dir() and any(find(nested, [name], places) for name in SPLIT_ROOTS):
            raise InputError(f"mafw: root: no split lists: {where}. Did you mean root = {str(nested)!r}?")
        missing = not_found_message("split lists", SPLIT_ROOTS, places.root, "mafw")
        raise InputError(f"{missing} Name their folder: split_root = '…'.")
    raise InputError(f"mafw: split_root: no {wanted} in {' or '.join(map(str, bases))}.")


def _lists_below(base: Path, labels: Labels, captions: Captions, places: Places) -> FoldLists | None:
    """Return the lists in the folder of one kind of labels; lists of names that say no kind are single, uncaptioned."""
    kinds = [f"{captions}_caption", f"{captions}_caption_new"]
    names = [f"{labels}/{kind}" for kind in kinds] + (kinds if labels == "single" else [])
    folders = [path for name in names if (path := find(base, [name], places))]
    if labels == "single" and captions == "no" and not folders:
        folders = [
            path for name in ("single", ".") if (path := find(base, [name], places) if name != "." else base)
        ]
        files: tuple[str, ...] = LIST_FILES[2:]
    else:
        files = LIST_FILES
    for folder in folders:
        for file in files:
            tried = [file.format(fold=fold, split=split) for fold in range(1, 6) for split in LISTED_SPLITS]
            if find(folder, tried, places):
                return FoldLists(folder, file, "mafw")
    return FoldLists(folders[0], LIST_FILES[0], "mafw") if folders and files is LIST_FILES else None


def _listed(path: Path, kept: RowFilter) -> Iterable[ListedClip]:
    """Yield the rows of a list, whose columns after the label are captions, or ``path frames label``."""
    is_empty = True
    for row in rows(path, kept.places):
        fields = row.fields
        if len(fields) == 3 and fields[1].isdecimal() and _NUMBER.fullmatch(fields[2]):
            fields = (fields[0], fields[2])
        if len(fields) < 2:
            kept.reject(row.where, RowProblem.MALFORMED, row.malformed("a clip and its label"))
            continue
        is_empty = False
        yield ListedClip(row.where, fields[0].rstrip("/"), fields[1])
    if is_empty:
        raise InputError(f"{path}: the list is empty.")


_NUMBER = re.compile(r"(\d{1,2})(\.0*)?")
ORDERS: Mapping[str, tuple[str, ...]] = {"the paper's": CLASSES, "alphabetical": tuple(sorted(CLASSES))}
"""The orders in which code bases number the classes, from 0."""


def _classes_of_numbers(
    read: Mapping[tuple[int, Split], Sequence[ListedClip]], lists: FoldLists, places: Places
) -> tuple[Mapping[str, str], str]:
    """Return the class of each number that labels clips, and the order for the facts; empty where classes are named.

    Raises:
        InputError: The numbers of clips do not tell the order.
    """
    first = min(fold for fold, _ in read)
    labels = [row.label for (fold, _), listed in read.items() if fold == first for row in listed]
    numbers = Counter(int(match[1]) for label in labels if (match := _NUMBER.fullmatch(label)))
    if not numbers:
        return {}, ""
    for name, order in ORDERS.items():
        official = dict(zip(CLASSES, _SINGLE_COUNTS, strict=True))
        for base in (0, 1):
            if all(numbers[number + base] == official[of] for number, of in enumerate(order)):
                written = {str(number + base): of for number, of in enumerate(order)}
                return written, f", numbered from {base} in {name} order"
    raise InputError(
        f"mafw: {lists.folder}: these lists number the classes, in an order that their numbers of clips do not tell; "
        "write the emotions' names in place of the numbers."
    )


def _labelled(
    listed: Iterable[ListedClip], kept: RowFilter, labels: Labels, class_of: Mapping[str, str]
) -> dict[str, Row]:
    """Return the class and the position of each clip."""
    found: dict[str, Row] = {}
    for row in listed:
        name = padded("".join(row.parts(1)), DIGITS)
        number = _NUMBER.fullmatch(row.label)
        text = class_of.get(str(int(number[1])), row.label) if number else row.label
        label = _label(text)
        if not name:
            kept.reject(row.where, RowProblem.BAD_PATH, name_reason(row.path))
        elif label is None or (labels == "single" and label not in CLASSES):
            reason = unknown_reason("label", text, name, CLASSES)
            kept.reject(row.where, RowProblem.UNKNOWN_LABEL, reason, name)
        elif name in found:
            kept.reject(row.where, RowProblem.LISTED_TWICE, twice_reason(name, found[name][1]), name)
        else:
            found[name] = (label, row.where)
    return found


def _label(text: str) -> str | None:
    """Return a class's name, its emotions in the paper's order: ``anger_disgust``; None if one is unknown."""
    emotions = set(text.lower().split("_"))
    if not emotions <= set(CLASSES):
        return None
    return "_".join(sorted(emotions, key=CLASSES.index))


def _compound_classes(lists: FoldLists, places: Places) -> tuple[str, ...]:
    """Return the 11 emotions and all combinations in any list of the tree, whichever folds are requested."""
    kept = RowFilter(places, skip=True)
    found = {
        label for path in lists.all(places) for row in _listed(path, kept) if (label := _label(row.label))
    }
    combinations = sorted(
        found - set(CLASSES), key=lambda name: [CLASSES.index(part) for part in name.split("_")]
    )
    return (*CLASSES, *combinations)
