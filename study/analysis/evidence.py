"""A study's results, gathered from the ledger for the analysis. Values are in their metrics' own units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from study.analysis.described import Choice, MeasuredProtocol
from study.analysis.findings import Limit
from study.engine.search import is_quasi_random
from study.ledger.record import ClaimRecord, EffectRecord, Interim, differences
from study.metrics import Metric
from study.records import Failure, Measurement, Profile, PublishedTable, RunResult, Stopped, TestResult
from study.statistics.description import fold_overlap
from study.statistics.spread import Spread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from study.statistics.inference import Variance  # slow: imports scipy

Scope = Literal["population", "test-set"]
"""For whom intervals speak: for new test examples like these, or for exactly these."""


@dataclass(frozen=True)
class TrialEvidence:
    """One search trial that has ended."""

    parameters: Mapping[str, Any]
    result: RunResult | Stopped | Failure
    fold: int | None = None
    repetition: int | None = None
    """The repetition that its search belongs to, from 1; None where all share one search."""

    @property
    def search(self) -> tuple[int, int]:
        """What tells the searches of a variant apart."""
        return self.fold or 0, self.repetition or 0


@dataclass(frozen=True)
class SearchSettings:
    """The settings of a study's searches."""

    scope: Literal["repetition", "study"]
    sampler: str
    trials: int
    """The trials of one search."""
    space: Mapping[str, Mapping[str, Any]]
    """The dimensions by dotted key, as `StudyRecord.space`."""
    shared_folds: bool = False

    @property
    def is_random(self) -> bool:
        """Whether no trial follows from another: all are random or quasi-random."""
        return self.sampler == "random" or is_quasi_random(self.sampler, self.trials - 1)


@dataclass(frozen=True)
class Predicted:
    """The classes that a run predicts for its test examples, ordered by the examples' names."""

    ids: NDArray[np.str_]
    """(n,)"""
    labels: NDArray[np.int64]
    """(n,) true classes, from 0."""
    classes: NDArray[np.int64]
    """(n,) predicted classes."""
    size: int
    """The number of classes that can be predicted."""


@dataclass(frozen=True)
class RepetitionEvidence:
    """One repetition's run (of one fold), with the results that it has so far."""

    repetition: int
    """The number of the repetition, from 1; equal numbers share their seed across variants."""
    fold: int | None
    run: str
    result: RunResult | None = None
    test: TestResult | None = None
    failure: Failure | None = None
    measurements: tuple[Measurement, ...] = ()
    """The measures taken so far, in the order of the study file."""
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    """Why a measure failed, by its name."""
    replicates: tuple[float, ...] | None = None
    """The primary metric, in its own unit, with each source of test examples left out, in the order of the sources.

    None where the run keeps no predictions, or these do not give the reported score.
    """
    sources: str = ""
    """The digest of the names of the sources: replicates of two runs are paired where it is equal."""
    seed: int | None = None
    """None where it is not known."""
    predicted: Predicted | None = field(default=None, compare=False)
    """None where the run keeps no predictions of classes, or they were not read."""


@dataclass(frozen=True)
class FoldSize:
    """The numbers of training examples, without validation, and of test examples of one fold."""

    train: int
    test: int


@dataclass(frozen=True)
class VariantData:
    """What the analysis needs to know of one variant's data."""

    examples_in_test: int
    """Test examples of all folds together; 0 where not known."""
    chance: float | None
    """The score of guessing on the primary metric, in its own unit; None where not known."""
    folds: tuple[FoldSize, ...]
    """The size of every fold where the study has two or more; empty where all runs share one split."""


@dataclass(frozen=True)
class VariantEvidence:
    """One variant's search trials, repetitions and cost."""

    name: str
    reference: str
    """The name of the variant that this one is compared with: its own where it is a reference."""
    levels: Mapping[str, str]
    planned: int
    """The number of tested runs that the study plans: repetitions times folds."""
    repetitions: tuple[RepetitionEvidence, ...]
    """The runs decided so far; none where the search has chosen nothing."""
    unreachable: int = 0
    """Repetitions that can never start, as trials of their search failed."""
    chosen: tuple[Choice, ...] = ()
    trials: tuple[TrialEvidence, ...] = ()
    """Search by search, in the order in which they were suggested."""
    profile: Profile | None = None
    data: VariantData | None = None
    """Facts of its data, where they are not those of the study."""

    @property
    def is_reference(self) -> bool:
        """Whether others are compared with this variant."""
        return self.name == self.reference


@dataclass(frozen=True)
class Evidence:
    """All inputs of a study's findings."""

    name: str
    title: str
    question: str
    metric: Metric
    """The primary metric."""
    metrics: tuple[Metric, ...]
    """All metrics of the study, the primary one first."""
    rope: float
    """The least difference of interest, in the primary metric's scaled unit, such as percentage points."""
    alpha: float
    variants: tuple[VariantEvidence, ...]
    """Stratum by stratum, each with one reference."""
    examples_in_test: int
    """Test examples of all folds together; 0 where not known."""
    scope: Scope = "test-set"
    """Under folds always ``population``: Nadeau and Bengio's interval speaks for new data."""
    lacks_predictions: bool = False
    """Whether the study names the scope ``population`` and has runs without replicates: no verdict then."""
    spread: Spread | None = None
    """The standard deviation of paired differences that the study was planned with."""
    noun: str = "example"
    """What one example is called."""
    chance: float | None = None
    """The score of guessing on the primary metric, in its own unit; None where not known."""
    folds: tuple[FoldSize, ...] = ()
    """The size of every fold where the study has two or more; empty where all runs share one split."""
    claims: tuple[ClaimRecord, ...] = ()
    effects: tuple[EffectRecord, ...] = ()
    """The family as the record has it; see `family`."""
    design: tuple[str, ...] = ()
    """What is to be known of the design."""
    facts: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    """Limits of the conclusion that follow from the study's record, such as its data."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    is_optimistic: bool = False
    """Whether epochs and hyperparameters were chosen on the test split: nothing is compared then."""
    skipped: tuple[str, ...] = ()
    """Examples that were left out because they could not be read."""
    published: tuple[PublishedTable, ...] = ()
    """One table for each benchmark that a stratum uses."""
    protocols: Mapping[str, MeasuredProtocol] = field(default_factory=dict)
    """How the figures of variants on a benchmark are obtained, by the variant's name."""
    search: SearchSettings | None = None
    """None where nothing is searched."""
    looks: tuple[int, ...] = ()
    """Numbers of repetitions at which comparisons may be closed; empty where their number is fixed."""
    interims: Mapping[int, Interim] = field(default_factory=dict)
    """The looks that were taken, by number of repetitions."""

    def look_at(self, effect: str) -> int | None:
        """Return the look that closed an effect, else the next or last one; None where repetitions are fixed."""
        closed = (look for look, interim in self.interims.items() if effect in interim.closed)
        coming = (look for look in self.looks if look not in self.interims)
        return next(iter((*closed, *coming, *self.looks[-1:])), None)

    def looked_at(self, effect: str) -> frozenset[str] | None:
        """Return the runs on which a closed effect was decided; None for all runs where none has closed it."""
        for interim in self.interims.values():
            if effect in interim.closed:
                return frozenset(run for runs in interim.runs.values() for run in runs)
        return None

    @property
    def references(self) -> tuple[VariantEvidence, ...]:
        """The variants that others are compared with, one a stratum."""
        return tuple(variant for variant in self.variants if variant.is_reference)

    @property
    def family(self) -> tuple[EffectRecord, ...]:
        """The comparisons that get a verdict: by default those of every variant with its reference."""
        return self.effects or differences(self.variants)

    def effect_of(self, weights: Mapping[str, float]) -> EffectRecord | None:
        """Return the effect of the family with the given weights; None where there is none."""
        return next((effect for effect in self.family if effect.weights == weights), None)

    @cached_property
    def variances(self) -> dict[str, Variance | None]:
        """A cache of the borrowed variance of each effect of the family, by its name."""
        return {}

    @property
    def compared(self) -> tuple[VariantEvidence, ...]:
        """The variants whose difference from their reference is in the family."""
        differences = [effect.weights for effect in self.family]
        return tuple(
            variant
            for variant in self.variants
            if not variant.is_reference and {variant.name: 1.0, variant.reference: -1.0} in differences
        )

    def reference_of(self, variant: VariantEvidence) -> VariantEvidence:
        """Return the reference of a variant."""
        return next(reference for reference in self.references if reference.name == variant.reference)

    @property
    def comparisons(self) -> int:
        """The size m of the family, whether or not its runs succeeded."""
        return max(1, len(self.family))

    def data_of(self, variant: VariantEvidence) -> VariantData:
        """Return the facts of a variant's data."""
        return variant.data or VariantData(self.examples_in_test, self.chance, self.folds)

    @property
    def overlap(self) -> float:
        """Test examples per training example where the samples are folds; 0 where they are repetitions."""
        return _overlap(self.folds)

    def folds_of(self, variant: VariantEvidence) -> tuple[FoldSize, ...]:
        """Return the sizes of the folds of a variant's own data; empty where it has one split."""
        return self.data_of(variant).folds

    def overlap_of(self, variant: VariantEvidence) -> float:
        """Return the overlap of a variant's own data."""
        return _overlap(self.folds_of(variant))

    @property
    def has_one_search(self) -> bool:
        """Whether all repetitions of a variant have the hyperparameters that one search found."""
        return self.search is not None and self.search.scope == "study"


def _overlap(folds: tuple[FoldSize, ...]) -> float:
    return fold_overlap([fold.test for fold in folds], [fold.train for fold in folds])
