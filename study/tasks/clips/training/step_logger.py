"""Signs of life in a run's log."""

from __future__ import annotations

import logging
import time

_log = logging.getLogger(__name__)

LOG_EVERY_S = 10.0


class StepLogger:
    """Logs how far a long piece of work is, no more often than every ten seconds.

    Args:
        what: The work, such as ``epoch 3``.
        steps: How many it takes.
    """

    def __init__(self, what: str, steps: int) -> None:
        self.what = what
        self.steps = steps
        self._began = self._told = time.monotonic()

    def __call__(self, done: int, about: str = "") -> None:
        """Tell that `done` steps are taken, and something about the last one."""
        now = time.monotonic()
        if now - self._told < LOG_EVERY_S:
            return
        self._told = now
        left_s = (now - self._began) / done * (self.steps - done)
        _log.info("%s: %d of %d steps%s, about %.0f s left", self.what, done, self.steps, about, left_s)
