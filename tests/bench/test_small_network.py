"""The benchmark of the small network: both sides, with their ratio."""

from __future__ import annotations

import json

from study.bench.result import as_json
from study.bench.small import BASELINE, small


def test_both_backbones_train_and_evaluate_and_the_ratio_is_that_of_their_times() -> None:
    rows = json.loads(as_json(small(repeats=1)))
    assert [row["unit"] for row in rows] == ["ms", "ms"]
    for row in rows:
        assert row["baseline"] == BASELINE
        assert row["ratio"] == row["before"] / row["after"] > 0
