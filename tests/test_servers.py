"""A server that is not there is reported within seconds, in whatever way it is not."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mirror_store import study_record

from study.errors import InputError, StudyError
from study.servers import require_answer
from study.tracking.mlflow import sync

LIMIT_S = 1.0


@pytest.fixture
def silent() -> Iterator[int]:
    """Return the port of a server that accepts connections and answers nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_port_that_is_closed_is_reported_at_once(scheme: str, closed: int) -> None:
    with pytest.raises(StudyError, match=f"127.0.0.1:{closed}") as caught:
        require_answer(f"{scheme}://me:secret@127.0.0.1:{closed}/db")
    assert "secret" not in str(caught.value)


def test_a_server_that_never_answers_is_left(silent: int) -> None:
    with pytest.raises(StudyError, match=f"127.0.0.1:{silent}"):
        require_answer(f"http://127.0.0.1:{silent}", LIMIT_S)


def test_syncing_to_a_dead_server_ends_before_any_event_is_read(closed: int, tmp_path: Path) -> None:
    def events() -> Iterator[None]:
        yield from [pytest.fail("read")]

    with pytest.raises(StudyError, match=f"127.0.0.1:{closed}"):
        sync(f"http://127.0.0.1:{closed}", tmp_path, study_record("s"), events())  # type: ignore[arg-type]


def test_judging_an_experiment_of_a_dead_server_is_an_error_of_the_input(closed: int) -> None:
    from study import judge

    with pytest.raises(InputError, match=f"127.0.0.1:{closed}"):
        judge(f"http://127.0.0.1:{closed}", "s")


def test_a_database_whose_driver_is_missing_is_not_called_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(StudyError, match="psycopg2"):
        require_answer("postgresql+psycopg2://me:secret@127.0.0.1:1/db")


@pytest.mark.parametrize("uri", ["sqlite:////a/b.db", "file:///a/b", "databricks", "sqlite:///:memory:"])
def test_a_store_without_a_server_is_not_asked(uri: str) -> None:
    require_answer(uri)
