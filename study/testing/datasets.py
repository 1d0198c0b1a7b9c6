"""What every data set must keep, checked on one that is built.

Use it on one's own data set like this::

    def test_my_clips():
        conform(lambda: Registry(["my_lab.clips"]).build("dataset", {"name": "my-clips", "root": "…"}))
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable

import numpy as np

from study.tasks.clips.data.contract import SPLITS, Clips, Dataset, Split

READ = 4
"""So many clips of each split are read."""
SEED = 7


def conform(build: Callable[[], Dataset]) -> None:
    """Raise AssertionError, which says what is wrong, unless the data set keeps all that is asked of it.

    Args:
        build: Builds the data set; it is called twice.
    """
    dataset, again = build(), build()
    assert dataset.digest == again.digest, "two data sets of one configuration have two digests"
    assert len(set(dataset.classes)) == len(dataset.classes) > 1, "classes: two or more, none twice"
    for fold in dataset.folds or (None,):
        assert dataset.digest_of(fold) == again.digest_of(fold), f"fold {fold} has two digests"
        splits = {name: dataset.split(name, fold) for name in SPLITS}
        keeps_splits_apart(splits, dataset)
        for name, clips in splits.items():
            describes_every_clip(clips, dataset)
            reads_alike(clips, again.split(name, fold), dataset)
            judges_every_clip(clips, dataset)
            travels(clips)


def keeps_splits_apart(splits: dict[Split, Clips], dataset: Dataset) -> None:
    """No clip is in two splits, but where the data set says that it selects on test."""
    for one, other in itertools.combinations(SPLITS, 2):
        shared = set(splits[one].ids) & set(splits[other].ids)
        if dataset.is_optimistic and (one, other) == ("validation", "test"):
            assert splits[one].ids == splits[other].ids, "optimistic, but validation is not test"
        else:
            assert not shared, f"{len(shared)} clips are in both {one} and {other}: {sorted(shared)[:3]}"


def describes_every_clip(clips: Clips, dataset: Dataset) -> None:
    """Each clip has an id of its own, a source and a label that is a class."""
    count = len(clips.ids)
    assert count > 0, "a split is empty"
    assert len(set(clips.ids)) == count, "an id occurs twice"
    assert len(clips.sources) == count, "sources: one for each clip"
    assert clips.scenes == () or len(clips.scenes) == count, "scenes: none, or one for each clip"
    assert clips.labels.shape == (count,), "labels: one for each clip"
    assert clips.labels.dtype == np.int64, "labels: int64"
    assert 0 <= clips.labels.min() <= clips.labels.max() < len(dataset.classes), "a label is no class"


def reads_alike(clips: Clips, again: Clips, dataset: Dataset) -> None:
    """A clip has the declared shape and is the same in every order, and with the same generator."""
    indexes = np.arange(min(READ, len(clips.ids)))
    read = clips.read(indexes, None)
    assert read.shape == (len(indexes), *dataset.shape), f"shape: {read.shape}"
    assert read.dtype == np.uint8, "pixels: uint8"
    assert np.array_equal(read[::-1], clips.read(indexes[::-1].copy(), None)), "order changes a clip"
    assert np.array_equal(read, again.read(indexes, None)), "a test reads other pixels the second time"
    drawn, redrawn = (c.read(indexes, np.random.default_rng(SEED)) for c in (clips, again))
    assert np.array_equal(drawn, redrawn), "one generator gives two readings"


def judges_every_clip(clips: Clips, dataset: Dataset) -> None:
    """Views, where there are any, name every clip of the split."""
    if clips.views is None:
        return
    assert set(clips.views.clip.tolist()) == set(range(len(clips.ids))), "a clip has no view"
    numbers = np.arange(min(READ, len(clips.views.clip)))
    read = clips.views.read(numbers)
    assert read.shape == (len(numbers), *dataset.shape), f"shape of views: {read.shape}"
    assert np.array_equal(read, clips.views.read(numbers)), "a view is read otherwise the second time"


def travels(clips: Clips) -> None:
    """A split can be sent to a process that reads for the training, if it can be sent at all."""
    try:
        sent = pickle.dumps(clips)
    except (pickle.PicklingError, AttributeError, TypeError):
        return  # read where it trains, or in forked processes
    first = np.array([0])
    assert np.array_equal(pickle.loads(sent).read(first, None), clips.read(first, None)), (
        "another process reads other pixels"
    )
