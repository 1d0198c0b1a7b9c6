"""Scores of predictions: metrics, cross-entropy, and breakdowns by class and scene."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from study.errors import StudyError
from study.ledger.predictions import Predictions
from study.metrics import Metric
from study.records import Breakdown
from study.run import Run
from study.tasks.clips.metrics import recalls

REPORTED = ("war", "uar")
"""Metrics of every run, whatever the primary one is."""
LOSS = "loss"


def metrics_of(run: Run) -> list[Metric]:
    """Return the metrics of a run: WAR, UAR and the primary one."""
    names = dict.fromkeys((*REPORTED, run.spec.metric_name))
    return [run.metrics[name] for name in names]


def scores(metrics: Sequence[Metric], predictions: Predictions) -> dict[str, float]:
    """Return each metric's value for a split, by name.

    Raises:
        StudyError: A metric's function failed, or did not return a finite number.
    """
    return {metric.name: _metric_value(metric, predictions) for metric in metrics}


def _metric_value(metric: Metric, predictions: Predictions) -> float:
    if metric.compute is None:
        raise StudyError(f"the metric {metric.name!r} has no function that computes it.")
    try:
        value = float(metric.compute(predictions.labels, predictions.logits))
    except StudyError:
        raise
    except Exception as error:
        raise StudyError(f"the metric {metric.name!r} failed: {type(error).__name__}: {error}") from error
    if not math.isfinite(value):
        raise StudyError(f"the metric {metric.name!r} must return a finite number. Got {value!r} instead.")
    return value


def cross_entropy(labels: NDArray[Any], logits: NDArray[Any]) -> float:
    """Return the mean cross-entropy, in nats, of labels (n,) and logits (n, K)."""
    return F.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels)).item()


def breakdowns(predictions: Predictions, classes: Sequence[str]) -> Iterator[Breakdown]:
    """Yield the recall of every class and, if the scenes of clips are known, the WAR of every scene."""
    by_class = recalls(predictions.labels, predictions.logits)
    yield Breakdown("class", "Recall of every class", {classes[c]: value for c, value in by_class.items()})
    counts = dict(sorted(Counter(predictions.parts.tolist()).items()))
    if counts:
        is_correct = predictions.logits.argmax(axis=1) == predictions.labels
        values = {scene: float(is_correct[predictions.parts == scene].mean()) for scene in counts}
        yield Breakdown("scene", "WAR of every scene", values, counts=counts)


def absent(labels: NDArray[Any], classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes without a clip in a split."""
    present = set(labels.tolist())
    return tuple(name for label, name in enumerate(classes) if label not in present)
