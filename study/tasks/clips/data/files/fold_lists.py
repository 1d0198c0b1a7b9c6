"""Lists of a data set with one file for each fold and split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from study.errors import InputError
from study.tasks.clips.data.contract import Split
from study.tasks.clips.data.files.listing import LISTED_SPLITS
from study.tasks.clips.data.files.places import Places, find

_MOST_FOLDS = 21
"""Folds are looked for by the numbers below this one."""


@dataclass(frozen=True)
class FoldLists:
    """The folder of the lists, and how they are named in it."""

    folder: Path
    file: str
    """With ``{split}`` and ``{fold}``."""
    data_set: str
    """The name of the data set, for messages."""

    def path(self, split: Split, fold: int, places: Places) -> Path:
        """Return a list; raise InputError where the fold has none."""
        if path := self._find(split, fold, places):
            return path
        missing = self.folder / self.file.format(split=split, fold=fold)
        others = [str(other) for other in range(_MOST_FOLDS) if self._find(split, other, places)]
        if others:
            raise InputError(
                f"{self.data_set}: folds: no fold {fold}: {missing} does not exist; that folder has "
                f"{', '.join(others)}."
            )
        raise InputError(
            f"{self.data_set}: root: no split list: looked for {places.name(missing)} in {str(places.root)!r}."
        )

    def all(self, places: Places) -> Iterator[Path]:
        """Yield the lists of every fold."""
        for fold in range(_MOST_FOLDS):
            for split in LISTED_SPLITS:
                if path := self._find(split, fold, places):
                    yield path

    def _find(self, split: Split, fold: int, places: Places) -> Path | None:
        return find(self.folder, [self.file.format(split=split, fold=fold)], places)
