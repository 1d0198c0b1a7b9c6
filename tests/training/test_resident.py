"""Clips that stay on the device, with the CPU as the device."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from study.tasks.clips.data.contract import Clips, Views
from study.tasks.clips.training.batches import training_batches
from study.tasks.clips.training.loader import read, read_here
from study.tasks.clips.training.resident import ResidentClips

CPU = torch.device("cpu")
CLIPS, BATCH, EPOCHS = 22, 4, 6
CLIP_BYTES = 1 * 2 * 3 * 4


class Split:
    """Clips that show their number, counted as they are read, with noise from a chosen source."""

    def __init__(self, noise: Any = None) -> None:
        self.reads, self._noise = Counter[int](), noise
        names = tuple(map(str, range(CLIPS)))
        self.clips = Clips(names, names, np.arange(CLIPS) % 3, self._read)

    def _read(self, indexes: Any, generator: Any) -> Any:
        self.reads.update(indexes.tolist())
        pixels = np.zeros((len(indexes), 1, 2, 3, 4), np.uint8)
        pixels[:] = indexes[:, None, None, None, None]
        if self._noise is not None:
            pixels[0, 0, 0, 0, 0] = self._noise(generator)
        return pixels


def epochs_of(split: Split, reading: Any) -> Any:
    return [
        [
            (pixels.numpy().copy(), labels)
            for pixels, labels in training_batches(
                split.clips, split.clips.labels, BATCH, (number, 100 + number), reading
            )
        ]
        for number in range(EPOCHS)
    ]


def resident(split: Split, most_bytes: float = CLIPS * CLIP_BYTES) -> ResidentClips:
    return ResidentClips(partial(read_here, split.clips), CLIPS, CPU, most_bytes)


def assert_equal(epochs: Any, others: Any) -> None:
    for epoch, other in zip(epochs, others, strict=True):
        for (pixels, labels), (other_pixels, other_labels) in zip(epoch, other, strict=True):
            np.testing.assert_array_equal(pixels, other_pixels)
            np.testing.assert_array_equal(labels, other_labels)


def test_resident_clips_are_those_that_are_read_and_are_read_no_more() -> None:
    split, other = Split(), Split()
    assert_equal(epochs_of(split, resident(split).batches), epochs_of(other, None))
    assert sum(other.reads.values()) == EPOCHS * (CLIPS // BATCH) * BATCH
    assert sum(split.reads.values()) < 2.5 * CLIPS


@pytest.mark.parametrize(
    "noise",
    [
        lambda generator: generator.integers(256),
        lambda generator: generator.spawn(1)[0].integers(256),
        lambda _: random.randrange(256),
        lambda _: np.random.randint(256),  # noqa: NPY002
        lambda _: int(torch.randint(256, (1,))),
    ],
    ids=["its generator", "a spawned generator", "random", "numpy", "torch"],
)
def test_clips_that_are_sampled_anew_are_read_anew(noise: Any) -> None:
    split, other = Split(noise), Split(noise)
    assert_equal(epochs_of(split, resident(split).batches), epochs_of(other, None))
    assert split.reads == other.reads


def test_clips_that_do_not_fit_are_read_anew() -> None:
    split = Split()
    epochs_of(split, resident(split, CLIPS * CLIP_BYTES - 1).batches)
    assert sum(split.reads.values()) == EPOCHS * (CLIPS // BATCH) * BATCH


def test_random_clips_among_fixed_ones_are_read_anew_and_all_stay_right() -> None:
    """The data set draws for clip 13 only, so some batches are fixed."""

    def sometimes(split: Split) -> Split:
        plain = split.clips.read

        def read_one(indexes: Any, generator: Any) -> Any:
            pixels = plain(indexes, generator)
            pixels[indexes == 13, 0, 0, 0, 0] = generator.integers(256) if 13 in indexes else 0
            return pixels

        split.clips = replace(split.clips, read=read_one)
        return split

    split, other = sometimes(Split()), sometimes(Split())
    assert_equal(epochs_of(split, resident(split).batches), epochs_of(other, None))


def test_views_of_clips_stay_too() -> None:
    from study.tasks.clips.training.loader import Request

    count = Counter[int]()

    def read_views(numbers: Any) -> Any:
        count.update(numbers.tolist())
        return numbers.astype(np.uint8).reshape(-1, 1, 1, 1, 1)

    clips = replace(Split().clips, views=Views(np.array([0, 0, 1]), read_views))
    requests = [Request(np.array([0, 1]), 5), Request(np.array([2]), 6)]
    kept = ResidentClips(partial(read_here, clips), 3, CPU, 3)
    for _ in range(2):
        found = [batch.pixels.flatten().tolist() for batch in kept.batches(requests)]
        assert found == [read(clips, request).pixels.flatten().tolist() for request in requests]
    assert count == {0: 3, 1: 3, 2: 3}  # once for the device, and twice to compare
