"""Reads a user's own clips: a folder of videos or of folders of frames, and a table that names them.

::

    <root>/clips.csv                 header path,label[,source][,split][,fold]
    <root>/<path>                    a video, or a folder of JPEG or PNG frames

``source`` is the person or film, of which no split takes a part; ``split`` is ``train``, ``validation`` or ``test``;
``fold`` is the number of the fold that tests a clip. Columns have other names too, see `COLUMNS`. A table without a
header has ``path label`` or ``path frames label``. One table for each split or fold is named with placeholders:
``table = "split0{fold}/{split}.csv"``.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Annotated

from study.config.registry import LocalPath, Range, component
from study.errors import InputError, nearest, quoted
from study.names import as_printed
from study.tasks.clips.data.contract import SPLITS, Split
from study.tasks.clips.data.files.frames import by_number
from study.tasks.clips.data.files.listing import (
    Entry,
    Fold,
    Listing,
    RowFilter,
    RowProblem,
    is_synthetic,
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
    open_places,
    searched,
)
from study.tasks.clips.data.files.tables import Row, rows
from study.tasks.clips.data.sets.recorded import Recorded, Recording, held_out, recorded

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
    tables, places = _tables(places, table)
    kept = RowFilter(places, skip_bad)
    found = [clip for of in tables for clip in _clips(of, kept)]
    found = list(_checked(_with_paths(found, path_prefix, kept), kept))
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
        is_video=bool(paths) and all(map(_is_video, paths)),
        remedies={} if has_split or has_fold else _remedies(len(usable), test_share, has_source=has_source),
        allowed=places.allowed,
    )


@dataclass(frozen=True, slots=True)
class _Clip:
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
class _Table:
    path: Path
    split: str = ""
    """The split of all its clips; empty where it has them all."""
    fold: Fold = None


def _tables(places: Places, name: str) -> tuple[list[_Table], Places]:
    """Return the tables, and the places with those that lie outside of the root."""
    if not name:
        if found := find(places.root, TABLES, places):
            return [_Table(found)], places
        names = names_in(places.root, "clips")
        tables = [other for other in names if other.lower().endswith((".csv", ".tsv", ".txt"))]
        hint = f" There is {quoted(tables)}: name it, table = '…'." if tables else ""
        folders = [other for other in names if not tables and find(places.root / other, TABLES, places)]
        hint += f" Did you mean root = {str(places.root / folders[0])!r}?" if folders else ""
        raise InputError(f"clips: root: no table: {searched(TABLES[:3], places.root)}.{hint}")
    if "{fold}" not in name and "{split}" not in name:
        path = named_path(name, places, "clips: table")
        return [_Table(path)], places.adding(path)
    head = name[: name.rfind("/", 0, name.index("{")) + 1]
    folder, rest = named_path(head or ".", places, "clips: table"), name[len(head) :]
    places = places.adding(folder)
    found_tables = sorted(_matching(folder, rest.split("/"), places), key=lambda of: (of.fold or 0, of.split))
    if not found_tables:
        raise InputError(f"clips: table: there is no {rest} in {str(folder)!r}, with a number for {{fold}}.")
    return found_tables, places


def _matching(
    folder: Path, parts: Sequence[str], places: Places, known: _Table | None = None
) -> Iterator[_Table]:
    """Yield the tables whose names below `folder` are `parts`, with a fold and a split in place of placeholders."""
    pattern = re.escape(parts[0]).replace(r"\{fold\}", r"(?P<fold>\d{1,6})")
    pattern = pattern.replace(r"\{split\}", f"(?P<split>{'|'.join(SPLIT_NAMES)})")
    known = known or _Table(folder)
    for name in names_in(folder, "clips: table"):
        if (match := re.fullmatch(pattern, name)) is None:
            continue
        of = match.groupdict()
        fold, split = int(of["fold"]) if of.get("fold") else known.fold, of.get("split") or known.split
        path = folder / name
        if len(parts) == 1 and path.is_file():
            yield _Table(path, split, fold)
        elif len(parts) > 1 and path.is_dir():
            yield from _matching(path, parts[1:], places, _Table(path, split, fold))


def _clips(table: _Table, kept: RowFilter) -> Iterator[_Clip]:
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
            yield _Clip(row.where, clip, label, value.get("source", ""), split, fold)


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
    return "/" in name or _is_video(name) or is_below


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


def _with_paths(found: Iterable[_Clip], prefix: str, kept: RowFilter) -> Iterator[_Clip]:
    """Yield clips by their paths below the root, or by those in a place that the user allows."""
    places, clips = kept.places, [replace(clip, path=_slashed(clip.path)) for clip in found]
    beginnings = (_slashed(prefix), _slashed(os.path.relpath(prefix))) if prefix else ()
    foreign: list[_Clip] = []
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


def _checked(found: Iterable[_Clip], kept: RowFilter) -> Iterator[_Clip]:
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


def _with_one_name_each(found: Sequence[_Clip]) -> tuple[list[_Clip], tuple[str, ...]]:
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


def _misspelt_labels(found: Sequence[_Clip], places: Places) -> Iterator[str]:
    """Yield a question for each label that looks like another one misspelt.

    Raises:
        InputError: Two labels differ only in case.
    """
    first: dict[str, _Clip] = {}
    for clip in found:
        first.setdefault(clip.label, clip)
    counts = Counter(clip.label for clip in found)
    alike: dict[str, _Clip] = {}
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
    videos = sum(map(_is_video, paths))
    if not videos:
        return "folders of frames"
    return "videos" if videos == len(paths) else f"{videos} videos, {len(paths) - videos} folders of frames"


def _is_video(path: str) -> bool:
    return Path(path).suffix.lower() in VIDEOS
