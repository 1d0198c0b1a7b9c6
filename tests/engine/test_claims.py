"""Several conductors on one ledger: each run is trained once, and none waits for a process that has ended."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.conductors import PATIENCE_S, STUDY, Conductors, tables

from study.engine.events import JobRetried

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the tests read /proc and fork conductors"
)
MORE_SEEDS = ("repetitions=3",)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Conductors]:
    conductors = Conductors(tmp_path, STUDY)
    yield conductors
    conductors.close()


def test_two_studies_at_once_train_each_shared_run_once(lab: Conductors) -> None:
    both = [lab.start(workers=2, longest_s=0.05), lab.start(workers=1, longest_s=0.05, changes=MORE_SEEDS)]
    assert [lab.wait(process) for process in both] == [0, 0], [lab.output(process) for process in both]
    assert set(Counter(lab.begun()).values()) == {1}
    assert len({run for run, _ in lab.begun()}) == 2 * 3 * 3
    found = tables(lab.ledger)
    assert {len(found[name]["variants"]) for name in found if "/" not in name} == {2}
    assert not list(lab.ledger.rglob("claim*")), "nothing is held any more"


def test_a_study_that_waits_for_another_says_so_once_and_goes_on_when_that_is_killed(lab: Conductors) -> None:
    first = lab.start(workers=2, longest_s=10.0)
    lab.wait_for_output(first, "EpochEnded")
    second = lab.start(workers=2, changes=MORE_SEEDS)
    lab.wait_for_output(second, f"Waiting process {first}")
    time.sleep(1.2)  # two more looks
    assert lab.output(second).count("Waiting") == 1
    lab.kill(first)
    assert lab.wait(second) == 0
    assert lab.output(second).count("Waiting") == 1


def test_a_second_conductor_is_refused_with_the_holder(lab: Conductors) -> None:
    first = lab.start(longest_s=10.0)
    lab.wait_for_output(first, "EpochEnded")
    second = lab.start()
    assert lab.wait(second) == 1
    assert f"process {first} on {socket.gethostname()}" in lab.output(second)
    lab.kill(first)


def test_a_study_that_is_requested_to_stop_ends_as_for_ctrl_c_and_can_go_on(lab: Conductors) -> None:
    from study.ledger.store import Ledger

    ledger = Ledger(lab.ledger)
    assert ledger.request_stop("s") is None, "no process carries it out"
    first = lab.start(longest_s=0.2)
    lab.wait_for_output(first, "EpochEnded")
    holder = ledger.request_stop("s")
    assert holder is not None
    assert holder.process == first
    assert lab.wait(first) == 130
    assert lab.wait(lab.start()) == 0, "a request that was answered is no longer one"


def test_workers_end_when_their_conductor_is_killed_though_their_training_goes_on(lab: Conductors) -> None:
    first = lab.start(workers=2, longest_s=10 * PATIENCE_S)
    lab.wait_for_output(first, "EpochEnded")
    workers = lab.workers_of(first)
    assert workers
    lab.kill(first)
    deadline = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def test_a_worker_that_is_killed_once_costs_a_reported_retry_and_no_failure(lab: Conductors) -> None:
    first = lab.start(longest_s=0.15)
    lab.wait_for_output(first, "EpochEnded")
    for worker in lab.workers_of(first):
        os.kill(worker, signal.SIGKILL)
    assert lab.wait(first) == 0
    assert lab.output(first).count(JobRetried.__name__) == 1
    assert not list(lab.ledger.rglob("failure.json"))
