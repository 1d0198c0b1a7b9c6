"""Reads MAFW (Liu et al., 2022) in its official layout: 11 single or 43 compound classes, five folds.

::

    <root>/data/frames/<id5>/*.png                face frames
    <root>/data/clips/<id5>.mp4                   videos
    <root>/<split root>/single/no_caption/set_1/train.txt       00025.mp4 anger
    <root>/<split root>/single/with_caption/set_1/train.txt     00025.mp4, label, Chinese, English, tabs between
    <root>/<split root>/single/no_caption/sources.csv           optional, not MAFW's: header video_name,source
    <root>/<split root>/compound/…                               labels such as anger_disgust

The split root has many names: see `SPLIT_ROOTS`. Lists are read as UTF-8 or GBK. The lists with captions have no
neutral clip, as these have no caption: they are another data set, so they are requested by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from study.config.registry import LocalPath, component
from study.errors import InputError
from study.tasks.clips.data.contract import Split
from study.tasks.clips.data.files.listing import (
    LISTED_SPLITS,
    Entry,
    Fold,
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
    names_in,
    not_found_message,
    padded,
    path_inside,
    root_folder,
    searched,
    twice_reason,
    unknown_reason,
    without_tested,
)
from study.tasks.clips.data.files.sources import NAME, sources_beside, with_sources
from study.tasks.clips.data.sets.recorded import Folds, Recorded, Recording, recorded

Version = Literal["faces", "raw", "video"]
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
SPLIT_ROOTS = ("Train & Test Set", "split", "anno", "label", "labels", "splits")
"""Where the lists may lie; without regard to case and punctuation, so that Train_Test_Set is the first too."""
FOOTAGE: Mapping[Version, tuple[str, ...]] = {
    "faces": ("data/frames", "frames", "data/faces", "faces"),
    "raw": ("data/raw_frames", "raw_frames", "data/clips_frames", "clips_frames"),
    "video": ("data/clips", "clips", "data/videos", "videos"),
}
"""Where the clips of each version may lie, the official folder first."""
DESCRIBED: Mapping[Version, str] = {
    "faces": "faces: the official face frames",
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
        Version, "the official face frames, the user's own whole frames, or the videos"
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
    skip_bad: bool = False,
    needs_footage: bool = True,
) -> Listing:
    """Read the lists of the given folds; no frame is opened.

    Raises:
        InputError: A list or folder is missing or there are several, or a row cannot be used and is not to be skipped.
    """
    top = root_folder(root, "mafw")
    check_folds(folds, "mafw")
    lists = _lists_folder(top, split_root, labels, captions)
    rows = RowFilter(top, skip_bad)
    found: dict[int, dict[Split, dict[str, Row]]] = {}
    for fold in folds:
        rows.fold = fold
        found[fold] = {
            split: _rows(_list_path(lists, split, fold, top), rows, labels) for split in LISTED_SPLITS
        }
    classes = CLASSES if labels == "single" else _compound_classes(lists, top)
    footage = (
        path_inside(clips_root, top, "mafw: clips_root")
        if clips_root
        else footage_folder(top, FOOTAGE, version, "clips", "mafw", is_needed=needs_footage)
    )
    source_of = sources_beside(lists, top, lambda name: padded(Path(name).stem, DIGITS))
    path_of = members(footage, {i for of in found.values() for listed in of.values() for i in listed}, DIGITS)
    entries: dict[Fold, dict[Split, tuple[Entry, ...]]] = {}
    for fold, of in found.items():
        rows.fold = fold
        train, test = (
            with_sources(
                (
                    Entry(i, classes.index(label), path_of[i], where, i)
                    for i, (label, where) in of[split].items()
                ),
                source_of,
                lists,
                rows,
            )
            for split in LISTED_SPLITS
        )
        entries[fold] = {"train": without_tested(train, test, rows, fold, "mafw"), "test": test}
    return Listing(
        name="mafw",
        root=top,
        footage=footage,
        classes=classes,
        folds=entries,
        facts={
            "version": DESCRIBED[version],
            "labels": f"{labels}, {len(classes)} classes, lists {captions} captions",
            **({"sources": NAME} if source_of else {}),
        },
        official=None if is_synthetic(top) else OFFICIAL[labels, captions],
        skipped_rows=tuple(rows.skipped_rows),
        is_synthetic=is_synthetic(top),
        is_video=version == "video",
    )


Row = tuple[str, str]
"""Class and position."""


def _lists_folder(top: Path, split_root: str, labels: Labels, captions: Captions) -> Path:
    """Return the folder that holds a folder for each fold."""
    wanted = f"{labels}/{captions}_caption"
    if split_root:
        roots = [path_inside(split_root, top, "mafw: split_root")]
    else:
        roots = [path for name in SPLIT_ROOTS if (path := find(top, [name], top))]
        roots += [top] if find(top, [labels], top) else []
        roots = list(dict.fromkeys(roots))
        if not roots:
            nested = top / "MAFW"
            if nested.is_dir() and any(find(nested, [name], top) for name in SPLIT_ROOTS):
                where = searched(SPLIT_ROOTS, top)
                raise InputError(f"mafw: root: no split lists: {where}. Did you mean root = {str(nested)!r}?")
            missing = not_found_message("split lists", SPLIT_ROOTS, top, "mafw")
            raise InputError(f"{missing} Name their folder: split_root = '…'.")
    fitting = [path for base in roots if (path := find(base, [wanted], top))]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InputError(
            f"mafw: split_root: must name the lists: both {' and '.join(map(str, fitting))} exist."
        )
    other: Captions = "with" if captions == "no" else "no"
    if any(find(base, [f"{labels}/{other}_caption"], top) for base in roots):
        note = " No captioned clip is neutral." if other == "with" else ""
        raise InputError(
            f"mafw: captions: no {wanted} in {roots[0]}; there is {labels}/{other}_caption: captions = {other!r}.{note}"
        )
    raise InputError(f"mafw: split_root: no {wanted} in {' or '.join(map(str, roots))}.")


def _list_path(lists: Path, split: Split, fold: int, top: Path) -> Path:
    if path := find(lists, [f"set_{fold}/{split}.txt"], top):
        return path
    set_names = [name for name in names_in(lists, "mafw") if name.startswith("set_")]
    if f"set_{fold}" in set_names or not set_names:
        raise InputError(f"mafw: root: no split list: looked for set_{fold}/{split}.txt in {str(lists)!r}.")
    numbers = ", ".join(name.removeprefix("set_") for name in set_names)
    raise InputError(
        f"mafw: folds: no fold {fold}: {lists / f'set_{fold}'} does not exist; that folder has {numbers}."
    )


def _rows(path: Path, rows: RowFilter, labels: Labels) -> dict[str, Row]:
    listed: dict[str, Row] = {}
    for where, line in lines(path, rows.root):
        fields = line.strip().split("\t") if "\t" in line else line.split()
        if len(fields) < 2:
            rows.reject(where, RowProblem.MALFORMED, f"must be a clip and its label. Got {line!r} instead")
            continue
        clip, text = fields[0].strip(), fields[1].strip()
        if escapes_root(clip) or "/" in clip:
            rows.reject(where, RowProblem.BAD_PATH, name_reason(clip))
            continue
        name = padded(clip.removesuffix(".mp4"), DIGITS)
        label = _label(text)
        if label is None or (labels == "single" and label not in CLASSES):
            reason = unknown_reason("label", text, name, CLASSES)
            rows.reject(where, RowProblem.UNKNOWN_LABEL, reason, name)
        elif name in listed:
            rows.reject(where, RowProblem.LISTED_TWICE, twice_reason(name, listed[name][1]), name)
        else:
            listed[name] = (label, where)
    if not listed:
        raise InputError(f"{path}: the list is empty.")
    return listed


def _label(text: str) -> str | None:
    """Return a class's name, its emotions in the paper's order: ``anger_disgust``; None if one is unknown."""
    emotions = set(text.split("_"))
    if not emotions <= set(CLASSES):
        return None
    return "_".join(sorted(emotions, key=CLASSES.index))


def _compound_classes(lists: Path, top: Path) -> tuple[str, ...]:
    """Return the 11 emotions and all combinations in any list of the tree, whichever folds are requested."""
    rows = RowFilter(top, skip=True)
    found = {
        label for path in lists.glob("set_*/*.txt") for label, _ in _rows(path, rows, "compound").values()
    }
    combinations = sorted(
        found - set(CLASSES), key=lambda name: [CLASSES.index(part) for part in name.split("_")]
    )
    return (*CLASSES, *combinations)
