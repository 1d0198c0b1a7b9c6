"""Which frames of a clip are read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def uniform(count: int, frames: int, generator: np.random.Generator | None) -> NDArray[np.int64]:
    """Return the places, (frames,), of one frame from each of `frames` equal segments of `count` frames.

    With a generator, which training hands in, a random frame of each segment; with None the middle one.
    A clip with fewer frames than asked for is repeated evenly: place i reads frame
    ``floor((i + 1/2) count / frames)``, in training too.

    Raises:
        ValueError: `count` or `frames` is below 1.
    """
    if count < 1 or frames < 1:
        raise ValueError(f"'count' and 'frames' must be at least 1. Got {count} and {frames} instead.")
    place = np.arange(frames, dtype=np.int64)
    if generator is None or count < frames:
        return (2 * place + 1) * count // (2 * frames)
    return generator.integers(place * count // frames, (place + 1) * count // frames, dtype=np.int64)
