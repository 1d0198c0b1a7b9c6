"""Jobs of a run as workers execute them, by default without a callback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from study.records import Epoch, RunSpec
from study.tasks import work

MakeSpec = Callable[..., RunSpec]
"""Builds the specification of a tiny training from settings that differ from the defaults."""
OnEpoch = Callable[[Epoch], None]


def ignore(epoch: Epoch) -> None:
    pass


def train(spec: RunSpec, folder: Path, on_epoch: OnEpoch = ignore, rule: str = "") -> None:
    work.train(spec, folder, on_epoch, rule)


def evaluate(spec: RunSpec, folder: Path, on_epoch: OnEpoch = ignore) -> None:
    work.evaluate(spec, folder, on_epoch)


def measure(spec: RunSpec, folder: Path, on_epoch: OnEpoch, key: str) -> None:
    work.measure(spec, folder, on_epoch, key)


def profile(spec: RunSpec, folder: Path, on_epoch: OnEpoch = ignore) -> None:
    work.profile(spec, folder, on_epoch)
