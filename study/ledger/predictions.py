"""Store the predictions of a split, one row an example."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.errors import file_error
from study.files import write


@dataclass(frozen=True)
class Predictions:
    """One row an example, in the order of the split."""

    ids: NDArray[np.str_]
    """(n,)"""
    sources: NDArray[np.str_]
    """(n,) the source of each example, such as a person or a film."""
    labels: NDArray[Any]
    """(n,) the true labels, such as classes from 0."""
    logits: NDArray[Any]
    """(n, K) or (n,) the predicted scores."""
    parts: NDArray[np.str_] = field(default_factory=lambda: np.array([], dtype=np.str_))
    """(n,) the part of the split that each example is in, such as a scene; (0,) and not in the file if none."""


def save(path: Path, predictions: Predictions) -> None:
    """Write predictions as a compressed .npz without pickles; the same predictions give the same bytes."""
    buffer = io.BytesIO()
    arrays = {f.name: getattr(predictions, f.name) for f in fields(predictions)}
    if not len(predictions.parts):
        del arrays["parts"]
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write(path, buffer.getvalue())


def load(path: Path) -> Predictions:
    """Read what `save` wrote.

    Raises:
        InputError: The file does not hold predictions.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = [f.name for f in fields(Predictions) if f.name != "parts" or "parts" in stored]
            return Predictions(**{name: stored[name] for name in names})
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise file_error(path, f"not a file of predictions: {error}") from None


@dataclass(frozen=True)
class Examples:
    """One value an example, whose mean is the primary metric."""

    ids: NDArray[np.str_]
    """(n,)"""
    values: NDArray[np.float64]
    """(n,) in the metric's own unit."""
    sources: NDArray[np.str_]
    """(n,)"""


def load_examples(path: Path) -> Examples:
    """Read what `save_examples` wrote.

    Raises:
        InputError: The file does not hold values of examples.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Examples(stored["ids"], stored["values"], stored["sources"])
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise file_error(path, f"not a file of examples: {error}") from None


def save_examples(
    path: Path, ids: Sequence[str], values: Sequence[float], sources: Sequence[str] = ()
) -> None:
    """Write one value an example, whose mean is the primary metric, as a compressed .npz without pickles."""
    buffer = io.BytesIO()
    of = sources if len(sources) else ids
    arrays = {
        "ids": np.asarray(ids, str),
        "values": np.asarray(values, float),
        "sources": np.asarray(of, str),
    }
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write(path, buffer.getvalue())
