"""A study's record: what was asked, of which variants, and what its search was given to try."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from study.hashing import digest
from study.metrics import Metric
from study.nested import with_value
from study.records import SCHEMA, DataInfo, Failure, RunResult, RunSpec, Stopped, stopped


@dataclass(frozen=True)
class VariantRecord:
    """One variant, with the run that all its runs are made from."""

    name: str
    levels: Mapping[str, str]
    """The level of every factor, as reports print it."""
    reference: str
    """The name of the variant that this one is compared with: its own where it is a reference."""
    template: RunSpec
    """Its configuration, data and code; seed, fold and the searched hyperparameters, None here, come run by run."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """The digest of each fold's data, by fold number."""
    fold_key: str = ""
    """The dotted key of the configuration that lists the folds; empty where none does."""

    @property
    def is_reference(self) -> bool:
        """Whether others are compared with this variant."""
        return self.name == self.reference

    def run(self, parameters: Mapping[str, Any], seed: int, fold: int | None) -> RunSpec:
        """Return the run with the given hyperparameters (by dotted key), seed and fold.

        It asks for its own fold alone: the same fold of a study with fewer or more of them is the same run.
        """
        configured = (repr(parameters), fold)
        if (key := (*configured, seed)) not in self._runs:
            if configured not in self._configs:
                self._configs[configured] = self._config(parameters, fold)
            data = self.digests.get(str(fold), self.template.data_digest)
            config = self._configs[configured]
            self._runs[key] = replace(self.template, config=config, seed=seed, fold=fold, data_digest=data)
        return self._runs[key]

    def _config(self, parameters: Mapping[str, Any], fold: int | None) -> Mapping[str, Any]:
        """Return the configuration with the given hyperparameters; whatever they leave alone is the template's."""
        config: Mapping[str, Any] = self.template.config
        for key, value in parameters.items():
            config = with_value(config, key, value)
        if fold is not None and self.fold_key:
            config = with_value(config, self.fold_key, [fold])
        return config

    @cached_property
    def _configs(self) -> dict[tuple[str, int | None], Mapping[str, Any]]:
        """The configurations made so far, shared by the runs that differ in their seed alone."""
        return {}

    @cached_property
    def _runs(self) -> dict[tuple[str, int | None, int], RunSpec]:
        """The runs made so far: planning asks for each of them many times, and hashing one is slow."""
        return {}


@dataclass(frozen=True)
class ClaimRecord:
    """A claim, by the names of the two variants that it compares."""

    that: str
    beats: str


@dataclass(frozen=True)
class StudyRecord:
    """A study as it is carried out. `suggestions` are kept in files of their own, one a decision."""

    name: str
    file: str
    """The study's file, relative to `root` where it lies below it."""
    title: str
    question: str
    seed: int
    metric: str
    """The key of the primary metric, the first of `metrics`."""
    rope: float
    """The least difference of interest, in the primary metric's scaled unit."""
    alpha: float
    variants: tuple[VariantRecord, ...]
    claims: tuple[ClaimRecord, ...]
    space: Mapping[str, Mapping[str, Any]]
    """Search dimensions by dotted key: ``low``, ``high``, ``log`` or ``choices``."""
    trials: int
    generation: int
    sampler: str
    repetitions: int
    folds: tuple[int | None, ...]
    """``(None,)`` where there is one split."""
    data: DataInfo
    claims_digest: str
    root: str = ""
    """The folder of study.toml."""
    task: str = "clips"
    metrics: tuple[Metric, ...] = ()
    """The study's metrics without their functions, the primary one first."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the task adds to what a reader must know of how the runs were trained."""
    confirm: Mapping[str, Any] = field(default_factory=dict)
    """Values by dotted key that repetitions have in place of those of trials."""
    has_profile: bool = False
    """Whether the task counts networks in jobs of their own."""
    claims_changed: bool = False
    """Whether the claims were changed after runs of the study had been carried out."""
    measures: tuple[str, ...] = ()
    """``name@code digest`` each: a measure whose code has changed is another measure."""
    pruner: str = "none"
    """``halving``: a trial is stopped after an epoch at which it is not among the best of earlier generations."""
    reduction: int = 3
    """At such an epoch one of so many trials goes on, and so many times later it is asked again."""
    first_epoch: int = 1
    """The first such epoch."""
    accepted_code: Mapping[str, str] = field(default_factory=dict)
    """Digests of today's code to those of earlier code whose runs its author accepted as equal."""
    suggestions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    code: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What today's digests of code are made of, digest by module; kept in files of their own, as suggestions are."""
    schema: int = SCHEMA

    @cached_property
    def primary(self) -> Metric:
        """The metric that epochs, trials and variants are compared by."""
        return next((metric for metric in self.metrics if metric.name == self.metric), Metric(self.metric))

    @cached_property
    def worst_gain(self) -> float | None:
        """The gain of a trial that diverged; None where the metric has no worst value."""
        worst = self.primary.gain(self.primary.worst)
        return worst if math.isfinite(worst) else None

    @property
    def first_point(self) -> dict[str, Any]:
        """The first choice or least value of every search dimension: stands in where nothing was chosen yet."""
        return {key: d["choices"][0] if "choices" in d else d["low"] for key, d in self.space.items()}

    def decision(self, variant: VariantRecord, fold: int | None, number: int) -> str:
        """Return the name of the decision what trial `number` (from 0) tries.

        It holds everything the suggestion depends on but for the earlier trials' results, and those are
        named by the same things. More trials therefore extend a search and change none of its past.
        """
        searched = (variant.name, fold)
        if searched not in self._searches:
            asked = variant.run({}, self.seed, fold).id
            pruning = [] if self.pruner == "none" else [[self.pruner, self.reduction, self.first_epoch]]
            self._searches[searched] = digest([asked, self.space, self.generation, self.sampler, *pruning])
        return f"{self._searches[searched]}-{number}"

    @cached_property
    def _searches(self) -> dict[tuple[str, int | None], str]:
        """What names the searches, by variant and fold: planning asks for each of their trials many times."""
        return {}


@dataclass(frozen=True)
class RunState:
    """What the ledger holds of one run; nothing of what it scored on test."""

    result: RunResult | None = None
    tested: bool = False
    failure: Failure | None = None
    measured: frozenset[str] = frozenset()
    """Measures that have been taken, as `StudyRecord.measures` writes them."""
    unmeasured: Mapping[str, Failure] = field(default_factory=dict)
    """Measures that could not be taken."""
    stopped: Mapping[str, Stopped] = field(default_factory=dict)
    """Where rules of pruning stopped it, by the digest of the rule."""
    pruned: Stopped | None = None
    """The answer to a search that asked with a rule, in a state `under` that rule; it has no result then."""
    kept: bool = True
    """Whether its weights are still there, where it has a result that left some."""

    @property
    def is_usable(self) -> bool:
        """Whether the training ended with a result that can be compared."""
        return self.result is not None and self.result.status == "finished"

    @property
    def final(self) -> bool:
        """Whether the training has ended, well or badly."""
        return self.result is not None or self.failure is not None or self.pruned is not None

    def under(self, run: RunSpec, rule: Mapping[str, float]) -> RunState:
        """Return the state of a run as a search sees it that would have stopped it by `rule`.

        A run that was carried on to its end for others gives the same answer as one that was stopped.
        """
        if not rule:
            return self
        pruned = self.stopped.get(digest(rule))
        if pruned is None and self.result is not None:
            pruned = stopped(run, rule, self.result.history)
        return self if pruned is None else replace(self, result=None, failure=None, pruned=pruned)
