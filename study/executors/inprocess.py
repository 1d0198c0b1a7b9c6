"""Run each call at once in this process, for tests and debuggers."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from study.environment import environment
from study.executors.base import Call, CallEnded, CallEpoch, Event, Work, detail_of, ending_of, reason_of


@dataclass(frozen=True)
class InProcessEngine:
    """Runs one training after another in the process of the command, where a debugger can stop it."""

    def executor(self, work: Work) -> InProcess:
        """Return an executor."""
        return InProcess()


class InProcess:
    """Runs one call at a time, with the same events as a worker; time limits do not apply."""

    capacity = 1

    def __init__(self) -> None:
        self._events: list[Event] = []

    def submit(self, call: Call) -> None:
        """Run the call to its end; its environment variables are set only while it runs."""
        module, _, function = call.target.partition(":")
        try:
            with environment(call.env):
                job = getattr(importlib.import_module(module), function)
                job(
                    call.run,
                    call.folder,
                    lambda epoch: self._events.append(CallEpoch(call, epoch)),
                    *call.arguments,
                )
        except Exception as error:
            self._events.append(CallEnded(call, ending_of(error), reason_of(error), detail_of(error)))
        else:
            self._events.append(CallEnded(call))

    def wait(self, timeout_s: float) -> list[Event]:
        """Return the events of the calls submitted since the last `wait`."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Do nothing: no call is running."""
