"""A study's record: its question, its variants, and what its search tries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any, Literal, Protocol

from study import seeds
from study.followed import Unfollowed
from study.hashing import digest, seed_of
from study.ledger.grid import active
from study.metrics import Metric
from study.nested import with_value
from study.records import SCHEMA, DataInfo, Failure, RunResult, RunSpec, Stopped, stopped
from study.statistics.spread import Spread

_seed = lru_cache(maxsize=4096)(seed_of)


@dataclass(frozen=True)
class VariantRecord:
    """One variant, with the template of its runs."""

    name: str
    levels: Mapping[str, str]
    """The level of every factor, as reports print it."""
    reference: str
    """The name of the variant that this one is compared with; its own name if it is a reference."""
    template: RunSpec
    """Its configuration, data and code; `run` fills in the seed, the fold and the searched hyperparameters."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """The digest of each fold's data, by fold number."""
    fold_key: str = ""
    """The dotted key of the configuration that lists the folds; empty if no key does."""
    data: DataInfo | None = None
    """Its data, where those of all variants are not the same."""
    in_trials: Mapping[str, Any] = field(default_factory=dict)
    """Values by dotted key that trials have in place of the template's; a training without them follows each search."""

    @property
    def is_reference(self) -> bool:
        """Whether other variants are compared with this one."""
        return self.name == self.reference

    def run(self, parameters: Mapping[str, Any], seed: int, fold: int | None) -> RunSpec:
        """Return the run with the given hyperparameters (by dotted key), seed and fold.

        Its configuration names its own fold only, so that studies of other numbers of folds share the run.
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
        """Return the template's configuration with the given hyperparameters and fold."""
        config: Mapping[str, Any] = self.template.config
        for key, value in parameters.items():
            config = with_value(config, key, value)
        if fold is not None and self.fold_key:
            config = with_value(config, self.fold_key, [fold])
        return config

    @cached_property
    def _configs(self) -> dict[tuple[str, int | None], Mapping[str, Any]]:
        """A cache of configurations, shared by the runs that differ only in their seed."""
        return {}

    @cached_property
    def _runs(self) -> dict[tuple[str, int | None, int], RunSpec]:
        """A cache of runs: planning reads each of them many times, and hashing one is slow."""
        return {}


class EffectKind(StrEnum):
    """What a contrast of variants compares."""

    DIFFERENCE = "difference"
    """Two variants."""
    MAIN = "main"
    """Two levels of a factor, over the levels of the others."""
    TREND = "trend"
    """The linear change from the least to the greatest level of a numeric factor."""
    INTERACTION = "interaction"
    """By how much the effect of one factor differs with another."""
    SHAPLEY = "shapley"
    """What changing a factor adds, over all orders of changing the factors."""


@dataclass(frozen=True)
class EffectRecord:
    """A linear contrast of variants that the study judges: one member of its family."""

    name: str
    kind: EffectKind
    weights: Mapping[str, float]
    """By the name of the variant; they sum to 0."""
    factors: tuple[str, ...]
    """The factors that it is about; empty for a difference of two variants."""
    that: tuple[str, ...]
    """The level of each factor, or the variant, that has the positive sign; of a trend the greatest level."""
    against: tuple[str, ...]
    """Those with the negative sign."""
    stratum: str = ""
    trends: tuple[str, ...] = ()
    """The factors that contribute their linear trend."""


@dataclass(frozen=True)
class Search:
    """One search of a variant's hyperparameters: that of a repetition, or of all repetitions."""

    variant: VariantRecord
    fold: int | None
    repetition: int | None
    """The number of the repetition, from 0; None if all repetitions use what it finds."""
    seed: int
    """The seed of its trainings."""

    @property
    def chooses_tested_weights(self) -> bool:
        """Whether the best trial is the repetition itself: its own weights are tested."""
        return self.repetition is not None and not self.variant.in_trials

    @property
    def key(self) -> tuple[str, int | None, int | None]:
        """What tells the searches of a study apart."""
        return self.variant.name, self.fold, self.repetition


@dataclass(frozen=True)
class ClaimRecord:
    """A claim of the study file: the expected sign of an effect."""

    that: str
    """The side that is expected to be better; the name of the effect where the claim has no sides."""
    beats: str = ""
    effect: str = ""
    """The name of the effect; empty in old records, for the difference of two variants."""
    sign: int = 1
    """1 where the effect is expected to be an improvement, -1 for its opposite."""

    @property
    def text(self) -> str:
        """The claim in words."""
        if self.beats:
            return f"{self.that} beats {self.beats}"
        return f"{self.that} is {'positive' if self.sign > 0 else 'negative'}"


class Compared(Protocol):
    """A variant and the one that it is compared with."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def reference(self) -> str:
        """The name of its reference; its own where it is one."""


def differences(variants: Iterable[Compared]) -> tuple[EffectRecord, ...]:
    """Return the comparison of every variant with its reference."""
    return tuple(
        EffectRecord(
            name=f"{variant.name} against {variant.reference}",
            kind=EffectKind.DIFFERENCE,
            weights={variant.name: 1.0, variant.reference: -1.0},
            factors=(),
            that=(variant.name,),
            against=(variant.reference,),
        )
        for variant in variants
        if variant.name != variant.reference
    )


def claimed(claim: ClaimRecord, family: Iterable[EffectRecord]) -> tuple[EffectRecord, int]:
    """Return the effect that a claim is about, and its sign that the claim expects, 1 or -1."""
    for effect in family:
        if claim.effect and claim.effect == effect.name:
            return effect, claim.sign
        if not claim.effect and set(effect.weights) == {claim.that, claim.beats}:
            return effect, 1 if effect.weights[claim.that] > 0 else -1
    raise ValueError(f"No effect of the family is what {claim.text!r} is about.")


@dataclass(frozen=True)
class Closing:
    """How an interim look closed a comparison."""

    reason: str
    """A `sequential.Reason`."""
    verdict: str = ""
    """Empty where there was none."""

    @property
    def outcome(self) -> str:
        """The verdict where that is the reason, else the reason."""
        return self.verdict if self.reason == "decided" else self.reason


@dataclass(frozen=True)
class Interim:
    """An interim look: which comparisons get no further repetitions. It is decided once, whatever is retried later."""

    look: int
    """The number of repetitions."""
    closed: Mapping[str, Closing]
    """By the name of the comparison."""
    runs: Mapping[str, tuple[str, ...]]
    """The runs that it looked at, by variant: those that were tested, or diverged."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class StudyRecord:
    """A study as it is carried out; the ledger stores its `suggestions` and its `code` in files of their own."""

    name: str
    file: str
    """The study's file, relative to `root` if it is below it."""
    title: str
    question: str
    seed: int
    metric: str
    """The key of the primary metric, the first of `metrics`."""
    rope: float
    """The smallest difference of interest, in the primary metric's scaled unit."""
    alpha: float
    variants: tuple[VariantRecord, ...]
    claims: tuple[ClaimRecord, ...]
    space: Mapping[str, Mapping[str, Any]]
    """Search dimensions by dotted key: ``low``, ``high``, ``log`` or ``choices``.

    ``when`` holds the levels, by factor, of the variants that have a dimension which not all have.
    """
    trials: int
    generation: int
    sampler: str
    repetitions: int
    """The most repetitions of a variant, where `looks` may end it earlier."""
    folds: tuple[int | None, ...]
    """The folds of the first variant's data, ``(None,)`` if there is one split; see `folds_of`."""
    data: DataInfo
    claims_digest: str
    root: str = ""
    """The folder of study.toml."""
    task: str = "clips"
    metrics: tuple[Metric, ...] = ()
    """The study's metrics without their functions, the primary one first."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Facts about the trainings that the task adds to the report, by name."""
    has_profile: bool = False
    """Whether the task profiles networks in jobs of their own."""
    interval_scope: Literal["", "population", "test-set"] = ""
    """For whom intervals speak, as `[analysis] scope` names it; empty for the default."""
    spread: Spread | None = None
    """The standard deviation of paired differences that the study was planned with; None where not known."""
    effects: tuple[EffectRecord, ...] = ()
    """The family: all comparisons that get a verdict. Empty in old records: every variant with its reference."""
    design: tuple[str, ...] = ()
    """What is to be known of the design, such as the order of a ladder, aliases, and cells that were left out."""
    measures: tuple[str, ...] = ()
    """``name@code digest`` each: a measure whose code has changed is another measure."""
    pruner: str = "none"
    """``halving``: a trial is stopped after an epoch at which it is not among the best of earlier generations."""
    reduction: int = 3
    """One in this many trials continues after such an epoch, and the next such epoch is this many times later."""
    first_epoch: int = 1
    """The first such epoch."""
    scope: Literal["repetition", "study"] = "study"
    """Whether each repetition makes its own search; records of earlier versions have one search for all."""
    shared_folds: bool = False
    """Whether the search of the first fold chooses for all folds."""
    accepted_code: Mapping[str, str] = field(default_factory=dict)
    """Digests of earlier code whose runs the author accepted as equal, by the digest of today's code."""
    suggestions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    looks: tuple[int, ...] = ()
    """Numbers of repetitions, ascending, after which comparisons are closed; empty where their number is fixed."""
    interims: Mapping[int, Interim] = field(default_factory=dict)
    """The looks so far, by number of repetitions; the ledger stores each in a file of its own."""
    code: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The digests of the modules behind each digest of today's code, by module."""
    unfollowed: tuple[Unfollowed, ...] = ()
    """Calls in the user's code that may read or run files which do not count."""
    options: tuple[str, ...] = ()
    """The options with which the file was read: ``--preset``, its name, ``--set``, a change."""
    schema: int = SCHEMA

    @cached_property
    def family(self) -> tuple[EffectRecord, ...]:
        """The effects, or in old records every variant with its reference."""
        return self.effects or differences(self.variants)

    @cached_property
    def primary(self) -> Metric:
        """The metric by which epochs, trials and variants are compared."""
        return next((metric for metric in self.metrics if metric.name == self.metric), Metric(self.metric))

    @cached_property
    def worst_gain(self) -> float | None:
        """The gain of a trial that diverged; None if the metric has no worst value."""
        worst = self.primary.gain(self.primary.worst)
        return worst if math.isfinite(worst) else None

    def space_of(self, variant: VariantRecord) -> dict[str, Mapping[str, Any]]:
        """Return the search dimensions that a variant has, by dotted key."""
        return {
            key: dimension
            for key, dimension in self.space.items()
            if all(variant.levels[factor] in of for factor, of in dimension.get("when", {}).items())
        }

    def first_point(self, variant: VariantRecord) -> dict[str, Any]:
        """Return the first choice or lowest value of a variant's search dimensions, for use before the search."""
        return self.point(variant, {})

    def point(self, variant: VariantRecord, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the first point of a variant's search space with some other values, for use before the search."""
        space = self.space_of(variant)
        first = {key: d["choices"][0] if "choices" in d else d["low"] for key, d in space.items()}
        return active(space, {**first, **changes})

    def folds_of(self, variant: VariantRecord) -> tuple[int | None, ...]:
        """Return the folds of a variant's own data; ``(None,)`` if they have one split."""
        return self.folds if variant.data is None else variant.data.folds or (None,)

    @cached_property
    def comparisons(self) -> dict[str, tuple[str, ...]]:
        """The names of the variants that each comparison of the family involves, by the name of the comparison."""
        return {effect.name: tuple(effect.weights) for effect in self.family}

    @cached_property
    def closed(self) -> dict[str, int]:
        """The look that closed a comparison, by its name."""
        return {name: look for look, interim in self.interims.items() for name in interim.closed}

    @property
    def open_comparisons(self) -> tuple[str, ...]:
        """The names of the comparisons that no look has closed."""
        return tuple(name for name in self.comparisons if name not in self.closed)

    @property
    def next_look(self) -> int | None:
        """The next number of repetitions to look at; None if all comparisons are closed, or all looks taken."""
        if not self.open_comparisons:
            return None
        return next((look for look in self.looks if look not in self.interims), None)

    def repetitions_of(self, variant: VariantRecord) -> int:
        """Return how many repetitions a variant gets, as far as that is decided.

        It gets those up to the next look while a comparison that involves it is open.
        """
        involving = [name for name, variants in self.comparisons.items() if variant.name in variants]
        for look in self.looks:
            if look not in self.interims or all(
                self.closed.get(name, look + 1) <= look for name in involving
            ):
                return look
        return self.repetitions

    def interim(self, look: int) -> str:
        """Return the name of the decision of a look: it identifies all that the decision depends on but the results."""
        if "" not in self._interims:
            first = [
                self.decision(self.searches(variant)[0], 0)
                if self.trials
                else variant.run({}, self.repetition_seed(0), self.folds_of(variant)[0]).id
                for variant in self.variants
            ]
            judged = [self.metric, self.rope, self.alpha, self.interval_scope, self.comparisons]
            self._interims[""] = digest([first, self.looks, self.trials, *judged])
        return f"{self._interims['']}-{look}"

    @cached_property
    def _interims(self) -> dict[str, str]:
        """A cache of the digest of the study's looks."""
        return {}

    def repetition_seed(self, number: int) -> int:
        """Return the seed of a repetition (from 0), the same for every variant."""
        return _seed(seeds.REPETITION, self.seed, number)

    def search_of(self, variant: VariantRecord, fold: int | None, repetition: int) -> Search:
        """Return the search that chooses the hyperparameters of a variant's repetition (from 0) in a fold."""
        fold = self.folds_of(variant)[0] if self.shared_folds else fold
        if self.scope == "study":
            return Search(variant, fold, None, _seed(seeds.SEARCH, self.seed))
        return Search(variant, fold, repetition, self.repetition_seed(repetition))

    def searches(self, variant: VariantRecord) -> list[Search]:
        """Return every search of a variant once, in order; none where the study searches nothing."""
        if not self.trials:
            return []
        found = (
            self.search_of(variant, fold, n)
            for n in range(self.repetitions_of(variant))
            for fold in self.folds_of(variant)
        )
        return list({search.key: search for search in found}.values())

    def decision(self, search: Search, number: int) -> str:
        """Return the name of the decision about what trial `number` (from 0) of a search tries.

        It identifies everything that the suggestion depends on except the earlier trials' results, which are
        identified by the same things. More trials therefore extend a search and change none of its past.
        """
        if search.key not in self._digests:
            seed = self.seed if search.repetition is None else search.seed
            first_run = search.variant.run(search.variant.in_trials, seed, search.fold).id
            pruning = [] if self.pruner == "none" else [[self.pruner, self.reduction, self.first_epoch]]
            self._digests[search.key] = digest(
                [first_run, self.space, self.generation, self.sampler, *pruning]
            )
        return f"{self._digests[search.key]}-{number}"

    def decisions(self) -> Iterator[tuple[str, Search]]:
        """Yield the name of every decision of the study, with its search."""
        for variant in self.variants:
            for search in self.searches(variant):
                yield from ((self.decision(search, number), search) for number in range(self.trials))

    @cached_property
    def _digests(self) -> dict[tuple[str, int | None, int | None], str]:
        """A cache of the digests of searches: planning reads each many times."""
        return {}


@dataclass(frozen=True)
class RunState:
    """What the ledger holds of one run, without its test scores."""

    result: RunResult | None = None
    tested: bool = False
    failure: Failure | None = None
    measured: frozenset[str] = frozenset()
    """Measures that have been taken, as `StudyRecord.measures` writes them."""
    unmeasured: Mapping[str, Failure] = field(default_factory=dict)
    """Why measures could not be taken, by measure."""
    stopped: Mapping[str, Stopped] = field(default_factory=dict)
    """Where pruning rules stopped it, by the digest of the rule."""
    pruned: Stopped | None = None
    """Where the pruning rule of a search stopped it, in a state `under` that rule; `result` is None then."""
    weights_available: bool = True
    """Whether its weights exist; True as well if it has no result or its result left none."""

    @property
    def is_usable(self) -> bool:
        """Whether the training ended with a result that can be compared."""
        return self.result is not None and self.result.status == "finished"

    @property
    def final(self) -> bool:
        """Whether the training has ended, well or badly."""
        return self.result is not None or self.failure is not None or self.pruned is not None

    def under(self, run: RunSpec, rule: Mapping[str, float]) -> RunState:
        """Return the state of a run for a search that stops trials by `rule`.

        A run that another search trained to its end has the same state as one that was stopped.
        """
        if not rule:
            return self
        pruned = self.stopped.get(digest(rule))
        if pruned is None and self.result is not None:
            pruned = stopped(run, rule, self.result.history)
        return self if pruned is None else replace(self, result=None, failure=None, pruned=pruned)
