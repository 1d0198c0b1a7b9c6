"""Network disks that show the files of other hosts late: nothing counts as failed that is only not visible yet."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.lagging_disk import lagging

from study.executors.inprocess import InProcess
from study.executors.slurm.engine import SlurmJobs
from study.executors.slurm.scheduler import open_scheduler
from study.executors.slurm.settings import Slurm
from study.executors.written import all_visible, written_files
from study.testing import executors as suite

LAG_S = 1.5
FOLDER = "SLOW_DISK"


def write_elsewhere(path: Path, text: str) -> None:
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, str(path), text], check=True)


def test_the_simulated_disk_shows_files_of_others_late_and_own_ones_at_once(tmp_path: Path) -> None:
    with lagging(tmp_path, LAG_S):
        write_elsewhere(tmp_path / "other", "x")
        (tmp_path / "own").write_text("y")
        assert not (tmp_path / "other").exists()
        assert os.listdir(tmp_path) == ["own"]  # noqa: PTH208
        assert [path.name for path in tmp_path.iterdir()] == ["own"]
        with pytest.raises(FileNotFoundError):
            (tmp_path / "other").read_text()
        time.sleep(LAG_S + 0.1)
        assert (tmp_path / "other").read_text() == "x"


def test_what_a_call_wrote_is_compared_with_what_is_visible(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a").write_text("12345")
    (tmp_path / "result.json").write_text("{}")
    (tmp_path / "claim").write_text("process")
    (tmp_path / ".x.partial").write_text("")
    files = written_files(tmp_path)
    assert files == {"weights/a": 5, "result.json": 2}
    assert all_visible(tmp_path, files)
    (tmp_path / "result.json").write_text("{ }")
    assert not all_visible(tmp_path, files)
    (tmp_path / "result.json").unlink()
    assert not all_visible(tmp_path, files)


def jobs() -> SlurmJobs:
    settings = Slurm(
        scheduler="local", max_jobs=2, query_s=0.2, poll_s=0.1, gather_s=0.0, visible_s=60.0, time="60"
    )
    return SlurmJobs(open_scheduler(settings), Path(os.environ[FOLDER]), settings)


def test_a_study_on_a_slow_disk_has_the_same_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")
    for name in ("slow", "quick"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv(FOLDER, str(tmp_path / "slow" / "ledger" / "jobs"))
    with lagging(tmp_path / "slow", LAG_S):
        suite.carry_out("executors.test_slow_disks:jobs", str(tmp_path / "slow"), "study.testing.fake:train")
    executor = f"{InProcess.__module__}:{InProcess.__qualname__}"
    suite.carry_out(executor, str(tmp_path / "quick"), "study.testing.fake:train")
    assert not list((tmp_path / "slow").rglob("failure.json"))
    assert suite._tables(tmp_path / "slow") == suite._tables(tmp_path / "quick")
