"""What `study profile` measured: counts and times of every variant of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.records import SCHEMA, Machine, Profile


@dataclass(frozen=True)
class Latency:
    """How long one forward pass takes."""

    batch: int
    """Clips."""
    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float


@dataclass(frozen=True)
class VariantProfile:
    """What one variant costs."""

    name: str
    is_reference: bool
    counts: Profile
    latencies: tuple[Latency, ...]
    """One clip, then a training batch."""


@dataclass(frozen=True)
class StudyProfile:
    """What the variants of a study cost, measured together."""

    study: str
    variants: tuple[VariantProfile, ...]
    assumed: Mapping[str, Any]
    """Values of what the study searches for, by dotted key: no search has chosen them."""
    repetitions: int
    """Of every forward pass that was timed."""
    device: str
    precision: str
    threads: int
    load: float | None
    """Processes that ran or waited, before anything was timed; None where the system does not tell."""
    machine: Machine
    schema: int = SCHEMA
