"""What the analysis is given: a study's results, gathered from the ledger. Values are in their metrics' own units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from study.ledger.record import ClaimRecord
from study.metrics import Metric
from study.records import Failure, Measurement, Profile, PublishedTable, RunResult, Stopped, TestResult


@dataclass(frozen=True)
class TrialEvidence:
    """One search trial that has ended."""

    parameters: Mapping[str, Any]
    outcome: RunResult | Stopped | Failure
    fold: int | None = None


@dataclass(frozen=True)
class Confirmation:
    """One confirmation run, with as much of a result as it has."""

    repetition: int
    """From 1; equal numbers share their seed across variants."""
    fold: int | None
    run: str
    result: RunResult | None = None
    test: TestResult | None = None
    failure: Failure | None = None
    measurements: tuple[Measurement, ...] = ()
    """As far as they were taken, in the order in which the study asks for them."""
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    """Why a measure could not be taken, by its name."""


@dataclass(frozen=True)
class VariantEvidence:
    """One variant's search, confirmation and cost."""

    name: str
    reference: str
    """The name of the variant that this one is compared with: its own where it is a reference."""
    levels: Mapping[str, str]
    planned: int
    """Confirmation runs that the study asks for."""
    confirmations: tuple[Confirmation, ...]
    """As far as they are decided: none where the search has chosen nothing."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    trials: tuple[TrialEvidence, ...] = ()
    """In the order of asking."""
    profile: Profile | None = None

    @property
    def is_reference(self) -> bool:
        """Whether others are compared with this variant."""
        return self.name == self.reference


@dataclass(frozen=True)
class FoldSize:
    """Examples of one fold: those trained on, without validation, and those tested on."""

    train: int
    test: int


@dataclass(frozen=True)
class Evidence:
    """All that a study's findings rest on."""

    name: str
    title: str
    question: str
    metric: Metric
    """The primary one."""
    metrics: tuple[Metric, ...]
    """All metrics of the study, the primary one first."""
    rope: float
    """In the primary metric's scaled unit, such as percentage points."""
    alpha: float
    variants: tuple[VariantEvidence, ...]
    """Stratum by stratum, each with one reference."""
    examples_in_test: int
    """All folds together; 0 where it is not known."""
    noun: str = "example"
    """What one example is called."""
    chance: float | None = None
    """What guessing scores on the primary metric, in its own unit; None where that is not known."""
    folds: tuple[FoldSize, ...] = ()
    """Of every fold where the study has two or more; empty where all runs share one split."""
    claims: tuple[ClaimRecord, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """What others found that limits the conclusion."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    is_optimistic: bool = False
    """Whether epochs and hyperparameters were chosen on the test split: nothing is compared then."""
    skipped: tuple[str, ...] = ()
    """What of the data was left out because it could not be read."""
    published: PublishedTable | None = None

    @property
    def references(self) -> tuple[VariantEvidence, ...]:
        """The variants that others are compared with, one a stratum."""
        return tuple(variant for variant in self.variants if variant.is_reference)

    @property
    def compared(self) -> tuple[VariantEvidence, ...]:
        """The variants that are compared with a reference."""
        return tuple(variant for variant in self.variants if not variant.is_reference)

    def reference_of(self, variant: VariantEvidence) -> VariantEvidence:
        """Return what a variant is compared with."""
        return next(reference for reference in self.references if reference.name == variant.reference)

    @property
    def comparisons(self) -> int:
        """The size m of the family: every variant against its reference, whether or not its runs succeeded."""
        return max(1, len(self.compared))

    @property
    def overlap(self) -> float:
        """Examples tested on for every example trained on, where the samples are folds; 0 where they are seeds."""
        if not self.folds:
            return 0.0
        return sum(fold.test for fold in self.folds) / sum(fold.train for fold in self.folds)

    @property
    def searched(self) -> bool:
        """Whether hyperparameters were searched for."""
        return any(variant.trials for variant in self.variants)
