"""The findings of a study, which reports read and nothing else.

Values of metrics are scaled (percentage points, 0 to 100, for a share), times in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from study.analysis.described import (
    Across,
    BreakdownFinding,
    Choice,
    Confusion,
    Cost,
    Disagreement,
    EpochCurve,
    Interval,
    MeasuredProtocol,
    MeasureFinding,
    RepetitionScore,
    Tradeoff,
    TrialCurve,
)
from study.analysis.known.findings import Known
from study.analysis.sentences.units import heading, number, signed_difference
from study.metrics import Metric
from study.records import PublishedTable
from study.statistics.description import mean_and_sd, mean_curve, pareto_front
from study.statistics.spread import Spread

if TYPE_CHECKING:
    import pandas as pd

    from study.analysis.rows import Kind
    from study.statistics.verdicts import ClaimVerdict, Verdict  # slow: imports scipy

TOO_FEW = "too few repetitions"
"""Stands in the place of a verdict."""


@dataclass(frozen=True)
class Difference:
    """A variant against the reference, paired by repetition: variant minus reference, whichever direction is better.

    Bounds are clipped to the differences that the metric can have.
    """

    interval: Interval
    """95 % interval for the study's scope, not corrected for the number of comparisons."""
    corrected: Interval
    """The 1 - alpha/m interval that decides."""
    n: int
    """Complete pairs: repetitions, or folds."""
    wins: float
    """Repetitions (with folds: folds) in which the variant is better, ties counted half."""
    p: float | None
    p_holm: float | None
    effect: float | None
    """Hedges' g of the paired differences; None where it is not defined."""
    correlation: float | None
    """Pearson correlation of the two arms' scores over repetitions."""
    p_worse: float | None
    p_equivalent: float | None
    p_better: float | None
    """Posterior mass of gains below -rope, within, above rope (Bayesian correlated t); None with one difference."""
    verdict: Verdict | None
    """None below three repetitions, or folds."""
    sentence: str
    other: Interval | None = None
    """95 % interval for the other scope; None where it is not known, and under folds."""
    other_sentence: str = ""
    """The same in words."""
    values: tuple[float, ...] = ()
    """The paired differences: one for each repetition, or fold."""
    effect_interval: Interval | None = None
    """95 % interval of `effect`, from five repetitions on."""
    correlation_interval: Interval | None = None
    """95 % interval of `correlation`."""
    reaches_rope: bool = False
    """Whether the whole deciding interval lies beyond the least difference of interest."""
    diverged: int = 0
    """Pairs in which either training diverged."""
    missing: int = 0
    """Planned pairs that are incomplete because a run failed."""


@dataclass(frozen=True)
class VariantFinding:
    """The results of one variant."""

    name: str
    reference: str
    """The name of the variant that this one is compared with: its own where it is a reference."""
    levels: Mapping[str, str]
    score: Interval | None
    """The primary metric over repetitions, 95 % t interval; None without any result."""
    secondary: Mapping[str, Interval]
    """The other metrics of the study over repetitions, where they were reported."""
    repetitions: tuple[RepetitionScore, ...]
    planned: int
    """The number of tested runs that the study plans: repetitions times folds."""
    failures: tuple[str, ...]
    """One line for each repetition without a result."""
    difference: Difference | None
    """None for the reference, and where either arm lacks a run."""
    parameters: int | None
    macs: int | None
    train_seconds: float | None
    """Median training time of a repetition."""
    chosen: tuple[Choice, ...]
    """The hyperparameters that each search chose."""
    trials: tuple[TrialCurve, ...]
    """Search by search."""
    curves: tuple[EpochCurve, ...]
    measures: Mapping[str, Interval] = field(default_factory=dict)
    """Means over repetitions by ``<measure>/<figure>``, in the figure's own unit, 95 % t interval."""
    chance: Mapping[str, float] = field(default_factory=dict)
    """The chance level of such a figure."""
    unmeasured: tuple[str, ...] = ()
    """One line for each undefined figure and each measure that failed."""
    cost: Cost | None = None
    """None where the network was not profiled."""
    seconds_shares: Mapping[str, float] = field(default_factory=dict)
    """Share of the repetitions' training time by `TimePart`, in %; empty where none measured it."""
    breakdowns: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    """Means over repetitions for parts of the test split, 95 % t interval, by breakdown and row."""
    breakdown_differences: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    """The same for paired differences from the reference, not corrected; empty for a reference."""
    confusion: Confusion | None = None
    """None where no run keeps predictions of classes."""
    disagreement: Disagreement | None = None
    """None for a reference, and where either arm keeps no predictions of classes."""
    runs: Mapping[str, int] = field(default_factory=dict)
    """How many runs a mean of `secondary`, `measures` or, as ``<breakdown>/<row>``, `breakdowns` is over."""
    expected_best: tuple[float, ...] = ()
    """The expected best validation score, scaled, of a search with 1, 2, … random trials; empty for other searches."""

    def mean_and_sd(self, metric: str) -> tuple[float, float | None] | None:
        """Return a test metric's mean and standard deviation over the runs that have it; None without any."""
        values = [run.metrics[metric] for run in self.repetitions if metric in run.metrics]
        return mean_and_sd(values) if values else None

    def mean_curve(self, name: Literal["train_loss", "validation"]) -> dict[int, float]:
        """Return the mean of a learning curve over the epochs that every repetition has."""
        return mean_curve([curve.points(name) for curve in self.curves])

    @property
    def best_so_far(self) -> list[dict[int, float]]:
        """The best validation score after 1, 2, … trials of each search; nan where no trial has a score yet."""
        searches: dict[tuple[int | None, int | None], dict[int, float]] = {}
        for trial in self.trials:
            curve = searches.setdefault((trial.fold, trial.repetition), {})
            curve[len(curve) + 1] = math.nan if trial.best_so_far is None else trial.best_so_far
        return list(searches.values())

    @property
    def mean_best_so_far(self) -> dict[int, float]:
        """The mean of `best_so_far` over searches."""
        return mean_curve(self.best_so_far)

    @property
    def seconds_elsewhere(self) -> float:
        """The share of the trainings' time that no `TimePart` has, in %."""
        return max(0.0, 100 - sum(self.seconds_shares.values()))

    @property
    def is_reference(self) -> bool:
        """Whether others are compared with this variant."""
        return self.name == self.reference

    @property
    def verdict_text(self) -> str:
        """The verdict, ``reference``, ``too few repetitions``, or ``none`` where the two cannot be compared."""
        if self.is_reference:
            return "reference"
        return "none" if self.difference is None else self.difference.verdict or TOO_FEW


class LimitCode(StrEnum):
    """The kinds of limits of a conclusion."""

    OPTIMISTIC = "optimistic"
    UNVERIFIED = "unverified"
    MISSING_RUNS = "missing-runs"
    DIVERGED_RUNS = "diverged-runs"
    NO_PREDICTIONS = "no-predictions"
    DAMAGED = "damaged"
    SKIPPED_EXAMPLES = "skipped-examples"
    DATA_UNTRACKED = "data-untracked"
    FOLD_SIZES_UNKNOWN = "fold-sizes-unknown"
    DATA = "data"
    DATA_UNSOUND = "data-unsound"
    CHANGED_AFTER_LOOK = "changed-after-look"
    EXPLORATORY = "exploratory"
    LOOKS_DAMAGED = "looks-damaged"
    ACCEPTED_CODE = "accepted-code"
    CODE_UNFOLLOWED = "code-unfollowed"
    TEST_SEEN = "test-seen"
    TRAINING_WARNING = "training-warning"
    TOO_FEW_REPETITIONS = "too-few-repetitions"
    EQUAL_DIFFERENCES = "equal-differences"
    EQUAL_SCORES = "equal-scores"
    NEAR_CHANCE = "near-chance"
    UNDERTRAINED = "undertrained"
    UNEQUAL_BUDGETS = "unequal-budgets"
    DIVERGED_TRIALS = "diverged-trials"
    FAILED_TRIALS = "failed-trials"
    CHOSEN_AT_EDGE = "chosen-at-edge"
    SEARCH_RISES = "search-rises"
    ONE_SEARCH = "one-search"
    SHARED_FOLDS = "shared-folds"
    MIXED_VERSIONS = "mixed-versions"
    MIXED_HARDWARE = "mixed-hardware"
    NONDETERMINISTIC = "nondeterministic"


@dataclass(frozen=True)
class Limit:
    """Something that limits the conclusion."""

    code: LimitCode
    sentence: str


@dataclass(frozen=True)
class ClaimFinding:
    """A claim of the study with its verdict."""

    text: str
    verdict: ClaimVerdict
    reason: str


@dataclass(frozen=True)
class EffectFinding:
    """A contrast of variants that the study judges: a main effect, a trend, an interaction, a Shapley value."""

    name: str
    kind: str
    """The value of a `study.ledger.record.EffectKind`."""
    factors: tuple[str, ...]
    interval: Interval | None
    """95 % interval for the study's scope; None where the effect cannot be judged."""
    corrected: Interval | None
    """The 1 - alpha/m interval that decides."""
    n: int
    """Complete repetitions, or folds."""
    verdict: Verdict | None
    sentence: str
    omega_squared: float | None
    """Its share of the variance of all scores of its stratum; a description."""


@dataclass(frozen=True)
class PowerRow:
    """The power of one design at each effect."""

    design: tuple[int, ...]
    """The number of repetitions, or of folds; several numbers are looks."""
    power: tuple[float, ...]


@dataclass(frozen=True)
class PowerFinding:
    """The probability that a true difference is called *helps*, from a standard deviation known before the study."""

    spread: Spread
    interval: Interval | None
    """The standard deviation with its own 95 % interval; None where it is assumed."""
    effects: tuple[float, ...]
    """True differences, in the primary metric's scaled unit."""
    rows: tuple[PowerRow, ...]


def pareto_fronts(
    variants: Sequence[VariantFinding], costs: Mapping[str, float], metric: Metric
) -> tuple[tuple[str, ...], ...]:
    """Return the variants of known score and cost on the Pareto front of each stratum, by cost."""
    gains: dict[str, dict[str, float]] = {}  # by stratum, for which its reference stands
    for variant in variants:
        if variant.name in costs and variant.score is not None:
            gains.setdefault(variant.reference, {})[variant.name] = metric.gain(variant.score.mean)
    return tuple(tuple(pareto_front(costs, own)) for own in gains.values())


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
    limits: tuple[Limit, ...]
    """Everything that limits the conclusion."""
    notes: tuple[str, ...]
    """How to read the figures: what the intervals cover, the smallest effect that n repetitions can show."""
    facts: Mapping[str, str]
    """What was run: repetitions, data set and digest, versions, commit, hardware, duration, in printing order."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """The reference's resolved configuration."""
    measures: tuple[MeasureFinding, ...] = ()
    """The measures of the networks' parts, in the order of the study file."""
    is_optimistic: bool = False
    """Whether epochs and hyperparameters were chosen on the test split: there is no verdict then."""
    skipped: tuple[str, ...] = ()
    """Examples that were left out because they could not be read: file, row and reason."""
    tradeoff: Tradeoff | None = None
    """Scores against MACs or parameters; None where neither is known to differ. See `score_against_cost`."""
    across: Across | None = None
    """Scores over all data sets; None where the study has one."""
    breakdowns: tuple[BreakdownFinding, ...] = ()
    """One breakdown for each attribute of the test examples."""
    published: tuple[PublishedTable, ...] = ()
    """Published results, a table for each benchmark of the study."""
    protocols: Mapping[str, MeasuredProtocol] = field(default_factory=dict)
    """How the figures of variants on a benchmark are obtained, by the variant's name."""
    scope: Literal["population", "test-set"] = "test-set"
    """For whom intervals speak: for new test examples, or for exactly these."""
    power: PowerFinding | None = None
    """None where no standard deviation was known when the study was planned."""
    noun: str = "example"
    """What one example is called."""
    known: Known | None = None
    """What was known when the report was written; None where no ledger keeps it."""
    effects: tuple[EffectFinding, ...] = ()
    """The effects of the family; empty where it is every variant with its reference."""
    design: tuple[str, ...] = ()
    """What is to be known of the design: the order of a ladder, aliases, cells that were left out."""
    capacity: tuple[str, ...] = ()
    """Variants whose size differs from their reference's by more than 5 %, a sentence each."""

    authors: tuple[str, ...] = ()
    """Who writes the report, as study.toml says."""
    affiliation: str = ""

    @property
    def primary(self) -> Metric:
        """The metric that the verdicts are about."""
        return next(metric for metric in self.metrics if metric.name == self.metric)

    @property
    def score_against_cost(self) -> Tradeoff | None:
        """The `tradeoff`, or where networks cost the same or nothing is known of them, scores against training time.

        Times differ from run to run, so that what follows from them is shown and is no finding.
        """
        if self.tradeoff is not None:
            return self.tradeoff
        tested = [each for each in self.variants if each.score is not None]
        seconds = {each.name: each.train_seconds for each in tested if each.train_seconds is not None}
        if len(set(seconds.values())) < 2:
            return None
        return Tradeoff("training time in s", seconds, pareto_fronts(tested, seconds, self.primary))

    def lead_of(self, variant: VariantFinding) -> float | None:
        """Return by how much a variant is better than its reference in the primary metric; None without both scores.

        It is the mean of paired differences or, where effects are judged in place of variants, the difference of means.
        """
        if variant.difference is not None:
            return self.primary.sign * variant.difference.interval.mean
        reference = next((each for each in self.variants if each.name == variant.reference), variant)
        if variant.is_reference or variant.score is None or reference.score is None:
            return None
        return self.primary.sign * (variant.score.mean - reference.score.mean)

    def to_dataframe(self, rows: Kind = "runs") -> pd.DataFrame:
        """Return a row for each run, trial, comparison and so on, with the columns of `study.analysis.rows`."""
        import pandas as pd

        from study.analysis.rows import TABLES

        return pd.DataFrame(TABLES[rows](self))

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
            f"{len(variant.repetitions)} of {variant.planned}",
            "–" if difference is None else signed_difference(difference.interval.mean, unit),
            variant.verdict_text,
        ]
