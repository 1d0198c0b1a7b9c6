"""What the official lists of a data set on disk say: which clips there are, of which class, in which split.

A layout (`study.tasks.clips.data.sets.dfew` and its like) reads lists and finds folders; it opens no frame.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from study.errors import InputError, nearest, quoted

Part = Literal["train", "validation", "test"]
VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
_LONGEST_ROW_CHARACTERS = 10_000
Fold = int | None
"""None where a data set has one split."""


@dataclass(frozen=True)
class Entry:
    """One clip as a list names it."""

    id: str
    label: int
    """From 0."""
    path: str
    """Folder of frames or video, below `Listing.footage`, with forward slashes."""
    where: str
    """List and row, ``lists/set_1.csv:3``, below the root: for messages, no part of any digest."""
    source: str
    """The person or film; the id itself where the data set does not tell."""
    scene: str = ""


@dataclass(frozen=True)
class SkippedRow:
    """Something that was left out because it cannot be used."""

    where: str
    """List and row, below the root."""
    clip: str
    reason: str
    fold: Fold = None
    """Whose list it is in."""

    def __str__(self) -> str:
        return (
            f"{self.where}: clip {self.clip}: {self.reason}" if self.clip else f"{self.where}: {self.reason}"
        )


@dataclass(frozen=True)
class Official:
    """How many clips the data set has, by its authors."""

    clips: Mapping[Fold, tuple[int, int]]
    """In train and test."""
    classes: tuple[int, ...] = ()
    """Of each class, train and test together; empty where that is not known."""


@dataclass(frozen=True)
class Listing:
    """A data set's lists, read and checked."""

    name: str
    """Of its component."""
    root: Path
    footage: Path
    """The folder that the entries' paths are below; it need not exist where a pack is read."""
    classes: tuple[str, ...]
    folds: Mapping[Fold, Mapping[Part, tuple[Entry, ...]]]
    """Always ``train`` and ``test``; ``validation`` where the data set has one of its own."""
    facts: Mapping[str, str]
    """What a reader of a result must know of the files: version, faces or whole frames, label base."""
    official: Official | None = None
    left: tuple[SkippedRow, ...] = ()
    """Rows that were left out, where the user asked for that."""
    is_synthetic: bool = False
    doubts: tuple[str, ...] = ()
    """What looks like a slip and may be none."""

    @property
    def entries(self) -> dict[str, Entry]:
        """Every clip of every fold by its id, sorted."""
        found = {e.id: e for parts in self.folds.values() for entries in parts.values() for e in entries}
        return dict(sorted(found.items()))

    @property
    def shared_sources(self) -> dict[Fold, tuple[str, ...]]:
        """The people or films that are both learnt from and tested on, by fold; folds without any left out."""
        shared = {}
        for fold, parts in self.folds.items():
            tested = {entry.source for entry in parts["test"] if entry.source != entry.id}
            shared[fold] = tested & {e.source for part, of in parts.items() if part != "test" for e in of}
        return {fold: tuple(sorted(names)) for fold, names in shared.items() if names}


@dataclass
class RowFilter:
    """Judges the rows of lists: what is wrong with one is raised, or noted where such rows are to be skipped."""

    root: Path
    skip: bool
    fold: Fold = None
    """Whose lists are being read."""
    left: list[SkippedRow] = field(default_factory=list)

    def wrong(self, where: str, reason: str, clip: str = "") -> None:
        """Note a row that cannot be used.

        Raises:
            InputError: Rows are not to be skipped; the message begins with file and row.
        """
        if not self.skip:
            raise InputError(
                f"{self.root / where}: {reason.removesuffix('.')}{'.' * (not reason.endswith('?'))}"
            )
        self.left.append(SkippedRow(where, clip, reason, self.fold))


def unknown(what: str, value: str, clip: str, allowed: Iterable[str]) -> str:
    """Return the reason why a row's label or split cannot be used."""
    allowed = list(allowed)
    return f"unknown {what} {value!r} of clip {clip}; allowed: {quoted(allowed)}.{nearest(value, allowed)}"


def twice(clip: str, first: str) -> str:
    """Return the reason why a row that names a clip again cannot be used."""
    return f"clip {clip} is listed twice, first at {first}"


def lines(path: Path, root: Path) -> Iterator[tuple[str, str]]:
    """Yield place (``list:row``, below the root) and text of each line that is not empty.

    UTF-8 is tried first, with or without a mark of the byte order, then GBK.

    Raises:
        InputError: The file leads out of the root, cannot be read or is no list.
    """
    inside(path, root)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from None
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise InputError(f"{path}: is text neither in UTF-8 nor in GBK.")
    place = path.relative_to(root).as_posix()
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        if len(line) > _LONGEST_ROW_CHARACTERS:
            raise InputError(
                f"{path}:{number}: is a row of {len(line)} characters: this is no list of clips."
            )
        if line.strip():
            yield f"{place}:{number}", line


def inside(path: Path, root: Path) -> None:
    """Raise InputError where `path`, its links followed, is not below the root."""
    real, top = os.path.realpath(path), os.path.realpath(root)
    if real != top and not real.startswith(top.rstrip(os.sep) + os.sep):
        raise InputError(f"{path} leads out of the root, to {real}; copy or mount it inside.")


def escapes_root(name: str) -> bool:
    """Return whether a listed path is anything but the name of something below the root."""
    parts = name.split("/")
    return not name or any(part in {"", ".", ".."} or set(part) & set("\\:\0") for part in parts)


def root_folder(root: str, name: str) -> Path:
    """Return the root as a path; InputError where there is no such folder or it may not be read."""
    path = Path(root).expanduser().absolute()
    names_in(path, f"{name}: root")
    return path


def named(given: str, root: Path, where: str) -> Path:
    """Return what the user names, by its path from the root or by its whole path; it must be inside the root."""
    for path in (root / given, Path(given).expanduser()):
        if path.exists():
            inside(path, root)
            if path.is_relative_to(root):
                return path
            return root / os.path.relpath(os.path.realpath(path), os.path.realpath(root))
    raise InputError(f"{where}: there is no {given!r}, neither below {str(root)!r} nor by itself.")


def is_synthetic(root: Path) -> bool:
    """Return whether `study.tasks.clips.data.make` wrote the tree: it leaves a file that says so."""
    try:
        about = json.loads((root / "about.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and str(about.get("made")).startswith("procedural")


def names_in(folder: Path, where: str) -> list[str]:
    """Return the names in a folder, sorted; InputError where it is missing or may not be read."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except PermissionError:
        raise InputError(f"{where}: no permission to read the folder {str(folder)!r}.") from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{where}: there is no folder {str(folder)!r}.") from None


def find(base: Path, candidates: Sequence[str], root: Path) -> Path | None:
    """Return the first of `candidates`, relative paths, that is found below `base`, or None.

    Names are compared without case, spaces and punctuation: ``Train & Test Set`` is ``train_test_set``.

    Raises:
        InputError: What was found leads out of the root, or two names beside each other fit one candidate.
    """
    for candidate in candidates:
        place: Path | None = base
        for part in candidate.split("/"):
            place = _member(place, part) if place else None
        if place is not None:
            inside(place, root)
            return place
    return None


def _member(folder: Path, name: str) -> Path | None:
    try:
        if (folder / name).exists():
            return folder / name
        if not folder.is_dir():
            return None
    except PermissionError:
        raise InputError(f"{folder / name}: no permission to look into the folder {str(folder)!r}.") from None
    fitting = [other for other in names_in(folder, str(folder)) if _plain(other) == _plain(name)]
    if len(fitting) > 1:
        raise InputError(f"{folder}: both {quoted(fitting).replace(' or ', ' and ')} could be {name!r}.")
    return folder / fitting[0] if fitting else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def members(folder: Path, ids: Iterable[str], digits: int) -> dict[str, str]:
    """Return the name in `folder` of each clip, its own id where there is none: ``7.mp4`` or ``7`` is clip 00007."""
    names = names_in(folder, str(folder)) if folder.is_dir() else []
    there: dict[str, str] = {}
    for name in names:
        stem = name[: name.rindex(".")] if Path(name).suffix.lower() in VIDEOS else name
        there.setdefault(padded(stem, digits), name)
    return {i: there.get(i, i) for i in ids}


def padded(name: str, digits: int) -> str:
    """Return a clip's name, a bare integer with all its digits."""
    return name.zfill(digits) if name.isdecimal() else name


def not_found(what: str, candidates: Sequence[str], base: Path, name: str) -> str:
    """Return the message for what `find` did not find, with the nearest name that is there."""
    there = [other for other in names_in(base, name) if not other.startswith(".")]
    near = nearest(Path(candidates[0]).parts[0], there)
    return f"{name}: root: no {what}: {looked(candidates, base)}.{near}"


def looked(candidates: Sequence[str], base: Path) -> str:
    """Return where `find` looked, in words."""
    others = f", or {quoted(candidates[1:])}" if len(candidates) > 1 else ""
    return f"looked for {candidates[0]} in {str(base)!r}{others}"


def some(names: Sequence[str]) -> str:
    """Return how many clips there are, and the first of them."""
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{len(names)} clip{'s' * (len(names) != 1)} ({shown})"


def check_folds(folds: Sequence[int], name: str) -> None:
    """Raise InputError where no fold is named, or one twice."""
    if not folds or len(set(folds)) < len(folds):
        raise InputError(
            f"{name}: folds: must name at least one fold, none twice. Got {list(folds)!r} instead."
        )


def exclude(
    train: Iterable[Entry], test: Iterable[Entry], rows: RowFilter, fold: Fold, name: str
) -> tuple[Entry, ...]:
    """Return the train entries that are not in the test list.

    Raises:
        InputError: There are some that are, and rows are not to be skipped.
    """
    tested = {entry.id: entry for entry in test}
    train = tuple(train)
    twice = [entry for entry in train if entry.id in tested]
    if twice and not rows.skip:
        which = f" fold {fold}:" if fold is not None else ""
        first = twice[0]
        raise InputError(
            f"{name}:{which} {some([entry.id for entry in twice])} in both the train and the test list: "
            f"{first.where} and {tested[first.id].where}."
        )
    for entry in twice:
        rows.wrong(entry.where, f"is in the test list too, at {tested[entry.id].where}", entry.id)
    return tuple(entry for entry in train if entry.id not in tested)
