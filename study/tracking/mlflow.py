"""Mirror a study's events into MLflow, live, for people to browse; nothing is ever read back into a plan."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from study.engine.events import Event, Listener
from study.errors import StudyError, conflict, without_passwords
from study.ledger.record import StudyRecord
from study.servers import require_answer
from study.tracking.mirror import DRAIN_SECONDS, QueuedMirror, first_line, no_mirror
from study.tracking.mlflow_store import ExperimentStore, now_ms

_log = logging.getLogger(__name__)
OFF = "off"
"""Replaces a store's URI: no mirror."""


def mirror(uri: str, artifacts: Path, study: StudyRecord) -> contextlib.AbstractContextManager[Listener]:
    """Return the mirror of `study` in the store at `uri`, or a listener that does nothing if it is ``off``."""
    return no_mirror() if uri == OFF else MlflowMirror(uri, artifacts, study)


class MlflowMirror(QueuedMirror[tuple[int, Event]]):
    """A listener that mirrors a study into one experiment of an MLflow store.

    A store that is down, slow or broken causes one warning when it shows and one on leaving, with the number
    of lost events. The same study mirrored again adds what is missing and repeats nothing.

    Args:
        uri: An MLflow store, ``sqlite:///path``; created if it is missing.
        artifacts: The folder for configurations and reports.
        study: The study's record; its name is the experiment's.
        capacity: The most events that may wait; further ones are dropped and counted.
        drain_seconds: The longest time that leaving the context waits for the events still queued.
    """

    def __init__(
        self,
        uri: str,
        artifacts: Path,
        study: StudyRecord,
        *,
        capacity: int = 10_000,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        super().__init__(capacity=capacity, drain_seconds=drain_seconds)
        self._uri = uri
        self._artifacts = artifacts
        self._study = study
        self._store: ExperimentStore | None = None

    def __call__(self, event: Event) -> None:
        """Queue an event, or drop and count it if the queue is full."""
        self._put((now_ms(), event))

    def _open(self) -> Callable[[tuple[int, Event]], None]:
        store = self._store = ExperimentStore(self._uri, self._artifacts, self._study)
        return lambda item: store.write(*item)

    def _close(self) -> None:
        if self._store is not None:
            self._store.end_running(now_ms())

    def _answers(self) -> bool:
        try:
            require_answer(self._uri)
        except StudyError:
            return False
        return True

    def _error_message(self, reason: str) -> str:
        return without_passwords(
            f"MLflow at {self._uri}: {reason}. Training continues; the mirror may lack events."
        )

    def _report_lost(self, lost: int, queued: int) -> None:
        _log.warning(
            "%d of %d events did not reach MLflow at %s. The ledger has them all: "
            "the next run of this study mirrors what is missing, and so does `study sync %s`",
            lost,
            queued,
            without_passwords(self._uri),
            self._study.name,
        )


def sync(uri: str, artifacts: Path, study: StudyRecord, events: Iterable[Event]) -> None:
    """Write the events of `study` into the store at `uri`: what is missing is added, nothing repeated.

    Runs are matched by their tags. No other process may mirror the study meanwhile.

    Raises:
        InputError: Mirroring is off.
        StudyError: The store cannot be read or written.
    """
    if uri == OFF:
        raise conflict("mlflow", "is 'off' in study.toml: there is no mirror to rebuild.")
    with _as_study_error(uri):
        store = ExperimentStore(uri, artifacts, study)
    for event in events:
        with _as_study_error(uri):
            store.write(now_ms(), event)
    with _as_study_error(uri):
        store.end_running(now_ms())


@contextlib.contextmanager
def _as_study_error(uri: str) -> Iterator[None]:
    """Turn any exception of MLflow into an error of one line."""
    try:
        yield
    except Exception as error:
        raise StudyError(f"MLflow at {uri}: {first_line(error)}. The ledger is unchanged.") from error
