"""Refused commands change nothing; commands name the ledger that they use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import study
from study.cli.app import app
from study.errors import InputError, StudyError
from study.ledger.store import Ledger
from study.tracking import mlflow_ui

STUDY = """
title = "t"
question = "Does attention help?"
repetitions = 2
[task]
function = "mine:train"
metric = "acc"
data_version = "1"
prepare = ["python", "-c", "import pathlib; pathlib.Path('prepared').touch()"]
[base]
attention = false
broken = true
[design]
kind = "one-factor"
reference = { attention = false }
[factors]
attention = [false, true]
"""
TRAINING = """
def train(config, run):
    if config["broken"] and config["attention"]:
        raise ValueError("out of luck")
    run.report(1, acc=0.5)
    run.test(acc=0.5)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "proj"
    folder.mkdir()
    (tmp_path / "study.toml").write_text('mlflow = "off"\n')
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (folder / "study.toml").write_text('mlflow = "off"\nworkers = 1\n')
    (folder / "mine.py").write_text(TRAINING)
    (folder / "s.toml").write_text(STUDY)
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("command", ["run", "explore"])
def test_retrying_the_failures_of_a_study_that_runs_is_refused_and_keeps_them(
    project: Path, command: str
) -> None:
    from study.executors.inprocess import InProcess

    study.load("s.toml").run(executor=InProcess(), listeners=[])
    (project / "prepared").unlink()
    assert len(list(project.rglob("failure.json"))) == 2
    with Ledger(project / ".study" / "ledger").hold("s"):
        before = contents(project)
        with pytest.raises(StudyError, match="is being run by"):
            getattr(study.load("s.toml"), command)(retry_failed=True, executor=InProcess(), listeners=[])
        assert contents(project) == before


def test_a_first_run_that_is_refused_prepares_nothing(project: Path) -> None:
    with Ledger(project / ".study" / "ledger").hold("s"):
        before = contents(project)
        with pytest.raises(StudyError, match="is being run by"):
            study.load("s.toml").run(listeners=[])
        assert contents(project) == before


def output(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_plan_names_its_ledger_and_the_settings_that_it_does_not_read(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(project / ".study" / "ledger") in output("plan", "s.toml")
    assert "Warning" not in output("plan", "s.toml")
    monkeypatch.chdir(project.parent)
    elsewhere = output("plan", "proj/s.toml")
    assert str(project.parent / ".study" / "ledger") in elsewhere
    assert str(project / "study.toml") in elsewhere
    assert str(project.parent / ".study" / "ledger") in output("status")


@pytest.mark.parametrize(
    ("host", "is_open"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("10.1.2.3", True),
    ],
)
def test_pages_that_others_reach_come_with_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    host: str,
    is_open: bool,
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    class Server:
        def __init__(self, command: list[str], env: dict[str, str], **_: object) -> None:
            started.append((command, env))

        def wait(self, timeout: float | None = None) -> int:
            return 0

        poll = wait

        def terminate(self) -> None: ...

        kill = terminate

    class Probe:
        def __init__(self, *_: object) -> None: ...

        def __enter__(self) -> Probe:
            return self

        def __exit__(self, *_: object) -> None: ...

        def setsockopt(self, *_: object) -> None: ...

        bind = setsockopt

    monkeypatch.setattr("subprocess.Popen", Server)
    monkeypatch.setattr("socket.socket", Probe)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    mlflow_ui.open_pages("postgresql://me:secret@host/db", tmp_path, host=host, port=5000)
    assert ("no login" in capsys.readouterr().err) == is_open
    ((command, env),) = started
    assert "secret" not in " ".join(command), "every user of the machine can list command lines"
    assert env["MLFLOW_BACKEND_STORE_URI"] == "postgresql://me:secret@host/db"


def test_a_wrong_setting_with_a_password_is_refused_without_it(project: Path) -> None:
    (project / "study.toml").write_text('mlflow = ["http://me:secret@host"]\n')
    with pytest.raises(InputError) as caught:
        study.load("s.toml")
    assert "secret" not in str(caught.value)
