"""Reads the lists of a data set on disk: its clips, their classes and their splits.

A layout (such as `study.tasks.clips.data.sets.dfew`) reads lists and finds folders; it opens no frame.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from study.errors import InputError, nearest, quoted
from study.files import read_regular
from study.tasks.clips.data.contract import Split

LISTED_SPLITS: tuple[Split, ...] = ("train", "test")
"""The splits that official lists have."""
SYNTHETIC = "procedural faces; no evidence about real ones"
"""The value of ``made`` in the ``about.json`` of a tree of procedural clips: data, not to be reworded."""
VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
_LONGEST_ROW_CHARACTERS = 10_000
V = TypeVar("V", bound=str)
Fold = int | None
"""None where a data set has one split."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One clip as a list names it."""

    id: str
    label: int
    """From 0."""
    path: str
    """Folder of frames or video, below `Listing.footage`, with forward slashes."""
    where: str
    """List and row, ``lists/set_1.csv:3``, below the root: for messages, not part of any digest."""
    source: str
    """The person or film; the id itself where the data set has no sources."""
    scene: str = ""


class RowProblem(StrEnum):
    """Why a row of a list, or the clip that it names, cannot be used."""

    MALFORMED = "malformed"
    BAD_PATH = "bad-path"
    UNKNOWN_LABEL = "unknown-label"
    NO_LABEL = "no-label"
    OTHER_LABEL = "other-label"
    """The clip lies in the folder of another class."""
    UNKNOWN_SPLIT = "unknown-split"
    LISTED_TWICE = "listed-twice"
    IN_TEST_LIST = "in-test-list"
    NO_SOURCE = "no-source"
    UNREADABLE_CLIP = "unreadable-clip"


@dataclass(frozen=True)
class SkippedRow:
    """A row or clip that was left out because it cannot be used."""

    where: str
    """List and row, below the root."""
    clip: str
    """Empty where the row names none."""
    problem: RowProblem
    reason: str
    """The problem in words."""
    fold: Fold = None
    """The fold whose list it is in."""

    def __str__(self) -> str:
        return (
            f"{self.where}: clip {self.clip}: {self.reason}" if self.clip else f"{self.where}: {self.reason}"
        )


@dataclass(frozen=True)
class Official:
    """The numbers of clips that the authors of a data set give."""

    clips: Mapping[Fold, tuple[int, int]]
    """The numbers of clips in train and in test, by fold."""
    classes: tuple[int, ...] = ()
    """The number of clips of each class, train and test together; empty where unknown."""


@dataclass(frozen=True)
class Listing:
    """A data set's lists, read and checked."""

    name: str
    """The name of the data set's component."""
    root: Path
    footage: Path
    """The folder that the entries' paths are relative to; it need not exist where a pack is read."""
    classes: tuple[str, ...]
    folds: Mapping[Fold, Mapping[Split, tuple[Entry, ...]]]
    """Always ``train`` and ``test``; ``validation`` where the data set has one of its own."""
    facts: Mapping[str, str]
    """What a reader of a result must know of the files: version, faces or whole frames, label base."""
    official: Official | None = None
    skipped_rows: tuple[SkippedRow, ...] = ()
    """Rows that were left out, as the user requested."""
    is_synthetic: bool = False
    doubts: tuple[str, ...] = ()
    """Labels that look misspelt, each as a question."""
    frames_per_clip: int | None = None
    """The number of frames that every clip of this version has; None where it varies."""
    is_video: bool = False
    """Whether all clips are videos, whose whole frames need not be square."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is computed from the fields."""
        return {
            key: value for key, value in self.__dict__.items() if key not in ("entries", "shared_sources")
        }

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """Every clip of every fold by its id, sorted."""
        found = {e.id: e for splits in self.folds.values() for entries in splits.values() for e in entries}
        return dict(sorted(found.items()))

    @cached_property
    def shared_sources(self) -> Mapping[Fold, tuple[str, ...]]:
        """The people or films that are in both train and test, by fold; folds without any are left out."""
        shared = {}
        for fold, splits in self.folds.items():
            tested = {entry.source for entry in splits["test"] if entry.source != entry.id}
            shared[fold] = tested & {e.source for split, of in splits.items() if split != "test" for e in of}
        return {fold: tuple(sorted(names)) for fold, names in shared.items() if names}


@dataclass
class RowFilter:
    """Rejects rows that cannot be used: raises, or records the row where such rows are to be skipped."""

    root: Path
    skip: bool
    fold: Fold = None
    """The fold whose lists are being read."""
    skipped_rows: list[SkippedRow] = field(default_factory=list)

    def reject(self, where: str, problem: RowProblem, reason: str, clip: str = "") -> None:
        """Record a row that cannot be used.

        Raises:
            InputError: Rows are not to be skipped; the message begins with file and row.
        """
        if not self.skip:
            raise InputError(
                f"{self.root / where}: {reason.removesuffix('.')}{'.' * (not reason.endswith('?'))}"
            )
        self.skipped_rows.append(SkippedRow(where, clip, problem, reason, self.fold))


def unknown_reason(what: str, value: str, clip: str, allowed: Iterable[str]) -> str:
    """Return the reason why a row's label or split cannot be used."""
    allowed = list(allowed)
    return f"unknown {what} {value!r} of clip {clip}; allowed: {quoted(allowed)}.{nearest(value, allowed)}"


def name_reason(clip: str) -> str:
    """Return the reason why a row whose clip is not a plain name cannot be used."""
    return f"{clip!r} is not the name of a clip: it must be one folder inside the root"


def twice_reason(clip: str, first: str) -> str:
    """Return the reason why a row that names a clip again cannot be used."""
    return f"clip {clip} is listed twice, first at {first}"


def lines(path: Path, root: Path) -> Iterator[tuple[str, str]]:
    """Yield position (``list:row``, below the root) and text of each line that is not empty.

    UTF-8 is tried first, with or without a byte order mark, then GBK. Composed and decomposed letters are one (NFC).

    Raises:
        InputError: The file leads out of the root, cannot be read or is no list.
    """
    check_inside(path, root)
    try:
        content = read_regular(path)
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
    name = path.relative_to(root).as_posix()
    text = unicodedata.normalize("NFC", text)
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        if len(line) > _LONGEST_ROW_CHARACTERS:
            raise InputError(
                f"{path}:{number}: is a row of {len(line)} characters: this is no list of clips."
            )
        if line.strip():
            yield f"{name}:{number}", line


def check_inside(path: Path, root: Path) -> None:
    """Raise InputError if `path`, its links followed, is not below the root."""
    if _has_no_links(path, root):
        return
    real, top = os.path.realpath(path), os.path.realpath(root)
    if real != top and not real.startswith(top.rstrip(os.sep) + os.sep):
        raise InputError(f"{path} leads out of the root, to {real}; copy or mount it inside.")


def _has_no_links(path: Path, root: Path) -> bool:
    """Return whether no name from the root to the path is a link: far cheaper than to resolve all of both."""
    whole, top = str(path), str(root)
    if not whole.startswith(top.rstrip(os.sep) + os.sep):
        return False
    parts = path.parts[len(root.parts) :]
    if ".." in parts:
        return False
    for part in parts:
        top = f"{top}{os.sep}{part}"
        if os.path.islink(top):  # noqa: PTH114  # faster than Path
            return False
    return True


def escapes_root(name: str) -> bool:
    """Return whether a listed path is anything but the name of something below the root."""
    parts = name.split("/")
    return not name or any(part in {"", ".", ".."} or set(part) & set("\\:\0") for part in parts)


def root_folder(root: str, name: str) -> Path:
    """Return the root as a path; raise InputError if the folder is missing or unreadable."""
    path = Path(root).expanduser().absolute()
    names_in(path, f"{name}: root")
    return path


def path_inside(name: str, root: Path, where: str) -> Path:
    """Return the path that the user names, relative to the root or absolute; it must be inside the root."""
    for path in (root / name, Path(name).expanduser()):
        if path.exists():
            check_inside(path, root)
            if path.is_relative_to(root):
                return path
            return root / os.path.relpath(os.path.realpath(path), os.path.realpath(root))
    raise InputError(f"{where}: there is no {name!r}, neither below {str(root)!r} nor as an absolute path.")


def is_synthetic(root: Path) -> bool:
    """Return whether `study.tasks.clips.data.make` wrote the tree, by the file that it leaves in the root."""
    try:
        about = json.loads(read_regular(root / "about.json"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(about, dict) and about.get("made") == SYNTHETIC


def names_in(folder: Path, where: str) -> list[str]:
    """Return the names in a folder, sorted; raise InputError if it is missing or unreadable."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except PermissionError:
        raise InputError(f"{where}: no permission to read the folder {str(folder)!r}.") from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{where}: there is no folder {str(folder)!r}.") from None


def find(base: Path, candidates: Sequence[str], root: Path) -> Path | None:
    """Return the first of `candidates`, relative paths, that exists below `base`, or None.

    Names are compared without case, spaces and punctuation: ``Train & Test Set`` is ``train_test_set``.

    Raises:
        InputError: What was found leads out of the root, or two names beside each other fit one candidate.
    """
    for candidate in candidates:
        path: Path | None = base
        for name in candidate.split("/"):
            path = _member(path, name) if path else None
        if path is not None:
            check_inside(path, root)
            return path
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
    name_of: dict[str, str] = {}
    for name in names:
        stem = name[: name.rindex(".")] if Path(name).suffix.lower() in VIDEOS else name
        name_of.setdefault(unicodedata.normalize("NFC", padded(stem, digits)), name)
    return {i: name_of.get(i, i) for i in ids}


def padded(name: str, digits: int) -> str:
    """Return a clip's name; an integer is padded with zeros to `digits`."""
    return name.zfill(digits) if name.isdecimal() else name


def not_found_message(what: str, candidates: Sequence[str], base: Path, name: str) -> str:
    """Return the message for what `find` did not find, with the nearest name that exists."""
    names = [other for other in names_in(base, name) if not other.startswith(".")]
    near = nearest(Path(candidates[0]).parts[0], names)
    return f"{name}: root: no {what}: {searched(candidates, base)}.{near}"


def searched(candidates: Sequence[str], base: Path) -> str:
    """Return where `find` searched, in words."""
    others = f", or {quoted(candidates[1:])}" if len(candidates) > 1 else ""
    return f"looked for {candidates[0]} in {str(base)!r}{others}"


def footage_folder(
    root: Path,
    candidates: Mapping[V, Sequence[str]],
    version: V,
    what: str,
    name: str,
    *,
    is_needed: bool,
) -> Path:
    """Return the folder of the clips of one version.

    Args:
        root: The root of the data set.
        candidates: Folders by version, the official one first.
        version: The requested version.
        what: What the folder holds, in words.
        name: The data set's component.
        is_needed: Whether the folder must exist; otherwise the official one is returned if there is none.

    Raises:
        InputError: No folder of this version exists; the message names a version that does.
    """
    folder = find(root, candidates[version], root)
    if folder is not None or not is_needed:
        return folder or root / candidates[version][0]
    others = [other for other in candidates if find(root, candidates[other], root)]
    if not others:
        raise InputError(not_found_message(what, candidates[version], root, name))
    raise InputError(
        f"{name}: root: no {what}: {searched(candidates[version], root)}. "
        f"There is {candidates[others[0]][0]}: version = {others[0]!r}."
    )


def some_clips(names: Sequence[str]) -> str:
    """Return the number of clips and the names of the first ones."""
    first = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{len(names)} clip{'s' * (len(names) != 1)} ({first})"


def check_folds(folds: Sequence[int], name: str) -> None:
    """Raise InputError if no fold is named, or one twice."""
    if not folds or len(set(folds)) < len(folds):
        raise InputError(
            f"{name}: folds: must name at least one fold, none twice. Got {list(folds)!r} instead."
        )


def without_tested(
    train: Iterable[Entry], test: Iterable[Entry], rows: RowFilter, fold: Fold, name: str
) -> tuple[Entry, ...]:
    """Return the train entries that are not in the test list.

    Raises:
        InputError: Some are in both lists, and rows are not to be skipped.
    """
    tested = {entry.id: entry for entry in test}
    train = tuple(train)
    in_both = [entry for entry in train if entry.id in tested]
    if in_both and not rows.skip:
        of_fold = f" fold {fold}:" if fold is not None else ""
        first = in_both[0]
        raise InputError(
            f"{name}:{of_fold} {some_clips([entry.id for entry in in_both])} in both the train and the test list: "
            f"{first.where} and {tested[first.id].where}."
        )
    for entry in in_both:
        reason = f"is in the test list too, at {tested[entry.id].where}"
        rows.reject(entry.where, RowProblem.IN_TEST_LIST, reason, entry.id)
    return tuple(entry for entry in train if entry.id not in tested)
