"""What the analysis concludes, ready to be told: reports read this and nothing else.

Scores and differences are in percentage points (0 to 100), times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from study.records import Part

Verdict = Literal["helps", "hurts", "equivalent", "small", "inconclusive"]
ClaimVerdict = Literal["supported", "refuted", "undecided", "not judged"]


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; the bounds are None where fewer than two values stand behind it."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class SeedScore:
    """One confirmation run's test figures, in points."""

    seed: int
    """The repetition, from 1: equal numbers are paired across variants."""
    fold: int | None
    run: str
    score: float
    """The primary metric on the test split."""
    metrics: Mapping[str, float]
    """All test metrics, in points but for ``loss``."""
    selection: float | None
    """The primary metric on the selection split at the best epoch; None where that split was trained on."""
    best_epoch: int
    """Whose weights were tested; the last one where there was nothing to select on."""
    seconds: float


@dataclass(frozen=True)
class Difference:
    """A variant against the reference, paired by seed."""

    interval: Interval
    """95 % t interval of the paired differences, not corrected for the number of comparisons."""
    corrected: Interval
    """The 1 - alpha/m interval that decides."""
    n: int
    wins: float
    """Seeds on which the variant was better, ties counted half."""
    p: float | None
    p_holm: float | None
    effect: float | None
    """Hedges' g of the paired differences; None where it is not defined."""
    correlation: float | None
    """Of the two arms' scores over seeds."""
    p_worse: float | None
    p_equivalent: float | None
    p_better: float | None
    """Posterior mass below -rope, within, above rope (Bayesian correlated t); None with one difference."""
    verdict: Verdict
    sentence: str
    seeds_needed: int | None
    """Where inconclusive: about how many seeds would resolve it; None where that cannot be said."""


@dataclass(frozen=True)
class TrialCurve:
    """One search trial in the order of asking."""

    number: int
    """From 1."""
    parameters: Mapping[str, Any]
    status: Literal["finished", "diverged", "pruned", "failed"]
    score: float | None
    """The primary metric on the selection split, in points."""
    best_so_far: float | None
    stopped_after: int | None = None
    """The epoch after which it was pruned: its score is its best up to then, and is compared with no other."""


@dataclass(frozen=True)
class EpochCurve:
    """A confirmation run's learning curve."""

    seed: int
    fold: int | None
    train_loss: tuple[float, ...]
    selection: tuple[float, ...]
    """The primary metric on the selection split after each epoch, in points; empty where that was trained on."""
    best_epoch: int


@dataclass(frozen=True)
class Cost:
    """What a variant's network costs beside its parameters and MACs, counted for one clip; None where not counted."""

    input_shape: tuple[int, ...]
    """Batch, channels, frames, height, width."""
    unused: int | None = None
    """Trainable values that get no gradient in a training step."""
    flops: int | None = None
    """Of one forward pass, by torch's counter: two for each multiply-accumulate."""
    flops_share: float | None = None
    """The FLOPs in per cent of twice the MACs: 100 where the two counters agree."""
    activation_bytes: int | None = None
    """What one clip of a training batch has kept for the backward pass."""
    parts: tuple[Part, ...] = ()
    """The network's own modules, in their order."""


@dataclass(frozen=True)
class VariantFinding:
    """All there is to say about one variant."""

    name: str
    reference: str
    """The name of the variant that this one is compared with: its own where it is a reference."""
    levels: Mapping[str, str]
    score: Interval | None
    """The primary metric over seeds, 95 % t interval; None where no seed has a result."""
    secondary: Mapping[str, Interval]
    """``war`` or ``uar`` (whichever is not primary) and ``recall/<class>`` over seeds."""
    seeds: tuple[SeedScore, ...]
    planned: int
    """Confirmation runs that the study asks for."""
    failures: tuple[str, ...]
    """One line for each confirmation run without a result."""
    difference: Difference | None
    """None for the reference, and where either arm lacks a seed."""
    parameters: int | None
    macs: int | None
    train_seconds: float | None
    """Median over seeds, of one training."""
    chosen: Mapping[str, Any]
    """The hyperparameters that the search chose."""
    trials: tuple[TrialCurve, ...]
    curves: tuple[EpochCurve, ...]
    measures: Mapping[str, Interval] = field(default_factory=dict)
    """``<measure>/<figure>`` over seeds, in the figure's own unit, 95 % t interval."""
    chance: Mapping[str, float] = field(default_factory=dict)
    """What is expected of such a figure where there is nothing to be found."""
    unmeasured: tuple[str, ...] = ()
    """One line for each figure that is not defined and each measure that could not be taken."""
    cost: Cost | None = None
    """None where the network was not profiled."""
    scenes: Mapping[str, Interval] = field(default_factory=dict)
    """WAR of the test clips of each scene over seeds, 95 % t interval."""
    runs: Mapping[str, int] = field(default_factory=dict)
    """How many runs stand behind a mean of `secondary`, `measures` or, as ``scene/<name>``, `scenes`."""

    @property
    def is_reference(self) -> bool:
        """Whether others are compared with this variant."""
        return self.name == self.reference


@dataclass(frozen=True)
class FigureFinding:
    """One figure of a measure, in words."""

    name: str
    unit: str
    about: str


@dataclass(frozen=True)
class MeasureFinding:
    """What a measure of the networks' parts is about."""

    name: str
    about: str
    """The measure in one line."""
    figures: tuple[FigureFinding, ...]


@dataclass(frozen=True)
class ClaimFinding:
    """A claim of the study and what became of it."""

    text: str
    verdict: ClaimVerdict
    reason: str


@dataclass(frozen=True)
class PublishedResult:
    """What somebody else printed of one method; None or empty where that was not verified."""

    method: str
    uar: float | None
    """In %, as `war`."""
    war: float | None
    backbone: str
    modality: str
    sources: str
    """Letters of `Published.sources`."""
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
    war: tuple[float, ...]
    """In %, fold by fold."""


@dataclass(frozen=True)
class Published:
    """Published results on a study's benchmark, for reference: no figure or verdict knows of them."""

    title: str
    """Of the benchmark."""
    clips: int
    """In the whole benchmark, by its official lists."""
    clips_here: int
    """In the splits of this study."""
    results: tuple[PublishedResult, ...]
    folds: tuple[PublishedFolds, ...]
    sources: Mapping[str, str]
    """What the letters stand for."""


@dataclass(frozen=True)
class Findings:
    """A study's answer with everything that a report prints."""

    name: str
    title: str
    question: str
    answer: str
    """The question's answer in one or two sentences."""
    metric: str
    """The primary metric, ``war`` or ``uar``."""
    rope: float
    alpha: float
    comparisons: int
    """The size m of the family of comparisons that the verdicts are corrected for."""
    classes: tuple[str, ...]
    variants: tuple[VariantFinding, ...]
    claims: tuple[ClaimFinding, ...]
    warnings: tuple[str, ...]
    """Everything that limits the conclusion, each a whole sentence."""
    notes: tuple[str, ...]
    """How to read the figures: what the intervals cover, the smallest effect that n seeds can show."""
    facts: Mapping[str, str]
    """What was run: seeds, data set and digest, versions, commit, hardware, duration, in the order to print."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """The reference's resolved configuration."""
    measures: tuple[MeasureFinding, ...] = ()
    """What was measured of the networks' parts, in the order in which the study asks for it."""
    is_optimistic: bool = False
    """Whether epochs and hyperparameters were chosen on the test split: there is no verdict then."""
    skipped: tuple[str, ...] = ()
    """What of the data was left out because it could not be read: file, row and reason."""
    scenes: Mapping[str, int] = field(default_factory=dict)
    """Test clips of each scene, all folds together; empty where the data set knows no scenes."""
    published: Published | None = None
    """None where the data set is none of the field's benchmarks."""
