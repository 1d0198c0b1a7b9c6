"""Reads a user's own clips: a folder of videos or of folders of frames, and a table that names them.

::

    <root>/clips.csv                 header path,label[,source][,split][,fold]
    <root>/<path>                    a video, or a folder of JPEG or PNG frames

``source`` is the person or film, of which no split takes a part; ``split`` is ``train``, ``validation`` or ``test``;
``fold`` is the number of the fold that tests a clip. Columns have other names too: see
`study.tasks.clips.data.sets.own_tables`. A table without a header has ``path label`` or ``path frames label``. One
table for each split or fold is named with placeholders: ``table = "split0{fold}/{split}.csv"``.
"""

from __future__ import annotations

import difflib
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from study.config.registry import LocalPath, Range, component
from study.errors import InputError, quoted
from study.tasks.clips.data.contract import SPLITS, Split
from study.tasks.clips.data.files.frames import by_number
from study.tasks.clips.data.files.listing import (
    Entry,
    Fold,
    Listing,
    RowFilter,
    RowProblem,
    is_synthetic,
    unknown_reason,
)
from study.tasks.clips.data.files.places import (
    Places,
    located,
    open_places,
)
from study.tasks.clips.data.sets.own_tables import (
    SPLIT_NAMES,
    OwnClip,
    clips_of,
    is_video,
    named_tables,
    once_each,
    with_paths,
)
from study.tasks.clips.data.sets.recorded import Recorded, Recording, held_out, recorded

_NUMBER = re.compile(r"([+-]?\d{1,18})(\.0*)?")
_RARER = 4
"""A misspelt label is more than so many times rarer than the right one."""


@component("dataset")
def clips(
    *,
    root: Annotated[str, LocalPath(), "folder that holds the clips and the table clips.csv"],
    table: Annotated[
        str,
        LocalPath(),
        "the table, path,label[,source][,split][,fold], with {split} and {fold} for several; empty: clips.csv in root",
    ] = "",
    path_prefix: Annotated[
        str,
        LocalPath(),
        "beginning of the table's paths that is left out; empty: found where they are absolute",
    ] = "",
    folds: Annotated[list[int], "folds of a table with a column fold, or of several tables; none: all"] = [],  # noqa: B006
    classes: Annotated[list[str], "class names in their order; none: those of the table, sorted"] = [],  # noqa: B006
    test_share: Annotated[
        float, Range(0.05, 0.5), "share of clips in the test split, without a column split"
    ] = 0.2,
    test_seed: Annotated[int, Range(0), "another seed tests other clips, without a column split"] = 0,
    recording: Recording,
) -> Recorded:
    """A user's own videos or folders of frames, by a table of paths and labels."""
    return recorded(
        clips_listing(
            root,
            table,
            classes,
            test_share,
            test_seed,
            folds=folds,
            path_prefix=path_prefix,
            allow=recording.allowed,
            skip_bad=recording.skip_bad,
        ),
        recording,
    )


def clips_listing(
    root: str,
    table: str = "",
    classes: Sequence[str] = (),
    test_share: float = 0.2,
    test_seed: int = 0,
    *,
    folds: Sequence[int] = (),
    path_prefix: str = "",
    allow: Sequence[str] = (),
    skip_bad: bool = False,
) -> Listing:
    """Read the table; no clip is opened.

    Raises:
        InputError: The table is missing or lacks a column, or a row cannot be used and is not to be skipped.
    """
    places = open_places(root, allow, "clips")
    top = places.root
    if len({unicodedata.normalize("NFC", name) for name in classes}) < len(classes):
        raise InputError(f"clips: classes: names one twice. Got {list(classes)!r}.")
    tables, places = named_tables(places, table)
    kept = RowFilter(places, skip_bad)
    found = [clip for of in tables for clip in clips_of(of, kept)]
    found = list(once_each(with_paths(found, path_prefix, kept), kept))
    if not found:
        raise InputError(f"{tables[0].path}: the table is empty.")
    found, labels = _with_one_name_each(found)
    names = tuple(_one_number(unicodedata.normalize("NFC", name)) for name in classes) or labels
    label_of = {name: label for label, name in enumerate(names)}
    doubts = () if classes else tuple(_misspelt_labels(found, places))
    usable = []
    for clip in found:
        if clip.label in label_of:
            usable.append(clip)
        else:
            reason = unknown_reason("label", clip.label, clip.id, names)
            kept.reject(clip.where, RowProblem.UNKNOWN_LABEL, reason, clip.id)
    if len(names) < 2:
        raise InputError(f"{tables[0].path}: must hold clips of at least two classes. Got {quoted(names)}.")
    path_of = located({clip.path for clip in usable}, top)
    entries: dict[Fold, list[tuple[Entry, str]]] = defaultdict(list)
    for clip in usable:
        source = sys.intern(clip.source) or clip.id
        entry = Entry(clip.id, label_of[clip.label], path_of[clip.path], clip.where, source)
        entries[clip.fold].append((entry, clip.split))
    by_fold = _by_fold(entries, folds, tables[0].path, test_share, test_seed)
    has_split, has_fold = any(clip.split for clip in found), list(by_fold) != [None]
    has_source = any(clip.source for clip in found)
    paths = [path_of[clip.path] for clip in usable]
    random_split = f"{100 * test_share:g} %, by class{' and source' if has_source else ''}, seed {test_seed}"
    return Listing(
        name="clips",
        root=top,
        footage=top,
        classes=names,
        folds=by_fold,
        facts={
            "version": _file_kinds(paths),
            "sources": "a column of the table" if has_source else "not known: each clip is one of its own",
            "test split": "the table's"
            if has_split
            else "the clips of the fold"
            if has_fold
            else random_split,
        },
        skipped_rows=tuple(kept.skipped_rows),
        is_synthetic=is_synthetic(top),
        doubts=doubts,
        is_video=bool(paths) and all(map(is_video, paths)),
        remedies={} if has_split or has_fold else _remedies(len(usable), test_share, has_source=has_source),
        allowed=places.allowed,
    )


def _with_one_name_each(found: Sequence[OwnClip]) -> tuple[list[OwnClip], tuple[str, ...]]:
    """Return the clips and their classes, sorted by their numbers; whole numbers are one however they are written."""
    labels = {clip.label for clip in found}
    if all(map(_NUMBER.fullmatch, labels)):
        found = [replace(clip, label=_one_number(clip.label)) for clip in found]
        return list(found), tuple(sorted({clip.label for clip in found}, key=int))
    return list(found), tuple(sorted(labels, key=by_number))


def _one_number(label: str) -> str:
    """Return a whole number in its shortest form: ``01`` and ``1.0`` are ``1``; any other label as it is."""
    match = _NUMBER.fullmatch(label)
    return str(int(match[1])) if match else label


def _by_fold(
    entries: Mapping[Fold, Sequence[tuple[Entry, str]]],
    folds: Sequence[int],
    path: Path,
    share: float,
    seed: int,
) -> dict[Fold, Mapping[Split, tuple[Entry, ...]]]:
    """Return the splits of each requested fold.

    Raises:
        InputError: A fold is requested that the table does not have, or a fold has no clip of a split.
    """
    numbers = sorted(fold for fold in entries if fold is not None)
    if folds and not numbers:
        raise InputError(
            f"clips: folds: {path} has no column fold, and its name no {{fold}}; leave out folds."
        )
    if unknown := [fold for fold in folds if fold not in numbers]:
        raise InputError(
            f"clips: folds: no fold {unknown[0]} in {path}; it has {', '.join(map(str, numbers))}."
        )
    if len(set(folds)) < len(folds):
        raise InputError(f"clips: folds: names one twice. Got {list(folds)!r}.")
    if not numbers:
        listed = entries[None]
        has_split = any(split for _, split in listed)
        return {None: _by_column(listed, path) if has_split else _at_random(listed, share, seed)}
    found: dict[Fold, Mapping[Split, tuple[Entry, ...]]] = {}
    for fold in folds or numbers:
        if any(split for _, split in entries[fold]):
            found[fold] = _by_column(entries[fold], path)
            continue
        if len(numbers) < 2:
            raise InputError(f"{path}: one fold alone, {numbers[0]}, has clips: there is none to train on.")
        found[fold] = {
            "train": tuple(entry for other in numbers if other != fold for entry, _ in entries[other]),
            "test": tuple(entry for entry, _ in entries[fold]),
        }
    return found


def _misspelt_labels(found: Sequence[OwnClip], places: Places) -> Iterator[str]:
    """Yield a question for each label that looks like another one misspelt.

    Raises:
        InputError: Two labels differ only in case.
    """
    first: dict[str, OwnClip] = {}
    for clip in found:
        first.setdefault(clip.label, clip)
    counts = Counter(clip.label for clip in found)
    alike: dict[str, OwnClip] = {}
    for clip in first.values():
        other = alike.setdefault(clip.label.casefold(), clip)
        if other is not clip:
            raise InputError(
                f"{places.root / clip.where}: the label {clip.label!r} differs only in case from {other.label!r} of "
                f"{other.where}; write one of them, or name both as classes."
            )
    if all(map(_NUMBER.fullmatch, counts)):
        return
    for label, count in counts.items():
        others = [other for other in counts if counts[other] > _RARER * count]
        if close := difflib.get_close_matches(label, others, n=1, cutoff=0.75):
            yield f"{first[label].where}: is the label {label!r} ({count} in all) {close[0]!r}, misspelt?"


def _by_column(entries: Sequence[tuple[Entry, str]], path: Path) -> dict[Split, tuple[Entry, ...]]:
    splits: dict[Split, tuple[Entry, ...]] = {}
    for split in SPLITS:
        chosen = tuple(entry for entry, name in entries if SPLIT_NAMES.get(name) == split)
        if chosen:
            splits[split] = chosen
        elif split != "validation":
            raise InputError(
                f"{path}: no clip has the split {split!r}; without a column split, test_share draws one."
            )
    return splits


def _at_random(
    entries: Sequence[tuple[Entry, str]], share: float, seed: int
) -> dict[Split, tuple[Entry, ...]]:
    labels = {entry.id: entry.label for entry, _ in entries}
    tested = held_out(labels, {entry.id: entry.source for entry, _ in entries}, share, seed, "test")
    return {
        "train": tuple(entry for entry, _ in entries if entry.id not in tested),
        "test": tuple(entry for entry, _ in entries if entry.id in tested),
    }


def _remedies(clips: int, share: float, *, has_source: bool) -> dict[Split, str]:
    """Return what fills a split that was drawn, in words."""
    of = ", whole sources," if has_source else ""
    drawn = f"test_share = {share:g} of {clips} clips{of} was drawn by class"
    test = f"{drawn}: a larger test_share, at most 0.5, or a column split puts clips there."
    return {"test": test} if share < 0.5 else {"test": f"{drawn}: name the test clips in a column split."}


def _file_kinds(paths: Sequence[str]) -> str:
    videos = sum(map(is_video, paths))
    if not videos:
        return "folders of frames"
    return "videos" if videos == len(paths) else f"{videos} videos, {len(paths) - videos} folders of frames"
