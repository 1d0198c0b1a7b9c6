"""Locks: who holds what, and what becomes of the locks of the dead."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from support.lab import Lab

from study.cli.ledger import unlock
from study.engine import conductor
from study.engine.gc import reclaimable
from study.errors import InputError, StudyError
from study.ledger import locks
from study.ledger.locks import Holder, Place, holder_of, named_holder, own_place, release, take
from study.ledger.store import Ledger

HOST = socket.gethostname()
TESTS = Path(__file__).parents[1]


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
    holder = holder_of(lock)
    assert holder is not None
    assert holder.process == os.getpid()
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
    holder = take(lock)
    assert holder is not None
    assert holder.process == process.pid
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
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        lines = [racer.stdout.readline().strip() for racer in racers if racer.stdout]
        for racer in racers:
            racer.communicate("end\n")
        assert sorted(lines) == ["mine", "taken", "taken", "taken"]


def test_a_link_that_nfs_denies_after_making_it_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def link(source: Path, target: Path) -> None:
        real(source, target)
        raise FileExistsError

    monkeypatch.setattr(os, "link", link)
    assert take(tmp_path / "lock") is None


def test_a_disk_without_hard_links_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StudyError, match="hard links"):
        take(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []


# Other machines, and other PID namespaces of this one


def lock_of(place: Place, process: int, boot: str | None = None) -> str:
    return (
        f"{place.host}|{place.machine}|{place.namespace} {process} {place.boot if boot is None else boot} 123"
    )


HERE = own_place()
NAMESPACES = pytest.mark.skipif(not HERE.namespace, reason="this system has no PID namespaces")


def test_a_lock_names_machine_boot_and_namespace(tmp_path: Path) -> None:
    assert take(tmp_path / "lock") is None
    holder = named_holder(tmp_path / "lock")
    assert holder is not None
    assert (holder.host, holder.machine, holder.namespace) == (HERE.host, HERE.machine, HERE.namespace)
    if Path("/proc").is_dir():
        assert holder.machine == next(p for p in locks.MACHINE_IDS if p.is_file()).read_text().strip()
        assert holder.started.startswith(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        assert str(Path("/proc/self/ns/pid").readlink()) == f"pid:[{holder.namespace}]"
    assert not holder.is_elsewhere


@NAMESPACES
@pytest.mark.parametrize(
    ("place", "boot", "is_elsewhere", "is_gone"),
    [
        (HERE, None, False, True),
        (replace(HERE, namespace="1"), None, True, False),
        (replace(HERE, machine="0" * 32), None, True, False),
        (replace(HERE, machine="0" * 32), "other-boot", True, False),
        (replace(HERE, host="elsewhere"), None, True, False),
        (HERE, "other-boot", False, True),
        (replace(HERE, namespace="1"), "other-boot", False, True),
    ],
    ids=["here", "namespace", "machine", "machine and boot", "host", "boot", "namespace before a restart"],
)
def test_only_a_process_that_this_one_would_see_can_be_gone(
    tmp_path: Path, place: Place, boot: str | None, is_elsewhere: bool, is_gone: bool
) -> None:
    lock = tmp_path / "lock"
    lock.write_text(lock_of(place, dead(), boot))
    holder = named_holder(lock)
    assert holder is not None
    assert (holder.is_elsewhere, holder.is_gone) == (is_elsewhere, is_gone)
    assert (take(lock) is None) == is_gone


@NAMESPACES
def test_machines_without_an_id_are_told_apart_by_their_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_machine_id", lambda: "")
    lock = tmp_path / "lock"
    lock.write_text(lock_of(replace(HERE, machine=""), dead(), "other-boot"))
    assert take(lock) == named_holder(lock)
    lock.write_text(lock_of(replace(HERE, machine=""), dead()))
    assert take(lock) is None


@pytest.fixture
def left(tmp_path: Path) -> tuple[Ledger, list[Path]]:
    """A ledger with the locks of a conductor that was killed on another host."""
    content = lock_of(Place("elsewhere", "0" * 32, "boot", "1"), 12)
    paths = [
        tmp_path / name
        for name in ("studies/s/lock", "runs/r2-a/claim", "runs/r2-b/claim-0a1b2c3d", "profiles/p2-c/claim")
    ]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(content)
    return Ledger(tmp_path), paths


def test_the_error_names_every_file_of_a_conductor_elsewhere(left: tuple[Ledger, list[Path]]) -> None:
    ledger, paths = left
    with pytest.raises(StudyError, match="study unlock --host elsewhere") as error, ledger.hold("s"):
        pass
    assert all(str(path) in str(error.value) for path in paths)


def test_unlock_removes_the_locks_of_one_host_and_names_them(
    left: tuple[Ledger, list[Path]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, paths = left
    monkeypatch.setattr("study.cli.ledger.open_ledger", lambda _: ledger)
    other = ledger.root / "runs" / "r2-d" / "claim"
    assert take(other) is None
    with pytest.raises(
        InputError, match=r"no lock of 'elsewher'; it has locks of .*Did you mean 'elsewhere'"
    ):
        unlock("elsewher")
    unlock("elsewhere")
    printed = capsys.readouterr().out
    assert all(str(path) in printed for path in paths)
    assert "Removed 4 of 4 locks" in printed
    assert not [path for path in paths if path.exists()]
    assert other.exists()
    with pytest.raises(typer.Exit):
        unlock(HOST)
    assert "is running; end it with `study stop`" in capsys.readouterr().out
    assert other.exists()


def test_a_claim_of_a_conductor_elsewhere_without_a_study_ends_the_wait_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path)
    lab.run(write=lambda *_: None)
    result = next(lab.ledger.root.glob("runs/*/result.json"))
    result.unlink()
    claim = result.with_name("claim")
    claim.write_text(lock_of(Place("elsewhere", "0" * 32, "boot", "1"), 12))
    monkeypatch.setattr(conductor, "LONGEST_CLAIM_S", 1.0)
    monkeypatch.setattr(conductor, "POLL_S", 0.1)
    with pytest.raises(
        StudyError, match=r"runs no study of this ledger any more.*unlock --host elsewhere"
    ) as error:
        Lab(tmp_path).run()
    assert str(claim) in str(error.value)


def test_a_conductor_whose_lock_was_removed_stops(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.hold("s"):
        ledger.check_lock()
        (tmp_path / "studies" / "s" / "lock").unlink()
        with pytest.raises(StudyError, match="was removed"):
            ledger.check_lock()


@pytest.mark.skipif(
    not HERE.namespace or not shutil.which("unshare"), reason="needs PID namespaces and unshare"
)
def test_gc_keeps_the_locks_of_another_namespace(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from study.ledger.locks import take\n"
        "print(take(Path('studies/s/lock')), flush=True); sys.stdin.readline()"
    )
    with in_namespace(["-c", code], tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "None"
        ledger = Ledger(tmp_path)
        (lock,) = list(tmp_path.glob("studies/s/lock"))
        assert [item.path for item in reclaimable(ledger)] == []
        holder = ledger.holder("s")
        assert holder is not None
        assert "in another PID namespace" in str(holder)
        assert take(lock) == holder


@contextmanager
def in_namespace(arguments: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run Python in a PID namespace of its own; skip the test where that is not permitted."""
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare --pid is not permitted here")
    process = subprocess.Popen(
        [*unshare, sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (Path(locks.__file__).parents[2], TESTS)))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate("end\n")


STORM = """
import os, sys, time
from pathlib import Path
from study.engine import conductor
from study.errors import StudyError
from study.executors.inprocess import InProcess
from support.lab import FAKE, Lab
lab = Lab(Path.cwd())
record = lab.record(f"repetitions={sys.argv[1]}")
log = os.open("trained", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.stdin.readline()
while True:
    try:
        with lab.ledger.hold(record.name):
            conductor.carry_out(lab.ledger.save(record), lab.ledger, InProcess(), started, FAKE)
        break
    except StudyError as error:
        if "is being run by" not in str(error):
            raise
        time.sleep(0.01)
print("done", flush=True)
""".replace(
    "log = os",
    """def started(event):
    if type(event).__name__ == "JobStarted":
        os.write(log, f"{event.job.key}\\n".encode())
        time.sleep(0.01)
log = os""",
)


@pytest.mark.slow
@pytest.mark.skipif(
    not HERE.namespace or not shutil.which("unshare"), reason="needs PID namespaces and unshare"
)
def test_a_storm_in_two_pid_namespaces_runs_every_job_once(tmp_path: Path) -> None:
    (tmp_path / "storm.py").write_text(STORM)
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        Lab(folder)
        with ExitStack() as stack:
            racers = [
                stack.enter_context(in_namespace(["../storm.py", str(repetitions)], folder))
                for repetitions in (3, 3, 4, 5)
            ]
            for racer in racers:
                assert racer.stdin is not None
                racer.stdin.write("go\n")
                racer.stdin.flush()
            assert [racer.stdout.readline().strip() for racer in racers if racer.stdout] == ["done"] * 4
        counts = Counter((folder / "trained").read_text().split("\n")[:-1])
        assert len(counts) == 2 * (3 + 2 * 5 + 1)
        assert set(counts.values()) == {1}
        assert not list(folder.glob("ledger/*/*/claim*")) + list(folder.glob("ledger/*/*/lock*"))
