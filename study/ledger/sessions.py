"""Record what one `run` of a study did, after every training, so that a kill loses none of it."""

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
        self._started_at = datetime.now(UTC)
        self._clock_start = time.monotonic()
        self._cpu_start = time.process_time()
        self._trainings = 0

    def training_ended(self) -> None:
        """Count a training that has ended."""
        self._trainings += 1
        self.save()

    def save(self) -> None:
        """Write the session so far."""
        if self._trainings:
            session = {
                "begun": self._started_at.isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - self._clock_start, 1),
                "trainings": self._trainings,
                "workers": self._workers,
                "commit": self._commit,
                "conductor_seconds": round(time.process_time() - self._cpu_start, 2),
            }
            self._ledger.save_session(self._study, self._number, session)

    @cached_property
    def _number(self) -> int:
        return self._ledger.next_session(self._study)

    @cached_property
    def _commit(self) -> str:
        """The commit of the working folder, with the mark of git if files differ from it."""
        try:
            command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
            described = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
            return described.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return "not under version control"
