"""Frames of single test clips, for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from study.tasks.clips.data.contract import Dataset
from study.tasks.clips.data.faces.dataset import Faces
from study.tasks.clips.data.seeded import as_built


def pictures(dataset: Dataset, fold: int | None, ids: Sequence[str]) -> Mapping[str, NDArray[np.uint8]]:
    """Return test clips by id as frames, (T, H, W, 3), as a network reads them; unknown ids are left out.

    Raises:
        InputError: A clip cannot be read.
    """
    faces = as_built(dataset)
    if isinstance(faces, Faces):
        dataset = replace(faces, cache=None)  # a few clips are rendered alone
    clips = dataset.split("test", fold)
    wanted = set(ids)
    places = {name: at for at, name in enumerate(clips.ids) if name in wanted}
    if not places:
        return {}
    pixels = clips.read(np.array(list(places.values())), None)
    return {name: _frames(clip) for name, clip in zip(places, pixels, strict=True)}


def _frames(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a clip (C, T, H, W) of one or three channels as (T, H, W, 3)."""
    planes = np.repeat(clip, 3, axis=0) if len(clip) == 1 else clip
    return np.ascontiguousarray(planes.transpose(1, 2, 3, 0))
