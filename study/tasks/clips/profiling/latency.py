"""Latency of forward passes, measured in turns so that a slow minute affects all networks alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from study.tasks.clips.profiling.record import Latency
from study.tasks.clips.training.precision import forward_context
from study.tasks.clips.training.settings import Precision
from study.tasks.counting import forward_ms

REPETITIONS = 40
WARM_UPS = 5

ShowProgress = Callable[[Sequence[int]], Iterable[int]]


@dataclass(frozen=True)
class Candidate:
    """A network in evaluation mode and the clips (B, C, T, H, W) that it is timed on, both on one device."""

    network: nn.Module
    clips: Tensor
    precision: Precision = "fp32"


def latencies(
    candidates: Sequence[Candidate], repetitions: int, show_progress: ShowProgress
) -> list[Latency]:
    """Time every candidate `repetitions` times and return the quartiles.

    Candidates take turns in rounds, in another order each round; the first `WARM_UPS` rounds do not count.
    `show_progress` yields the turns one by one.
    """
    turns = []
    for number in range(WARM_UPS + repetitions):
        turns += random.Random(number).sample(range(len(candidates)), len(candidates))
    times_ms: list[list[float]] = [[] for _ in candidates]
    with torch.inference_mode():
        for turn in show_progress(turns):
            candidate = candidates[turn]
            times_ms[turn].append(forward_ms(partial(_forward, candidate), candidate.clips.device))
    return [
        _summary(candidate, times[WARM_UPS:]) for candidate, times in zip(candidates, times_ms, strict=True)
    ]


def _forward(candidate: Candidate) -> None:
    with forward_context(candidate.precision, candidate.clips.device):
        candidate.network(candidate.clips)


def _summary(candidate: Candidate, times_ms: Sequence[float]) -> Latency:
    lower, median, upper = np.percentile(times_ms, [25, 50, 75])
    return Latency(len(candidate.clips), float(median), float(lower), float(upper))
