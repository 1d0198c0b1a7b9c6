"""What every data set gives to training: classes, a clip's shape, and three splits that are read by index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "selection", "test"]
Pixels = NDArray[np.uint8]
Reader = Callable[[NDArray[np.int64], np.random.Generator | None], Pixels]


class ClipShape(NamedTuple):
    """One clip: channels, frames, height and width in pixels."""

    channels: int
    frames: int
    height: int
    width: int


@dataclass(frozen=True)
class Clips:
    """One split of a data set, read by index.

    ``read(indexes, generator)`` returns the clips as uint8 of shape (n, C, T, H, W). The generator draws
    what is random in the sampling of a training clip; None asks for the deterministic sampling of a test.
    """

    ids: tuple[str, ...]
    sources: tuple[str, ...]
    """The person or film that each clip comes from; clips of one source are not independent."""
    labels: NDArray[np.int64]
    """(n,), from 0."""
    read: Reader
    truth: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """What a procedural data set knows of its clips: ``intensity``, (n, T), in [0, 1]."""


class Dataset(Protocol):
    """A data set as its component's builder returns it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the labels."""

    @property
    def shape(self) -> ClipShape:
        """The shape of every clip that is read."""

    @property
    def digest(self) -> str:
        """Changes with anything that changes a clip, a label or a split; independent of where the data lie."""

    @property
    def is_procedural(self) -> bool:
        """Whether a program drew the clips, so that they are no evidence about real ones."""

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that the configuration asks for; empty where the data set has one split."""

    def split(self, name: Split, fold: int | None = None) -> Clips:
        """Return one split; `fold` is one of `folds`, or None where there are none."""
