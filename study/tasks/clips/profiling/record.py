"""Records of `study profile`: counts and times of every variant of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.records import SCHEMA, Machine, Profile


@dataclass(frozen=True)
class Latency:
    """Latency of one forward pass: median and quartiles."""

    batch: int
    """Clips in the batch."""
    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float


@dataclass(frozen=True)
class VariantProfile:
    """Cost of one variant."""

    name: str
    is_reference: bool
    counts: Profile
    latencies: tuple[Latency, ...]
    """Latencies of one clip and of a training batch."""


@dataclass(frozen=True)
class StudyProfile:
    """Costs of all variants of a study, measured together."""

    study: str
    variants: tuple[VariantProfile, ...]
    assumed: Mapping[str, Any]
    """Assumed values of the searched parameters, by dotted key."""
    repetitions: int
    """Timed forward passes of each network and batch size."""
    device: str
    precision: str
    threads: int
    load: float | None
    """Load average before timing; None if the system has none."""
    machine: Machine
    schema: int = SCHEMA
