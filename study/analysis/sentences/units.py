"""How values of a metric are written, shared by sentences, tables and figures. Values are scaled."""

from __future__ import annotations

from study.metrics import Metric

MINUS = "−"
LARGEST_WITHOUT_EXPONENT = 1e7
"""Numbers below it are written without an exponent."""


def number(value: float, unit: str = "%") -> str:
    """Return a value with one decimal in per cent, else with four significant digits; zero has no sign."""
    return fixed(value, 1) if unit == "%" else significant(value, 4)


def difference(value: float, unit: str = "%") -> str:
    """Return a difference with one decimal in points, else with three significant digits; zero has no sign."""
    return fixed(value, 1) if unit == "%" else significant(value, 3)


def signed_difference(value: float, unit: str = "%") -> str:
    """Return a difference with its sign, as in ``+1.2`` or ``−0.3``; zero has none."""
    text = difference(value, unit)
    return text if text in ("0", "0.0") or text.startswith(MINUS) else "+" + text


def difference_with_unit(value: float, unit: str = "%") -> str:
    """Return a difference followed by its unit: ``1.0 points``, ``0.3 K``, ``0.3``."""
    return with_unit(difference(value, unit), unit)


def with_unit(text: str, unit: str) -> str:
    """Return a formatted difference followed by its unit; per cent become points."""
    return f"{text} {'points' if unit == '%' else unit}".rstrip()


def percent(share: float) -> str:
    """Return a share of 1 as per cent with three digits, as in ``95 %`` or ``98.3 %``.

    A share below 1 gets as many more digits as keep it below 100 %.
    """
    digits = 3
    while share < 1 <= float(f"{share:.{digits}g}") and digits < 15:
        digits += 1
    return f"{100 * share:.{digits}g} %"


def unit_suffix(metric: Metric) -> str:
    """Return ``" K"`` to follow a number in a sentence; nothing for per cent, which the label implies."""
    return "" if metric.unit in ("", "%") else f" {metric.unit}"


def heading(metric: Metric) -> str:
    """Return a metric's label with its unit, as for a column or an axis: ``WAR (%)``."""
    return label_with_unit(metric.title, metric.unit)


def label_with_unit(label: str, unit: str) -> str:
    """Return a label followed by its unit in brackets, where it has one."""
    return f"{label} ({unit})" if unit else label


def difference_axis(metric: Metric) -> str:
    """Return the unit of differences with the metric: ``points of WAR``, ``K of RMSE``, ``R2``."""
    return f"{metric.points} of {metric.title}" if metric.unit else metric.title


def direction_note(metric: Metric, before: str = "", after: str = "") -> str:
    """Return ``lower is better`` between `before` and `after` for a minimized metric, else nothing."""
    return f"{before}lower is better{after}" if metric.direction == "minimize" else ""


def quantity(number: int, noun: str) -> str:
    """Return ``1 fold`` or ``5 folds``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def fixed(value: float, digits: int) -> str:
    """Return a number with a fixed number of decimals and a minus sign (U+2212); what rounds to zero has none."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def significant(value: float, digits: int) -> str:
    """Return a number with at most `digits` significant digits, without an exponent below ten million."""
    text = f"{value:.{digits}g}"
    if "e+" in text and abs(value) < LARGEST_WITHOUT_EXPONENT:
        text = f"{value:.0f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)
