"""Locks of hosts that have died: they expire where their process promised to renew them, and not before."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from support.lab import Lab

from study.engine import plan
from study.engine.search import suggest
from study.engine.status import status
from study.errors import StudyError
from study.ledger import holding, layout, locks
from study.ledger.locks import holder_of, is_own, named_holder, take
from study.ledger.reading import sealed_content
from study.ledger.store import Ledger
from study.records import Epoch, RunSpec

RUN = RunSpec(config={}, seed=0, data_digest="", code_digest="")


def lock_of_another_host(path: Path, age_s: float, lease_s: float | None = 300.0) -> None:
    lease = "" if lease_s is None else f"|{lease_s:g}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"elsewhere|machine|4026531836{lease} 12 some-boot 77")
    os.utime(path, (time.time() - age_s,) * 2)


@pytest.mark.parametrize(
    ("age_s", "lease_s", "is_free"),
    [(1000.0, 300.0, True), (200.0, 300.0, False), (1e6, None, False)],
    ids=["expired", "renewed", "never-promised"],
)
def test_the_lock_of_another_host_is_taken_over_once_it_has_expired(
    tmp_path: Path, age_s: float, lease_s: float | None, is_free: bool
) -> None:
    lock = tmp_path / "lock"
    lock_of_another_host(lock, age_s, lease_s)
    assert (holder_of(lock) is None) == is_free
    assert (take(lock) is None) == is_free
    assert is_own(lock) == is_free
    assert [file.name for file in tmp_path.iterdir()] == ["lock"]


def test_a_lock_of_this_host_needs_no_renewal(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert take(lock, lease_s=1.0) is None
    os.utime(lock, (0, 0))
    holder = named_holder(lock)
    assert holder is not None
    assert holder.lease_s == 1.0
    assert take(lock) == holder


@pytest.mark.parametrize("was_taken_over", [False, True], ids=["free", "taken over from a dead host"])
def test_a_conductor_renews_the_locks_of_its_runs_with_that_of_its_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was_taken_over: bool
) -> None:
    monkeypatch.setattr(locks, "BEAT_S", 0.02)
    ledger = Ledger(tmp_path)
    folder = ledger.run_folder(RUN)
    if was_taken_over:
        lock_of_another_host(folder / layout.CLAIM, 1000.0)
    with ledger.hold("s"):
        assert ledger.acquire(folder) is None
        os.utime(tmp_path / "studies" / "s" / "lock", (0, 0))
        deadline = time.monotonic() + 30
        while (folder / layout.CLAIM).stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - (folder / layout.CLAIM).stat().st_mtime < 60
        ledger.release(folder)
    assert not list(tmp_path.rglob("lock*"))
    assert not list(tmp_path.rglob("claim*"))


def test_a_conductor_waits_for_a_lock_that_is_about_to_expire_and_not_for_one_that_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "WAIT_S", 0.05)
    ledger = Ledger(tmp_path)
    lock = tmp_path / "studies" / "s" / "lock"
    lock_of_another_host(lock, 100.0, 101.0)
    with ledger.hold("s"):
        assert is_own(lock)
    lock_of_another_host(lock, 1.0, 101.0)
    with pytest.raises(StudyError, match="elsewhere"), ledger.hold("s"):
        pass
    assert not is_own(lock)


def test_a_conductor_whose_lock_expired_while_it_was_suspended_stops(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    lock = tmp_path / "studies" / "s" / "lock"
    with ledger.hold("s"):
        ledger.check_lock()
        lock_of_another_host(lock, 0.0)
        with pytest.raises(StudyError, match="another process may run this study"):
            ledger.check_lock()
    assert named_holder(lock) is not None


def test_another_host_sees_the_progress_of_a_study_until_its_conductor_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path)
    record, ledger, here = lab.record(), lab.ledger, socket.gethostname()
    with ledger.hold(record.name):
        saved = ledger.save(record)
        for decision in plan.ready(saved, ledger.state).decisions:
            ledger.write_suggestion(saved.name, decision.name, suggest(decision.ask))
        saved = ledger.with_decisions(saved)
        run = next(job.run for job in plan.ready(saved, ledger.state).jobs if job.kind == "train")
        ledger.begin(run)
        assert ledger.acquire(ledger.run_folder(run)) is None
        path = ledger.run_folder(run) / layout.HISTORY
        path.write_text(sealed_content([asdict(Epoch(1, 0.5, 0.1, {"war": 0.5}, 7.0))], path))
        monkeypatch.setattr(socket, "gethostname", lambda: "another-host")
        other = Ledger(ledger.root)
        seen = status(other.study(saved.name), other)
        assert seen.holder is not None
        assert seen.holder.host == here
        (running,) = [training for each in seen.variants for training in each.running]
        assert running.holder is not None
        assert (running.job.run.id, running.epoch, running.holder.host) == (run.id, 1, here)
        os.utime(ledger.root / "studies" / saved.name / "lock", (0, 0))
        seen = status(other.study(saved.name), other)
        assert seen.holder is None
        assert not [training for each in seen.variants for training in each.running]
        monkeypatch.undo()
        ledger.release_all()
