"""Checkpoints: kept after every epoch, so that a killed training goes on where it was."""

from __future__ import annotations

import io
import logging
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from study.files import write
from study.ledger.predictions import Predictions
from study.records import Epoch, Machine, Metrics, RunSpec
from study.tasks.clips.training.state import State, TrainState

_log = logging.getLogger(__name__)

FORMAT = 2
"""Of a checkpoint's content; one of another format is not read."""


@dataclass(frozen=True)
class Best:
    """The epoch that is kept: what it scores and all that is kept of it."""

    epoch: int
    metrics: Metrics
    """Empty, and no predictions, where nothing is selected."""
    weights: dict[str, Tensor]
    predictions: Predictions | None


@dataclass(frozen=True)
class TrainingProgress:
    """What a training has shown so far."""

    history: tuple[Epoch, ...] = ()
    best: Best | None = None
    seconds: float = 0.0
    """Wall time up to the last epoch, earlier attempts included."""
    nondeterministic: tuple[str, ...] = ()
    """Operators without a deterministic form that were used."""
    diverged: bool = False
    """Whether the epoch after the last one broke down."""

    def is_over(self, epochs: int) -> bool:
        """Whether a training of so many epochs has nothing left to do."""
        return self.diverged or len(self.history) >= epochs


def save(
    path: Path, spec: RunSpec, machine: Machine, learner: TrainState, progress: TrainingProgress
) -> None:
    """Keep a training as it is after its last epoch, in one atomic file."""
    best = progress.best
    buffer = io.BytesIO()
    torch.save(
        {
            "origin": _origin(spec, machine),
            "history": [asdict(epoch) for epoch in progress.history],
            "best": best and {**vars(best), "predictions": best.predictions and _packed(best.predictions)},
            "seconds": progress.seconds,
            "nondeterministic": list(progress.nondeterministic),
            "learner": learner.state(),
        },
        buffer,
    )
    write(path, buffer.getvalue())


def resumed(
    path: Path, spec: RunSpec, machine: Machine, build: Callable[[], TrainState]
) -> tuple[TrainState, TrainingProgress]:
    """Return the learner and the progress of a checkpoint, new ones where there is none to go on from.

    One that is damaged, of another run, or of other libraries or hardware is not gone on from, and a warning
    says so: the numbers would be those of no undisturbed training.

    Args:
        path: The checkpoint.
        spec: The run.
        machine: What this attempt computes with.
        build: Makes the learner anew.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return build(), TrainingProgress()
    learner = build()
    try:
        kept = _unpacked(data)
        if kept["origin"] != (now := _origin(spec, machine)):
            odd = [name for name in now if kept["origin"].get(name) != now[name]]
            raise ValueError(f"it was written by another {' and other '.join(odd)}")
        progress = TrainingProgress(
            history=tuple(Epoch(**epoch) for epoch in kept["history"]),
            best=kept["best"] and _best(kept["best"]),
            seconds=kept["seconds"],
            nondeterministic=tuple(kept["nondeterministic"]),
        )
        learner.restore(kept["learner"])
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        _log.warning("%s is not gone on from, the training starts anew: %s", path, error)
        return build(), TrainingProgress()
    _log.info("going on after epoch %d", len(progress.history))
    return learner, progress


def _origin(spec: RunSpec, machine: Machine) -> State:
    """Return what a checkpoint must share with the training that goes on from it."""
    return {
        "format": FORMAT,
        "run": spec.id,
        "libraries": dict(machine.versions),
        "hardware": machine.hardware,
    }


def _unpacked(data: bytes) -> State:
    """Read a checkpoint; ValueError where a byte of it is not as it was written."""
    try:
        damaged = zipfile.ZipFile(io.BytesIO(data)).testzip()  # torch itself compares no checksums
        if damaged is not None:
            raise ValueError(f"{damaged} in it is damaged")
        kept: State = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, EOFError, pickle.UnpicklingError, NotImplementedError) as error:
        raise ValueError(f"it is damaged: {error}") from None
    return kept


def _packed(predictions: Predictions) -> State:
    return {
        "ids": predictions.ids.tolist(),
        "sources": predictions.sources.tolist(),
        "labels": predictions.labels.tolist(),
        "logits": torch.from_numpy(predictions.logits),
        "parts": predictions.parts.tolist(),
    }


def _best(kept: State) -> Best:
    if (packed := kept["predictions"]) is None:
        return Best(**kept)
    predictions = Predictions(
        ids=np.array(packed["ids"]),
        sources=np.array(packed["sources"]),
        labels=np.array(packed["labels"], dtype=np.int64),
        logits=packed["logits"].numpy(),
        parts=np.array(packed["parts"], dtype=np.str_),
    )
    return Best(**{**kept, "predictions": predictions})
