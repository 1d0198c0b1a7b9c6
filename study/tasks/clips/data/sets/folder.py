"""Reads a user's own clips: a folder of videos or of folders of frames, and a table that names them.

::

    <root>/clips.csv                 header path,label[,source][,split]
    <root>/<path>                    a video, or a folder of JPEG or PNG frames

``source`` is the person or film, of which no split takes a part; ``split`` is ``train``, ``validation`` or ``test``.
"""

from __future__ import annotations

import csv
import difflib
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from study.config.registry import LocalPath, Range, component
from study.errors import InputError, nearest, quoted
from study.tasks.clips.data.contract import SPLITS, Split
from study.tasks.clips.data.files.listing import (
    VIDEOS,
    Entry,
    Listing,
    RowFilter,
    RowProblem,
    escapes_root,
    find,
    is_synthetic,
    lines,
    names_in,
    path_inside,
    root_folder,
    searched,
    twice_reason,
    unknown_reason,
)
from study.tasks.clips.data.sets.recorded import Recorded, Recording, held_out, recorded

TABLES = ("clips.csv", "labels.csv", "list.csv")
REQUIRED, OPTIONAL = ("path", "label"), ("source", "split")
SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
"""Names of the splits in a table."""
_RARER = 4
"""A misspelt label is more than so many times rarer than the right one."""


@component("dataset")
def clips(
    *,
    root: Annotated[str, LocalPath(), "folder that holds the clips and the table clips.csv"],
    table: Annotated[
        str, LocalPath(), "the table, path,label[,source][,split]; empty: clips.csv in root"
    ] = "",
    classes: Annotated[list[str], "class names in their order; none: those of the table, sorted"] = [],  # noqa: B006
    test_share: Annotated[
        float, Range(0.05, 0.5), "share of clips in the test split, without a column split"
    ] = 0.2,
    test_seed: Annotated[int, Range(0), "another seed tests other clips, without a column split"] = 0,
    recording: Recording,
) -> Recorded:
    """A user's own videos or folders of frames, by a table of paths and labels."""
    return recorded(
        clips_listing(root, table, classes, test_share, test_seed, skip_bad=recording.skip_bad),
        recording,
    )


def clips_listing(
    root: str,
    table: str = "",
    classes: Sequence[str] = (),
    test_share: float = 0.2,
    test_seed: int = 0,
    *,
    skip_bad: bool = False,
) -> Listing:
    """Read the table; no clip is opened.

    Raises:
        InputError: The table is missing or lacks a column, or a row cannot be used and is not to be skipped.
    """
    top = root_folder(root, "clips")
    if len({unicodedata.normalize("NFC", name) for name in classes}) < len(classes):
        raise InputError(f"clips: classes: names one twice. Got {list(classes)!r}.")
    path = _table(top, table)
    rows = RowFilter(top, skip_bad)
    found = list(_rows(path, rows))
    names = tuple(unicodedata.normalize("NFC", name) for name in classes) or tuple(
        sorted({row.label for row in found})
    )
    label_of = {name: label for label, name in enumerate(names)}
    doubts = () if classes else tuple(_misspelt_labels(found, path))
    entries: list[tuple[Entry, str]] = []
    for row in found:
        if row.label in label_of:
            source = sys.intern(row.source) or row.path
            entries.append((Entry(row.path, label_of[row.label], row.path, row.where, source), row.split))
        else:
            reason = unknown_reason("label", row.label, row.path, names)
            rows.reject(row.where, RowProblem.UNKNOWN_LABEL, reason, row.path)
    if len(names) < 2:
        raise InputError(f"{path}: must hold clips of at least two classes. Got {quoted(names)}.")
    has_split = any(row.split for row in found)
    splits = _by_column(entries, path) if has_split else _at_random(entries, test_share, test_seed)
    has_source = any(row.source for row in found)
    paths = [entry.path for entry, _ in entries]
    random_split = f"{100 * test_share:g} %, by class{' and source' if has_source else ''}, seed {test_seed}"
    return Listing(
        name="clips",
        root=top,
        footage=top,
        classes=names,
        folds={None: splits},
        facts={
            "version": _file_kinds(paths),
            "sources": "a column of the table" if has_source else "not known: each clip is one of its own",
            "test split": "a column of the table" if has_split else random_split,
        },
        skipped_rows=tuple(rows.skipped_rows),
        is_synthetic=is_synthetic(top),
        doubts=doubts,
        is_video=bool(paths) and all(map(_is_video, paths)),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    where: str
    path: str
    label: str
    source: str = ""
    split: str = ""


def _table(top: Path, name: str) -> Path:
    if not name:
        if found := find(top, TABLES, top):
            return found
        tables = [other for other in names_in(top, "clips") if other.lower().endswith(".csv")]
        hint = f" There is {quoted(tables)}: name it, table = '…'." if tables else ""
        raise InputError(f"clips: root: no table: {searched(TABLES, top)}.{hint}")
    return path_inside(name, top, "clips: table")


def _rows(path: Path, rows: RowFilter) -> Iterator[_Row]:
    columns: list[str] = []
    seen: dict[str, str] = {}
    for where, line in lines(path, rows.root):
        fields = [field.strip() for field in next(csv.reader([line]))]
        if not columns:
            columns = _columns(fields, path)
            continue
        if len(fields) != len(columns):
            rows.reject(where, RowProblem.MALFORMED, f"must be {','.join(columns)}. Got {line!r} instead")
            continue
        row = _Row(where, **dict(zip(columns, fields, strict=True)))
        clip = row.path.removeprefix("./").rstrip("/")
        if escapes_root(clip):
            reason = f"{row.path!r} is not the path of a clip: it must be inside the root"
            rows.reject(where, RowProblem.BAD_PATH, reason)
        elif clip in seen:
            rows.reject(where, RowProblem.LISTED_TWICE, twice_reason(clip, seen[clip]), clip)
        elif not row.label:
            rows.reject(where, RowProblem.NO_LABEL, f"clip {clip} has no label", clip)
        elif "split" in columns and row.split not in SPLIT_NAMES:
            reason = unknown_reason("split", row.split, clip, SPLIT_NAMES)
            rows.reject(where, RowProblem.UNKNOWN_SPLIT, reason, clip)
        else:
            seen[clip] = where
            yield replace(row, path=clip)
    if not seen:
        raise InputError(f"{path}: the table is empty.")


def _misspelt_labels(rows: Sequence[_Row], path: Path) -> Iterator[str]:
    """Yield a question for each label that looks like another one misspelt.

    Raises:
        InputError: Two labels differ only in case.
    """
    first: dict[str, _Row] = {}
    for row in rows:
        first.setdefault(row.label, row)
    counts = Counter(row.label for row in rows)
    alike: dict[str, _Row] = {}
    for row in first.values():
        other = alike.setdefault(row.label.casefold(), row)
        if other is not row:
            raise InputError(
                f"{path.parent / row.where}: the label {row.label!r} differs only in case from {other.label!r} of "
                f"{other.where}; write one of them, or name both as classes."
            )
    for label, count in counts.items():
        others = [other for other in counts if counts[other] > _RARER * count]
        if close := difflib.get_close_matches(label, others, n=1, cutoff=0.75):
            yield f"{first[label].where}: is the label {label!r} ({count} in all) {close[0]!r}, misspelt?"


def _columns(header: Sequence[str], path: Path) -> list[str]:
    columns = [name.lower() for name in header]
    for name in columns:
        if name not in (*REQUIRED, *OPTIONAL):
            near = nearest(name, (*REQUIRED, *OPTIONAL))
            raise InputError(
                f"{path}:1: unknown column {name!r}; the header is path,label and, where known, source, split.{near}"
            )
    if absent := [name for name in REQUIRED if name not in columns]:
        raise InputError(f"{path}:1: no column {quoted(absent)}; the header is path,label[,source][,split].")
    if len(set(columns)) < len(columns):
        raise InputError(f"{path}:1: names a column twice.")
    return columns


def _by_column(entries: Sequence[tuple[Entry, str]], path: Path) -> dict[Split, tuple[Entry, ...]]:
    splits: dict[Split, tuple[Entry, ...]] = {}
    for split in SPLITS:
        chosen = tuple(entry for entry, name in entries if SPLIT_NAMES[name] == split)
        if chosen:
            splits[split] = chosen
        elif split != "validation":
            raise InputError(f"{path}: no clip has the split {split!r}.")
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


def _file_kinds(paths: Sequence[str]) -> str:
    videos = sum(map(_is_video, paths))
    if not videos:
        return "folders of frames"
    return "videos" if videos == len(paths) else f"{videos} videos, {len(paths) - videos} folders of frames"


def _is_video(path: str) -> bool:
    return Path(path).suffix.lower() in VIDEOS
