from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command_lab import STUDY, CommandLab


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "s.toml").write_text(STUDY)
    (folder / "study.toml").write_text('mlflow = "off"\n')
    CommandLab(folder).run(write=None)
    return folder


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLab:
    (tmp_path / "s.toml").write_text(STUDY)
    (tmp_path / "study.toml").write_text('mlflow = "off"\n')
    monkeypatch.chdir(tmp_path)
    return CommandLab(tmp_path)


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLab:
    shutil.copytree(finished_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return CommandLab(tmp_path)
