"""Reads FERV39k (Wang et al., 2022) in its official layout: one split, 22 scenes.

::

    <root>/2_ClipsforFaceCrop/<Scene>/<Emotion>/<clip4>/*.jpg       face frames, such as Action/Happy/0267
    <root>/4_setups/All_scenes/train_All.csv                        no header: Action/Happy/0267 Happy
    <root>/4_setups/All_scenes/test_All.csv
    <root>/4_setups/All_scenes/sources.csv                          optional, not FERV39k's: header video_name,source

Folders are found without regard to case and punctuation, and under the other names in `FOOTAGE` and `LISTS`.
Code bases number the classes differently; these lists name them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    escapes_root,
    find,
    is_synthetic,
    lines,
    not_found_message,
    padded,
    root_folder,
    searched,
    twice_reason,
    unknown_reason,
    without_tested,
)
from study.tasks.clips.data.files.sources import NAME, sources_beside, with_sources
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
"""Where the scenes' folders may lie, the official folder first."""
LISTS = ("4_setups/All_scenes", "setups/All_scenes", "All_scenes", "4_setups")
"""Where the two lists may lie, the official folder first."""
DIGITS = 4
"""The number of digits in the names of clips."""


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
        "random-window",
    )


def ferv39k_listing(root: str, *, skip_bad: bool = False, needs_footage: bool = True) -> Listing:
    """Read the two lists; no frame is opened.

    Raises:
        InputError: A list or folder is missing, or a row cannot be used and is not to be skipped.
    """
    top = root_folder(root, "ferv39k")
    rows = RowFilter(top, skip_bad)
    paths = {split: _list_path(top, split) for split in LISTED_SPLITS}
    lists = paths["test"].parent
    source_of = sources_beside(lists, top, _clip_id)
    test, train = (
        with_sources(_entries(paths[split], rows), source_of, lists, rows) for split in ("test", "train")
    )
    footage = find(top, FOOTAGE, top)
    if footage is None and needs_footage:
        raise InputError(not_found_message("face frames", FOOTAGE, top, "ferv39k"))
    splits: dict[Split, tuple[Entry, ...]] = {
        "train": without_tested(train, test, rows, None, "ferv39k"),
        "test": test,
    }
    return Listing(
        name="ferv39k",
        root=top,
        footage=footage or top / FOOTAGE[0],
        classes=CLASSES,
        folds={None: splits},
        facts={
            "version": "face frames, original frames",
            "labels": "class names of the lists",
            **({"sources": NAME} if source_of else {}),
        },
        official=None if is_synthetic(top) else OFFICIAL,
        skipped_rows=tuple(rows.skipped_rows),
        is_synthetic=is_synthetic(top),
    )


def _list_path(top: Path, split: Split) -> Path:
    name = f"{split}_All.csv"
    candidates = [f"{folder}/{name}" for folder in LISTS]
    if found := find(top, candidates, top):
        return found
    nested = top / "FERV39k"
    if find(nested, candidates, top):
        raise InputError(
            f"ferv39k: root: no {split} list: {searched(candidates, top)}. Did you mean root = {str(nested)!r}?"
        )
    raise InputError(not_found_message(f"{split} list", candidates, top, "ferv39k"))


def _entries(path: Path, rows: RowFilter) -> tuple[Entry, ...]:
    found: dict[str, Entry] = {}
    for entry in _rows(path, rows):
        if entry.id in found:
            rows.reject(
                entry.where, RowProblem.LISTED_TWICE, twice_reason(entry.id, found[entry.id].where), entry.id
            )
        else:
            found[entry.id] = entry
    if not found:
        raise InputError(f"{path}: the list is empty.")
    return tuple(found.values())


def _clip_id(name: str) -> str:
    """Return the id of a clip: its path, with the digits of its number."""
    *folders, number = name.rstrip("/").split("/")
    return "/".join([*folders, padded(number, DIGITS)])


def _rows(path: Path, rows: RowFilter) -> Iterator[Entry]:
    for where, line in lines(path, rows.root):
        fields = re.split(r"[\s,]+", line.strip())
        parts = fields[0].rstrip("/").split("/")
        if len(fields) != 2:
            reason = f"must be Scene/Emotion/clip and the emotion, a space between. Got {line!r} instead"
            rows.reject(where, RowProblem.MALFORMED, reason)
        elif escapes_root("/".join(parts)) or len(parts) != 3:
            reason = f"{fields[0]!r} is not the path of a clip: it must be Scene/Emotion/clip inside the root"
            rows.reject(where, RowProblem.BAD_PATH, reason)
        elif fields[1] not in CLASSES:
            reason = unknown_reason("label", fields[1], fields[0], CLASSES)
            rows.reject(where, RowProblem.UNKNOWN_LABEL, reason, fields[0])
        elif parts[1] != fields[1]:
            reason = f"clip {fields[0]} lies in {parts[1]!r} and is labelled {fields[1]!r}"
            rows.reject(where, RowProblem.OTHER_LABEL, reason, fields[0])
        else:
            clip = _clip_id("/".join(parts))
            yield Entry(clip, CLASSES.index(fields[1]), clip, where, clip, scene=parts[0])
