"""`DataInfo`: the record of the data that a study's runs use, with published results on them."""

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
    """Examples that a repetition's training uses; None where that is `train`."""


@dataclass(frozen=True)
class PublishedResult:
    """The published results of one method; None or empty where a value was not verified."""

    method: str
    figures: Mapping[str, float]
    """Values by metric, scaled as reports print them."""
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
    """The published results of one method by fold."""

    method: str
    figures: tuple[float, ...]
    """Values by fold, scaled as reports print them."""


@dataclass(frozen=True)
class PublishedTable:
    """Published results on a study's benchmark, for reference: no verdict uses them."""

    title: str
    """The benchmark's name."""
    examples: int
    """Examples in the whole benchmark, by its official lists."""
    examples_here: int
    """Examples in the splits of this study."""
    metrics: tuple[str, ...]
    """Labels of the columns, as keys of `PublishedResult.figures`."""
    fold_metric: str
    """The label of the figures in `folds`."""
    results: tuple[PublishedResult, ...]
    folds: tuple[PublishedFolds, ...]
    sources: Mapping[str, str]
    """References by letter."""
    remark: str = ""
    """Sentences on how far the rows can be compared with each other."""


@dataclass(frozen=True)
class DataInfo:
    """The data that a study's runs use, as its record and report describe them."""

    name: str
    digest: str
    """A hash of everything that defines examples, labels and splits; empty where the data are not tracked."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """The digest of each fold's data, by fold number."""
    folds: tuple[int, ...] = ()
    """Fold numbers; empty where there is one split."""
    fold_key: str = ""
    """The dotted key that lists the folds; the run of one fold lists that fold alone."""
    description: str = ""
    """One example in words, such as its size."""
    sizes: tuple[SplitSizes, ...] = ()
    """One entry for each fold, or one; empty where unknown."""
    noun: str = "example"
    """The name of one example, such as ``clip``."""
    classes: int = 0
    """The number of classes; 0 where there are none, or where it is not known."""
    chance: Mapping[str, float] = field(default_factory=dict)
    """The expected value of guessing by metric, in the metric's own unit."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Further facts for reports by name, in the order to print."""
    warnings: tuple[str, ...] = ()
    """Sentences that limit every conclusion from these data."""
    unsound: tuple[str, ...] = ()
    """Sentences on what makes training on these data unsound: `run` refuses them unless they are accepted."""
    is_optimistic: bool = False
    """Whether epochs and hyperparameters are chosen on the test split, so that a verdict is impossible."""
    skipped: tuple[str, ...] = ()
    """Unreadable examples that were left out at the study's request: file and reason."""
    published: PublishedTable | None = None
