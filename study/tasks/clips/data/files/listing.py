"""Reads the lists of a data set on disk: its clips, their classes and their splits.

A layout (such as `study.tasks.clips.data.sets.dfew`) reads lists and finds folders; it opens no frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from study.errors import InputError, nearest, quoted
from study.files import read_regular
from study.tasks.clips.data.contract import Split
from study.tasks.clips.data.files.places import Places

LISTED_SPLITS: tuple[Split, ...] = ("train", "test")
"""The splits that official lists have."""
SYNTHETIC = "procedural faces; no evidence about real ones"
"""The value of ``made`` in the ``about.json`` of a tree of procedural clips: data, not to be reworded."""
Fold = int | None
"""None where a data set has one split."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One clip as a list names it."""

    id: str
    label: int
    """From 0."""
    path: str
    """Folder of frames or video, below `Listing.footage` or absolute, with forward slashes."""
    where: str
    """List and row, ``lists/set_1.csv:3``, below the root or absolute: for messages, not part of any digest."""
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
    """List and row, below the root, or absolute where the list is elsewhere."""
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
    remedies: Mapping[Split, str] = field(default_factory=dict)
    """What fills a split that is empty, in words."""
    allowed: tuple[Path, ...] = ()
    """Files and folders outside of the root that the user names: clips and their links may lie there."""

    @property
    def places(self) -> Places:
        """Where the clips may lie."""
        return Places(self.root, self.allowed)

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

    places: Places
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
                f"{self.places.root / where}: {reason.removesuffix('.')}{'.' * (not reason.endswith('?'))}"
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


def is_synthetic(root: Path) -> bool:
    """Return whether `study.tasks.clips.data.make` wrote the tree, by the file that it leaves in the root."""
    try:
        about = json.loads(read_regular(root / "about.json"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(about, dict) and about.get("made") == SYNTHETIC


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
