"""Clips on their way through a network, read where it runs or by processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from study.errors import InputError, StudyError
from study.ledger.predictions import Predictions
from study.tasks.clips.data.contract import Clips, Pixels
from study.tasks.clips.training.precision import forward
from study.tasks.clips.training.settings import Precision
from study.tasks.clips.training.step_logger import StepLogger

Transform = Callable[[Tensor, torch.Generator], Tensor]
"""Training clips (B, C, T, H, W) on any device, and a CPU generator to draw from, to changed clips."""
ReadBatch = Callable[[int], Pixels]
"""Returns the batch of a number, uint8 (B, C, T, H, W), the same in whatever order and process it is asked for."""


def on_device(pixels: Pixels, device: torch.device) -> Tensor:
    """Return uint8 clips as float32 in [0, 1]; they travel as bytes and widen on the device."""
    return torch.from_numpy(pixels).to(device).float().div_(255)


def steps_per_epoch(clips: int, batch_size: int) -> int:
    """Return the number of full batches, or 1 where the clips do not fill one."""
    return max(1, clips // batch_size)


def training_batches(
    clips: Clips, labels: NDArray[np.int64], batch_size: int, seeds: tuple[int, int], workers: int = 0
) -> Iterator[tuple[Pixels, NDArray[np.int64]]]:
    """Yield one epoch of shuffled batches, all of one size: what is left over waits for another epoch.

    `seeds` are those of the order and of the random sampling inside clips, which each step draws for itself:
    any number of `workers` gives the same batches. The labels may differ from the clips' own, as in a
    control on shuffled labels.

    Raises:
        StudyError: A clip cannot be read.
    """
    order = np.random.default_rng(seeds[0]).permutation(len(labels))
    steps = [
        order[step * batch_size : (step + 1) * batch_size]
        for step in range(steps_per_epoch(len(labels), batch_size))
    ]

    def read(step: int) -> Pixels:
        return clips.read(steps[step], np.random.default_rng([seeds[1], step]))

    for indexes, pixels in zip(steps, _batches(read, len(steps), workers), strict=True):
        yield pixels, labels[indexes]


def shuffled(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the labels dealt out anew: each class keeps its count, no clip has reason to keep its class."""
    return np.random.default_rng(seed).permutation(labels)


def predict(
    network: nn.Module,
    clips: Clips,
    batch_size: int,
    device: torch.device,
    workers: int = 0,
    precision: Precision = "fp32",
) -> Predictions:
    """Return the network's logits for every clip of a split, in the split's order.

    Where the split is judged by several views a clip, the logits are the logarithms of the clip's mean class
    probabilities. The network is put in evaluation mode and left there.

    Raises:
        StudyError: A clip cannot be read.
    """
    network.eval()
    views = clips.views
    everything = np.arange(len(clips.labels if views is None else views.clip))
    parts = [everything[start : start + batch_size] for start in range(0, len(everything), batch_size)]

    def read(number: int) -> Pixels:
        return clips.read(parts[number], None) if views is None else views.read(parts[number])

    found: list[Tensor] = []
    pace = StepLogger("predicting", len(parts))
    with torch.inference_mode():
        for pixels in _batches(read, len(parts), workers):
            found.append(forward(network, on_device(pixels, device), precision).logits.cpu())
            pace(len(found))
    logits: NDArray[np.float32] = torch.cat(found).numpy()
    return Predictions(
        ids=np.array(clips.ids),
        sources=np.array(clips.sources),
        labels=clips.labels,
        logits=logits if views is None else averaged(logits, views.clip, len(clips.labels)),
        parts=np.array(clips.scenes, dtype=np.str_),
    )


def averaged(logits: NDArray[np.float32], clip: NDArray[np.int64], clips: int) -> NDArray[np.float32]:
    """Return the logarithms, (clips, K), of each clip's class probabilities, averaged over its views.

    Sums are taken of logarithms throughout, so that what is improbable in every view stays finite.

    Args:
        logits: (m, K), of each view.
        clip: (m,), the clip that each view is of.
        clips: How many there are, each with at least one view.
    """
    wide = logits.astype(np.float64)
    total = np.full((clips, logits.shape[1]), -np.inf)
    np.logaddexp.at(total, clip, wide - np.logaddexp.reduce(wide, axis=1, keepdims=True))
    return (total - np.log(np.bincount(clip, minlength=clips))[:, None]).astype(np.float32)


def _batches(read: ReadBatch, count: int, workers: int) -> Iterator[Pixels]:
    """Yield the batches 0, 1, …, read here or ahead of time by `workers` processes."""
    if not workers or count < 2:
        yield from map(read, range(count))
        return
    if "fork" not in multiprocessing.get_all_start_methods():
        raise InputError("study.toml: loader_workers: must be 0 on this system, which cannot fork processes.")
    first = read(0)  # in this process, so that what is made or mapped once is there for every worker
    loader = DataLoader(
        _Read(read),
        sampler=range(1, count),
        batch_size=None,
        num_workers=min(workers, count - 1),
        worker_init_fn=_prepare_worker,
        multiprocessing_context="fork",
        generator=torch.Generator(),  # else it draws from the one that dropout draws from
    )
    ahead = iter(loader)
    yield first
    for found in ahead:
        if isinstance(found, StudyError):
            raise found
        yield found.numpy()


class _Read(Dataset[Tensor | StudyError]):
    """Batches by number, as torch's loader wants them; errors for people come back as values, without a traceback."""

    def __init__(self, read: ReadBatch) -> None:
        self._read = read

    def __getitem__(self, number: int) -> Tensor | StudyError:
        try:
            return torch.from_numpy(np.ascontiguousarray(self._read(number)))
        except StudyError as error:
            return error


def _prepare_worker(_: int) -> None:
    """Leave Ctrl-C to the conductor, and end at once when the process that trains is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
