"""What a network said of each clip, kept for the analysis."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.errors import InputError
from study.ledger.files import write


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


def save(path: Path, predictions: Predictions) -> None:
    """Write predictions as a compressed .npz without pickles; the same predictions give the same bytes."""
    buffer = io.BytesIO()
    arrays = {field.name: getattr(predictions, field.name) for field in fields(predictions)}
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write(path, buffer.getvalue())


def load(path: Path) -> Predictions:
    """Read what `save` wrote; InputError where the file is something else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Predictions(**{field.name: stored[field.name] for field in fields(Predictions)})
    except (KeyError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a file of predictions: {error}") from None
