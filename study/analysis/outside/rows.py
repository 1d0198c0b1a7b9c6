"""`Scores`: what was measured elsewhere, a row for each run or example, and the names under which it is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ACCURACY = "accuracy"
"""The metric of rows with labels and predictions: the share of examples in which they are equal."""


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns, or of the tags, parameters and the metric of MLflow runs."""

    variant: str = "variant"
    repetition: str = "repetition"
    """Equal values share seed and split across variants."""
    score: str = "score"
    fold: str = "fold"
    example: str = "example"
    source: str = "source"
    """What examples come from, such as a video or a person: examples of one source are not independent."""
    label: str = "label"
    prediction: str = "prediction"


@dataclass(frozen=True)
class Row:
    """The score of one run, or of one test example in a run."""

    where: str
    """The place in the input, for messages, such as ``results.csv, line 7``."""
    run: str
    """A short name for the report, such as ``line 7``."""
    variant: str
    repetition: str
    score: float | None
    """In the metric's own unit; NaN if the training diverged, None if it failed."""
    fold: str = ""
    """Empty where all runs share one split."""
    example: str = ""
    """Empty where the row is the score of a whole run."""
    source: str = ""
    """The example itself where no source is known."""


@dataclass(frozen=True)
class Scores:
    """All rows of one input."""

    name: str
    """A short name of the input, for the report."""
    metric: str
    """The name of what the scores are: that of their column, or `ACCURACY`."""
    rows: tuple[Row, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    """Where the scores are from, for the report."""
