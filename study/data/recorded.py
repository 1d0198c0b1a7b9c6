"""A data set made of recorded clips: what every layout gives to training once its lists are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from study.data.clips import Clips, ClipShape, Pixels, Split
from study.data.footage import Decoder, Verdict
from study.data.listing import Entry, Fold, Listing
from study.data.sampling import Sampling

Progress = Callable[[int, int], None]
"""Called with the number of clips that are done and of all clips."""


class Source(Protocol):
    """Where frames come from: the files themselves (`Raw`), or a pack of them (`study.data.pack.open_pack`)."""

    def inspect(self, entries: Sequence[Entry], progress: Progress | None = None) -> list[Verdict]:
        """Return what is known of each clip, everything read once; nothing is raised for a damaged clip."""

    def count(self, entry: Entry) -> int:
        """Return how many frames a clip has; InputError names file and row where it cannot be told."""

    def read(self, entry: Entry, places: NDArray[np.int64]) -> Pixels:
        """Return the frames at `places`, (n, C, H, W); InputError names file and row where that fails."""


@dataclass(frozen=True)
class Protocols:
    """How a recorded data set is divided and read."""

    selection_share: float
    selection_seed: int
    select_on: Literal["held-out", "test"]
    sampling: Sampling
    skip_bad: bool


@dataclass(frozen=True)
class Recorded:
    """A `study.data.clips.Dataset` made of a `Listing` and of the place its frames come from."""

    listing: Listing
    source: Source
    shape: ClipShape
    decoder: Decoder
    protocols: Protocols

    def inspect(self, progress: Progress | None = None) -> Mapping[str, Verdict]:
        """Return what is known of every listed clip, by its id: everything is read once, in parallel."""
        raise NotImplementedError

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that the configuration asks for."""
        raise NotImplementedError

    def digest_of(self, fold: int | None) -> str:
        """Return the digest of all that one fold's runs depend on."""
        raise NotImplementedError

    @cached_property
    def digest(self) -> str:
        """The digest of the one fold asked for, or of all of them."""
        raise NotImplementedError

    def split(self, name: Split, fold: Fold = None) -> Clips:
        """Return one split."""
        raise NotImplementedError


@dataclass(frozen=True)
class Raw:
    """Frames from the files themselves."""

    listing: Listing
    shape: ClipShape
    decoder: Decoder
    cache: Path | None
    """The folder that keeps verdicts."""


def held_out(
    listed: Mapping[str, int], source_of: Mapping[str, str], share: float, seed: int, part: str = "selection"
) -> frozenset[str]:
    """Return the ids of a list that are held out: whole sources, classes near their share."""
    raise NotImplementedError
