"""Generates the clips of the built-in synthetic data set before a study: once, on all processor cores.

Runs read them from the files of the data set's cache; without this, the first run that reads a split renders it alone.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from study.config.registry import Registry
from study.executors.worker import end_with_parent
from study.machine import cpu_cores
from study.task import Progress
from study.tasks.clips.data.contract import SPLITS, Clips, Pixels, Split
from study.tasks.clips.data.faces.dataset import Faces
from study.tasks.clips.data.files.store import CachedRows
from study.tasks.clips.data.seeded import as_built, build_dataset

CHUNK = 16
"""Clips that a process renders at a time."""
FEW = 1000
"""So many clips are rendered in this process: others take as long to start."""
AHEAD = 3
"""Chunks for each process that are rendered before the first of them is written."""


@dataclass(frozen=True)
class _Missing:
    """A split whose file is missing."""

    table: str
    """The data set, without its cache, as JSON."""
    split: Split
    shape: tuple[int, ...]
    """(N, C, T, H, W)"""
    file: Path


def generate(registry: Registry, tables: Sequence[Mapping[str, Any]], progress: Progress) -> None:
    """Render every split of the data sets whose file is missing in their cache, and write it.

    Args:
        registry: The components of the study.
        tables: The data sets; those that are not rendered, or have no cache, are left out.
        progress: Called with the number of clips that are rendered, and of all that are missing.
    """
    missing = list({split.file: split for table in tables for split in _missing(registry, table)}.values())
    total = sum(split.shape[0] for split in missing)
    done = 0
    with ExitStack() as stack:
        pool = stack.enter_context(_pool()) if total > FEW and len(cpu_cores()) > 1 else None
        for split in missing:
            rows = _rows(split, pool)

            def following(index: int, rows: Iterator[Pixels] = rows) -> Pixels:
                nonlocal done
                row = next(rows)
                done += 1
                progress(done, total)
                return row

            CachedRows(split.shape, following, split.file).read(np.array([0]))


def _missing(registry: Registry, table: Mapping[str, Any]) -> Iterator[_Missing]:
    """Yield the splits of a data set that are not in its cache."""
    faces = as_built(build_dataset(registry, table))
    if not isinstance(faces, Faces) or faces.cache is None:
        return
    without_cache = json.dumps({**table, "cache": ""}, sort_keys=True)
    for split in SPLITS:
        file = faces.cache / f"faces-{faces.digest}-{split}.npy"
        if not file.exists():
            yield _Missing(without_cache, split, (faces.clips[split], *faces.shape), file)


def _pool() -> ProcessPoolExecutor:
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    return ProcessPoolExecutor(len(cpu_cores()), context, initializer=end_with_parent)


def _rows(missing: _Missing, pool: Executor | None) -> Iterator[Pixels]:
    """Yield every clip of a split in order, rendered by the processes of the pool, or by this one."""
    count = missing.shape[0]
    chunks = (range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK))
    if pool is None:
        for chunk in chunks:
            yield from _rendered(missing.table, missing.split, chunk)
        return
    waiting: deque[Future[Pixels]] = deque()
    for chunk in chunks:
        waiting.append(pool.submit(_rendered, missing.table, missing.split, chunk))
        if len(waiting) > AHEAD * len(cpu_cores()):
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _rendered(table: str, split: Split, indexes: range) -> Pixels:
    """Return clips of a split, (n, C, T, H, W)."""
    return _clips(table, split).read(np.array(indexes), None)


@lru_cache(maxsize=len(SPLITS))
def _clips(table: str, split: Split) -> Clips:
    return build_dataset(Registry(), json.loads(table)).split(split)
