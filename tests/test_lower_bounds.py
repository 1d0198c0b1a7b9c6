"""The lowest versions that pyproject.toml allows: the project installs with them, and works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version
from support.lowest import REPOSITORY, lowest, lowest_of_project, pyproject

INSTALL_S, STUDY_S, TESTS_S = 3000, 600, 1800
OUTSIDE = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST"))}
"""The environment before fixtures changed it: `no_downloads` of conftest would keep pip from its index."""
SAMPLE = (
    "tests/statistics",
    "tests/reporting",
    "tests/spec/test_study_file.py",
    "tests/commands/test_command_line.py",
    "tests/components/test_golden.py",
    "tests/components/test_weights.py",
    "tests/data/test_decoders.py",
    "tests/data/test_pack.py",
    "tests/training/test_disentanglement.py",
    "tests/training/test_metrics.py",
    "tests/training/test_predictions.py",
    "tests/test_api.py",
    "tests/test_profiling.py",
    "tests/test_tracking.py",
    "tests/test_dashboard.py",
)
"""At least one test of each direct dependency."""


def test_every_requirement_has_a_lower_bound_that_it_allows() -> None:
    assert lowest(["a>=2.11", "b>=3.17,!=3.18.0,<4", "c[x]~=1.4.2", "d==5"]) == {
        "a": "2.11",
        "b": "3.17",
        "c": "1.4.2",
        "d": "5",
    }
    for wrong in ("a", "a<3", "a>=2,!=2.0"):
        with pytest.raises(ValueError, match="no version that is its lower bound"):
            lowest([wrong])
    assert {"torch", "optuna", "av", "pytest"} <= lowest_of_project().keys()


def call(*words: str | Path, timeout_s: float, folder: Path = REPOSITORY) -> str:
    """Run a program outside of this process's environment of Python; return what it prints."""
    env = OUTSIDE | {"PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, words)), cwd=folder, env=env, capture_output=True, text=True, timeout=timeout_s
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    """Return the interpreter of a virtual environment with the lowest versions; removed afterwards, as it is large."""
    with tempfile.TemporaryDirectory(prefix="lowest-") as folder:
        call(sys.executable, "-m", "venv", folder, timeout_s=INSTALL_S)
        python = Path(folder) / "bin" / "python"
        constraints = Path(folder) / "lowest.txt"
        constraints.write_text("".join(f"{name}=={v}\n" for name, v in lowest_of_project().items()))
        build = [f"{name}=={v}" for name, v in lowest(pyproject()["build-system"]["requires"]).items()]
        install = (python, "-m", "pip", "install", "--quiet")
        call(*install, *build, timeout_s=INSTALL_S)
        call(*install, "--no-build-isolation", "-c", constraints, ".[test]", timeout_s=INSTALL_S)
        yield python


@pytest.mark.slow
def test_the_lowest_versions_are_what_is_installed(python: Path) -> None:
    listed = json.loads(call(python, "-m", "pip", "list", "--format", "json", timeout_s=60))
    installed = {
        canonicalize_name(item["name"]): Version(item["version"].partition("+")[0]) for item in listed
    }
    wanted = {canonicalize_name(name): Version(v) for name, v in lowest_of_project().items()}
    assert {name: installed[name] for name in wanted} == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["docs/examples/digits_pipeline.toml"], ["ablations/issm.toml", "--preset", "smoke"]], ids=str
)
def test_a_study_runs_with_the_lowest_versions(python: Path, tmp_path: Path, words: list[str]) -> None:
    for name in ("docs/examples", "ablations"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    (tmp_path / "docs/examples/study.toml").unlink()
    (tmp_path / "study.toml").write_text('device = "cpu"\n')
    call(python, "-m", "study", "run", *words, timeout_s=STUDY_S, folder=tmp_path)
    [found] = tmp_path.glob("reports/*/findings.json")
    variants = json.loads(found.read_text())["variants"]
    assert len(variants) == 2
    assert all(variant["score"]["mean"] > 0 for variant in variants)
    assert found.with_name("report.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_a_sample_of_the_tests_passes_with_the_lowest_versions(python: Path) -> None:
    call(python, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *SAMPLE, timeout_s=TESTS_S)
