"""Checkpoints: written after every epoch, so that a killed training resumes."""

from __future__ import annotations

import io
import logging
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from study.files import write
from study.ledger.predictions import Predictions
from study.records import Epoch, Machine, Metrics, RunSpec, TimePart
from study.tasks.clips.training.state import State, TrainState

_log = logging.getLogger(__name__)

FORMAT = 4
"""Format of a checkpoint's content; other formats are not read."""


@dataclass(frozen=True)
class Best:
    """The best epoch so far: its metrics, weights and predictions."""

    epoch: int
    metrics: Metrics
    """Empty if no epoch is selected on validation."""
    weights: dict[str, Tensor]
    predictions: Predictions | None
    """Predictions of the validation split, or of one batch of training clips if no epoch is selected."""


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of a training: its epochs so far and the best of them."""

    history: tuple[Epoch, ...] = ()
    best: Best | None = None
    seconds: float = 0.0
    """Wall time up to the last epoch, including earlier attempts."""
    nondeterministic: tuple[str, ...] = ()
    """Operators used that have no deterministic form."""
    probe: Tensor | None = None
    """Logits (k, K) of one batch by the trained network after the last epoch, which a resumed training compares."""
    seconds_in: Mapping[TimePart, float] = field(default_factory=dict)
    """Seconds by what they were spent on, including earlier attempts."""
    diverged: bool = False
    """Whether the loss or a gradient stopped being finite in the epoch after the last one."""
    diverged_step: int | None = None
    """The step, from 1, at which that was; None where it was the validation loss."""

    def is_over(self, epochs: int) -> bool:
        """Whether a training of `epochs` epochs has ended."""
        return self.diverged or len(self.history) >= epochs


def save(path: Path, spec: RunSpec, machine: Machine, state: TrainState, progress: TrainingProgress) -> None:
    """Write the checkpoint of a training after its last epoch, atomically."""
    best = progress.best
    buffer = io.BytesIO()
    torch.save(
        {
            "origin": _origin(spec, machine),
            "history": [asdict(epoch) for epoch in progress.history],
            "best": best and {**vars(best), "predictions": best.predictions and _pack(best.predictions)},
            "seconds": progress.seconds,
            "seconds_in": {str(part): seconds for part, seconds in progress.seconds_in.items()},
            "probe": progress.probe,
            "nondeterministic": list(progress.nondeterministic),
            "state": state.state_dict(),
        },
        buffer,
    )
    write(path, buffer.getvalue())


def resume(
    path: Path, spec: RunSpec, machine: Machine, build: Callable[[], TrainState]
) -> tuple[TrainState, TrainingProgress]:
    """Return state and progress from a checkpoint, new ones if there is none.

    A checkpoint that is damaged, of another run, or of other libraries or hardware is ignored with a warning: its
    numbers would differ from those of an uninterrupted training.

    Args:
        path: The checkpoint.
        spec: The run.
        machine: Libraries and hardware of this attempt.
        build: Builds a new state.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return build(), TrainingProgress()
    state = build()
    try:
        stored = _read(data)
        if stored["origin"] != (origin := _origin(spec, machine)):
            differing = [name for name in origin if stored["origin"].get(name) != origin[name]]
            raise ValueError(f"it was written by another {' and other '.join(differing)}")
        progress = TrainingProgress(
            history=tuple(Epoch(**epoch) for epoch in stored["history"]),
            best=stored["best"] and _best(stored["best"]),
            seconds=stored["seconds"],
            seconds_in={TimePart(part): s for part, s in stored.get("seconds_in", {}).items()},
            probe=stored["probe"],
            nondeterministic=tuple(stored["nondeterministic"]),
        )
        state.load_state_dict(stored["state"])
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        _log.warning("%s is ignored, the training starts from the beginning: %s", path, error)
        return build(), TrainingProgress()
    _log.info("resuming after epoch %d", len(progress.history))
    return state, progress


def _origin(spec: RunSpec, machine: Machine) -> State:
    """Return what a checkpoint must have in common with the training that resumes from it."""
    return {
        "format": FORMAT,
        "run": spec.id,
        "libraries": dict(machine.versions),
        "hardware": machine.hardware,
    }


def _read(data: bytes) -> State:
    """Return the content of a checkpoint; ValueError if it is damaged."""
    try:
        damaged = zipfile.ZipFile(io.BytesIO(data)).testzip()  # torch compares no checksums
        if damaged is not None:
            raise ValueError(f"{damaged} in it is damaged")
        content: State = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, EOFError, pickle.UnpicklingError, NotImplementedError) as error:
        raise ValueError(f"it is damaged: {error}") from None
    return content


def _pack(predictions: Predictions) -> State:
    return {
        "ids": predictions.ids.tolist(),
        "sources": predictions.sources.tolist(),
        "labels": predictions.labels.tolist(),
        "logits": torch.from_numpy(predictions.logits),
        "parts": predictions.parts.tolist(),
    }


def _best(stored: State) -> Best:
    if (packed := stored["predictions"]) is None:
        return Best(**stored)
    predictions = Predictions(
        ids=np.array(packed["ids"]),
        sources=np.array(packed["sources"]),
        labels=np.array(packed["labels"], dtype=np.int64),
        logits=packed["logits"].numpy(),
        parts=np.array(packed["parts"], dtype=np.str_),
    )
    return Best(**{**stored, "predictions": predictions})
