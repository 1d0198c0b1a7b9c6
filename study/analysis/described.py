"""Findings that describe results and judge nothing: scores, curves, costs, parts of the test split, fronts.

Values of metrics are scaled (percentage points, 0 to 100, for a share), times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from study.records import PartCost
from study.statistics.description import percentages

TrialStatus = Literal["finished", "diverged", "pruned", "failed"]


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; the bounds are None for a single value."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class RepetitionScore:
    """The test figures of one repetition's run, scaled."""

    repetition: int
    """The number of the repetition, from 1: equal numbers are paired across variants."""
    fold: int | None
    run: str
    score: float
    """The primary metric on the test split."""
    metrics: Mapping[str, float]
    """All test metrics, scaled; metrics that the study does not declare are as reported."""
    validation: float | None
    """The primary metric on the validation split at the best epoch; None where training included that split."""
    best_epoch: int
    """The epoch whose weights were tested; the last one where no validation split selects it; 0 where unknown."""
    seconds: float
    """Training time; 0 where unknown."""
    diverged: bool = False
    """Whether the training diverged: the score is then the metric's worst value, and there are no other figures."""
    seed: int | None = None
    """None where it is not known."""


@dataclass(frozen=True)
class Choice:
    """The hyperparameters that a search chose."""

    parameters: Mapping[str, Any]
    repetition: int | None = None
    """The number of the repetition, from 1; None where all repetitions share the search."""
    fold: int | None = None


@dataclass(frozen=True)
class TrialCurve:
    """One search trial."""

    number: int
    """From 1, in the order in which the search suggested its trials."""
    parameters: Mapping[str, Any]
    status: TrialStatus
    score: float | None
    """The primary metric on the validation split, scaled."""
    best_so_far: float | None
    stopped_after: int | None = None
    """The epoch after which it was pruned; its score is then its best so far, not compared with other trials'."""
    repetition: int | None = None
    """The repetition that the search belongs to, from 1; None where all share it."""
    fold: int | None = None


@dataclass(frozen=True)
class EpochCurve:
    """The learning curves of one repetition's run."""

    repetition: int
    fold: int | None
    train_loss: tuple[float | None, ...]
    """After each epoch, None where not reported; empty where never reported."""
    validation: tuple[float | None, ...]
    """The primary metric on the validation split, scaled, None where not reported; empty where never reported."""
    best_epoch: int
    """The epoch whose weights were tested."""
    epochs: tuple[int, ...] = ()
    """The numbers of the epochs; empty where they are 1, 2, 3 and so on."""

    def points(self, name: Literal["train_loss", "validation"]) -> dict[int, float]:
        """Return one of the two curves by epoch, without epochs that did not report it."""
        values: tuple[float | None, ...] = getattr(self, name)
        numbers = self.epochs or range(1, len(values) + 1)
        return {epoch: value for epoch, value in zip(numbers, values, strict=False) if value is not None}


@dataclass(frozen=True)
class Cost:
    """What a variant's network costs beside its parameters and MACs, for one example; None where not counted."""

    input_shape: tuple[int, ...]
    """Shape of the profiled input, batch first."""
    unused: int | None = None
    """Trainable values that get no gradient in a training step."""
    flops: int | None = None
    """FLOPs of one forward pass, by torch's counter: two for each multiply-accumulate."""
    flops_share: float | None = None
    """The FLOPs in per cent of twice the MACs: 100 where the two counters agree."""
    activation_bytes: int | None = None
    """Bytes that autograd keeps for the backward pass for one more example in a training batch."""
    parts: tuple[PartCost, ...] = ()
    """The network's own modules, in their order."""
    latency_ms: float | None = None
    """Median time of one forward pass, where the training itself measured it."""


@dataclass(frozen=True)
class Confusion:
    """How often examples of one class are predicted as another."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """Test examples by true class (row) and predicted class (column), all tested runs together."""
    runs: int
    """The number of runs."""

    @property
    def shares(self) -> tuple[tuple[float | None, ...], ...]:
        """The counts in % of the examples of the true class; None where it has no example."""
        return tuple(map(percentages, self.counts))

    def minus(self, other: Confusion) -> tuple[tuple[float | None, ...], ...]:
        """Return the shares minus those of another confusion of the same classes, in points."""
        return tuple(
            tuple(None if a is None or b is None else a - b for a, b in zip(own, others, strict=True))
            for own, others in zip(self.shares, other.shares, strict=True)
        )


@dataclass(frozen=True)
class ExampleFinding:
    """A test example that a variant classifies correctly in most repetitions, and its reference in few."""

    id: str
    fold: int | None
    label: str
    predicted: str
    """The class that the variant predicts in the most repetitions."""
    reference_predicted: str
    """The class that the reference predicts in the most repetitions."""
    right: int
    """Repetitions in which the variant is right."""
    reference_right: int
    """Repetitions in which the reference is right."""
    repetitions: int
    """Repetitions that both have."""


@dataclass(frozen=True)
class Disagreement:
    """The test examples on which a variant and its reference differ in most repetitions."""

    gained: int
    """Examples on which the variant is right, and the reference wrong, in most repetitions."""
    lost: int
    """Examples on which the reference is right, and the variant wrong, in most repetitions."""
    total: int
    """Test examples, all folds together."""
    examples: tuple[ExampleFinding, ...]
    """Some of the gained ones: the classes in turn, in each class the clearest first."""


@dataclass(frozen=True)
class BreakdownFinding:
    """A breakdown of the test split: its values' title and unit, and its rows."""

    name: str
    title: str
    """A caption of the values, such as ``Recall of every class``."""
    unit: str
    rows: tuple[str, ...]
    """The rows in printing order."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Test examples of each row, all folds together, where known."""


@dataclass(frozen=True)
class FigureFinding:
    """Name, unit and description of one figure of a measure."""

    name: str
    unit: str
    about: str


@dataclass(frozen=True)
class MeasureFinding:
    """Description of a measure of the networks' parts."""

    name: str
    about: str
    """The measure in one line."""
    figures: tuple[FigureFinding, ...]


@dataclass(frozen=True)
class MeasuredProtocol:
    """How the figures of a variant on a benchmark are obtained, as a published row says it of its own."""

    benchmark: str
    """The title of the table of published results."""
    splits: str
    selection: str
    """The epoch that is tested."""
    input: str
    views: str = ""
    """Readings of an example in test; empty where not known."""


@dataclass(frozen=True)
class AcrossRow:
    """One method over all data sets."""

    name: str
    score: Interval
    """The interquartile mean of the primary metric over the runs of all data sets."""
    difference: Interval | None
    """The interquartile mean of the paired differences from the reference; None for the reference itself."""
    profile: tuple[float, ...]
    """The share of runs above each threshold."""
    rank: float | None = None
    """The mean rank over data sets, 1 the best; None where data sets are few."""


@dataclass(frozen=True)
class Across:
    """What holds over all data sets of a study; a description, without a verdict."""

    sets: int
    thresholds: tuple[float, ...]
    rows: tuple[AcrossRow, ...]
    p: float | None = None
    """Friedman's, of equal ranks; None where data sets are few."""
    critical_difference: float | None = None
    """Nemenyi's, of mean ranks."""


@dataclass(frozen=True)
class Tradeoff:
    """Scores against a cost that differs between variants."""

    label: str
    """The cost and its unit."""
    costs: Mapping[str, float]
    """By the name of each tested variant whose cost is known."""
    fronts: tuple[tuple[str, ...], ...]
    """The variants on the Pareto front of each stratum, by cost: no other beats them in both mean and cost."""
    near: tuple[str, ...] = ()
    """Dominated variants not significantly below the front: none on it that costs no more is shown to be better."""

    def is_on_front(self, name: str) -> bool:
        """Whether a variant is on the front of its stratum."""
        return any(name in front for front in self.fronts)
