"""Which frames of a clip are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from study.errors import InputError

SamplingKind = Literal["uniform", "window"]
Short = Literal["even", "last"]
TestViews = Literal["1x1", "2x2", "windows"]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Sampling:
    """How frames are chosen, in training and when a split is judged."""

    frames: int
    kind: SamplingKind
    stride: int
    """Frames from one to the next of a window; 1 for uniform sampling."""
    short: Short
    views: TestViews

    def __post_init__(self) -> None:
        if self.kind == "uniform" and self.stride != 1:
            raise InputError(
                f"stride = {self.stride}: only sampling = 'window' has a stride; leave it out, or take windows."
            )
        if self.kind == "uniform" and self.views == "windows":
            raise InputError("views = 'windows': needs sampling = 'window'.")

    @property
    def span(self) -> int:
        """How many frames of a clip a window reaches over."""
        return (self.frames - 1) * self.stride + 1

    @property
    def described(self) -> str:
        """In words: where the frames of one reading come from."""
        if self.kind == "uniform":
            return (
                f"{self.frames} frames, one of each equal segment: random in training, the middle one in test"
            )
        return f"windows of {self.frames} frames, stride {self.stride}: random in training, the middle one in test"

    @property
    def views_described(self) -> str:
        """In words: by how many readings a clip is judged."""
        return {
            "1x1": "1 x 1",
            "2x2": "2 x 2: two temporal, by the clip and its mirror image; probabilities averaged",
            "windows": "all consecutive windows; probabilities averaged",
        }[self.views]

    @property
    def short_described(self) -> str:
        """In words: what is done with clips that have too few frames."""
        return {"even": "frames repeated evenly", "last": "the last frame repeated"}[self.short]

    def one(self, count: int, generator: np.random.Generator | None) -> Places:
        """Return the indices, (frames,), of one reading of a clip of `count` frames.

        With a generator, which training hands in, at random; with None the reading of a test: the middle frame
        of each segment, or the window in the middle.
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

    def judged(self, count: int) -> list[Places]:
        """Return the indices of every temporal reading by which a clip of `count` frames is judged.

        ``1x1``: the one of `one`. ``2x2``: two, of which each is also read mirrored: with uniform sampling the frames
        a quarter and three quarters into each segment, with windows the first and the last window. ``windows``: all
        windows that follow one another; the last ends with the clip, where it must overlap the one before.
        """
        if self.views == "1x1":
            return [self.one(count, None)]
        if self.kind == "uniform":
            if count < self.frames and self.short == "last":
                return [self.one(count, None)] * 2
            place = np.arange(self.frames, dtype=np.int64)
            return [(4 * place + quarter) * count // (4 * self.frames) for quarter in (1, 3)]
        if count < self.span:
            return [self._short(count)] * (2 if self.views == "2x2" else 1)
        last = count - self.span
        if self.views == "2x2":
            return [self._window(0), self._window(last)]
        return [self._window(min(start, last)) for start in range(0, count, self.span)]

    def _window(self, start: int) -> Places:
        return start + self.stride * np.arange(self.frames, dtype=np.int64)

    def _short(self, count: int) -> Places:
        if self.short == "even":
            return uniform(count, self.frames, None)
        return np.minimum(self._window(0), count - 1)


def uniform(count: int, frames: int, generator: np.random.Generator | None, short: Short = "even") -> Places:
    """Return the indices, (frames,), of one frame from each of `frames` equal segments of `count` frames.

    With a generator, which training hands in, a random frame of each segment; with None the middle one.
    A clip with fewer frames than asked for is repeated, in training too: ``even``, place i reads frame
    ``floor((i + 1/2) count / frames)``; ``last``, all frames come once, then the last one again and again.

    Raises:
        ValueError: `count` or `frames` is below 1.
    """
    if count < 1 or frames < 1:
        raise ValueError(f"'count' and 'frames' must be at least 1. Got {count} and {frames} instead.")
    place = np.arange(frames, dtype=np.int64)
    if count < frames and short == "last":
        return np.minimum(place, count - 1)
    if generator is None or count < frames:
        return (2 * place + 1) * count // (2 * frames)
    return generator.integers(place * count // frames, (place + 1) * count // frames, dtype=np.int64)
