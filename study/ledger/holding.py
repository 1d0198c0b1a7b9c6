"""The locks of a ledger: who carries out a study, who works in a run's folder, and who has ended without release."""

from __future__ import annotations

import logging
import re
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.errors import StudyError, wrong_value
from study.files import write
from study.ledger import layout
from study.ledger.locks import (
    BEAT_S,
    LEASE_S,
    Holder,
    holder_of,
    is_own,
    named_holder,
    release,
    renewing,
    seconds_since_renewal,
    take,
)
from study.names import is_folder_name
from study.records import RunSpec

WAIT_S = 10.0
"""Between two looks at a lock that is about to expire."""
MISSED_S = 3 * BEAT_S
"""After so long without a renewal the process has probably ended."""
_log = logging.getLogger(__name__)


class Locks:
    """Takes and releases the locks of one ledger folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._acquired: Counter[Path] = Counter()
        """How many jobs of this process work in each folder."""
        self._study_lock: Path | None = None
        """The lock of the study that this process carries out."""

    def run_folder(self, run: RunSpec) -> Path:
        """Return the folder of a run."""
        return self.root / layout.RUNS / run.id

    @contextmanager
    def hold(self, study: str) -> Iterator[None]:
        """Lock the study against a second conductor; do nothing inside a block that holds it.

        Raises:
            StudyError: Another process, which the message names, holds the study.
        """
        lock = self._study(study) / layout.LOCK
        if self._study_lock == lock:
            yield
            return
        self.require_free(study)
        if holder := take(lock, lease_s=LEASE_S):
            raise self._held_error(study, holder)
        try:
            (self._study(study) / layout.STOP).unlink(missing_ok=True)
            self._study_lock = lock
            with renewing(lock):
                yield
        finally:
            self._study_lock = None
            release(lock)

    def require_free(self, study: str) -> None:
        """Raise StudyError if a process holds the study; first wait for one elsewhere that seems to have ended."""
        lock = self._study(study) / layout.LOCK
        has_warned = False
        while (holder := self.holder(study)) and _misses_renewals(lock, holder):
            if not has_warned:
                _log.warning("%s no longer renews its lock of the study; waiting until that expires", holder)
            has_warned = True
            time.sleep(WAIT_S)
        if holder:
            raise self._held_error(study, holder)

    def _held_error(self, study: str, holder: Holder) -> StudyError:
        wait = f"the study {study!r} is being run by {holder}. Wait for it, or end it with `study stop`"
        return StudyError(f"{wait}; {self.how_to_unlock(holder)}" if holder.is_elsewhere else f"{wait}.")

    def locks(self) -> Iterator[tuple[Path, Holder]]:
        """Yield every lock of the ledger with the process that it names."""
        for parent, name in (
            (layout.STUDIES, layout.LOCK),
            (layout.RUNS, layout.CLAIM),
            (layout.PROFILES, layout.CLAIM),
        ):
            for path in sorted((self.root / parent).glob(f"*/{name}*")):
                if re.fullmatch(rf"{name}(-[0-9a-f]+)?", path.name) and (holder := named_holder(path)):
                    yield path, holder

    def how_to_unlock(self, holder: Holder) -> str:
        """Return what to do if a process on another host has ended without removing its locks."""
        files = ", ".join(str(path) for path, other in self.locks() if other == holder)
        command = shlex.join(["study", "unlock", "--host", holder.host])
        return f"if that process is gone, remove its locks with `{command}`, or delete {files}."

    def has_study(self, holder: Holder) -> bool:
        """Return whether a process holds a study, as every conductor does that has claimed a run."""
        locks = (self.root / layout.STUDIES).glob(f"*/{layout.LOCK}")
        return any(named_holder(lock) == holder for lock in locks)

    def remove_lock(self, lock: Path, holder: Holder) -> None:
        """Remove a lock if it still names the process."""
        if named_holder(lock) == holder:
            lock.unlink(missing_ok=True)

    def check_lock(self) -> None:
        """Raise StudyError where this process no longer has the lock of the study that it carries out."""
        if self._study_lock is not None and not is_own(self._study_lock):
            raise StudyError(
                f"{self._study_lock} was removed, as `study unlock` does: another process may run this study now, so "
                "this one stops. Finished work is kept."
            )

    def holder(self, study: str) -> Holder | None:
        """Return the process that is carrying the study out; None if there is none."""
        return holder_of(self._study(study) / layout.LOCK)

    def request_stop(self, study: str) -> Holder | None:
        """Ask the study's conductor to end as for Ctrl-C; return its process, None if there is none."""
        if holder := self.holder(study):
            write(self._study(study) / layout.STOP, "")
        return holder

    def stop_requested(self, study: str) -> bool:
        """Return whether the study's conductor is to end."""
        return (self._study(study) / layout.STOP).exists()

    def acquire(self, folder: Path) -> Holder | None:
        """Lock a job's folder against other conductors; return the process that has it if it is taken.

        Several jobs of one conductor may acquire a folder, and each releases it.
        """
        if not self._acquired[folder] and (holder := take(folder / layout.CLAIM, self._study_lock)):
            return holder
        self._acquired[folder] += 1
        return None

    def release(self, folder: Path) -> None:
        """Release a folder once."""
        self._acquired[folder] -= 1
        if not self._acquired[folder]:
            del self._acquired[folder]
            release(folder / layout.CLAIM)

    def release_all(self) -> None:
        """Release every folder that this conductor still has."""
        for folder in self._acquired:
            release(folder / layout.CLAIM)
        self._acquired.clear()

    def run_holder(self, run: RunSpec) -> Holder | None:
        """Return the process that is working on a run; None if there is none."""
        return holder_of(self.run_folder(run) / layout.CLAIM)

    def _study(self, name: str) -> Path:
        if not is_folder_name(name):
            raise wrong_value(
                "", f"the ledger {self.root} has no study {name!r}: that is no name of a study."
            )
        return self.root / layout.STUDIES / name


def _misses_renewals(lock: Path, holder: Holder) -> bool:
    """Return whether a process on another host has not renewed its lock as it promised."""
    if not holder.lease_s or not holder.is_elsewhere:
        return False
    seconds = seconds_since_renewal(lock)
    return seconds is not None and seconds > MISSED_S
