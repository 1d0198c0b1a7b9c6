"""FERV39k (Wang et al., 2022) in its official layout: one split, 22 scenes.

::

    <root>/2_ClipsforFaceCrop/<Scene>/<Emotion>/<clip4>/*.jpg       face frames, such as Action/Happy/0267
    <root>/4_setups/All_scenes/train_All.csv                        no header: Action/Happy/0267 Happy
    <root>/4_setups/All_scenes/test_All.csv

Folders are found without regard to case and punctuation, and under the other names in `FOOTAGE` and `LISTS`.
Code bases differ in the integers that they give the classes; here a class is its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from study.config.registry import LocalPath, component
from study.errors import InputError
from study.tasks.clips.data.files.listing import (
    Entry,
    Listing,
    Official,
    Part,
    RowFilter,
    escapes_root,
    exclude,
    find,
    is_synthetic,
    lines,
    looked,
    not_found,
    padded,
    root_folder,
    twice,
    unknown,
)
from study.tasks.clips.data.sets.recorded import Recorded, Recording, recorded

CLASSES = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
OFFICIAL = Official({None: (31088, 7847)}, (7327, 6916, 9748, 7393, 3140, 2300, 2111))
FOOTAGE = (
    "2_ClipsforFaceCrop",
    "ClipsforFaceCrop",
    "2_ClipsforFaceCrop/2_ClipsforFaceCrop",
    "clips",
    "frames",
)
"""Where the scenes' folders may lie, the official place first."""
LISTS = ("4_setups/All_scenes", "setups/All_scenes", "All_scenes", "4_setups")
"""Where the two lists may lie, the official place first."""
DIGITS = 4
"""Of a clip's name."""


@component("dataset")
def ferv39k(
    *,
    root: Annotated[str, LocalPath(), "folder that holds 2_ClipsforFaceCrop/ and 4_setups/"],
    recording: Recording,
) -> Recorded:
    """FERV39k: seven emotions in 22 scenes, one official split, part of train held out."""
    return recorded(
        ferv39k_listing(root, skip_bad=recording.skip_bad, needs_footage=not recording.pack),
        recording,
    )


def ferv39k_listing(root: str, *, skip_bad: bool = False, needs_footage: bool = True) -> Listing:
    """Read the two lists; no frame is opened.

    Raises:
        InputError: A list or folder is missing, or a row is wrong and is not to be skipped.
    """
    top = root_folder(root, "ferv39k")
    rows = RowFilter(top, skip_bad)
    test, train = (_entries(_list(top, part), rows) for part in ("test", "train"))
    footage = find(top, FOOTAGE, top)
    if footage is None and needs_footage:
        raise InputError(not_found("face frames", FOOTAGE, top, "ferv39k"))
    parts: dict[Part, tuple[Entry, ...]] = {
        "train": exclude(train, test, rows, None, "ferv39k"),
        "test": test,
    }
    return Listing(
        name="ferv39k",
        root=top,
        footage=footage or top / FOOTAGE[0],
        classes=CLASSES,
        folds={None: parts},
        facts={"version": "face frames, original frames", "labels": "class names of the lists"},
        official=None if is_synthetic(top) else OFFICIAL,
        left=tuple(rows.left),
        is_synthetic=is_synthetic(top),
    )


def _list(top: Path, part: Part) -> Path:
    name = f"{part}_All.csv"
    candidates = [f"{folder}/{name}" for folder in LISTS]
    if found := find(top, candidates, top):
        return found
    nested = top / "FERV39k"
    if find(nested, candidates, top):
        raise InputError(
            f"ferv39k: root: no {part} list: {looked(candidates, top)}. Did you mean root = {str(nested)!r}?"
        )
    raise InputError(not_found(f"{part} list", candidates, top, "ferv39k"))


def _entries(path: Path, rows: RowFilter) -> tuple[Entry, ...]:
    found: dict[str, Entry] = {}
    for entry in _rows(path, rows):
        if entry.id in found:
            rows.wrong(entry.where, twice(entry.id, found[entry.id].where), entry.id)
        else:
            found[entry.id] = entry
    if not found:
        raise InputError(f"{path}: the list is empty.")
    return tuple(found.values())


def _rows(path: Path, rows: RowFilter) -> Iterator[Entry]:
    for where, line in lines(path, rows.root):
        fields = re.split(r"[\s,]+", line.strip())
        parts = fields[0].rstrip("/").split("/")
        if len(fields) != 2:
            rows.wrong(
                where, f"must be Scene/Emotion/clip and the emotion, a space between. Got {line!r} instead"
            )
        elif escapes_root("/".join(parts)) or len(parts) != 3:
            rows.wrong(
                where,
                f"{fields[0]!r} is no clip's place: it must be Scene/Emotion/clip inside the root",
            )
        elif fields[1] not in CLASSES:
            rows.wrong(where, unknown("label", fields[1], fields[0], CLASSES), fields[0])
        elif parts[1] != fields[1]:
            rows.wrong(
                where, f"clip {fields[0]} lies in {parts[1]!r} and is labelled {fields[1]!r}", fields[0]
            )
        else:
            place = "/".join([*parts[:2], padded(parts[2], DIGITS)])
            yield Entry(place, CLASSES.index(fields[1]), place, where, place, scene=parts[0])
