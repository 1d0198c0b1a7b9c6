"""How scaled values of a metric are written: one place, so that sentences, tables and figures agree."""

from __future__ import annotations

from study.metrics import Metric

MINUS = "−"
LARGEST_EXPONENT_FREE = 1e7
"""Numbers below it are written without an exponent."""


def number(value: float, unit: str = "%") -> str:
    """Return a value with one decimal in per cent, else with four significant digits; zero has no sign."""
    return fixed(value, 1) if unit == "%" else significant(value, 4)


def difference(value: float, unit: str = "%") -> str:
    """Return a difference with one decimal in points, else with three significant digits; zero has no sign."""
    return fixed(value, 1) if unit == "%" else significant(value, 3)


def signed(value: float, unit: str = "%") -> str:
    """Return a difference with its sign, as in ``+1.2`` or ``−0.3``; zero has none."""
    text = difference(value, unit)
    return text if text in ("0", "0.0") or text.startswith(MINUS) else "+" + text


def amount(text: str, unit: str) -> str:
    """Return a written difference followed by its unit: ``1.0 points``, ``0.3 K``, ``0.3``."""
    return f"{text} {_points(unit)}".rstrip()


def unit_of(metric: Metric) -> str:
    """Return ``" K"`` to follow a number in a sentence; per cent go without, as the label implies them."""
    return "" if metric.unit in ("", "%") else f" {metric.unit}"


def heading(metric: Metric) -> str:
    """Return a metric's label with its unit, as a column or an axis has it: ``WAR (%)``."""
    return in_brackets(metric.title, metric.unit)


def in_brackets(label: str, unit: str) -> str:
    """Return a label followed by its unit in brackets, where it has one."""
    return f"{label} ({unit})" if unit else label


def axis(metric: Metric) -> str:
    """Return what differences are counted in: ``points of WAR``, ``K of RMSE``, ``R2``."""
    return f"{metric.points} of {metric.title}" if metric.unit else metric.title


def lower(metric: Metric, before: str = "", after: str = "") -> str:
    """Return a note for readers where lower values are better, nothing where higher ones are."""
    return f"{before}lower is better{after}" if metric.direction == "minimize" else ""


def fixed(value: float, digits: int) -> str:
    """Return a number with so many decimals and a true minus sign; what rounds to zero has none."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def significant(value: float, digits: int) -> str:
    """Return a number with so many significant digits at most, without an exponent below ten million."""
    text = f"{value:.{digits}g}"
    if "e+" in text and abs(value) < LARGEST_EXPONENT_FREE:
        text = f"{value:.0f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def _points(unit: str) -> str:
    return "points" if unit == "%" else unit
