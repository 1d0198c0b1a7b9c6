"""Growth: what the simulated cluster reports, and that an end costs the conductor the same in a large study."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from study.bench.growth import carried_out, growth
from study.engine import plan


def test_one_worker_is_busy_from_the_first_run_to_the_last(tmp_path: Path) -> None:
    grown = carried_out(tmp_path / "a", 24, 1, variants=2)
    assert grown.runs == 24 + 6 + 1, "a test of each repetition, and one profile"
    assert 0.98 < grown.busy <= 1.0
    assert (grown.lost, grown.failed) == (0, 0)


def test_workers_without_a_run_that_may_start_are_idle(tmp_path: Path) -> None:
    # two sequential searches keep two workers busy, whatever is there besides
    assert carried_out(tmp_path / "a", 8, 8, variants=2).busy < 0.3


def test_runs_of_lost_machines_are_started_again(tmp_path: Path) -> None:
    grown = carried_out(tmp_path / "a", 40, 8, lost_each_s=600.0, variants=2)
    assert grown.lost > 0
    assert grown.failed == 0
    assert grown.runs - 50 in (1, 2), "both variants may profile the network that they share"


@pytest.mark.parametrize("planned", ["search_step", "repetition"])
def test_the_end_of_a_run_makes_the_conductor_plan_as_much_in_a_study_four_times_as_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planned: str
) -> None:
    calls: Counter[int] = Counter()
    original: Any = getattr(plan, planned)
    runs = 0

    def counted(*given: Any) -> Any:
        calls[runs] += 1
        return original(*given)

    monkeypatch.setattr(plan, planned, counted)
    for runs in (40, 160):
        carried_out(tmp_path / str(runs), runs, 4, variants=2)
    assert calls[160] <= 4 * calls[40]


def test_every_size_has_its_figures(tmp_path: Path) -> None:
    found = growth(runs=(10, 16), workers=(1, 2), studies=(1, 3), runs_of_each=8)
    names = " ".join(result.name for result in found)
    assert [part for part in ("memory", "busy workers", "lost", "3 studies") if part not in names] == []
    assert all(result.after is not None for result in found)
