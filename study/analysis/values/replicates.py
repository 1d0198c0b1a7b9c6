"""Leave-one-source-out values of the primary metric, from the predictions that runs keep of their test examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study import seeds
from study.analysis.evidence import RepetitionEvidence
from study.errors import InputError
from study.hashing import digest, seed_of
from study.ledger.layout import EXAMPLES, TEST_PREDICTIONS
from study.ledger.predictions import Predictions, load, load_examples
from study.metrics import Metric
from study.statistics.description import mean
from study.statistics.replicates import dealt_groups, means_without, values_without

MOST_GROUPS = 200
"""Above so many sources, a metric that is no mean is computed with groups of sources left out: it bounds the cost."""
TOLERANCE = 1e-5
"""Relative difference at which predictions give another score than the one that the test reported."""

Compute = Callable[..., float]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Replicates:
    """The values of a metric with each source, or group of sources, left out."""

    values: tuple[float, ...]
    sources: str
    """The digest of the names of the sources."""
    score: float
    """The metric on all examples."""


def with_replicates(
    run: RepetitionEvidence, folder: Path, metric: Metric, compute: Compute | None
) -> RepetitionEvidence:
    """Return a tested run with the replicates of its primary metric, where its folder has what they need."""
    if run.test is None or metric.name not in run.test.metrics:
        return run
    try:
        found = _replicates(folder, metric, compute)
    except (InputError, ValueError, ArithmeticError, LookupError):
        return run  # a damaged file, or a metric that is not defined without one of the sources
    reported = run.test.metrics[metric.name]
    if found is None or not math.isclose(found.score, reported, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        return run
    if not all(map(math.isfinite, found.values)):
        return run
    return replace(run, replicates=found.values, sources=found.sources)


def _replicates(folder: Path, metric: Metric, compute: Compute | None) -> Replicates | None:
    if (path := folder / EXAMPLES).is_file():
        examples = load_examples(path)
        return of_values(examples.values, examples.sources)
    if compute is None or not (path := folder / TEST_PREDICTIONS).is_file():
        return None
    predictions = load(path)
    if metric.is_proportion:
        return of_values(_of_single_examples(predictions, compute), predictions.sources)
    return of_predictions(predictions, compute)


def of_values(values: NDArray[Any], sources: NDArray[Any]) -> Replicates | None:
    """Return the replicates of a mean of per-example values; None below two sources.

    Args:
        values: (n,) one value for each example.
        sources: (n,) the source of each example.
    """
    names, of_source = np.unique(np.asarray(sources, str), return_inverse=True)
    if len(names) < 2:
        return None
    left_out = means_without(values, of_source)
    return Replicates(tuple(left_out.tolist()), digest(names.tolist()), mean(values.tolist()))


def of_predictions(predictions: Predictions, compute: Compute) -> Replicates | None:
    """Return the replicates of any metric; None below two sources.

    Above `MOST_GROUPS` sources these are dealt into so many groups, the same in every run with the same sources.
    """
    names, of_source = np.unique(np.asarray(predictions.sources, str), return_inverse=True)
    if len(names) < 2:
        return None
    groups = dealt_groups(of_source, MOST_GROUPS, seed_of(seeds.SOURCES, len(names)))
    labels, scores = predictions.labels, predictions.logits
    left_out = values_without(lambda kept: float(compute(labels[kept], scores[kept])), groups)
    return Replicates(tuple(left_out.tolist()), digest(names.tolist()), float(compute(labels, scores)))


def _of_single_examples(predictions: Predictions, compute: Compute) -> Floats:
    """Return the metric of every example alone, (n,): a share of examples is their mean."""
    rows = range(len(predictions.labels))
    labels, scores = predictions.labels, predictions.logits
    return np.array([compute(labels[row : row + 1], scores[row : row + 1]) for row in rows])
