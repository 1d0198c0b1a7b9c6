"""Chooses the frames of a clip that are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from study.errors import InputError

SamplingKind = Literal["uniform", "window"]
Short = Literal["even", "last"]
TestViews = Literal["1x1", "2x2", "windows"]
Indices = NDArray[np.int64]
SHORT_CLIPS: Mapping[Short, str] = {"even": "frames repeated evenly", "last": "the last frame repeated"}
"""How clips with too few frames are filled up, in words."""


@dataclass(frozen=True)
class Sampling:
    """How frames are sampled, in training and in evaluation."""

    frames: int
    kind: SamplingKind
    stride: int
    """Frames from one to the next of a window; 1 for uniform sampling."""
    short: Short
    views: TestViews

    def __post_init__(self) -> None:
        if self.kind == "uniform" and self.stride != 1:
            raise InputError(
                f"stride = {self.stride}: only sampling = 'window' has a stride; remove it, or set sampling = 'window'."
            )
        if self.kind == "uniform" and self.views == "windows":
            raise InputError("views = 'windows': needs sampling = 'window'.")

    @property
    def span(self) -> int:
        """The number of consecutive frames that a window covers."""
        return (self.frames - 1) * self.stride + 1

    @property
    def described(self) -> str:
        """The frames of one reading, in words."""
        if self.kind == "uniform":
            return (
                f"{self.frames} frames, one of each equal segment: random in training, the middle one in test"
            )
        return f"windows of {self.frames} frames, stride {self.stride}: random in training, the middle one in test"

    @property
    def views_described(self) -> str:
        """The readings of a clip in evaluation, in words."""
        return {
            "1x1": "1 x 1",
            "2x2": "2 x 2: two temporal, by the clip and its mirror image; probabilities averaged",
            "windows": "all consecutive windows; probabilities averaged",
        }[self.views]

    @property
    def short_described(self) -> str:
        """How clips with too few frames are filled up, in words."""
        return SHORT_CLIPS[self.short]

    def indices(self, count: int, generator: np.random.Generator | None) -> Indices:
        """Return the indices, (frames,), of one reading of a clip of `count` frames.

        With a generator, as in training, at random; with None, as in evaluation, the middle frame of each segment,
        or the window in the middle.
        """
        if self.kind == "uniform" or count < self.span:
            return (
                uniform(count, self.frames, generator, self.short)
                if self.kind == "uniform"
                else self._short(count)
            )
        spare = count - self.span
        start = spare // 2 if generator is None else int(generator.integers(spare + 1))
        return self._window(start)

    def evaluation_indices(self, count: int) -> list[Indices]:
        """Return the indices of every temporal reading of a clip of `count` frames in evaluation.

        ``1x1``: those of `indices`. ``2x2``: two, of which each is also read mirrored: with uniform sampling the frames
        a quarter and three quarters into each segment, with windows the first and the last window. ``windows``: all
        windows that follow one another; the last ends with the clip, where it must overlap the one before.
        """
        if self.views == "1x1":
            return [self.indices(count, None)]
        if self.kind == "uniform":
            if count < self.frames and self.short == "last":
                return [self.indices(count, None)] * 2
            segment = np.arange(self.frames, dtype=np.int64)
            return [(4 * segment + quarter) * count // (4 * self.frames) for quarter in (1, 3)]
        if count < self.span:
            return [self._short(count)] * (2 if self.views == "2x2" else 1)
        last = count - self.span
        if self.views == "2x2":
            return [self._window(0), self._window(last)]
        return [self._window(min(start, last)) for start in range(0, count, self.span)]

    def _window(self, start: int) -> Indices:
        return start + self.stride * np.arange(self.frames, dtype=np.int64)

    def _short(self, count: int) -> Indices:
        if self.short == "even":
            return uniform(count, self.frames, None)
        return np.minimum(self._window(0), count - 1)


def uniform(count: int, frames: int, generator: np.random.Generator | None, short: Short = "even") -> Indices:
    """Return the indices, (frames,), of one frame from each of `frames` equal segments of `count` frames.

    With a generator, as in training, a random frame of each segment; with None the middle one.
    A clip with fewer frames repeats some, in training too: ``even``, position i reads frame
    ``floor((i + 1/2) count / frames)``; ``last``, the last frame repeats.

    Raises:
        ValueError: `count` or `frames` is below 1.
    """
    if count < 1 or frames < 1:
        raise ValueError(f"'count' and 'frames' must be at least 1. Got {count} and {frames} instead.")
    position = np.arange(frames, dtype=np.int64)
    if count < frames and short == "last":
        return np.minimum(position, count - 1)
    if generator is None or count < frames:
        return (2 * position + 1) * count // (2 * frames)
    return generator.integers(position * count // frames, (position + 1) * count // frames, dtype=np.int64)
