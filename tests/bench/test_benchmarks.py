"""The command `bench` and the script for machines with a GPU, both where there is none."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from study.bench import run as running
from study.bench.result import NEEDS_GPU, Measured
from study.bench.run import BENCHMARKS, measured
from study.bench.throughput import loader
from study.bench.workers import scale
from study.cli.app import app
from study.errors import InputError

SCRIPT = Path(running.__file__).with_name("gpu_check.sh")


def fake(repeats: int = 2) -> list[Measured]:
    return [Measured("a", "ms", 4.0, 2.0, repeats=repeats, versions={"torch": "2"})]


def fake_of_two_devices(device: str = "cpu", repeats: int = 2) -> list[Measured]:
    return [Measured(f"b on {device}", "ms", 4.0, 2.0, repeats=repeats)]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = {"step": f"{__name__}:fake_of_two_devices", "small": f"{__name__}:fake"}
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr(running, "BENCHMARKS", fakes)
    monkeypatch.setattr(running, "cuda_devices", lambda: ())


@pytest.mark.usefixtures("fakes")
def test_json_is_all_that_is_printed_and_holds_both_sides_and_their_ratio() -> None:
    ended = CliRunner().invoke(app, ["bench", "all", "--json", "--repeats", "1"])
    assert ended.exit_code == 0, ended.output
    on_cpu, on_gpu, small = json.loads(ended.stdout)
    assert (on_cpu["before"], on_cpu["after"], on_cpu["ratio"], on_cpu["repeats"]) == (4.0, 2.0, 2.0, 1)
    assert (on_gpu["before"], on_gpu["after"]) == (None, None)
    assert small["versions"] == {"torch": "2"}


@pytest.mark.usefixtures("fakes")
def test_what_needs_a_gpu_is_named_where_there_is_none_and_measured_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = CliRunner().invoke(app, ["bench", "step"]).stdout
    assert NEEDS_GPU in table
    monkeypatch.setattr(running, "cuda_devices", lambda: (0,))
    assert [result.name for result in measured("step")] == ["b on cpu", "b on cuda"]


def test_an_unknown_benchmark_is_named_with_the_nearest_one() -> None:
    ended = CliRunner().invoke(app, ["bench", "scal"])
    assert isinstance(ended.exception, InputError)
    assert "'scale'" in str(ended.exception)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_takes_a_number_of_repeats(name: str) -> None:
    module, _, function = BENCHMARKS[name].partition(":")
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not part of this checkout")
    assert "repeats" in inspect.signature(getattr(importlib.import_module(module), function)).parameters


def test_the_harness_is_measured_on_both_sides() -> None:
    results = scale(repeats=1, runs=(100, 110), clips=20)
    assert [result.ratio is not None and result.ratio > 0 for result in results] == [True] * 3
    assert {result.unit for result in results} == {"ms a run", "ms", "s"}


def test_every_loader_is_measured_beside_pil() -> None:
    results = loader(repeats=1, clips=16, seconds=0.01)
    assert all(result.ratio is not None and not result.lower_is_better for result in results)
    assert {"study, packed", "study, raw, pillow"} <= {result.name.rpartition(", ")[0] for result in results}


def test_the_script_for_gpus_is_sound_and_runs_to_its_end_without_one(tmp_path: Path) -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    environment = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(
        [str(SCRIPT), "--quick"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = [part.splitlines() for part in ended.stdout.split("== ")[1:]]
    assert len(figures) == 4
    assert all(lines[1] == NEEDS_GPU for lines in figures)
    assert not ended.stderr
