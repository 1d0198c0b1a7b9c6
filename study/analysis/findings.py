"""What the analysis concludes: reports read this and nothing else.

Values of metrics are scaled (percentage points, 0 to 100, for a share), times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from study.analysis.units import heading, number, signed
from study.metrics import Metric
from study.records import PartCost, PublishedTable

if TYPE_CHECKING:
    import pandas as pd

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
    """One confirmation run's test figures, scaled."""

    seed: int
    """The repetition, from 1: equal numbers are paired across variants."""
    fold: int | None
    run: str
    score: float
    """The primary metric on the test split."""
    metrics: Mapping[str, float]
    """All test metrics, scaled; what the study does not declare is as it was reported."""
    validation: float | None
    """The primary metric on the validation split at the best epoch; None where that split was trained on."""
    best_epoch: int
    """Whose weights were tested; the last one where there was nothing to select on."""
    seconds: float


@dataclass(frozen=True)
class Difference:
    """A variant against the reference, paired by seed: variant minus reference, whichever direction is better."""

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
    """Posterior mass of gains below -rope, within, above rope (Bayesian correlated t); None with one difference."""
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
    """The primary metric on the validation split, scaled."""
    best_so_far: float | None
    stopped_after: int | None = None
    """The epoch after which it was pruned: its score is its best up to then, and is compared with no other."""


@dataclass(frozen=True)
class EpochCurve:
    """A confirmation run's learning curve."""

    seed: int
    fold: int | None
    train_loss: tuple[float | None, ...]
    """After each epoch, None where it was not reported; empty where it never was."""
    validation: tuple[float | None, ...]
    """The primary metric on the validation split, scaled, None where it was not reported; empty where it never was."""
    best_epoch: int
    """Whose weights were tested."""
    epochs: tuple[int, ...] = ()
    """The numbers of the epochs; empty where they are 1, 2, 3 and so on."""

    def points(self, name: Literal["train_loss", "validation"]) -> dict[int, float]:
        """Return one of the two curves by epoch, without what was not reported."""
        values: tuple[float | None, ...] = getattr(self, name)
        numbers = self.epochs or range(1, len(values) + 1)
        return {epoch: value for epoch, value in zip(numbers, values, strict=False) if value is not None}


@dataclass(frozen=True)
class Cost:
    """What a variant's network costs beside its parameters and MACs, for one example; None where not counted."""

    input_shape: tuple[int, ...]
    """Batch first."""
    unused: int | None = None
    """Trainable values that get no gradient in a training step."""
    flops: int | None = None
    """Of one forward pass, by torch's counter: two for each multiply-accumulate."""
    flops_share: float | None = None
    """The FLOPs in per cent of twice the MACs: 100 where the two counters agree."""
    activation_bytes: int | None = None
    """What one example of a training batch has kept for the backward pass."""
    parts: tuple[PartCost, ...] = ()
    """The network's own modules, in their order."""
    latency_ms: float | None = None
    """Median time of one forward pass, where the training itself measured it."""


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
    """The other metrics of the study over seeds, where they were reported."""
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
    breakdowns: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    """Figures of parts of the test split over seeds, 95 % t interval, by breakdown and row."""
    runs: Mapping[str, int] = field(default_factory=dict)
    """How many runs stand behind a mean of `secondary`, `measures` or, as ``<breakdown>/<row>``, `breakdowns`."""

    @property
    def is_reference(self) -> bool:
        """Whether others are compared with this variant."""
        return self.name == self.reference


@dataclass(frozen=True)
class BreakdownFinding:
    """What the rows of a breakdown are."""

    name: str
    title: str
    """What the values are, such as ``Recall of every class``."""
    unit: str
    rows: tuple[str, ...]
    """In the order to print."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Test examples of each row, all folds together, where they are known."""


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
class Findings:
    """A study's answer with everything that a report prints."""

    name: str
    title: str
    question: str
    answer: str
    """The question's answer in one or two sentences."""
    metric: str
    """The key of the primary metric."""
    metrics: tuple[Metric, ...]
    """All metrics of the study, the primary one first."""
    rope: float
    alpha: float
    comparisons: int
    """The size m of the family of comparisons that the verdicts are corrected for."""
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
    breakdowns: tuple[BreakdownFinding, ...] = ()
    """One for each attribute of the test split's examples, over those whose predictions are stored."""
    published: PublishedTable | None = None
    """None where nothing comparable was published."""
    noun: str = "example"
    """What one example is called."""

    @property
    def primary(self) -> Metric:
        """The metric that the verdicts are about."""
        return next(metric for metric in self.metrics if metric.name == self.metric)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a repetition and fold: variant, levels, run, every test metric (scaled), time in seconds.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "variant": variant.name,
                    **variant.levels,
                    "repetition": run.seed,
                    "fold": run.fold,
                    "run": run.run,
                    **run.metrics,
                    "best_epoch": run.best_epoch,
                    "seconds": run.seconds,
                }
                for variant in self.variants
                for run in variant.seeds
            ]
        )

    def _repr_markdown_(self) -> str:
        """Return the answer and the main table as Markdown, which a notebook displays."""
        metric = self.primary
        rows = [
            ["Variant", heading(metric), "n", "Difference", "Verdict"],
            [":---", "---:", "---:", "---:", ":---"],
            *(self._row(variant, metric.unit) for variant in self.variants),
        ]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        return f"**{self.question}** {self.answer}\n\n{table}\n"

    @staticmethod
    def _row(variant: VariantFinding, unit: str) -> list[str]:
        difference = variant.difference
        return [
            variant.name,
            "–" if variant.score is None else number(variant.score.mean, unit),
            f"{len(variant.seeds)} of {variant.planned}",
            "–" if difference is None else signed(difference.interval.mean, unit),
            difference.verdict if difference else "reference" if variant.is_reference else "none",
        ]
