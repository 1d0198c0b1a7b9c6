"""The benchmark of large ledgers, and the number of ledger reads that the conductor needs for one run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.conductors import folder_in_memory
from support.lab import FAKE, Lab

from study.bench.scale import COMMANDS, build_ledger, conductor_shares, measure_command
from study.engine import conductor, plan
from study.executors.inprocess import InProcess
from study.ledger.record import RunState
from study.ledger.store import Ledger


def test_the_benchmark_builds_a_ledger_and_measures_every_command() -> None:
    with folder_in_memory() as folder:
        assert build_ledger(folder / "lab", 100) > 0
        assert len(list((folder / "lab").glob(".study/ledger/runs/*/result.json"))) == 100
        cost = measure_command(COMMANDS["status"], folder / "lab")
        (line,) = conductor_shares(Ledger(folder / "lab" / ".study" / "ledger"))
    assert cost.seconds > 0
    assert 20 < cost.peak_mb < 1000
    assert "100 trainings" in line


@pytest.mark.parametrize("repetitions", [4, 12])
def test_the_reads_of_a_run_do_not_grow_with_the_number_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repetitions: int
) -> None:
    lab = Lab(tmp_path)
    reads: list[str] = []
    read_state = Ledger.state

    def state(ledger: Ledger, run: str) -> RunState:
        reads.append(run)
        return read_state(ledger, run)

    monkeypatch.setattr(Ledger, "state", state)
    record = lab.record(f"repetitions={repetitions}")
    with lab.ledger.hold(record.name):
        conductor.carry_out(lab.ledger.save(record), lab.ledger, InProcess(), lab.events.append, FAKE)
    assert len(reads) <= 12 * plan.total_trainings(record)
