"""Clips on their way through a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from study.data.clips import Clips, Pixels
from study.training.predictions import Predictions

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Training clips (B, C, T, H, W) on any device, and a CPU generator to draw from, to changed clips."""


def on_device(pixels: Pixels, device: torch.device) -> Tensor:
    """Return uint8 clips as float32 in [0, 1]; they travel as bytes and widen on the device."""
    return torch.from_numpy(pixels).to(device).float().div_(255)


def steps_per_epoch(clips: int, batch_size: int) -> int:
    """Return the number of full batches, or 1 where the clips do not fill one."""
    return max(1, clips // batch_size)


def training_batches(
    clips: Clips, labels: NDArray[np.int64], batch_size: int, seeds: tuple[int, int]
) -> Iterator[tuple[Pixels, NDArray[np.int64]]]:
    """Yield one epoch of shuffled batches, all of one size: what is left over waits for another epoch.

    `seeds` are those of the order and of the random sampling inside clips. The labels may differ from the
    clips' own, as in a control on shuffled labels.
    """
    order = np.random.default_rng(seeds[0]).permutation(len(labels))
    sampling = np.random.default_rng(seeds[1])
    for step in range(steps_per_epoch(len(labels), batch_size)):
        indexes = order[step * batch_size : (step + 1) * batch_size]
        yield clips.read(indexes, sampling), labels[indexes]


def shuffled(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the labels dealt out anew: each class keeps its count, no clip has reason to keep its class."""
    return np.random.default_rng(seed).permutation(labels)


def predict(network: nn.Module, clips: Clips, batch_size: int, device: torch.device) -> Predictions:
    """Return what the network says of every clip of a split, in the split's order.

    The network is put in evaluation mode and left there.
    """
    network.eval()
    everything = np.arange(len(clips.labels))
    with torch.inference_mode():
        logits = [
            network(on_device(clips.read(everything[start : start + batch_size], None), device)).logits.cpu()
            for start in range(0, len(everything), batch_size)
        ]
    return Predictions(
        ids=np.array(clips.ids),
        sources=np.array(clips.sources),
        labels=clips.labels,
        logits=torch.cat(logits).numpy(),
    )
