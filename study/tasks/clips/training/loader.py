"""Batches of clips by request: read in this process, or ahead of time by loader processes.

Loader processes are forked from a server of their own, which has no threads, and open the data set themselves. A batch
depends on its request alone, so their number changes no pixel.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing.context import ForkServerContext, SpawnContext
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.multiprocessing  # tensors cross processes in shared memory
from numpy.typing import NDArray
from torch import Tensor

from study.errors import StudyError
from study.generators import seeded
from study.tasks.clips.data.contract import Clips, Split

AHEAD = 2
"""Batches that each process reads ahead."""


@dataclass(frozen=True)
class Request:
    """One batch to read."""

    indexes: NDArray[np.int64]
    """(B,), the clips, or the views in evaluation where the split has several of each clip."""
    seed: int
    """Seed of the process-wide generators, for data sets that draw from them."""
    sampling: tuple[int, ...] | None = None
    """Seed of the generator that samples frames for training; None for the deterministic sampling of evaluation."""
    is_watched: bool = False
    """Whether to find out if random numbers are drawn."""


class Batch(NamedTuple):
    """One batch of clips."""

    pixels: Tensor
    """uint8 (B, C, T, H, W)."""
    is_fixed: bool
    """Whether no random number was drawn to read them, so that they depend on their indexes alone; False if unknown."""


Batches = Generator[Batch, None, None]
ReadBatches = Callable[[Sequence[Request]], Batches]
"""Yields the batch of each request in their order."""
Source = Callable[[Split], Clips]
"""Opens a split in a loader process; it can be pickled."""


def read(clips: Clips, request: Request) -> Batch:
    """Return one batch of a split; StudyError if a clip cannot be read."""
    generator = None if request.sampling is None else np.random.default_rng(request.sampling)
    with seeded(request.seed):
        before = _random_state(generator) if request.is_watched else None
        if generator is None and clips.views is not None:
            pixels = clips.views.read(request.indexes)
        else:
            pixels = clips.read(request.indexes, generator)
        is_fixed = before is not None and _random_state(generator) == before
    return Batch(torch.from_numpy(np.ascontiguousarray(pixels)), is_fixed)


def _random_state(generator: np.random.Generator | None) -> tuple[object, ...]:
    """Return the states of all generators that a data set may draw from."""
    own = () if generator is None else (generator.bit_generator.state, _spawned(generator))
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002
    return (
        own,
        numpy["state"]["key"].tobytes(),
        numpy["state"]["pos"],
        random.getstate(),
        torch.get_rng_state().numpy().tobytes(),
    )


def _spawned(generator: np.random.Generator) -> int:
    """Return how many generators were spawned from one."""
    return int(getattr(generator.bit_generator.seed_seq, "n_children_spawned", 0))


def read_here(clips: Clips, requests: Sequence[Request]) -> Batches:
    """Yield the batch of each request, read in this process when it is asked for."""
    for request in requests:
        yield read(clips, request)


def moved(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; the copy from the host to a GPU is asynchronous, from pinned memory."""
    if device.type == "cuda" and not values.is_cuda:
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


class LoaderProcesses:
    """Processes that read batches ahead of time, until they are closed.

    Args:
        source: Opens the splits in each process.
        workers: Number of processes, at least 1.
    """

    def __init__(self, source: Source, workers: int) -> None:
        self._workers = workers
        # not fork: this process has threads, whose locks a child would inherit
        if "forkserver" in multiprocessing.get_all_start_methods():
            context: ForkServerContext | SpawnContext = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["__main__", __name__])
        else:
            context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, context, _prepare, (source,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and wait for their end, whatever they are reading."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def read_ahead(self, split: Split, requests: Sequence[Request]) -> Batches:
        """Yield the batch of each request, read by the processes.

        Raises:
            StudyError: A clip cannot be read.
        """
        upcoming = iter(requests)

        def submit(request: Request) -> Future[Batch | StudyError]:
            return self._pool.submit(_read_in_worker, split, request)

        pending: deque[Future[Batch | StudyError]] = deque()
        try:
            pending.extend(map(submit, islice(upcoming, AHEAD * self._workers)))
            while pending:
                batch = pending.popleft().result()
                pending.extend(map(submit, islice(upcoming, 1)))
                if isinstance(batch, StudyError):
                    raise batch
                yield batch
        finally:
            for future in pending:
                future.cancel()


_open: Source
_splits: dict[Split, Clips] = {}


def _prepare(source: Source) -> None:
    """Prepare a loader process: it ignores Ctrl-C, which the conductor handles, and ends when its training does."""
    global _open
    _open = source
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _read_in_worker(split: Split, request: Request) -> Batch | StudyError:
    """Return a batch, or the StudyError of reading it, which keeps its message as a value."""
    try:
        if split not in _splits:
            _splits[split] = _open(split)
        return read(_splits[split], request)
    except StudyError as error:
        return error
