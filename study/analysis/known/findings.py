"""What a report prints of what was known when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Setting(StrEnum):
    """What a study declares before its results are shown."""

    ROPE = "rope"
    ALPHA = "alpha"
    METRIC = "metric"
    SCOPE = "scope"
    FAMILY = "family"
    CLAIMS = "claims"
    REPETITIONS = "repetitions"
    FOLDS = "folds"
    SEED = "seed"
    SEARCH = "search"


@dataclass(frozen=True)
class EarlierLook:
    """An earlier report that showed comparisons of this one."""

    time: str
    """In ISO format, in UTC."""
    study: str
    repetitions: tuple[int, ...]
    """The declared number of repetitions; the least and the most where they are added as needed."""
    verdicts: Mapping[str, str]
    """Its verdict on each comparison that this report shows too, by the variant's name here; empty for no verdict.

    Where it has none on one of those, all its verdicts, by their names there.
    """


@dataclass(frozen=True)
class Change:
    """A setting that is not what it was when a comparison of this report was first shown."""

    setting: Setting
    before: str
    now: str
    look: EarlierLook
    sentence: str


@dataclass(frozen=True)
class LaterFigure:
    """A difference or effect over all repetitions, including those added after the verdict: exploratory."""

    variant: str
    """The name of the variant, or of the effect."""
    n: int
    mean: float
    low: float | None
    """The ends of the 95 % interval, scaled."""
    high: float | None


@dataclass(frozen=True)
class Campaign:
    """All comparisons with one reference on one test set that reports showed so far, this one's included."""

    reference: str
    comparisons: int
    here: int
    """Those that this report shows first."""
    levels: tuple[float, ...]
    """The probability of a false verdict of each comparison: alpha / m of its study."""
    chance: float
    """The probability of at least one false verdict, ``1 - prod(1 - level)``, if no variant differs."""


@dataclass(frozen=True)
class Known:
    """What was known when this report was written."""

    changes: tuple[Change, ...] = ()
    """Empty if all was declared before the results were shown."""
    is_certain: bool = True
    """Whether every record of what was shown could be read."""
    first_repetitions: int | None = None
    """How many repetitions the verdicts rest on where more were added after they were shown; None if none were."""
    later: tuple[LaterFigure, ...] = ()
    """The figures over all repetitions in that case."""
    campaigns: tuple[Campaign, ...] = ()
    """One for each reference that other reports have compared something with before."""

    @property
    def declared_before(self) -> bool:
        """Whether all was declared before the results were shown."""
        return self.is_certain and not self.changes
