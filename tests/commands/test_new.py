"""`study new`: each study that it writes is planned and run as it is, and nothing is overwritten."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import study
from study.cli import new as command
from study.cli.app import app
from study.errors import InputError


def started(*words: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(study.__file__).parents[1])}
    arguments = [sys.executable, "-m", "study", *words]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=folder, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def invoked(*words: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, ["new", *words], input=typed, catch_exceptions=False)


@pytest.mark.parametrize("task", list(command.TASKS))
def test_a_written_study_is_planned_and_run_as_it_is(tmp_path: Path, task: str) -> None:
    (tmp_path / "study.toml").write_text('mlflow = "off"\n')
    started("new", "first-try", "--task", task, "--folder", "ablations", folder=tmp_path)
    file = "ablations/first-try.toml"
    plan = json.loads(started("plan", file, "--json", folder=tmp_path))
    assert (plan["trainings"], plan["cached"], len(plan["variants"])) == (10, 0, 2)
    lines = started("run", file, "--preset", "smoke", "--json", folder=tmp_path).splitlines()
    findings = json.loads(lines[-1])
    assert findings["event"] == "Findings"
    assert [claim["verdict"] for claim in findings["claims"]] == ["undecided"]


def test_no_file_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    invoked("mine", "--task", "function")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert {path.name for path in before} == {"mine.toml", "train_mine.py"}
    for task in command.TASKS:
        with pytest.raises(InputError, match=r"mine\.toml"):
            invoked("mine", "--task", task)
    (tmp_path / "mine.toml").unlink()
    with pytest.raises(InputError, match=r"train_mine\.py"):
        invoked("mine", "--task", "command")
    assert (tmp_path / "train_mine.py").read_bytes() == before[tmp_path / "train_mine.py"]
    assert not (tmp_path / "mine.toml").exists()


def test_any_question_is_written_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    question = 'Is "$lr" = 1\\3 better?\t✓'
    invoked("mine", "--task", "command", "--question", question)
    assert tomllib.loads(Path("mine.toml").read_text(encoding="utf-8"))["question"] == question
    ast.parse(Path("train_mine.py").read_text(encoding="utf-8"))


def test_a_terminal_is_asked_for_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_is_asking", lambda: True)
    assert invoked(typed="depth\nclips\nIs deeper better?\n").exit_code == 0
    assert tomllib.loads(Path("depth.toml").read_text())["question"] == "Is deeper better?"


@pytest.mark.parametrize("words", [(), ("mine",), ("a/b", "--task", "clips")])
def test_nothing_is_written_where_something_is_missing_or_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        invoked(*words)
    assert not list(tmp_path.iterdir())
