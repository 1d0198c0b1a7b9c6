"""Schedules: the learning rate of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Protocol

from study.config.registry import Legacy, Range, component


class Schedule(Protocol):
    """Learning rates over a training."""

    def rate(self, step: int) -> float:
        """Return the learning rate of `step`, counted from 0."""
        ...


@component("schedule")
def cosine(peak: float, epochs: int, warmup_epochs: float, steps_per_epoch: int) -> Schedule:
    """A linear warm-up, then half a cosine down to 0, step by step."""
    return Cosine(peak, epochs * steps_per_epoch, round(warmup_epochs * steps_per_epoch))


@component("schedule")
def ifdd_released(peak: float, epochs: int, warmup_epochs: float, steps_per_epoch: int) -> Schedule:
    """The schedule of IFDD's released training, its drop after the warm-up included."""
    return Released(peak, epochs, warmup_epochs, steps_per_epoch)


@component("schedule")
def constant(peak: float, epochs: int, warmup_epochs: float, steps_per_epoch: int) -> Schedule:
    """A linear warm-up, then the peak rate to the end."""
    return Constant(peak, round(warmup_epochs * steps_per_epoch))


@component("schedule")
def steps(
    peak: float,
    epochs: int,
    warmup_epochs: float,
    steps_per_epoch: int,
    *,
    every: Annotated[int, Range(1), "epochs from one step to the next"] = 40,
    factor: Annotated[float, Range(0, 1), "what the rate is multiplied with at each step"] = 0.1,
    of: Annotated[
        int, Range(0), Legacy(0), "epochs that these are counted in, whatever the training has; 0 for its own"
    ] = 0,
) -> Schedule:
    """A linear warm-up, then the peak rate, multiplied by a factor at every so many epochs of the training."""
    interval = every * steps_per_epoch * epochs / of if of else every * steps_per_epoch
    return Steps(peak, round(warmup_epochs * steps_per_epoch), max(1, round(interval)), factor)


@dataclass(frozen=True)
class Constant:
    """A linear warm-up, then one rate."""

    peak: float
    warmup_steps: int

    def rate(self, step: int) -> float:
        """Return ``peak * (step + 1) / w`` below w warm-up steps, then ``peak``."""
        return self.peak * (step + 1) / self.warmup_steps if step < self.warmup_steps else self.peak


@dataclass(frozen=True)
class Cosine:
    """A linear warm-up, then half a cosine, step by step."""

    peak: float
    total_steps: int
    warmup_steps: int

    def rate(self, step: int) -> float:
        """Return the learning rate of `step`, counted from 0.

        With w warm-up steps out of n, ``peak * (step + 1) / w`` up to ``peak`` at step w - 1, then
        ``peak * (1 + cos(pi * (step - w) / (n - w))) / 2``: from ``peak`` at step w to just above 0 at
        step n - 1 (SGDR, Loshchilov and Hutter 2017, without restarts). A warm-up that outlasts the
        training never reaches the peak.
        """
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        return self.peak * _half_cosine((step - self.warmup_steps) / (self.total_steps - self.warmup_steps))


@dataclass(frozen=True)
class Steps:
    """A linear warm-up, then a rate that falls by a factor at equal distances."""

    peak: float
    warmup_steps: int
    interval: int
    """Optimizer steps from one fall to the next, counted from the first step."""
    factor: float

    def rate(self, step: int) -> float:
        """Return ``peak * (step + 1) / w`` below w warm-up steps, then ``peak * factor^(step // interval)``."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        return self.peak * self.factor ** (step // self.interval)


WARMUP_START, WARMUP_END = 0.01, 0.98
"""First and last rate of the released warm-up, as shares of the peak."""
DECAY_START, DECAY_END = 0.5, 0.00508
"""First and last rate of the released decay, as shares of the peak; the last is fitted to the known rates."""


@dataclass(frozen=True)
class Released:
    """The released training's schedule: constant within an epoch, and halved where the warm-up ends.

    The drop is an accident of the release, kept to reproduce it. At a peak of 1e-4 over 100 epochs with 10 of
    warm-up, the known rates of epochs 0, 9, 10, 50 and 99 are 1.0e-6, 8.8e-5, 5.0e-5, 2.96e-5 and 5.2e-7; all scale
    with the peak.
    """

    peak: float
    epochs: int
    warmup_epochs: float
    steps_per_epoch: int

    def rate(self, step: int) -> float:
        """Return the learning rate of `step`, counted from 0.

        For epoch e of E, counted from 0, with a warm-up of w epochs: ``peak * (a + (b - a) e / w)`` below w, with
        a = 0.01 and b = 0.98; then ``peak * (d + (c - d) (1 + cos(pi (e - w) / (E - w))) / 2)``, with c = 0.5 and
        d = 0.00508.
        """
        epoch = step // self.steps_per_epoch
        if epoch < self.warmup_epochs:
            return self.peak * (WARMUP_START + (WARMUP_END - WARMUP_START) * epoch / self.warmup_epochs)
        progress = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return self.peak * (DECAY_END + (DECAY_START - DECAY_END) * _half_cosine(progress))


def _half_cosine(progress: float) -> float:
    """Return half a cosine, from 1 at progress 0 to 0 at progress 1."""
    return (1 + math.cos(math.pi * progress)) / 2
