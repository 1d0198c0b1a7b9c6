"""Chooses the frames of a clip that are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from study import seeds
from study.errors import InputError
from study.hashing import seed_of
from study.tasks.clips.data.contract import Average

SamplingKind = Literal["uniform", "starts", "linspace", "window"]
Short = Literal["last", "even", "first"]
TestViews = Literal["1x1", "2x1", "2x2", "windows", "complete-windows", "random-window"]
Indices = NDArray[np.int64]
SHORT_CLIPS: Mapping[Short, str] = {
    "last": "the last frame repeated",
    "even": "frames repeated evenly",
    "first": "the first segment repeated",
}
"""How clips with too few frames are filled up, in words."""
WINDOW_VIEWS: tuple[TestViews, ...] = ("windows", "complete-windows", "random-window")
"""Views that need windows."""


@dataclass(frozen=True)
class Sampling:
    """How frames are sampled, in training and in evaluation."""

    frames: int
    kind: SamplingKind
    stride: int
    """Frames from one to the next of a window; 1 for other sampling."""
    short: Short
    views: TestViews
    neighbours: int = 1
    """Consecutive frames of each segment."""
    average: Average = "probabilities"
    """What is averaged over the views of a clip."""

    def __post_init__(self) -> None:
        if self.kind != "window" and self.stride != 1:
            raise InputError(
                f"stride = {self.stride}: only sampling = 'window' has a stride; remove it, or set sampling = 'window'."
            )
        if self.kind != "window" and self.views in WINDOW_VIEWS:
            raise InputError(f"views = {self.views!r}: needs sampling = 'window'.")
        if self.kind not in ("uniform", "starts") and self.neighbours != 1:
            raise InputError(
                f"neighbours = {self.neighbours}: only sampling = 'uniform' or 'starts' has segments; remove it."
            )
        if self.frames % self.neighbours:
            raise InputError(
                f"neighbours: must divide the {self.frames} frames. Got {self.neighbours} instead."
            )
        if self.short == "first" and self.kind not in ("uniform", "starts"):
            raise InputError("short = 'first': needs sampling = 'uniform' or 'starts'.")

    @property
    def counted(self) -> dict[str, Any]:
        """The fields that count in a digest: those added later only if they are not at their default."""
        later = {"neighbours": 1, "average": "probabilities"}
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if name not in later or value != later[name]}

    @property
    def span(self) -> int:
        """The number of consecutive frames that a window covers."""
        return (self.frames - 1) * self.stride + 1

    @property
    def segments(self) -> int:
        """The number of segments of uniform sampling."""
        return self.frames // self.neighbours

    @property
    def described(self) -> str:
        """The frames of one reading, in words."""
        if self.kind == "window":
            return f"windows of {self.frames} frames, stride {self.stride}: random in training, the middle one in test"
        if self.kind == "linspace":
            return (
                f"{self.frames} frames at equal distances from the first to the last, in training and in test"
            )
        one = "one" if self.neighbours == 1 else f"{self.neighbours} neighbours"
        place = "middle one" if self.kind == "uniform" else "first one"
        return f"{self.frames} frames, {one} of each equal segment: random in training, the {place} in test"

    @property
    def views_described(self) -> str:
        """The readings of a clip in evaluation, in words."""
        views = {
            "1x1": "1 x 1",
            "2x1": "2 x 1: two temporal",
            "2x2": "2 x 2: two temporal, by the clip and its mirror image",
            "windows": "all consecutive windows, the last one moved to the clip's end",
            "complete-windows": "all consecutive complete windows",
            "random-window": "one random window, the same at every test",
        }[self.views]
        return views if self.views in ("1x1", "random-window") else f"{views}; {self.average} averaged"

    @property
    def short_described(self) -> str:
        """How clips with too few frames are filled up, in words."""
        return SHORT_CLIPS[self.short]

    def indices(self, count: int, generator: np.random.Generator | None) -> Indices:
        """Return the indices, (frames,), of one reading of a clip of `count` frames.

        With a generator, as in training, at random; with None, as in evaluation, the middle (or first) frame of each
        segment, or the window in the middle.
        """
        if self.kind == "linspace":
            return np.linspace(0, count - 1, self.frames).astype(np.int64)
        if self.kind == "window":
            if count < self.span:
                return self._short(count)
            spare = count - self.span
            return self._window(spare // 2 if generator is None else int(generator.integers(spare + 1)))
        starts = max(1, count - self.neighbours + 1)
        if self.short == "first" and starts < self.segments:
            first = np.zeros(self.segments, dtype=np.int64)
        elif self.kind == "starts" and generator is None and starts >= self.segments:
            first = np.arange(self.segments, dtype=np.int64) * starts // self.segments
        else:
            first = uniform(starts, self.segments, generator, "last" if self.short == "last" else "even")
        every = first[:, None] + np.arange(self.neighbours, dtype=np.int64)
        indices: Indices = np.minimum(every.reshape(-1), count - 1)
        return indices

    def evaluation_indices(self, count: int, clip: str = "") -> list[Indices]:
        """Return the indices of every temporal reading of a clip of `count` frames in evaluation.

        ``1x1``: those of `indices`. ``2x1``, ``2x2``: two; with uniform sampling the frames a quarter and three
        quarters into each segment, with windows the first and the last window. ``windows``: all windows that follow
        one another; the last ends with the clip, where it must overlap the one before. ``complete-windows``: without
        that one. ``random-window``: a window that depends on the clip's id.

        Args:
            count: The number of the clip's frames.
            clip: The clip's id.
        """
        if self.views == "1x1":
            return [self.indices(count, None)]
        if self.kind != "window":
            return self._two_views(count)
        if count < self.span:
            return [self._short(count)] * (2 if self.views in ("2x1", "2x2") else 1)
        last = count - self.span
        match self.views:
            case "2x1" | "2x2":
                starts = [0, last]
            case "random-window":
                starts = [int(np.random.default_rng(seed_of(seeds.TEST_WINDOW, clip)).integers(last + 1))]
            case "windows":
                starts = [min(start, last) for start in range(0, count, self.span)]
            case _:
                starts = list(range(0, last + 1, self.span))
        return [self._window(start) for start in starts]

    def _two_views(self, count: int) -> list[Indices]:
        """Return the readings a quarter and three quarters into each segment."""
        if self.kind == "linspace" or self.neighbours > 1 or (count < self.frames and self.short != "even"):
            return [self.indices(count, None)] * 2
        segment = np.arange(self.frames, dtype=np.int64)
        return [(4 * segment + quarter) * count // (4 * self.frames) for quarter in (1, 3)]

    def _window(self, start: int) -> Indices:
        return start + self.stride * np.arange(self.frames, dtype=np.int64)

    def _short(self, count: int) -> Indices:
        if self.short == "even":
            return uniform(count, self.frames, None)
        return np.minimum(self._window(0), count - 1)


def uniform(
    count: int, frames: int, generator: np.random.Generator | None, short: Literal["even", "last"] = "even"
) -> Indices:
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
