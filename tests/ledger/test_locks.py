"""Locks: who holds what, and what becomes of the locks of the dead."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.errors import StudyError
from study.ledger import locks
from study.ledger.locks import Holder, holder_of, release, take
from study.ledger.store import Ledger

HOST = socket.gethostname()


def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_lock_is_held_until_it_is_released(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / "lock"
    assert holder_of(lock) is None
    assert take(lock) is None
    holder = take(lock)
    assert holder is not None
    assert (holder.host, holder.process) == (HOST, os.getpid())
    assert holder_of(lock) == holder
    release(lock)
    assert list(lock.parent.iterdir()) == []


def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text(f"{HOST} {dead()} long-ago")
    assert holder_of(lock) is None
    assert take(lock) is None
    assert holder_of(lock).process == os.getpid()
    assert [file.name for file in tmp_path.iterdir()] == ["lock"]


def test_a_later_process_with_the_same_number_does_not_hold_the_lock_of_an_earlier_one(
    tmp_path: Path,
) -> None:
    lock = tmp_path / "lock"
    lock.write_text(f"{HOST} {os.getpid()} before the reboot")
    assert take(lock) is None


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_a_killed_process_that_nobody_has_collected_holds_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    lock = tmp_path / "lock"
    lock.write_text(f"{HOST} {process.pid} {locks.start_time(process.pid)}")
    assert take(lock).process == process.pid
    process.kill()
    deadline = time.monotonic() + 10
    while locks.start_time(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert take(lock) is None
    process.wait()


@pytest.mark.parametrize("content", ["", f"{HOST} ", "\0\0\0\0"])
def test_a_torn_lock_blocks_nobody(tmp_path: Path, content: str) -> None:
    lock = tmp_path / "lock"
    lock.write_text(content)
    assert take(lock) is None


def test_a_lock_of_another_host_is_left_alone_and_the_error_says_what_to_do(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    lock = tmp_path / "studies" / "s" / "lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("elsewhere 12 some-time")
    with pytest.raises(StudyError) as error, ledger.hold("s"):
        pass
    assert "by process 12 on elsewhere. Wait for it, or end it with `study stop`" in str(error.value)
    assert f"delete {lock}" in str(error.value)
    assert lock.read_text() == "elsewhere 12 some-time"


def test_a_lock_that_somebody_else_has_by_now_is_not_released(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert take(lock) is None
    lock.write_text("elsewhere 12 some-time")
    release(lock)
    assert holder_of(lock) == Holder("elsewhere", 12, "some-time")


def test_of_many_that_take_over_a_dead_lock_one_has_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from study.ledger.locks import take\n"
        "sys.stdin.readline()\n"
        "print('mine' if take(Path('lock')) is None else 'taken', flush=True)\n"
        "sys.stdin.readline()"
    )
    for _ in range(3):
        (tmp_path / "lock").write_text(f"{HOST} {dead()} long-ago")
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(Path(locks.__file__).parents[2])},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        told = [racer.stdout.readline().strip() for racer in racers]
        for racer in racers:
            racer.communicate("end\n")
        assert sorted(told) == ["mine", "taken", "taken", "taken"]


def test_a_link_that_nfs_denies_after_making_it_is_ours(tmp_path: Path, monkeypatch) -> None:
    real = os.link

    def link(source, target) -> None:
        real(source, target)
        raise FileExistsError

    monkeypatch.setattr(os, "link", link)
    assert take(tmp_path / "lock") is None


def test_a_disk_without_hard_links_is_named(tmp_path: Path, monkeypatch) -> None:
    def link(source, target) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StudyError, match="hard links"):
        take(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []
