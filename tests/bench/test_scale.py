"""The benchmark of large ledgers runs, and what it stands on: a conductor that looks at what has changed alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.conductors import folder_in_memory
from support.lab import FAKE, Lab

from study.bench.scale import COMMANDS, build, cost_of, shares
from study.engine import conductor, plan
from study.executors.inprocess import InProcess
from study.ledger.store import Ledger


def test_the_benchmark_builds_a_ledger_and_measures_every_command() -> None:
    with folder_in_memory() as folder:
        assert build(folder / "lab", 100) > 0
        assert len(list((folder / "lab").glob(".study/ledger/runs/*/result.json"))) == 100
        cost = cost_of(COMMANDS["status"], folder / "lab")
        (line,) = shares(Ledger(folder / "lab" / ".study" / "ledger"))
    assert cost.seconds > 0
    assert 20 < cost.peak_mb < 1000
    assert "100 trainings" in line


@pytest.mark.parametrize("seeds", [4, 12])
def test_a_run_that_ends_has_its_own_state_read_again_and_no_other(
    tmp_path: Path, monkeypatch, seeds: int
) -> None:
    """Or the cost of one run would grow with the number of runs."""
    lab = Lab(tmp_path)
    reads: list[str] = []
    real = Ledger.state
    monkeypatch.setattr(Ledger, "state", lambda ledger, run: reads.append(run) or real(ledger, run))
    record = lab.record(f"repetitions={seeds}")
    with lab.ledger.hold(record.name):
        conductor.carry_out(lab.ledger.save(record), lab.ledger, InProcess(), lab.events.append, FAKE)
    assert len(reads) <= 12 * plan.training_count(record)
