"""Data sets whose chance is seeded: what they draw from process-wide generators is the same in every job."""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from typing import Any, cast

from study import seeds
from study.config.registry import Registry
from study.generators import seeded
from study.hashing import seed_of
from study.tasks.clips.data.contract import Dataset


def build_dataset(registry: Registry, table: Mapping[str, Any]) -> Dataset:
    """Return the data set that a table describes; its builder, attributes and methods draw from a seed of their own.

    The seed is the same for all runs: repetitions share a data set and its digest, and a random split must be the
    same in training and test.

    Raises:
        InputError: The data set cannot be read.
    """
    with seeded(seed_of(seeds.DATASET)):
        return cast(Dataset, _Seeded(registry.build("dataset", dict(table))))


def as_built(dataset: Dataset) -> Dataset:
    """Return the data set as its builder returned it, so that its class can be known."""
    return dataset._dataset if isinstance(dataset, _Seeded) else dataset


class _Seeded:
    """A data set that seeds the process-wide generators before each access."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __getattr__(self, name: str) -> Any:
        if name == "_dataset":  # while it is unpickled
            raise AttributeError(name)
        with seeded(seed_of(seeds.DATASET)):
            value = getattr(self._dataset, name)
        if not callable(value):
            return value

        @wraps(value)
        def call(*args: Any, **kwargs: Any) -> Any:
            with seeded(seed_of(seeds.DATASET)):
                return value(*args, **kwargs)

        return call
