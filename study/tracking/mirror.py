"""The base of all mirrors: a listener that queues what it is to write, and one thread that writes it."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from study.engine.events import Event, Listener

_log = logging.getLogger(__name__)
Item = TypeVar("Item")

DRAIN_SECONDS = 30.0
PROBE_AFTER_SECONDS = 1.0
"""How long leaving the context waits before it asks whether the store answers."""
UNLIMITED = 0


class QueuedMirror(ABC, Generic[Item]):
    """Writes queued items in one thread, so that a slow or broken store never delays a training.

    Nothing is opened before the first item: a study that is refused leaves no trace in the store.

    Args:
        capacity: The most items that may wait; further ones are dropped and counted. `UNLIMITED` for no limit.
        drain_seconds: The longest time that leaving the context waits for the items still queued.
    """

    stops_at_errors = False
    """Whether the first error in writing ends all writing; an error in opening the store always does."""

    def __init__(self, *, capacity: int, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._queue: queue.Queue[Item | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._write_items, name=type(self).__name__, daemon=True)
        self._is_abandoned = False
        self._has_warned = False
        self._queued = 0
        self._written = 0

    @abstractmethod
    def __call__(self, event: Event) -> None:
        """Queue what an event adds to the mirror, with `_put`; called by the study's own thread."""

    @abstractmethod
    def _open(self) -> Callable[[Item], None]:
        """Open the store and return the function that writes an item; called by the writing thread."""

    def _close(self) -> None:
        """Finish the store after the last item; called by the writing thread."""

    def _answers(self) -> bool:
        """Return whether waiting for the store is worth while; called on leaving the context with items queued."""
        return True

    @abstractmethod
    def _error_message(self, reason: str) -> str:
        """Return the one warning that errors cause."""

    @abstractmethod
    def _report_lost(self, lost: int, queued: int) -> None:
        """Warn that `lost` of the `queued` items were not written."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        deadline = time.monotonic() + self._drain_seconds
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=self._drain_seconds)
        self._thread.join(min(self._drain_seconds, PROBE_AFTER_SECONDS))
        if self._thread.is_alive() and self._answers():
            self._thread.join(max(0.0, deadline - time.monotonic()))
        self._is_abandoned = True
        if lost := self._queued - self._written:
            self._report_lost(lost, self._queued)

    def _put(self, item: Item) -> None:
        self._queued += 1
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._warn("more events than it can take")

    def _write_items(self) -> None:
        write: Callable[[Item], None] | None = None
        is_broken = False
        while not self._is_abandoned and (item := self._queue.get()) is not None:
            if is_broken:
                continue
            try:
                if write is None:
                    is_broken = True
                    write = self._open()
                    is_broken = False
                write(item)
                self._written += 1
            except Exception as error:
                self._warn(error)
                is_broken = is_broken or self.stops_at_errors
        if write is not None and not self._is_abandoned:
            with contextlib.suppress(Exception):
                self._close()

    def _warn(self, reason: object) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning("%s", self._error_message(first_line(reason)))


def no_mirror() -> contextlib.AbstractContextManager[Listener]:
    """Return the context of a listener that does nothing."""
    return contextlib.nullcontext(lambda event: None)


def first_line(reason: object) -> str:
    """Return the first line of an error's message, or its representation if it has none."""
    return (str(reason).splitlines() or [repr(reason)])[0]
