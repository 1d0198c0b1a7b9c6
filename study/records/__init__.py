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
    OLDEST_SCHEMA,
    SCHEMA,
    UPGRADES,
    TornError,
    from_json,
    to_json,
    upgraded,
)

__all__ = [
    "LARGEST_DISAGREEMENT",
    "OLDEST_SCHEMA",
    "SCHEMA",
    "UPGRADES",
    "Breakdown",
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
    "TornError",
    "best_gain",
    "from_json",
    "metric_key",
    "stopped",
    "to_json",
    "upgraded",
]
