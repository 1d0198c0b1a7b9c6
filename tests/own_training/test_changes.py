"""Scripts as people have them: the lines that bring each under study are few, and the study runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MOST_ADDED = 10
SCRIPTS = ("gpt", "images", "lightning_module", "hf_trainer", "hydra_app")
PACKAGES = {
    "lightning_module": ("lightning",),
    "hf_trainer": ("transformers", "accelerate"),
    "hydra_app": ("hydra",),
}
SHORTER = {
    "gpt": ("base.max_iters=40", "base.eval_interval=20"),
    "images": ("base.epochs=1",),
    "lightning_module": ("base.epochs=1",),
    "hf_trainer": ("base.args.num_train_epochs=1",),
    "hydra_app": ("base.trainer.max_epochs=1",),
}


def patched(text: str, diff: str) -> str:
    """Return a text with a unified diff applied; assert that its context fits."""
    before, after, at = text.splitlines(), [], 0
    for line in diff.splitlines()[2:]:
        if hunk := re.match(r"@@ -(\d+)", line):
            after += before[at : int(hunk[1]) - 1]
            at = int(hunk[1]) - 1
        elif line.startswith("+"):
            after.append(line[1:])
        else:
            assert before[at] == line[1:], f"line {at + 1}"
            after += [line[1:]] if line.startswith(" ") else []
            at += 1
    return "\n".join([*after, *before[at:]]) + "\n"


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_documented_changes_are_few_and_give_the_script_that_runs(name: str) -> None:
    diff = (HERE / name / "changes.diff").read_text()
    assert patched((HERE / name / "before.py").read_text(), diff) == (HERE / name / "after.py").read_text()
    added = [line for line in diff.splitlines()[2:] if line.startswith("+") and line[1:].strip()]
    assert 0 < len(added) <= MOST_ADDED


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_guide_shows_every_added_line(name: str) -> None:
    guide = (HERE.parents[1] / "docs/existing_scripts.md").read_text()
    shown = {line.removeprefix("+").strip() for line in guide.splitlines()}
    diff = (HERE / name / "changes.diff").read_text().splitlines()[2:]
    added = [line[1:].strip() for line in diff if line.startswith("+") and line[1:].strip()]
    assert [line for line in added if line not in shown] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_changed_script_runs_under_study(name: str, tmp_path: Path) -> None:
    missing = [package for package in PACKAGES.get(name, ()) if not importlib.util.find_spec(package)]
    if missing:
        pytest.skip(f"needs the package {missing[0]}, which is not installed")
    folder = shutil.copytree(HERE / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "study.toml").rename(folder / "question.toml")
    (folder / "study.toml").write_text('mlflow = "off"\n')
    changes = [part for change in ("repetitions=1", *SHORTER[name]) for part in ("--set", change)]
    run = subprocess.run(
        [sys.executable, "-m", "study", "run", "question.toml", *changes],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    [findings] = folder.glob("reports/*/findings.json")
    tested = [variant["repetitions"] for variant in json.loads(findings.read_text())["variants"]]
    assert [len(seeds) for seeds in tested] == [1, 1]
