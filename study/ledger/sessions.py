"""What one `run` of a study did, kept after every training, so that a kill loses none of it."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime
from functools import cached_property

from study.ledger.store import Ledger


class Session:
    """Counts the trainings of one `run`; nothing is written before the first has ended."""

    def __init__(self, ledger: Ledger, study: str, workers: int) -> None:
        self._ledger = ledger
        self._study = study
        self._workers = workers
        self._begun = datetime.now(UTC)
        self._clock = time.monotonic()
        self._busy = time.process_time()
        self._trainings = 0

    def trained(self) -> None:
        """Count a training that has ended."""
        self._trainings += 1
        self.keep()

    def keep(self) -> None:
        """Write what has been done so far."""
        if self._trainings:
            session = {
                "begun": self._begun.isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - self._clock, 1),
                "trainings": self._trainings,
                "workers": self._workers,
                "commit": self._commit,
                "conductor_seconds": round(time.process_time() - self._busy, 2),
            }
            self._ledger.log_session(self._study, self._number, session)

    @cached_property
    def _number(self) -> int:
        return self._ledger.next_session(self._study)

    @cached_property
    def _commit(self) -> str:
        """The commit that the working folder is at, marked where files differ from it."""
        try:
            command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
            told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
            return told.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return "not under version control"
