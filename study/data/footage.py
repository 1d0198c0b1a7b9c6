"""One clip on disk: a folder of frames or a video. How many frames it has, what they hold, whether they can be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from study.data.clips import Pixels

Decoder = Literal["pillow", "simplejpeg", "simplejpeg-scaled"]
IMAGES = frozenset({".jpg", ".jpeg", ".png"})
VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
_JPEGS = frozenset({".jpg", ".jpeg"})


@dataclass(frozen=True)
class Footage:
    """The files of one clip: its frames in the order of their numbers, or one video."""

    files: tuple[Path, ...]
    is_video: bool


@dataclass(frozen=True)
class Verdict:
    """What reading the whole of a clip showed."""

    digest: str
    """Of the content of its files, in their order; empty where it cannot be read."""
    frames: int
    sizes: tuple[tuple[int, int], ...]
    """Width and height in pixels, each once, in the order in which they come."""
    error: str = ""
    """Why it cannot be used."""

    @property
    def is_sound(self) -> bool:
        """Whether every frame of the clip can be read."""
        return not self.error


def find(path: Path, root: Path) -> Footage:
    """Return the files of the clip at `path`: a folder of images, or a video.

    Raises:
        InputError: There is no such clip, it has no frames, or something of it leads out of the root.
    """
    raise NotImplementedError


def inspect(footage: Footage) -> Verdict:
    """Read the whole of a clip, every frame decoded once; what is wrong with it is in the verdict."""
    raise NotImplementedError


def read(
    footage: Footage, places: Sequence[int] | NDArray[np.int64], channels: int, size: int, decoder: Decoder
) -> Pixels:
    """Return the frames at `places`, (n, C, size, size), resized by Pillow's antialiased bilinear filter.

    Raises:
        InputError: A file cannot be read; it is named.
    """
    raise NotImplementedError
