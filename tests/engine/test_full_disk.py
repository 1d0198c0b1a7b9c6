"""A full disk: the message says so whichever process fills it, no run counts as failed, and the study can go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.full_disk import small_disk
from support.lab import FAKE, Lab

from study.engine import conductor, jobs
from study.errors import DiskFullError
from study.executors.local import LocalWorkers
from study.files import as_disk_full_error, has_full_disk, is_disk_full, writing


@pytest.mark.parametrize("job", ["writes", "wraps", "prints", "maps", "exits", "forgets"])
def test_a_worker_that_fills_the_disk_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with small_disk(tmp_path / "disk") as disk:
        lab = Lab(disk)
        with pytest.raises(DiskFullError) as caught:
            lab.run(
                targets={**FAKE, "train": f"support.full_disk_jobs:{job}"},
                executor=LocalWorkers(1, preload=["support.full_disk_jobs"]),
            )
        assert str(disk) in str(caught.value)
        assert "study gc" in str(caught.value)
        assert not jobs.failures(lab.record(), lab.ledger)
        for name in ("big", "map.npy"):
            for file in disk.rglob(name):
                file.unlink()
        for file in disk.rglob("log-*.txt"):
            file.unlink()
        assert not has_full_disk(disk)
        lab.run()
        assert len(lab.started()) == 18


def fill(file: Path) -> None:
    """Write to a file until the disk is full."""
    with writing(file) as opened:
        while True:
            opened.write(bytes(100_000))


def fill_up(disk: Path) -> None:
    """Leave no room on a disk."""
    with (disk / "fill").open("wb", buffering=0) as file:
        for _ in range(100_000):
            try:
                file.write(bytes(4096))
            except OSError:
                return


def test_the_conductors_own_full_disk_is_named_with_its_place(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        lab = Lab(disk)
        record = lab.record()
        fill_up(disk)
        with pytest.raises(DiskFullError) as caught:
            conductor.run(record, lab.ledger, LocalWorkers(1), disk / "reports", lambda event: None, FAKE)
        assert str(disk) in str(caught.value)


def test_a_write_names_its_file_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        with pytest.raises(OSError, match="No space") as caught:
            fill(disk / "result.json")
        assert caught.value.filename == str(disk / "result.json")
        assert list(disk.iterdir()) == []


def fail_twice(first: Path, later: Path) -> None:
    """Fail for a full disk, and again while that error is handled."""
    try:
        with as_disk_full_error(first):
            raise OSError(28, "No space left on device", str(first))
    finally:
        raise OSError(28, "No space left on device", str(later))


def test_the_first_error_of_a_full_disk_is_the_one_to_read(tmp_path: Path) -> None:
    first, later = tmp_path / "first", tmp_path / "later"
    with pytest.raises(DiskFullError) as caught, as_disk_full_error(tmp_path):
        fail_twice(first, later)
    assert str(first) in str(caught.value)
    with pytest.raises(ValueError, match="other"), as_disk_full_error(tmp_path):
        raise ValueError("other")


@pytest.mark.parametrize("number", [28, 122])
def test_a_quota_counts_as_a_full_disk_at_any_depth(number: int) -> None:
    caught: BaseException = OSError(number, "full")
    for _ in range(3):
        try:
            raise RuntimeError from caught
        except RuntimeError as error:
            caught = error
    assert is_disk_full(caught)
    assert not is_disk_full(OSError(13, "no permission"))
