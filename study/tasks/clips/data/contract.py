"""What every data set gives to training: classes, a clip's shape, and three splits that are read by index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from study.config.registry import Range

Split = Literal["train", "validation", "test"]
Pixels = NDArray[np.uint8]
Frames = Annotated[int, Range(1, 1024), "frames a clip"]
Channels = Annotated[Literal[1, 3], "1 for grey, 3 for colour"]
Reader = Callable[[NDArray[np.int64], np.random.Generator | None], Pixels]


class ClipShape(NamedTuple):
    """One clip: channels, frames, height and width in pixels."""

    channels: int
    frames: int
    height: int
    width: int


@dataclass(frozen=True)
class Views:
    """Several readings of each clip of a split, whose predicted probabilities are averaged."""

    clip: NDArray[np.int64]
    """(m,), which clip each view is of."""
    read: Callable[[NDArray[np.int64]], Pixels]
    """Returns the views of the given numbers, in [0, m), as uint8 (n, C, T, H, W)."""


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
    views: Views | None = None
    """How the split is read when it is judged; None for one deterministic reading a clip."""
    scenes: tuple[str, ...] = ()
    """The scene of each clip, where the data set knows it."""
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

    def digest_of(self, fold: int | None) -> str:
        """Return the digest of what one fold's runs depend on, whatever other folds are asked for."""

    @property
    def is_synthetic(self) -> bool:
        """Whether a program drew the clips, so that they are no evidence about real ones."""

    @property
    def is_optimistic(self) -> bool:
        """Whether the validation split is the test split, as in the field's "best epoch on test"."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What a reader of a result must know of the data, by its name, in the order to print."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was left out because it could not be read: file and reason."""

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that the configuration asks for; empty where the data set has one split."""

    def split(self, name: Split, fold: int | None = None) -> Clips:
        """Return one split; `fold` is one of `folds`, or None where there are none."""
