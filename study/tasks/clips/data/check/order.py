"""Finds clips whose frames have no unambiguous order by their file names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from study.tasks.clips.data.check.report import Item, RemarkKind


@dataclass(frozen=True)
class OrderDoubt:
    """Why the order of a clip's frames is in doubt."""

    kind: RemarkKind
    example: Item
    """Two files whose order is unknown, or the first frame that is absent."""


def doubt_of_order(names: Sequence[str]) -> OrderDoubt | None:
    """Return why the order of frames with these file names is in doubt; None where it is unambiguous."""
    return None if len(names) < 2 else _doubt(tuple(names))


@lru_cache(maxsize=256)
def _doubt(names: tuple[str, ...]) -> OrderDoubt | None:
    """Return the same; many clips have frames of the same names."""
    numbers = [tuple(map(int, re.findall(r"\d+", Path(name).stem))) for name in names]
    if not any(numbers):
        return OrderDoubt(RemarkKind.FRAME_NUMBERS_ABSENT, Item(files=(names[0], names[1])))
    first = dict(zip(reversed(numbers), reversed(names), strict=True))
    for number, name in zip(numbers, names, strict=True):
        if first[number] != name:
            return OrderDoubt(RemarkKind.FRAME_NUMBERS_REPEATED, Item(files=(first[number], name)))
    if len({len(number) for number in numbers}) > 1:
        return OrderDoubt(RemarkKind.FRAME_NUMBERS_ABSENT, Item(files=(names[0], names[-1])))
    counters = [column for column in zip(*numbers, strict=True) if len(set(column)) > 1]
    if len(counters) > 1:
        return None
    present = set(counters[0])
    absent = next((n for n in range(min(present), max(present)) if n not in present), None)
    return (
        None if absent is None else OrderDoubt(RemarkKind.FRAME_NUMBERS_WITH_GAPS, Item(absent_frame=absent))
    )
