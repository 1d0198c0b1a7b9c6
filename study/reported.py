"""Check the figures that a training or a test reports."""

from __future__ import annotations

import math
from typing import Any

from study.errors import StudyError
from study.metrics import Metric

LARGEST_GAP = 1e-6
"""The largest difference between a reported score and the one computed from predictions, absolute and relative."""


class ReportError(StudyError):
    """Raised where a training or a test reports an impossible value, or leaves out a required one."""


def is_number(value: Any) -> bool:
    """Return whether `value` is a number or something `float` accepts, such as a tensor of one element; no text."""
    if isinstance(value, bool | str | bytes) or value is None:
        return False
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def check_bounds(what: str, value: Any, metric: Metric | None) -> None:
    """Raise ReportError where a value is no finite number, or lies outside the bounds of its metric.

    Args:
        what: The name and value as the message repeats them, such as ``the test reported acc = 2``.
        value: The value, in the metric's own unit.
        metric: The metric; None for a value that belongs to no declared metric.
    """
    if not is_number(value) or not math.isfinite(float(value)):
        raise ReportError(f"{what}; it must be a finite number.")
    if metric is None:
        return
    low, high = (bound if bound is not None else math.nan for bound in (metric.low, metric.high))
    if value < low - LARGEST_GAP or value > high + LARGEST_GAP:
        bound, side = (metric.low, "below the lowest") if value < low else (metric.high, "above the highest")
        raise ReportError(
            f"{what}, {side} possible value {bound:g} of the metric. Report it in the metric's own unit "
            "(a share of 1 for per cent), or declare other bounds: low, high."
        )


def check_score(metric: Metric, reported: float, labels: Any, scores: Any) -> None:
    """Raise ReportError unless the metric computes the reported value from the predictions."""
    if metric.compute is None:
        return
    computed = float(metric.compute(labels, scores))
    if not math.isclose(computed, reported, rel_tol=LARGEST_GAP, abs_tol=LARGEST_GAP):
        raise ReportError(
            f"{metric.name} was reported as {reported!r}, but its 'compute' returns {computed!r} for the predictions."
        )
