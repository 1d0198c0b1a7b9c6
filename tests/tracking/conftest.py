"""MLflow stores for tests of the mirror."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support.mirror_store import MirrorStore

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


@pytest.fixture(scope="session")
def first_mirror(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A mirror where no store was before, in a process of its own: making a store takes seconds."""
    folder = tmp_path_factory.mktemp("first")
    code = (
        "import os, sys; from pathlib import Path; from study.tracking.mlflow import MlflowMirror\n"
        "where = Path(sys.argv[1])\n"
        "assert 'mlflow' not in sys.modules\n"
        "from study.engine.events import StudyStarted\n"
        "from support.mirror_store import study_record\n"
        "uri, record = f'sqlite:///{where}/deep/mlflow.db', study_record('first')\n"
        "with MlflowMirror(uri, where / 'artifacts', record, drain_seconds=300) as tracker:\n"
        "    tracker(StudyStarted(None, 0, 0))\n"
        "assert os.environ['MLFLOW_DISABLE_TELEMETRY'] == 'true'\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parents[2], Path(__file__).parents[1]))),
    }
    command = [sys.executable, "-c", code, str(folder)]
    return folder, subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="session")
def template(first_mirror: tuple[Path, subprocess.CompletedProcess[str]]) -> sqlite3.Connection:
    return sqlite3.connect(first_mirror[0] / "deep" / "mlflow.db")


@pytest.fixture
def store(template: sqlite3.Connection, tmp_path: Path) -> MirrorStore:
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as copy:
        template.backup(copy)
    return MirrorStore(tmp_path)
