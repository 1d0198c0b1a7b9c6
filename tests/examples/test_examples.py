"""The examples of the guide: each study runs and gets a verdict."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "docs" / "examples"
RESULTS = ".study/ledger/runs/*/result.json"
MAX_LINES = 25
VERDICTS = {"supported", "refuted", "undecided"}


def run_example(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a copy of an example in a folder of its own, with a ledger of its own."""
    for file in EXAMPLES.glob(f"{name}.*"):
        shutil.copy(file, folder)
    (folder / "study.toml").write_text('mlflow = "off"\n')
    return subprocess.run(
        [sys.executable, "-m", "study", "run", f"{name}.toml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def run_findings(name: str, folder: Path) -> dict[str, Any]:
    """Run an example in a folder and return its findings."""
    assert len((EXAMPLES / f"{name}.toml").read_text().splitlines()) <= MAX_LINES
    done = run_example(name, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "reports" / name / "findings.json").read_text())
    return found


def test_a_scikit_learn_pipeline_gets_a_verdict_without_torch_and_is_cached(
    tmp_path: Path,
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not needed')\n")
    [claim] = run_findings("digits_pipeline", tmp_path)["claims"]
    assert claim["verdict"] in VERDICTS
    results = {file: file.stat().st_mtime_ns for file in tmp_path.glob(RESULTS)}
    assert len(results) == 2 * 5
    run_findings("digits_pipeline", tmp_path)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob(RESULTS)} == results


def test_a_pytorch_loop_gets_a_verdict_costs_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    [claim] = run_findings("digits_cnn", tmp_path)["claims"]
    assert claim["verdict"] in VERDICTS
    results = [json.loads(file.read_text()) for file in tmp_path.glob(RESULTS)]
    assert len(results) == 3 * 2 * 5, "each of five repetitions searches with two trials"
    # convolution, its bias, and the linear layer over 24 maps of 4 x 4; batch normalisation; a second block
    plain = 24 * 9 + 24 + (24 * 16 + 1) * 10
    deep = 24 * 9 + 24 + 24 * 24 * 9 + 24 + (24 * 4 + 1) * 10
    assert {result["parameters"] for result in results} == {plain, plain + 2 * 24, deep}
    assert not list(tmp_path.glob(".study/ledger/runs/*/checkpoint"))


def test_a_plain_script_gets_a_verdict(tmp_path: Path) -> None:
    findings = run_findings("digits_script", tmp_path)
    [claim] = findings["claims"]
    assert claim["verdict"] in VERDICTS
    assert len(list(tmp_path.glob(RESULTS))) == 2 * 5
    assert "test-seen" in {limit["code"] for limit in findings["limits"]}
