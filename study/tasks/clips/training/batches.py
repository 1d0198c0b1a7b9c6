"""Batches of clips for training and prediction, and the predictions of a split."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from study import seeds as purposes
from study.generators import seeded
from study.hashing import seed_of
from study.ledger.predictions import Predictions
from study.tasks.clips.data.contract import Average, Clips, Pixels
from study.tasks.clips.training.balance import balanced_order
from study.tasks.clips.training.loader import ReadBatches, Request, moved, read_here
from study.tasks.clips.training.precision import forward
from study.tasks.clips.training.settings import Precision, Sampling

_log = logging.getLogger(__name__)

LOG_EVERY_S = 10.0

Transform = Callable[[Tensor, torch.Generator], Tensor]
"""Augmentation: training clips (B, C, T, H, W) on any device and a CPU generator to augmented clips."""


Compute = Callable[[Tensor], Tensor]
"""Returns logits (B, K) of clips (B, C, T, H, W) in [0, 1]."""


class StepLogger:
    """Logs the progress of a computation, at most once in `LOG_EVERY_S` seconds.

    Args:
        name: The computation, such as ``epoch 3``.
        steps: Number of its steps.
    """

    def __init__(self, name: str, steps: int) -> None:
        self.name = name
        self.steps = steps
        self._began = self._last_logged = time.monotonic()

    def __call__(self, done: int, details: Callable[[], str] = str) -> None:
        """Log that `done` steps are finished, with `details` on the last one, which are made only where it logs."""
        now = time.monotonic()
        if now - self._last_logged < LOG_EVERY_S:
            return
        self._last_logged = now
        left_s = (now - self._began) / done * (self.steps - done)
        _log.info("%s: %d of %d steps%s, about %.0f s left", self.name, done, self.steps, details(), left_s)


def on_device(pixels: Tensor | Pixels, device: torch.device) -> Tensor:
    """Return uint8 clips as float32 in [0, 1], converted on the device."""
    return moved(torch.as_tensor(pixels), device).float().div_(255)


def steps_per_epoch(clips: int, batch_size: int) -> int:
    """Return the number of full batches, or 1 if the clips do not fill one."""
    return max(1, clips // batch_size)


def training_batches(
    clips: Clips,
    labels: NDArray[np.int64],
    batch_size: int,
    seeds: tuple[int, int],
    read: ReadBatches | None = None,
    sampling: Sampling = "every-clip",
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """Yield one epoch of shuffled batches of equal size; clips that do not fill a batch are left out.

    Args:
        clips: The clips of the split.
        labels: (n,) their labels, or others, as in a control on shuffled labels.
        batch_size: Clips in a batch.
        seeds: Seeds of the order and of the random sampling inside clips.
        read: Reads the batches; None reads them in this process.
        sampling: Whether an epoch has every clip once, or as many clips of every class.

    Raises:
        StudyError: A clip cannot be read.
    """
    generator = np.random.default_rng(seeds[0])
    order = (
        balanced_order(labels, generator) if sampling == "balanced" else generator.permutation(len(labels))
    )
    requests = [
        Request(order[step * batch_size : (step + 1) * batch_size], seed_of(seeds[1], step), (seeds[1], step))
        for step in range(steps_per_epoch(len(labels), batch_size))
    ]
    with closing(read(requests) if read else read_here(clips, requests)) as batches:
        for request, batch in zip(requests, batches, strict=True):
            yield batch.pixels, labels[request.indexes]


def shuffled(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return a random permutation of the labels, which keeps the count of every class."""
    return np.random.default_rng(seed).permutation(labels)


def predict(
    network: nn.Module,
    clips: Clips,
    batch_size: int,
    device: torch.device,
    read: ReadBatches | None = None,
    precision: Precision = "fp32",
    seed: int = 0,
    compute: Compute | None = None,
) -> Predictions:
    """Return the network's logits for every clip of a split, in the split's order.

    If a split has several views of a clip, the logits are their mean or the logarithms of the clip's mean class
    probabilities, as the views say. The
    network stays in evaluation mode. A network that draws random numbers draws the same ones for a batch each time.

    Args:
        network: The network, on `device`.
        clips: The split.
        batch_size: Clips, or views, in a batch.
        device: Where to predict.
        read: Reads the batches; None reads them in this process.
        precision: Precision of the forward pass.
        seed: The run's seed.
        compute: Computes the logits of clips by the network; None for its forward pass.

    Raises:
        StudyError: A clip cannot be read.
    """
    views = clips.views
    logits = _logits(network, clips, batch_size, device, precision, seed, read, compute=compute)
    return Predictions(
        ids=np.array(clips.ids),
        sources=np.array(clips.sources),
        labels=clips.labels,
        logits=logits
        if views is None
        else mean_over_views(logits, views.clip, len(clips.labels), views.average),
        parts=np.array(clips.scenes, dtype=np.str_),
    )


def logits_of(network: nn.Module, precision: Precision, clips: Tensor) -> Tensor:
    """Return the logits of a network, (B, K), for clips (B, C, T, H, W) in [0, 1]."""
    return forward(network, clips, precision).logits


def predict_first(
    network: nn.Module,
    clips: Clips,
    batch_size: int,
    device: torch.device,
    precision: Precision = "fp32",
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the rows (k,) and logits (k, K) that `predict` gives for the clips of its first batch.

    With several views of a clip, as many batches as hold all views of at least one clip.
    """
    count = len(clips.labels)
    clip = np.arange(count) if clips.views is None else clips.views.clip
    last = np.zeros(count, dtype=np.int64)
    np.maximum.at(last, clip, np.arange(len(clip)))
    batches = int(last.min()) // batch_size + 1
    logits = _logits(network, clips, batch_size, device, precision, seed, most=batches)
    rows = np.flatnonzero(last < len(logits))
    if clips.views is None:
        return rows, logits
    clip = clip[: len(logits)]
    is_whole = np.isin(clip, rows)
    return rows, mean_over_views(
        logits[is_whole], np.searchsorted(rows, clip[is_whole]), len(rows), clips.views.average
    )


def _logits(
    network: nn.Module,
    clips: Clips,
    batch_size: int,
    device: torch.device,
    precision: Precision,
    seed: int,
    read: ReadBatches | None = None,
    most: int | None = None,
    compute: Compute | None = None,
) -> NDArray[np.float32]:
    """Return logits, one row a clip or a view, of all batches or the first `most`."""
    network.eval()
    compute = compute or partial(logits_of, network, precision)
    views = clips.views
    indexes = np.arange(len(clips.labels if views is None else views.clip))
    starts = range(0, len(indexes), batch_size)[:most]
    requests = [
        Request(indexes[start : start + batch_size], seed_of(seed, purposes.EVALUATION, number))
        for number, start in enumerate(starts)
    ]
    outputs: list[Tensor] = []
    log_step = StepLogger("predicting", len(requests))
    # no_grad, because tensors that a network keeps from inference_mode cannot be trained with afterwards
    with closing(read(requests) if read else read_here(clips, requests)) as batches, torch.no_grad():
        for request, batch in zip(requests, batches, strict=True):
            with seeded(request.seed):
                outputs.append(compute(on_device(batch.pixels, device)))
            log_step(len(outputs))
    logits: NDArray[np.float32] = torch.cat(outputs).cpu().numpy()
    return logits


def mean_over_views(
    logits: NDArray[np.float32],
    clip: NDArray[np.int64],
    clips: int,
    average: Average = "probabilities",
) -> NDArray[np.float32]:
    """Return each clip's mean logits, or the logarithms of its mean class probabilities, over its views: (clips, K).

    Sums are computed as log-sum-exp, so that the logarithm of a small probability stays finite.

    Args:
        logits: (m, K), one row a view.
        clip: (m,), index of the clip of each view.
        clips: Number of clips, each with at least one view.
        average: What is averaged.
    """
    wide = logits.astype(np.float64)
    if average == "logits":
        sums = np.zeros((clips, logits.shape[1]))
        np.add.at(sums, clip, wide)
        return (sums / np.bincount(clip, minlength=clips)[:, None]).astype(np.float32)
    total = np.full((clips, logits.shape[1]), -np.inf)
    np.logaddexp.at(total, clip, wide - np.logaddexp.reduce(wide, axis=1, keepdims=True))
    return (total - np.log(np.bincount(clip, minlength=clips))[:, None]).astype(np.float32)
