"""Clips that stay on the device: read once, then gathered there by index."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from study.tasks.clips.data.contract import Clips, Split
from study.tasks.clips.training.loader import (
    Batch,
    Batches,
    LoaderProcesses,
    ReadBatches,
    Request,
    moved,
    read_here,
)

MOST_OF_MEMORY = 0.05
"""Largest share of a GPU's memory that the clips of one split take."""


class ResidentClips:
    """Batches of one split whose clips stay on a device, as far as they depend on their index alone.

    The pixels are those that are read; where a data set draws random numbers to read a clip, nothing is kept.

    Args:
        read: Reads the batches of clips that are not there yet.
        count: Number of clips, or views, in the split.
        device: Where they stay.
        most_bytes: Largest size of the split; of a larger one, nothing is kept.
    """

    def __init__(self, read: ReadBatches, count: int, device: torch.device, most_bytes: float) -> None:
        self._read, self._device, self._most_bytes = read, device, most_bytes
        self._rows: Tensor | None = None
        self._is_there = np.zeros(count, dtype=bool)
        self._keeps = True

    def batches(self, requests: Sequence[Request]) -> Batches:
        """Yield the batch of each request, as `ReadBatches` does, those that are kept from the device."""
        if not self._keeps:
            self._rows = None
            self._is_there[:] = False
        resident = [bool(self._is_there[request.indexes].all()) for request in requests]
        missing = [
            replace(request, is_watched=self._keeps)
            for request, is_there in zip(requests, resident, strict=True)
            if not is_there
        ]
        with closing(self._read(missing)) as others:
            for request, is_there in zip(requests, resident, strict=True):
                if is_there and self._rows is not None:
                    yield Batch(self._rows[self._on_device(request)], is_fixed=True)
                else:
                    batch = next(others)
                    batch = batch._replace(pixels=moved(batch.pixels, self._device))
                    self._keep(request, batch)
                    yield batch

    def _keep(self, request: Request, batch: Batch) -> None:
        count, clip_bytes = len(self._is_there), batch.pixels[0].nbytes
        self._keeps = self._keeps and batch.is_fixed and count * clip_bytes <= self._most_bytes
        if not self._keeps:
            return
        if self._rows is None:
            shape = (count, *batch.pixels.shape[1:])
            self._rows = torch.empty(shape, dtype=torch.uint8, device=self._device)
        self._rows[self._on_device(request)] = batch.pixels
        self._is_there[request.indexes] = True

    def _on_device(self, request: Request) -> Tensor:
        return moved(torch.from_numpy(request.indexes), self._device)


def reader_of(
    clips: Clips, split: Split, loader: LoaderProcesses | None, device: torch.device
) -> ReadBatches:
    """Return the function that reads a split: by loader processes or here, and on a GPU once if the clips fit.

    Args:
        clips: The split.
        split: Its name, by which loader processes open it.
        loader: The loader processes; None to read here.
        device: The device of the training.
    """
    read = partial(read_here, clips) if loader is None else partial(loader.read_ahead, split)
    if device.type != "cuda":
        return read
    count = len(clips.labels if clips.views is None else clips.views.clip)
    memory = torch.cuda.get_device_properties(device).total_memory
    return ResidentClips(read, count, device, MOST_OF_MEMORY * memory).batches
