"""Synthetic clips are generated once, in parallel, before the first worker starts: those that a run would draw."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_study import small_study

import study
from study.config.registry import Registry
from study.executors.base import Call
from study.executors.inprocess import InProcess
from study.tasks.clips.data import generate as generating
from study.tasks.clips.data.contract import SPLITS
from study.tasks.clips.data.generate import generate

COUNTS = {"train": 40, "validation": 7, "test": 1}


def table(cache: Path, **parameters: Any) -> dict[str, Any]:
    registry = Registry()
    given = {
        "name": "faces",
        **{f"{name}_clips": count for name, count in COUNTS.items()},
        "frames": 4,
        **parameters,
    }
    return {**registry.resolve("dataset", given, "test"), "cache": str(cache)}


@pytest.fixture(params=["one process", "several processes"])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "several processes":
        monkeypatch.setattr(generating, "FEW", 0)
        monkeypatch.setattr(generating, "cpu_cores", lambda: (0, 1))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.usefixtures("processes")
def test_the_files_are_those_that_runs_write_when_they_read(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    generate(Registry(), [table(tmp_path / "a")], lambda done, total: calls.append((done, total)))
    assert calls == [(number, 48) for number in range(1, 49)]

    dataset = Registry().build("dataset", table(tmp_path / "b"))
    for split in SPLITS:
        dataset.split(split).read(np.arange(COUNTS[split]), None)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert len(files(tmp_path / "a")) == 3


def test_what_exists_is_not_generated_again_and_no_data_set_twice(tmp_path: Path) -> None:
    calls: list[int] = []
    first, other = table(tmp_path), table(tmp_path, dilution=0.25)
    generate(Registry(), [first], lambda done, total: None)
    generate(Registry(), [first, other, other], lambda done, total: calls.append(total))
    assert calls == [48] * 48
    generate(Registry(), [first, other], lambda done, total: pytest.fail("nothing is missing"))


def test_data_without_a_cache_and_recorded_data_are_left_to_the_runs(tmp_path: Path) -> None:
    without = {**table(tmp_path), "cache": ""}
    generate(Registry(), [without], lambda done, total: pytest.fail("nothing can be kept"))
    assert not list(tmp_path.iterdir())


class ListsFiles(InProcess):
    """Notes which files of clips exist when the first job starts; runs nothing."""

    def __init__(self, cache: Path) -> None:
        super().__init__()
        self.cache, self.seen = cache, list[str]()

    def submit(self, call: Call) -> None:
        self.seen = [path.name.rpartition("-")[2] for path in self.cache.glob("faces-*.npy")]
        raise KeyboardInterrupt


def test_clips_exist_before_the_first_job_and_their_generation_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.toml").write_text(small_study(epochs=1, seeds=1))
    (tmp_path / "study.toml").write_text('mlflow = "off"\ndevice = "cpu"\n')
    executor = ListsFiles(tmp_path / ".study" / "data")
    with pytest.raises(KeyboardInterrupt):
        study.load(tmp_path / "s.toml", root=tmp_path).run(executor=executor, listeners=[])
    assert sorted(executor.seen) == ["test.npy", "train.npy", "validation.npy"]
    assert "Generating: 98 of 98 clips" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_a_study_that_is_killed_while_clips_are_generated_leaves_no_process(tmp_path: Path) -> None:
    program = f"""
import os
from study.config.registry import Registry
from study.tasks.clips.data import generate as generating

generating.FEW, generating.cpu_cores = 0, lambda: (0, 1)
table = {table(tmp_path, train_clips=400)!r}

def kill(done, total):
    servers = open(f"/proc/self/task/{{os.getpid()}}/children").read().split()
    children = [open(f"/proc/{{pid}}/task/{{pid}}/children").read() for pid in servers]
    print(*servers, *children, flush=True)
    os.kill(os.getpid(), 9)

generating.generate(Registry(), [table], kill)
"""
    killed = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    processes = killed.stdout.readline().split()
    assert killed.wait() == -signal.SIGKILL
    assert len(processes) >= 3
    deadline = time.monotonic() + 60
    while any(map(_is_running, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_running, processes))


def _is_running(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
