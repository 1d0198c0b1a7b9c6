"""What a check of a data set finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from study.tasks.clips.data.contract import Split

SCHEMA = 1
Kind = Literal[
    "lists",
    "missing",
    "empty",
    "unreadable",
    "pack",
    "duplicates",
    "counts",
    "classes",
    "frames",
    "order",
    "sizes",
    "short",
    "sources",
    "data",
]
Found = Iterator["Remark"]


@dataclass(frozen=True)
class Remark:
    """One thing that a user should know of the data."""

    is_mistake: bool
    """Training would not be sound; otherwise it is a warning."""
    kind: Kind
    summary: str
    named: tuple[str, ...] = ()
    """What it is about: list and row, clip, reason."""


@dataclass(frozen=True)
class Count:
    """The clips of one split."""

    fold: int | None
    split: Split
    clips: int
    official: int | None
    """Of train, validation clips among them, and of test; None where no official count is known."""
    classes: Mapping[str, int]


@dataclass(frozen=True)
class Report:
    """What a check found.

    As JSON (`as_json`) it is an object of

    - ``schema`` (1), ``name``, ``root`` (null for a procedural data set), ``sound``;
    - ``digest`` of the data and ``digests`` by fold: null and {} where clips cannot be used;
    - ``facts`` by name, and ``classes`` in the order of the labels;
    - ``mistakes`` and ``warnings``: lists of objects of ``kind`` (`Kind`), ``summary`` and ``named``, which names every
      list row and clip;
    - ``counts``: a list of objects of ``fold``, ``split``, ``clips``, ``official`` and ``classes``;
    - ``official_classes``: clips of each class in train and test together;
    - ``frames``: ``clips``, and the ``least``, ``median`` and ``most`` frames of one;
    - ``sizes``: clips by the ``WIDTHxHEIGHT`` of their frames;
    - ``skipped``: what was left out.
    """

    name: str
    root: str | None
    digest: str | None
    digests: Mapping[str, str]
    facts: Mapping[str, str]
    classes: tuple[str, ...]
    remarks: tuple[Remark, ...]
    counts: tuple[Count, ...]
    official_classes: Mapping[str, int]
    frames: Mapping[str, float]
    sizes: Mapping[str, int]
    skipped: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether training would be."""
        return not self.mistakes

    @property
    def mistakes(self) -> tuple[Remark, ...]:
        """What has to be mended."""
        return tuple(remark for remark in self.remarks if remark.is_mistake)

    @property
    def warnings(self) -> tuple[Remark, ...]:
        """What has to be known."""
        return tuple(remark for remark in self.remarks if not remark.is_mistake)

    def as_json(self) -> dict[str, Any]:
        """Return the report for machines; its keys are told above."""
        told = asdict(self)
        del told["remarks"]
        plain = {"mistakes": self.mistakes, "warnings": self.warnings}
        remarks = {
            name: [{"kind": r.kind, "summary": r.summary, "named": list(r.named)} for r in found]
            for name, found in plain.items()
        }
        return {"schema": SCHEMA, "sound": self.is_sound, **told, **remarks}
