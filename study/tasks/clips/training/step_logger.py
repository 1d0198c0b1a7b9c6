"""Progress of long computations in a run's log."""

from __future__ import annotations

import logging
import time

_log = logging.getLogger(__name__)

LOG_EVERY_S = 10.0


class StepLogger:
    """Logs the progress of a computation, at most once in `LOG_EVERY_S` seconds.

    Args:
        name: The computation, such as ``epoch 3``.
        steps: Number of its steps.
    """

    def __init__(self, name: str, steps: int) -> None:
        self.name = name
        self.steps = steps
        self._began = self._last_logged = time.monotonic()

    def __call__(self, done: int, details: str = "") -> None:
        """Log that `done` steps are finished, with `details` on the last one."""
        now = time.monotonic()
        if now - self._last_logged < LOG_EVERY_S:
            return
        self._last_logged = now
        left_s = (now - self._began) / done * (self.steps - done)
        _log.info("%s: %d of %d steps%s, about %.0f s left", self.name, done, self.steps, details, left_s)
