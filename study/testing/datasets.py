"""Conformance suite of data sets.

To check a data set of your own in a test::

    def test_my_clips():
        conform(lambda: Registry(["my_lab.clips"]).build("dataset", {"name": "my-clips", "root": "…"}))
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable

import numpy as np

from study.tasks.clips.data.contract import SPLITS, Clips, Dataset, Split

CLIPS_READ = 4
"""The number of clips that are read of each split."""
SEED = 7


def conform(build: Callable[[], Dataset]) -> None:
    """Check every split of a data set; raises AssertionError with the first violation.

    Args:
        build: Builds the data set; it is called twice.
    """
    dataset, again = build(), build()
    assert dataset.digest == again.digest, "two data sets of one configuration have two digests"
    assert len(set(dataset.classes)) == len(dataset.classes) > 1, (
        "classes: expected two or more different names"
    )
    for fold in dataset.folds or (None,):
        assert dataset.digest_of(fold) == again.digest_of(fold), f"fold {fold} has two digests"
        splits = {name: dataset.split(name, fold) for name in SPLITS}
        check_splits_are_disjoint(splits, dataset)
        for name, clips in splits.items():
            check_metadata(clips, dataset)
            check_reading(clips, again.split(name, fold), dataset)
            check_views(clips, dataset)
            check_pickling(clips)


def check_splits_are_disjoint(splits: dict[Split, Clips], dataset: Dataset) -> None:
    """Check that no clip is in two splits, except that an optimistic data set validates on test."""
    for first, second in itertools.combinations(SPLITS, 2):
        shared = set(splits[first].ids) & set(splits[second].ids)
        if dataset.is_optimistic and (first, second) == ("validation", "test"):
            assert splits[first].ids == splits[second].ids, "optimistic, but validation is not test"
        else:
            assert not shared, f"{len(shared)} clips are in both {first} and {second}: {sorted(shared)[:3]}"


def check_metadata(clips: Clips, dataset: Dataset) -> None:
    """Check that each clip has a unique id, a source and a label that is a class."""
    count = len(clips.ids)
    assert count > 0, "a split is empty"
    assert len(set(clips.ids)) == count, "an id occurs twice"
    assert len(clips.sources) == count, "sources: one for each clip"
    assert clips.scenes == () or len(clips.scenes) == count, "scenes: none, or one for each clip"
    assert clips.labels.shape == (count,), "labels: one for each clip"
    assert clips.labels.dtype == np.int64, "labels: int64"
    assert 0 <= clips.labels.min() <= clips.labels.max() < len(dataset.classes), (
        "a label is outside the classes"
    )


def check_reading(clips: Clips, again: Clips, dataset: Dataset) -> None:
    """Check that clips have the declared shape and do not depend on their order, and that generators repeat them."""
    indexes = np.arange(min(CLIPS_READ, len(clips.ids)))
    read = clips.read(indexes, None)
    assert read.shape == (len(indexes), *dataset.shape), f"shape: {read.shape}"
    assert read.dtype == np.uint8, "pixels: uint8"
    assert np.array_equal(read[::-1], clips.read(indexes[::-1].copy(), None)), "order changes a clip"
    assert np.array_equal(read, again.read(indexes, None)), (
        "a second data set reads other pixels without a generator"
    )
    sampled, repeated = (c.read(indexes, np.random.default_rng(SEED)) for c in (clips, again))
    assert np.array_equal(sampled, repeated), "generators of equal seeds give different pixels"


def check_views(clips: Clips, dataset: Dataset) -> None:
    """Check that the views, if there are any, cover every clip of the split."""
    if clips.views is None:
        return
    assert set(clips.views.clip.tolist()) == set(range(len(clips.ids))), "a clip has no view"
    indexes = np.arange(min(CLIPS_READ, len(clips.views.clip)))
    read = clips.views.read(indexes)
    assert read.shape == (len(indexes), *dataset.shape), f"shape of views: {read.shape}"
    assert np.array_equal(read, clips.views.read(indexes)), "a view has other pixels the second time"


def check_pickling(clips: Clips) -> None:
    """Check that a split that can be pickled reads the same pixels after it."""
    try:
        pickled = pickle.dumps(clips)
    except (pickle.PicklingError, AttributeError, TypeError):
        return  # such clips are read in the training process, or in forked ones
    first = np.array([0])
    assert np.array_equal(pickle.loads(pickled).read(first, None), clips.read(first, None)), (
        "another process reads other pixels"
    )
