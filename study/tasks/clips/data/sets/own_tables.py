"""Reads the tables of a user's own clips: their columns, the paths in them, one table for each split or fold."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from study.errors import InputError, nearest, quoted
from study.names import as_printed
from study.tasks.clips.data.contract import Split
from study.tasks.clips.data.files.listing import (
    Fold,
    RowFilter,
    RowProblem,
    twice_reason,
    unknown_reason,
)
from study.tasks.clips.data.files.places import (
    VIDEOS,
    Places,
    escapes_root,
    find,
    is_there,
    located,
    named_path,
    names_in,
    searched,
)
from study.tasks.clips.data.files.tables import Row, rows

TABLES = (
    "clips.csv",
    "labels.csv",
    "list.csv",
    "clips.tsv",
    "labels.tsv",
    "clips.txt",
    "labels.txt",
    "list.txt",
)
REQUIRED = ("path", "label")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": (
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "video",
        "video_name",
        "video_path",
        "clip",
    ),
    "label": ("labels", "class", "class_name", "emotion", "category", "target", "expression"),
    "source": ("subject", "person", "actor", "speaker", "participant", "film", "group"),
    "split": ("set", "subset", "partition"),
    "fold": ("folds",),
    "frames": ("n_frames", "num_frames", "frame_count"),
    "": ("index", "unnamed: 0"),
}
"""Names of columns, the first of them what messages call it; an index that pandas wrote is ignored, and ``frames``."""
SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of the splits in a table, in lower case."""
_LONGEST_LABEL_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class OwnClip:
    """A row of a table: a clip in one fold."""

    where: str
    path: str
    """Below the root, or absolute in a place that the user allows."""
    label: str
    source: str = ""
    split: str = ""
    fold: Fold = None
    id: str = ""
    """The path without the place that it is in."""


@dataclass(frozen=True)
class Table:
    """A table, and what its name says of all its clips."""

    path: Path
    split: str = ""
    """The split of all its clips; empty where it has them all."""
    fold: Fold = None


def named_tables(places: Places, name: str) -> tuple[list[Table], Places]:
    """Return the tables, and the places with those that lie outside of the root."""
    if not name:
        if found := find(places.root, TABLES, places):
            return [Table(found)], places
        names = names_in(places.root, "clips")
        tables = [other for other in names if other.lower().endswith((".csv", ".tsv", ".txt"))]
        hint = f" There is {quoted(tables)}: name it, table = '…'." if tables else ""
        folders = [other for other in names if not tables and find(places.root / other, TABLES, places)]
        hint += f" Did you mean root = {str(places.root / folders[0])!r}?" if folders else ""
        raise InputError(f"clips: root: no table: {searched(TABLES[:3], places.root)}.{hint}")
    if "{fold}" not in name and "{split}" not in name:
        path = named_path(name, places, "clips: table")
        return [Table(path)], places.adding(path)
    head = name[: name.rfind("/", 0, name.index("{")) + 1]
    folder, rest = named_path(head or ".", places, "clips: table"), name[len(head) :]
    places = places.adding(folder)
    found_tables = sorted(_matching(folder, rest.split("/"), places), key=lambda of: (of.fold or 0, of.split))
    if not found_tables:
        raise InputError(f"clips: table: there is no {rest} in {str(folder)!r}, with a number for {{fold}}.")
    return found_tables, places


def _matching(
    folder: Path, parts: Sequence[str], places: Places, known: Table | None = None
) -> Iterator[Table]:
    """Yield the tables whose names below `folder` are `parts`, with a fold and a split in place of placeholders."""
    pattern = re.escape(parts[0]).replace(r"\{fold\}", r"(?P<fold>\d{1,6})")
    pattern = pattern.replace(r"\{split\}", f"(?P<split>{'|'.join(SPLIT_NAMES)})")
    known = known or Table(folder)
    for name in names_in(folder, "clips: table"):
        if (match := re.fullmatch(pattern, name)) is None:
            continue
        of = match.groupdict()
        fold, split = int(of["fold"]) if of.get("fold") else known.fold, of.get("split") or known.split
        path = folder / name
        if len(parts) == 1 and path.is_file():
            yield Table(path, split, fold)
        elif len(parts) > 1 and path.is_dir():
            yield from _matching(path, parts[1:], places, Table(path, split, fold))


def clips_of(table: Table, kept: RowFilter) -> Iterator[OwnClip]:
    """Yield the rows of a table; those that are not of its columns are rejected."""
    listed = rows(table.path, kept.places)
    if not listed:
        raise InputError(f"{table.path}: the table is empty.")
    columns, has_header = _columns(listed, table.path, kept.places)
    for row in listed[has_header:]:
        fields = row.fields
        while len(fields) > len(columns) and not fields[-1]:
            fields = fields[:-1]
        if len(fields) != len(columns):
            kept.reject(row.where, RowProblem.MALFORMED, row.malformed(",".join(filter(None, columns))))
            continue
        value = {name: field for name, field in zip(columns, fields, strict=True) if name}
        clip, split = value["path"], (value.get("split") or table.split).lower()
        fold = _fold(value["fold"]) if "fold" in value else table.fold
        label = as_printed(value["label"])
        if ("split" in value or table.split) and split not in SPLIT_NAMES:
            reason = unknown_reason("split", value["split"], clip, SPLIT_NAMES)
            kept.reject(row.where, RowProblem.UNKNOWN_SPLIT, reason, clip)
        elif "fold" in value and fold is None:
            reason = f"the fold {value['fold']!r} of clip {clip} is not a whole number"
            kept.reject(row.where, RowProblem.UNKNOWN_SPLIT, reason, clip)
        elif not label or len(label) > _LONGEST_LABEL_CHARACTERS:
            reason = (
                f"a label of {len(label)} characters, of clip {clip}"
                if label
                else f"clip {clip} has no label"
            )
            kept.reject(row.where, RowProblem.NO_LABEL, reason, clip)
        else:
            yield OwnClip(row.where, clip, label, value.get("source", ""), split, fold)


def _fold(text: str) -> int | None:
    """Return the number of a fold, as in ``3``, ``3.0``, ``fold 3`` or ``S3``; None for anything else."""
    match = re.fullmatch(r"[a-z_ -]{0,20}?0*(\d{1,6})(\.0*)?", text.lower())
    return int(match[1]) if match else None


def _columns(listed: Sequence[Row], path: Path, places: Places) -> tuple[list[str], bool]:
    """Return the columns of a table, empty names for those that are ignored, and whether its first row names them.

    Raises:
        InputError: A column is unknown or named twice, or one is missing.
    """
    role_of = {name: role for role, names in COLUMNS.items() for name in (role, *names)}
    first = [field.lower() for field in listed[0].fields]
    if not any(role_of.get(name) for name in first) and _looks_like_clip(listed[0], places):
        return _columns_without_header(listed, path), False
    for name in first:
        if name not in role_of:
            named = [role for role in COLUMNS if role and role != "frames"]
            raise InputError(
                f"{path}:1: unknown column {name!r}; the header is path,label and, where known, source, split, fold; "
                f"remove other columns.{nearest(name, named)}"
            )
    columns = [role_of[name] for name in first]
    for role in COLUMNS:
        same = [name for name, of in zip(first, columns, strict=True) if of == role]
        if len(same) > 1 and role and role != "frames":
            raise InputError(
                f"{path}:1: the columns {' and '.join(map(repr, same))} both name the {role}; remove one."
            )
    if absent := [name for name in REQUIRED if name not in columns]:
        raise InputError(
            f"{path}:1: no column {quoted(absent)}; the header is path,label[,source][,split][,fold]."
        )
    return ["" if name == "frames" else name for name in columns], True


def _looks_like_clip(row: Row, places: Places) -> bool:
    if len(row.fields) < 2:
        return False
    name = row.fields[0].replace("\\", "/")
    is_below = not escapes_root(name) and is_there(places.root / name)
    return "/" in name or is_video(name) or is_below


def _columns_without_header(listed: Sequence[Row], path: Path) -> list[str]:
    """Return the columns of a table without a header: ``path label``, or ``path frames label``."""
    fields = [row.fields for row in listed]
    if all(len(of) == 2 for of in fields):
        return ["path", "label"]
    if all(len(of) == 3 for of in fields):
        if all(of[1].isdecimal() for of in fields):
            return ["path", "", "label"]
        if all(of[2].lower() in SPLIT_NAMES for of in fields):
            return ["path", "label", "split"]
    raise InputError(
        f"{path}:1: has no header, and its rows are neither 'path label' nor 'path frames label'; "
        "write a first row that names the columns: path,label[,source][,split][,fold]."
    )


def with_paths(found: Iterable[OwnClip], prefix: str, kept: RowFilter) -> Iterator[OwnClip]:
    """Yield clips by their paths below the root, or by those in a place that the user allows."""
    places, clips = kept.places, [replace(clip, path=_slashed(clip.path)) for clip in found]
    beginnings = (_slashed(prefix), _slashed(os.path.relpath(prefix))) if prefix else ()
    foreign: list[OwnClip] = []
    for clip in clips:
        begins = next((b for b in beginnings if clip.path.startswith(b + "/")), None)
        if begins is not None:
            clip = replace(clip, path=clip.path[len(begins) + 1 :])
        if not _is_absolute(clip.path):
            yield replace(clip, id=clip.path)
        elif ".." not in clip.path.split("/") and (top := places.top_of(Path(clip.path))) is not None:
            below = Path(clip.path).relative_to(top).as_posix()
            yield replace(clip, path=below if top == places.root else clip.path, id=below)
        else:
            foreign.append(clip)
    skipped = _parts_elsewhere([clip.path for clip in foreign], places)
    for clip in foreign:
        if skipped is None:
            reason = (
                f"{clip.path!r} is an absolute path that is not below the root, and no end of it is the path of a clip "
                "there: path_prefix = '…' names the beginning to leave out, allow = ['…'] a folder to read"
            )
            kept.reject(clip.where, RowProblem.BAD_PATH, reason)
        else:
            path = "/".join(clip.path.split("/")[skipped:])
            yield replace(clip, path=path, id=path)


def _parts_elsewhere(paths: Sequence[str], places: Places) -> int | None:
    """Return how many first parts of absolute paths, common to all, name a folder on another machine.

    None where no end of the first path is there below the root.
    """
    if not paths:
        return None
    divided = [path.split("/") for path in (min(paths), max(paths))]
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*divided, strict=False)))
    for count in range(1, min(common, *(len(parts) - 1 for parts in divided)) + 1):
        rest = "/".join(divided[0][count:])
        if not escapes_root(rest):
            name = located([rest], places.root)[rest]
            if is_there(places.root / name):
                return count
    return None


def _slashed(path: str) -> str:
    path = path.replace("\\", "/")
    while path.startswith("./"):
        path = path[2:]
    return path.rstrip("/")


def _is_absolute(path: str) -> bool:
    return path.startswith(("/", "~")) or re.match(r"[A-Za-z]:/", path) is not None


def once_each(found: Iterable[OwnClip], kept: RowFilter) -> Iterator[OwnClip]:
    """Yield clips of a plain path, each once in a fold; others are rejected."""
    seen: dict[tuple[Fold, str], str] = {}
    for clip in found:
        if escapes_root(clip.id):
            reason = f"{clip.path!r} is not the path of a clip: it must be inside the root"
            kept.reject(clip.where, RowProblem.BAD_PATH, reason)
        elif (key := (clip.fold if clip.split else None, clip.id)) in seen:
            kept.reject(clip.where, RowProblem.LISTED_TWICE, twice_reason(clip.id, seen[key]), clip.id)
        else:
            seen[key] = clip.where
            yield clip


def is_video(path: str) -> bool:
    """Return whether a path has the suffix of a video."""
    return Path(path).suffix.lower() in VIDEOS
