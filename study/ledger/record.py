"""A study's own record: what was asked, of which networks, and what its search was told to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from study.hashing import digest
from study.records import SCHEMA, Failure, RunResult, RunSpec


@dataclass(frozen=True)
class VariantRecord:
    """One variant, with the run that all its runs are made from."""

    name: str
    levels: Mapping[str, str]
    is_reference: bool
    template: RunSpec
    """Its configuration, data and code; seed, fold and searched hyperparameters are put in run by run."""

    def run(self, parameters: Mapping[str, Any], seed: int, fold: int | None) -> RunSpec:
        """Return the run with the given hyperparameters (by dotted key), seed and fold."""
        config = {kind: dict(table) for kind, table in self.template.config.items()}
        for key, value in parameters.items():
            kind, _, parameter = key.partition(".")
            config[kind][parameter] = value
        return replace(self.template, config=config, seed=seed, fold=fold)


@dataclass(frozen=True)
class ClaimRecord:
    """A claim, by the names of the two variants that it compares."""

    that: str
    beats: str


@dataclass(frozen=True)
class DataRecord:
    """What the report says of the data that a study was trained on."""

    name: str
    digest: str
    classes: tuple[str, ...]
    clips: Mapping[str, int]
    """Clips in ``train``, ``selection`` and ``test``; of the first fold where there are folds."""
    description: str


@dataclass(frozen=True)
class StudyRecord:
    """A study as it is carried out. `suggestions` are kept in files of their own, one a decision."""

    name: str
    file: str
    title: str
    question: str
    seed: int
    metric: str
    rope: float
    alpha: float
    variants: tuple[VariantRecord, ...]
    claims: tuple[ClaimRecord, ...]
    space: Mapping[str, Mapping[str, Any]]
    """Search dimensions by dotted key: ``low``, ``high``, ``log`` or ``choices``."""
    trials: int
    generation: int
    sampler: str
    seeds: int
    folds: tuple[int | None, ...]
    """``(None,)`` where the data set has one split."""
    data: DataRecord
    claims_digest: str
    suggestions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    schema: int = SCHEMA

    def decision(self, variant: VariantRecord, fold: int | None, number: int) -> str:
        """Return the name of the decision what trial `number` (from 0) tries.

        It holds everything the suggestion depends on but for the earlier trials' results, and those are
        named by the same things. More trials therefore extend a search and change none of its past.
        """
        asked = asdict(replace(variant.template, seed=self.seed, fold=fold))
        for key in ("places", "modules", "schema"):
            del asked[key]
        for key in self.space:
            kind, _, parameter = key.partition(".")
            del asked["config"][kind][parameter]
        return f"{digest([asked, self.space, self.generation, self.sampler])}-{number}"


@dataclass(frozen=True)
class RunState:
    """What the ledger holds of one run; nothing of what it scored on test."""

    result: RunResult | None = None
    tested: bool = False
    failure: Failure | None = None

    @property
    def final(self) -> bool:
        """Whether the training has ended, well or badly."""
        return self.result is not None or self.failure is not None
