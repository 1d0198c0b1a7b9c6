"""How reports write intervals, counts and names; `study.analysis.sentences.units` writes their numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from study.analysis.described import Interval
from study.analysis.findings import Findings
from study.analysis.sentences.units import (
    difference,
    difference_with_unit,
    fixed,
    number,
    signed_difference,
    significant,
)
from study.names import format_value

MISSING = "–"
OPTIMISTIC = "Optimistic, chosen on the test split."
"""Begins the captions of measured figures where epochs were chosen on the test split."""
NARROW_SPACE = "\u202f"
BYTES_PER_MIB = 2**20

_BREAKABLE = re.compile(r"[^\s=,;:/._+|-]*[\s=,;:/._+|-]*")


def value(scaled: float | None, unit: str = "%") -> str:
    """Return a value of a metric, as in ``71.2`` or ``0.6183``."""
    return MISSING if scaled is None else number(scaled, unit)


def mean_with_interval(interval: Interval | None, unit: str = "%") -> str:
    """Return ``71.2 [69.8, 72.6]``, the mean alone where there is no interval."""
    return _mean_and_ends(interval, lambda mean: number(mean, unit), lambda end: number(end, unit))


def difference_with_interval(interval: Interval | None, unit: str = "%") -> str:
    """Return ``+1.2 [−0.3, 2.7]``, the mean alone where there is no interval."""
    return _mean_and_ends(
        interval, lambda mean: signed_difference(mean, unit), lambda end: difference(end, unit)
    )


def mean_with_half_width(interval: Interval | None, unit: str = "%") -> str:
    """Return ``71.2 ± 1.4``, the mean and half of its interval; ``97.1 [91, 100]`` where that leaves 0 to 100 %."""
    if interval is None:
        return MISSING
    if interval.low is None or interval.high is None:
        return number(interval.mean, unit)
    if unit == "%" and 0 <= interval.mean <= 100 and (interval.low < 0 or interval.high > 100):
        return f"{number(interval.mean, unit)} [{max(0, interval.low):.0f}, {min(100, interval.high):.0f}]"
    return f"{number(interval.mean, unit)} ± {difference((interval.high - interval.low) / 2, unit)}"


def measure_with_interval(interval: Interval | None, unit: str) -> str:
    """Return ``71.2 [69.8, 72.6]`` in per cent, ``0.62 [0.58, 0.66]`` in other units."""
    return mean_with_interval(interval) if unit == "%" else _mean_and_ends(interval, decimals, decimals)


def difference_bounds(interval: Interval, unit: str = "%") -> str:
    """Return the interval of a difference, ``[−0.3, 2.7]``."""
    return _ends(interval, lambda end: difference(end, unit))


def difference_with_bounds(value: float, interval: Interval | None, unit: str = "%") -> str:
    """Return ``1.2 points [0.8, 2.5]``, a size with the interval that it may have, with its unit."""
    ends = "" if interval is None else f" {difference_bounds(interval, unit)}"
    return f"{difference_with_unit(value, unit)}{ends}"


def decimals_with_interval(value: float | None, interval: Interval | None) -> str:
    """Return ``0.62 [0.58, 0.66]``, the value alone where there is no interval."""
    if value is None or interval is None:
        return decimals(value)
    return _mean_and_ends(interval, decimals, decimals)


def scope(findings: Findings) -> str:
    """Return for whom the intervals speak."""
    return f"for {'new' if findings.scope == 'population' else 'exactly these'} test {findings.noun}s"


def undeclared_metric(value: float | None) -> str:
    """Return a value that is no metric of the study, so of unknown unit, with four significant digits."""
    return MISSING if value is None else significant(value, 4)


def count(value: int | None) -> str:
    """Return an integer with a narrow space between thousands, as in ``37 577 123``."""
    return MISSING if value is None else f"{value:,}".replace(",", NARROW_SPACE)


def runs_note(runs: int, planned: int) -> str:
    """Return `` (3 of 5)`` for a mean over fewer runs than planned, else nothing."""
    return "" if runs == planned else f" ({runs} of {planned})"


def runs_of_planned(runs: int, planned: int) -> str:
    """Return ``5``, or ``3 of 5`` where planned runs are missing."""
    return str(runs) if runs == planned else f"{runs} of {planned}"


def operations(value: int | None) -> str:
    """Return MACs or FLOPs with four digits and a prefix, as in ``48.02 G``."""
    if value is None:
        return MISSING
    for unit, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:#.4g} {unit}"
    return str(value)


def mebibytes(size_bytes: int | None) -> str:
    """Return a size in MiB with two decimals."""
    return decimals(None if size_bytes is None else size_bytes / BYTES_PER_MIB)


def duration(seconds: float | None) -> str:
    """Return ``38.2 s``, ``12 min 05 s`` or ``2 h 14 min``."""
    if seconds is None:
        return MISSING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{count(hours)} h {minutes:02d} min"


def probability(value: float | None) -> str:
    """Return a probability with two decimals; 0.00 and 1.00 only where it is exactly that."""
    if value is None:
        return MISSING
    if 0 < value < 0.005:
        return "< 0.01"
    if 0.995 <= value < 1:
        return "> 0.99"
    return fixed(value, 2)


def p_value(value: float | None) -> str:
    """Return a p value with three decimals."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.0005 else fixed(value, 3)


def decimals(value: float | None) -> str:
    """Return a dimensionless figure (an effect, a correlation, a loss) with two decimals."""
    return MISSING if value is None else fixed(value, 2)


def setting(value: Any) -> str:
    """Return a value of a configuration, floats with six significant digits, to which suggestions are rounded."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return format_value(value)
    return MISSING if value is None else str(value)


def breakable(text: str, longest: int) -> list[str]:
    """Split `text` where lines may break, into pieces of at most `longest` characters."""
    pieces = [piece for piece in _BREAKABLE.findall(text) if piece]
    return [piece[at : at + longest] for piece in pieces for at in range(0, len(piece), longest)]


def wrapped(text: str, width: int) -> str:
    """Return `text` on lines of at most `width` characters, broken after separators such as ``,`` and ``=``."""
    lines = [""]
    for piece in breakable(one_line(text), width):
        if len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def one_line(text: str) -> str:
    """Return `text` without line breaks and control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _mean_and_ends(
    interval: Interval | None, mean: Callable[[float], str], end: Callable[[float], str]
) -> str:
    if interval is None:
        return MISSING
    if interval.low is None or interval.high is None:
        return mean(interval.mean)
    return f"{mean(interval.mean)} {_ends(interval, end)}"


def _ends(interval: Interval, end: Callable[[float], str]) -> str:
    if interval.low is None or interval.high is None:
        return MISSING
    return f"[{end(interval.low)}, {end(interval.high)}]"
