"""The record of the data that a study's runs use, and of published results on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SplitSizes:
    """Examples in the splits of one fold."""

    train: int
    validation: int
    test: int
    trained: int | None = None
    """Examples that a repetition's final training sees; `train` where it is None."""


@dataclass(frozen=True)
class PublishedResult:
    """What somebody else printed of one method; None or empty where that was not verified."""

    method: str
    figures: Mapping[str, float]
    """By metric, scaled as reports print it."""
    backbone: str
    modality: str
    sources: str
    """Letters of `PublishedTable.sources`."""
    protocol: str
    year: int | None = None
    params: float | None = None
    """In millions."""
    gmacs: float | None = None
    pretraining: str = ""
    note: str = ""


@dataclass(frozen=True)
class PublishedFolds:
    """What somebody else printed of single folds."""

    method: str
    figures: tuple[float, ...]
    """Fold by fold, scaled as reports print them."""


@dataclass(frozen=True)
class PublishedTable:
    """Published results on a study's benchmark, for reference: no figure or verdict knows of them."""

    title: str
    """The benchmark's name."""
    examples: int
    """In the whole benchmark, by its official lists."""
    examples_here: int
    """In the splits of this study."""
    metrics: tuple[str, ...]
    """Labels of the columns, as keys of `PublishedResult.figures`."""
    fold_metric: str
    """The label of the figures in `folds`."""
    results: tuple[PublishedResult, ...]
    folds: tuple[PublishedFolds, ...]
    sources: Mapping[str, str]
    """What the letters stand for."""
    remark: str = ""
    """Whole sentences on how far the rows can be compared with each other."""


@dataclass(frozen=True)
class DataInfo:
    """What a study's record and report say of the data that its runs use."""

    name: str
    digest: str
    """Changes with anything that changes an example, a label or a split; empty where the data are not tracked."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """The digest of each fold's data, by fold number."""
    folds: tuple[int, ...] = ()
    """Empty where there is one split."""
    fold_key: str = ""
    """The dotted key that lists the folds; the run of one fold lists that one alone."""
    description: str = ""
    """One example in words, such as its size."""
    sizes: tuple[SplitSizes, ...] = ()
    """One entry a fold, or one; empty where they are not known."""
    noun: str = "example"
    """What one example is called."""
    chance: Mapping[str, float] = field(default_factory=dict)
    """What guessing scores, by metric, in the metric's own unit."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else a reader must know of the data, by its name, in the order to print."""
    warnings: tuple[str, ...] = ()
    """Whole sentences that limit every conclusion from these data."""
    is_optimistic: bool = False
    """Whether epochs and hyperparameters are chosen on the test split, so that no verdict can rest on it."""
    skipped: tuple[str, ...] = ()
    """What was left out because it could not be read, file and reason, where the study asked for that."""
    published: PublishedTable | None = None
