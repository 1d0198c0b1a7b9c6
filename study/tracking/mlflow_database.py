"""The SQLite file of an MLflow store: where it is, and how it is created."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from urllib.parse import unquote

from study.errors import StudyError
from study.files import write


def database_of(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for other stores."""
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return None if path in ("", uri, ":memory:") else Path(unquote(path))


def is_there(uri: str) -> bool:
    """Return whether a store has been created; a server's always has."""
    file = database_of(uri)
    return file is None or file.exists()


def require_same_file(uri: str, file: Path) -> None:
    """Raise StudyError where the installed SQLAlchemy takes the URI for another file: before 2.1 it decodes none."""
    from sqlalchemy.engine import make_url

    if make_url(uri).database != str(file):
        raise StudyError(
            f"{file}: the installed SQLAlchemy cannot open a path with '?', '#' or '%'. Install SQLAlchemy 2.1, rename "
            "the folder, or name another store in study.toml (mlflow)"
        )


def prepare_database(file: Path) -> None:
    """Create a SQLite store if it is missing, and let readers work while a process writes (WAL).

    MLflow's migrations are no transaction: a store whose creation was killed can never be opened again. They
    therefore run on a temporary file, and the store appears whole.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        from mlflow import MlflowClient

        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            new = Path(folder, "new.db")
            MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
            content = new.read_bytes()
        if not file.exists():  # another study may have created it meanwhile
            write(file, content)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
