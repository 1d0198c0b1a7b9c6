"""A project in a folder whose name has a meaning in a URI has its MLflow store inside that folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.mirror_store import study_record

from study.config.settings import settings, sqlite_uri
from study.tracking.mlflow_database import database_of
from study.tracking.mlflow_store import ExperimentStore, now_ms

ODD = ["лаб #1 50% what?", "a%20b", "100%", "#", "what?x=1", "a;b&c=d", 'it\'s "q"', "a+b c", "~a", "[x]"]


@pytest.mark.parametrize("name", ODD)
def test_the_uri_of_a_store_leads_back_to_its_file(tmp_path: Path, name: str) -> None:
    from sqlalchemy.engine import make_url

    file = tmp_path / name / "mlflow.db"
    assert database_of(sqlite_uri(file)) == file
    assert make_url(sqlite_uri(file)).database == str(file)


def test_the_store_of_a_project_in_an_odd_folder_lies_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ODD[0]
    folder.mkdir()
    (folder / "study.toml").touch()
    monkeypatch.chdir(folder)
    here = settings(folder)
    for _ in range(2):
        store = ExperimentStore(here.mlflow, here.artifacts, study_record("s @ 100 %?#"))
        run = store._summary_run(now_ms(), "a")
        store._client.log_text(run.id, "text", "note.txt")
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert sorted(path.name for path in folder.iterdir()) == [".study", "study.toml"]
    assert (folder / ".study" / "mlflow" / "mlflow.db").is_file()
    assert len(list(here.artifacts.rglob("note.txt"))) == 1
