"""How long forward passes take, measured in turns so that a slow minute is shared by all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from study.tasks.clips.profiling.record import Latency
from study.tasks.clips.training.precision import forward_context
from study.tasks.clips.training.settings import Precision

REPETITIONS = 40
WARM_UPS = 5

Follow = Callable[[Sequence[int]], Iterable[int]]


@dataclass(frozen=True)
class Candidate:
    """A network in evaluation mode and the clips (B, C, T, H, W) that it is timed on, both on one device."""

    network: nn.Module
    clips: Tensor
    precision: Precision = "fp32"


def latencies(candidates: Sequence[Candidate], repetitions: int, follow: Follow) -> list[Latency]:
    """Time every candidate `repetitions` times and return the quartiles.

    Candidates take turns in rounds, in another order each round; the first `WARM_UPS` rounds do not count.
    `follow` passes the turns on one by one and may show how far they are.
    """
    turns = []
    for number in range(WARM_UPS + repetitions):
        turns += random.Random(number).sample(range(len(candidates)), len(candidates))
    times_ms: list[list[float]] = [[] for _ in candidates]
    with torch.inference_mode():
        for turn in follow(turns):
            times_ms[turn].append(_forward_ms(candidates[turn]))
    return [
        _summary(candidate, times[WARM_UPS:]) for candidate, times in zip(candidates, times_ms, strict=True)
    ]


def _forward_ms(candidate: Candidate) -> float:
    _wait(candidate.clips.device)
    began = time.perf_counter()
    with forward_context(candidate.precision, candidate.clips.device):
        candidate.network(candidate.clips)
    _wait(candidate.clips.device)
    return 1000 * (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    """Wait until a GPU has done all it was told; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _summary(candidate: Candidate, times_ms: Sequence[float]) -> Latency:
    lower, median, upper = np.percentile(times_ms, [25, 50, 75])
    return Latency(len(candidate.clips), float(median), float(lower), float(upper))
