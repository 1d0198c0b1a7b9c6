"""MAFW (Liu et al., 2022) in its official layout: 11 single or 43 compound classes, five folds.

::

    <root>/data/frames/<id5>/*.png                face frames
    <root>/data/clips/<id5>.mp4                   videos
    <root>/<split root>/single/no_caption/set_1/train.txt       00025.mp4 anger
    <root>/<split root>/single/with_caption/set_1/train.txt     00025.mp4, label, Chinese, English, tabs between
    <root>/<split root>/compound/…                               labels such as anger_disgust

The split root has many names: see `SPLIT_ROOTS`. Lists are read as UTF-8 or GBK. The lists with captions leave
out every neutral clip, for those have none: they are another data set, so they are asked for by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from study.config.registry import LocalPath, component
from study.errors import InputError
from study.tasks.clips.data.files.listing import (
    Entry,
    Fold,
    Listing,
    Official,
    Part,
    RowFilter,
    check_folds,
    escapes_root,
    exclude,
    find,
    is_synthetic,
    lines,
    looked,
    members,
    named,
    names_in,
    not_found,
    padded,
    root_folder,
    twice,
    unknown,
)
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
"""The 11 and 32 combinations of them."""
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
"""Where the clips of each version may lie, the official place first."""
DESCRIBED: Mapping[Version, str] = {
    "faces": "faces: the official face frames",
    "raw": "raw: whole frames, cut from the videos by the user",
    "video": "video: whole frames of the official videos",
}
PARTS: tuple[Part, ...] = ("train", "test")
DIGITS = 5
"""Of a clip's name."""


@component("dataset")
def mafw(
    *,
    root: Annotated[str, LocalPath(), "folder that holds data/ and the folder of split lists"],
    folds: Folds = [1, 2, 3, 4, 5],  # noqa: B006
    labels: Annotated[Labels, "11 emotions, or 43 with their combinations"] = "single",
    captions: Annotated[Captions, "with: the lists of captioned clips, none of them neutral"] = "no",
    version: Annotated[Version, "the official face frames, one's own whole frames, or the videos"] = "faces",
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
        InputError: A list or folder is missing or there are several, or a row is wrong and is not to be skipped.
    """
    top = root_folder(root, "mafw")
    check_folds(folds, "mafw")
    lists = _lists(top, split_root, labels, captions)
    rows = RowFilter(top, skip_bad)
    found: dict[int, dict[Part, dict[str, Row]]] = {}
    for fold in folds:
        rows.fold = fold
        found[fold] = {part: _rows(_list(lists, part, fold, top), rows, labels) for part in PARTS}
    classes = CLASSES if labels == "single" else _compound_classes(lists, top)
    footage = _footage(top, version, clips_root, needs_footage)
    path_of = members(footage, {i for of in found.values() for listed in of.values() for i in listed}, DIGITS)
    entries: dict[Fold, dict[Part, tuple[Entry, ...]]] = {}
    for fold, of in found.items():
        train, test = (
            tuple(
                Entry(i, classes.index(label), path_of[i], where, i) for i, (label, where) in of[part].items()
            )
            for part in PARTS
        )
        rows.fold = fold
        entries[fold] = {"train": exclude(train, test, rows, fold, "mafw"), "test": test}
    return Listing(
        name="mafw",
        root=top,
        footage=footage,
        classes=classes,
        folds=entries,
        facts={
            "version": DESCRIBED[version],
            "labels": f"{labels}, {len(classes)} classes, lists {captions} captions",
        },
        official=None if is_synthetic(top) else OFFICIAL[labels, captions],
        left=tuple(rows.left),
        is_synthetic=is_synthetic(top),
    )


Row = tuple[str, str]
"""Class and where."""


def _lists(top: Path, split_root: str, labels: Labels, captions: Captions) -> Path:
    """Return the folder of the folds' folders."""
    wanted = f"{labels}/{captions}_caption"
    if split_root:
        roots = [named(split_root, top, "mafw: split_root")]
    else:
        roots = [place for name in SPLIT_ROOTS if (place := find(top, [name], top))]
        roots += [top] if find(top, [labels], top) else []
        roots = list(dict.fromkeys(roots))
        if not roots:
            nested = top / "MAFW"
            if nested.is_dir() and any(find(nested, [name], top) for name in SPLIT_ROOTS):
                where = looked(SPLIT_ROOTS, top)
                raise InputError(f"mafw: root: no split lists: {where}. Did you mean root = {str(nested)!r}?")
            missing = not_found("split lists", SPLIT_ROOTS, top, "mafw")
            raise InputError(f"{missing} Name their folder: split_root = '…'.")
    fitting = [place for base in roots if (place := find(base, [wanted], top))]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InputError(
            f"mafw: split_root: must say which lists: {' and '.join(map(str, fitting))} are both there."
        )
    other: Captions = "with" if captions == "no" else "no"
    if any(find(base, [f"{labels}/{other}_caption"], top) for base in roots):
        lost = " Captioned clips are none of them neutral." if other == "with" else ""
        raise InputError(
            f"mafw: captions: no {wanted} in {roots[0]}; there is {labels}/{other}_caption: captions = {other!r}.{lost}"
        )
    raise InputError(f"mafw: split_root: no {wanted} in {' or '.join(map(str, roots))}.")


def _list(lists: Path, part: Part, fold: int, top: Path) -> Path:
    if path := find(lists, [f"set_{fold}/{part}.txt"], top):
        return path
    there = [name for name in names_in(lists, "mafw") if name.startswith("set_")]
    if f"set_{fold}" in there or not there:
        raise InputError(f"mafw: root: no split list: looked for set_{fold}/{part}.txt in {str(lists)!r}.")
    numbers = ", ".join(name.removeprefix("set_") for name in there)
    raise InputError(
        f"mafw: folds: no fold {fold}: {lists / f'set_{fold}'} does not exist; that folder has {numbers}."
    )


def _rows(path: Path, rows: RowFilter, labels: Labels) -> dict[str, Row]:
    listed: dict[str, Row] = {}
    for where, line in lines(path, rows.root):
        fields = line.strip().split("\t") if "\t" in line else line.split()
        if len(fields) < 2:
            rows.wrong(where, f"must be a clip and its label. Got {line!r} instead")
            continue
        clip, text = fields[0].strip(), fields[1].strip()
        if escapes_root(clip) or "/" in clip:
            rows.wrong(where, f"{clip!r} is not the name of a clip: it must be one folder inside the root")
            continue
        name = padded(clip.removesuffix(".mp4"), DIGITS)
        label = _label(text)
        if label is None or (labels == "single" and label not in CLASSES):
            rows.wrong(where, unknown("label", text, name, CLASSES), name)
        elif name in listed:
            rows.wrong(where, twice(name, listed[name][1]), name)
        else:
            listed[name] = (label, where)
    if not listed:
        raise InputError(f"{path}: the list is empty.")
    return listed


def _label(text: str) -> str | None:
    """Return a class's name, its emotions in the papers' order: ``anger_disgust``; None where one is unknown."""
    emotions = set(text.split("_"))
    if not emotions <= set(CLASSES):
        return None
    return "_".join(sorted(emotions, key=CLASSES.index))


def _compound_classes(lists: Path, top: Path) -> tuple[str, ...]:
    """Return the 11 emotions and all combinations in any list of the tree, so that one fold is read as all are."""
    rows = RowFilter(top, skip=True)
    found = {
        label for path in lists.glob("set_*/*.txt") for label, _ in _rows(path, rows, "compound").values()
    }
    combinations = sorted(
        found - set(CLASSES), key=lambda name: [CLASSES.index(part) for part in name.split("_")]
    )
    return (*CLASSES, *combinations)


def _footage(top: Path, version: Version, given: str, needed: bool) -> Path:
    if given:
        return named(given, top, "mafw: clips_root")
    found = find(top, FOOTAGE[version], top)
    if found is not None or not needed:
        return found or top / FOOTAGE[version][0]
    others = [other for other in FOOTAGE if find(top, FOOTAGE[other], top)]
    if not others:
        raise InputError(not_found("clips", FOOTAGE[version], top, "mafw"))
    raise InputError(
        f"mafw: root: no clips: {looked(FOOTAGE[version], top)}. "
        f"There is {FOOTAGE[others[0]][0]}: version = {others[0]!r}."
    )
