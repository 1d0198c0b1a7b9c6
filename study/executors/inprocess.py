"""Runs each task at once, in this process: for tests and debuggers."""

from __future__ import annotations

import importlib
import traceback

from study.executors.base import Ended, EpochEnded, Event, Task, ending_of


class InProcess:
    """One task at a time, its exceptions turned into the same events as a worker's."""

    capacity = 1

    def __init__(self) -> None:
        self._events: list[Event] = []

    def submit(self, task: Task) -> None:
        """Run the task to its end."""
        module, _, function = task.target.partition(":")
        try:
            job = getattr(importlib.import_module(module), function)
            job(
                task.run,
                task.folder,
                lambda epoch: self._events.append(EpochEnded(task, epoch)),
                *task.arguments,
            )
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self._events.append(Ended(task, ending_of(error), reason, traceback.format_exc()))
        else:
            self._events.append(Ended(task))

    def wait(self, timeout_s: float) -> list[Event]:
        """Return the events of the tasks submitted since the last call."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Nothing is left running."""
