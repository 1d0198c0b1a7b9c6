"""The wheel: it has every file that the package reads, under a name that is free on the package index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from support.lowest import REPOSITORY, pyproject

import study
from study.terminal.program import DISTRIBUTION, as_typed

TAKEN = "study"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    arguments = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(arguments, cwd=REPOSITORY, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    root = REPOSITORY / "study"
    tracked = {
        str(path.relative_to(REPOSITORY))
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {Path(name).suffix for name in tracked} >= {".toml", ".in", ".typ", ".html", ".js", ".json"}
    names = set(zipfile.ZipFile(wheel).namelist())
    assert tracked <= names
    assert {name for name in names if not name.startswith("study/")} == {
        name for name in names if ".dist-info/" in name
    }


def test_the_distribution_has_a_name_of_its_own_and_the_command_is_study(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [metadata] = [name for name in archive.namelist() if name.endswith("dist-info/METADATA")]
    [scripts] = [name for name in archive.namelist() if name.endswith("dist-info/entry_points.txt")]
    described = Parser().parsestr(archive.read(metadata).decode())
    assert described["Name"] == DISTRIBUTION == pyproject()["project"]["name"] != TAKEN
    assert described["Version"] == study.__version__
    assert archive.read(scripts).decode().split() == ["[console_scripts]", "study", "=", "study.cli.app:main"]


def test_no_document_installs_the_package_that_has_the_name_of_the_command() -> None:
    documents = [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").rglob("*.md"),
        REPOSITORY / "pyproject.toml",
    ]
    wrong = [
        (path.name, line)
        for path in documents
        for line in path.read_text(encoding="utf-8").splitlines()
        if any(
            f"{start}{TAKEN}{end}" in line for start in ("install ", "install '", '"') for end in ("[", "==")
        )
        or line.rstrip().endswith(f"pip install {TAKEN}")
    ]
    assert not wrong
    message = "reading videos needs av: pip install 'study[video]'."
    assert as_typed(message) == f"reading videos needs av: pip install '{DISTRIBUTION}[video]'."


@pytest.mark.slow
def test_an_installed_wheel_writes_and_runs_a_study_outside_of_the_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    """The libraries are those of this environment; the package is the wheel's alone."""
    home = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = home / "bin" / "python"
    [site] = home.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    work = tmp_path / "work"
    work.mkdir()
    (work / "study.toml").write_text('mlflow = "off"\n')
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

    def call(*words: str) -> str:
        done = subprocess.run(
            [str(python), *words], cwd=work, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert Path(call("-c", "import study; print(study.__file__)").strip()).is_relative_to(site)
    for task in ("function", "command", "clips"):
        call("-m", "study", "new", task, "--task", task)
        lines = call("-m", "study", "run", f"{task}.toml", "--preset", "smoke", "--json").splitlines()
        assert json.loads(lines[-1])["event"] == "Findings"
        report = work / "reports" / f"{task}@smoke"
        assert (report / "report.pdf").read_bytes().startswith(b"%PDF")
        assert (report / "report.html").is_file()
