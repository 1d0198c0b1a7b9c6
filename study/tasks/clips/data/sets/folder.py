"""One's own clips: a folder of videos or of folders of frames, and a table that names them.

::

    <root>/clips.csv                 header path,label[,source][,split]
    <root>/<path>                    a video, or a folder of JPEG or PNG frames

``source`` is the person or film, so that no split divides one; ``split`` is ``train``, ``validation`` or ``test``.
"""

from __future__ import annotations

import csv
import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from study.config.registry import LocalPath, Range, component
from study.errors import InputError, nearest, quoted
from study.tasks.clips.data.files.listing import (
    VIDEOS,
    Entry,
    Listing,
    Part,
    RowFilter,
    escapes_root,
    find,
    is_synthetic,
    lines,
    looked,
    named,
    names_in,
    root_folder,
    twice,
    unknown,
)
from study.tasks.clips.data.sets.recorded import Recorded, Recording, held_out, recorded

TABLES = ("clips.csv", "labels.csv", "list.csv")
REQUIRED, OPTIONAL = ("path", "label"), ("source", "split")
SPLITS: Mapping[str, Part] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}


_RARER = 4
"""A misspelt label is rarer than the right one, by more than this."""


@component("dataset")
def clips(
    *,
    root: Annotated[str, LocalPath(), "folder that holds the clips and the table clips.csv"],
    table: Annotated[
        str, LocalPath(), "the table, path,label[,source][,split]; empty: clips.csv in root"
    ] = "",
    classes: Annotated[list[str], "class names in their order; none: those of the table, sorted"] = [],  # noqa: B006
    test_share: Annotated[
        float, Range(0.05, 0.5), "share that is the test split, where no column says"
    ] = 0.2,
    test_seed: Annotated[int, Range(0), "another seed tests other clips, where no column says"] = 0,
    recording: Recording,
) -> Recorded:
    """One's own videos or folders of frames, by a table of paths and labels."""
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
        InputError: The table is missing or lacks a column, or a row is wrong and is not to be skipped.
    """
    top = root_folder(root, "clips")
    if len(set(classes)) < len(classes):
        raise InputError(f"clips: classes: names one twice. Got {list(classes)!r}.")
    path = _table(top, table)
    rows = RowFilter(top, skip_bad)
    found = list(_rows(path, rows))
    names = tuple(classes) or tuple(sorted({row.label for row in found}))
    doubts = () if classes else tuple(_slips(found, path))
    entries: list[tuple[Entry, str]] = []
    for row in found:
        if row.label in names:
            source = row.source or row.path
            entries.append((Entry(row.path, names.index(row.label), row.path, row.where, source), row.split))
        else:
            rows.wrong(row.where, unknown("label", row.label, row.path, names), row.path)
    if len(names) < 2:
        raise InputError(f"{path}: must hold clips of at least two classes. Got {quoted(names)}.")
    has_split = any(row.split for row in found)
    parts = _by_column(entries, path) if has_split else _by_chance(entries, test_share, test_seed)
    has_source = any(row.source for row in found)
    chosen = f"{100 * test_share:g} %, by class{' and source' if has_source else ''}, seed {test_seed}"
    return Listing(
        name="clips",
        root=top,
        footage=top,
        classes=names,
        folds={None: parts},
        facts={
            "version": _kinds([entry.path for entry, _ in entries]),
            "sources": "a column of the table" if has_source else "not known: each clip is one of its own",
            "test split": "a column of the table" if has_split else chosen,
        },
        left=tuple(rows.left),
        is_synthetic=is_synthetic(top),
        doubts=doubts,
    )


@dataclass(frozen=True)
class _Row:
    where: str
    path: str
    label: str
    source: str = ""
    split: str = ""


def _table(top: Path, given: str) -> Path:
    if not given:
        if found := find(top, TABLES, top):
            return found
        there = [name for name in names_in(top, "clips") if name.lower().endswith(".csv")]
        hint = f" There is {quoted(there)}: name it, table = '…'." if there else ""
        raise InputError(f"clips: root: no table: {looked(TABLES, top)}.{hint}")
    return named(given, top, "clips: table")


def _rows(path: Path, rows: RowFilter) -> Iterator[_Row]:
    columns: list[str] = []
    seen: dict[str, str] = {}
    for where, line in lines(path, rows.root):
        fields = [field.strip() for field in next(csv.reader([line]))]
        if not columns:
            columns = _columns(fields, path)
            continue
        if len(fields) != len(columns):
            rows.wrong(where, f"must be {','.join(columns)}. Got {line!r} instead")
            continue
        row = _Row(where, **dict(zip(columns, fields, strict=True)))
        clip = row.path.removeprefix("./").rstrip("/")
        if escapes_root(clip):
            rows.wrong(where, f"{row.path!r} is not the path of a clip: it must be inside the root")
        elif clip in seen:
            rows.wrong(where, twice(clip, seen[clip]), clip)
        elif not row.label:
            rows.wrong(where, f"clip {clip} has no label", clip)
        elif "split" in columns and row.split not in SPLITS:
            rows.wrong(where, unknown("split", row.split, clip, SPLITS), clip)
        else:
            seen[clip] = where
            yield replace(row, path=clip)
    if not seen:
        raise InputError(f"{path}: the table is empty.")


def _slips(rows: Sequence[_Row], path: Path) -> Iterator[str]:
    """Yield labels that look like another one misspelt.

    Raises:
        InputError: Two differ in their case alone.
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
                f"{path.parent / row.where}: the label {row.label!r} is {other.label!r} of {other.where} in other "
                "letters; write one of them, or name both as classes."
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


def _by_column(entries: Sequence[tuple[Entry, str]], path: Path) -> dict[Part, tuple[Entry, ...]]:
    parts: dict[Part, tuple[Entry, ...]] = {}
    for part in ("train", "validation", "test"):
        chosen = tuple(entry for entry, split in entries if SPLITS[split] == part)
        if chosen:
            parts[part] = chosen
        elif part != "validation":
            raise InputError(f"{path}: no clip has the split {part!r}.")
    return parts


def _by_chance(
    entries: Sequence[tuple[Entry, str]], share: float, seed: int
) -> dict[Part, tuple[Entry, ...]]:
    labels = {entry.id: entry.label for entry, _ in entries}
    tested = held_out(labels, {entry.id: entry.source for entry, _ in entries}, share, seed, "test")
    return {
        "train": tuple(entry for entry, _ in entries if entry.id not in tested),
        "test": tuple(entry for entry, _ in entries if entry.id in tested),
    }


def _kinds(paths: Sequence[str]) -> str:
    videos = sum(Path(path).suffix.lower() in VIDEOS for path in paths)
    if not videos:
        return "folders of frames"
    return "videos" if videos == len(paths) else f"{videos} videos, {len(paths) - videos} folders of frames"
