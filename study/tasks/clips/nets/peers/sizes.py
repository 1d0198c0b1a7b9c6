"""Sizes of clips that a network can take."""

from __future__ import annotations

from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape


def need_clip(shape: ClipShape, name: str, *, pixels: int, multiple_of: int = 1, frames: int = 1) -> None:
    """Raise InputError unless a clip fits a network.

    Args:
        shape: The clip's shape.
        name: The network.
        pixels: The least height and width.
        multiple_of: A divisor of the number of frames.
        frames: The least number of frames.
    """
    if min(shape.height, shape.width) < pixels:
        raise InputError(
            f"network {name!r}: needs images of at least {pixels} x {pixels} pixels. "
            f"Got {shape.height} x {shape.width} instead."
        )
    if shape.frames % multiple_of or shape.frames < frames:
        multiple = f"a multiple of {multiple_of} frames" if multiple_of > 1 else "frames"
        raise InputError(
            f"network {name!r}: needs {multiple}, at least {frames}. Got {shape.frames} instead."
        )
