"""The benchmark of large lists, and that a check of lists alone costs as much for each clip of a large one."""

from __future__ import annotations

from pathlib import Path

from study.bench.lists import measure


def test_the_benchmark_checks_lists_without_reading_pixels(tmp_path: Path) -> None:
    cost = measure(tmp_path / "lists", 3000, 2)
    assert 0 < cost.seconds < 30
    assert 20 < cost.peak_mb < 200
