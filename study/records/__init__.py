"""Records that cross a process or the disk: frozen, typed, numbered by a schema."""

from __future__ import annotations

from study.records.data import DataInfo, PublishedFolds, PublishedResult, PublishedTable, SplitSizes
from study.records.profile import LARGEST_DISAGREEMENT, PartCost, Profile
from study.records.results import (
    Breakdown,
    Epoch,
    Failure,
    Figure,
    Machine,
    Measurement,
    Metrics,
    RunResult,
    Status,
    Stopped,
    TestResult,
    best_gain,
    stopped,
)
from study.records.run import RunSpec, metric_key
from study.records.serialization import (
    CHECKSUM,
    CONTENT,
    OLDEST_SCHEMA,
    SCHEMA,
    UPGRADES,
    DamagedError,
    from_json,
    parsed,
    sealed,
    to_json,
    unsealed,
    upgraded,
)

__all__ = [
    "CHECKSUM",
    "CONTENT",
    "LARGEST_DISAGREEMENT",
    "OLDEST_SCHEMA",
    "SCHEMA",
    "UPGRADES",
    "Breakdown",
    "DamagedError",
    "DataInfo",
    "Epoch",
    "Failure",
    "Figure",
    "Machine",
    "Measurement",
    "Metrics",
    "PartCost",
    "Profile",
    "PublishedFolds",
    "PublishedResult",
    "PublishedTable",
    "RunResult",
    "RunSpec",
    "SplitSizes",
    "Status",
    "Stopped",
    "TestResult",
    "best_gain",
    "from_json",
    "metric_key",
    "parsed",
    "sealed",
    "stopped",
    "to_json",
    "unsealed",
    "upgraded",
]
