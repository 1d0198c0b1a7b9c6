"""What a network said of each clip, kept for the analysis."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.errors import InputError
from study.files import write


@dataclass(frozen=True)
class Predictions:
    """One row a clip, in the order of the split."""

    ids: NDArray[np.str_]
    """(n,)"""
    sources: NDArray[np.str_]
    """(n,) the person or film that each clip comes from."""
    labels: NDArray[np.int64]
    """(n,) true classes, from 0."""
    logits: NDArray[np.float32]
    """(n, K)"""
    scenes: NDArray[np.str_] = field(default_factory=lambda: np.array([], dtype=np.str_))
    """(n,) the scene of each clip; (0,) where the data set knows none, and then no part of the file."""


def save(path: Path, predictions: Predictions) -> None:
    """Write predictions as a compressed .npz without pickles; the same predictions give the same bytes."""
    buffer = io.BytesIO()
    arrays = {f.name: getattr(predictions, f.name) for f in fields(predictions)}
    if not len(predictions.scenes):
        del arrays["scenes"]
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write(path, buffer.getvalue())


def load(path: Path) -> Predictions:
    """Read what `save` wrote; InputError where the file is something else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = [f.name for f in fields(Predictions) if f.name != "scenes" or "scenes" in stored]
            return Predictions(**{name: stored[name] for name in names})
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a file of predictions: {error}") from None
