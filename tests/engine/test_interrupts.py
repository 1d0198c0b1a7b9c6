"""Whoever ends a study from outside is answered in one message, and what was begun goes on later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.conductors import STUDY


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_batch_system_ends_a_study_as_ctrl_c_does(tmp_path: Path, ending: signal.Signals) -> None:
    (tmp_path / "s.toml").write_text(STUDY.replace("epochs = 3", "epochs = 1000"))
    (tmp_path / "study.toml").write_text('mlflow = "off"\nworkers = 1\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "study", "run", "s.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(ending)
    _, output = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "Interrupted" in output
    assert "Traceback" not in output
    assert list(tmp_path.glob(".study/ledger/runs/*/checkpoint.pt"))
    assert not list(tmp_path.glob(".study/ledger/runs/*/claim"))
