"""What of a ledger can be freed: nothing that a report or a resumed study would ever read, nothing in use."""

from __future__ import annotations

import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from study.config.settings import Keep
from study.engine import plan
from study.engine.status import studies
from study.ledger.locks import Holder, holder_of, release, take
from study.ledger.record import RunState
from study.ledger.store import CHECKPOINTS, CLAIM, LOCK, OF_TRIALS, Ledger, Snapshot

Reason = Literal[
    "checkpoints of runs that are finished",
    "checkpoints of trials that were pruned",
    "weights and predictions of search trials",
    "files that a crash left half-written",
    "locks and claims of processes that are gone",
    "runs that no study refers to",
]

ASIDE = re.compile(r"\..+\.[a-z0-9_]{8,12}")
"""How `study.files.write` names a file until it is whole."""
ASIDE_AGE_S = 600
"""A younger one may be being written, by a process that holds nothing yet."""


@dataclass(frozen=True)
class Reclaimable:
    """A file or folder that can be freed."""

    path: Path
    reason: Reason
    bytes: int


def reclaimable(ledger: Ledger, keep: Keep = "confirmed", *, unreferenced: bool = False) -> list[Reclaimable]:
    """Return what can be freed now.

    Args:
        ledger: What is looked through.
        keep: Whose weights are to stay.
        unreferenced: List runs that no study of the ledger refers to as well; none while a study is being run,
            for it may be about to refer to them.
    """
    asked = _Asked(ledger)
    found: list[Reclaimable] = []
    for folder in _folders(ledger.root / "runs"):
        if folder.name in asked.in_use or holder_of(folder / CLAIM):
            continue
        if unreferenced and folder.name not in asked.of and not asked.held:
            found.append(Reclaimable(folder, "runs that no study refers to", _size(folder)))
            continue
        found += [
            Reclaimable(folder / name, reason, _size(folder / name))
            for name, reason in _of_run(ledger.state(folder.name), asked.of.get(folder.name, ()), keep)
            if (folder / name).exists()
        ]
        found += _litter(folder)
    for folder in _folders(ledger.root / "studies"):
        if folder.name not in asked.held:
            found += [*_litter(folder), *_litter(folder / "suggestions"), *_litter(folder / "sessions")]
    if not asked.held:
        for folder in (*_folders(ledger.root / "profiles"), ledger.root / "code", ledger.root):
            found += _litter(folder)
    return found


def free(spares: Iterable[Reclaimable], ledger: Ledger) -> list[Reclaimable]:
    """Remove what was found, but for what has come into use since; return what was removed."""
    return [found for found in spares if _freed(found, ledger)]


class _Asked:
    """What the studies of a ledger ask of its runs."""

    def __init__(self, ledger: Ledger) -> None:
        names = studies(ledger)
        self.held = {name for name in names if ledger.holder(name)}
        self.in_use: set[str] = set()
        """Runs of studies that are being run."""
        self.of: Mapping[str, list[tuple[plan.Job, RunState]]] = defaultdict(list)
        """What is asked of each run, and how it stands."""
        states = Snapshot(ledger)
        for name in names:
            for job in plan.trainings(ledger.study(name), states):
                self.of[job.run.id].append((job, job.seen(states)))
                if name in self.held:
                    self.in_use.add(job.run.id)


def _of_run(
    state: RunState, asked: Iterable[tuple[plan.Job, RunState]], keep: Keep
) -> Iterator[tuple[str, Reason]]:
    """Yield the names of a run's files that nobody will read again."""
    only_tried = bool(asked) and all(job.purpose == "search" for job, _ in asked)
    for name in CHECKPOINTS:
        if state.result is not None:
            yield name, "checkpoints of runs that are finished"
        elif only_tried and keep != "all" and all(seen.pruned is not None for _, seen in asked):
            yield name, "checkpoints of trials that were pruned"
    if state.result is not None and only_tried and keep != "all":
        for name in OF_TRIALS:
            yield name, "weights and predictions of search trials"


def _litter(folder: Path) -> Iterator[Reclaimable]:
    """Yield what killed processes left in a folder."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if ASIDE.fullmatch(path.name) and time.time() - path.stat().st_mtime > ASIDE_AGE_S:
            yield Reclaimable(path, "files that a crash left half-written", _size(path))
        elif re.match(rf"({LOCK}|{CLAIM})(-|$)", path.name) and holder_of(path) is None:
            yield Reclaimable(path, "locks and claims of processes that are gone", _size(path))


def _freed(found: Reclaimable, ledger: Ledger) -> bool:
    """Remove one thing, unless somebody has come to hold it."""
    path = found.path
    if found.reason == "locks and claims of processes that are gone":
        return _taken_and_released(path)
    if found.reason == "files that a crash left half-written":
        path.unlink(missing_ok=True)
        return True
    whole = found.reason == "runs that no study refers to"
    folder = path if whole else path.parent
    if (whole and any(ledger.holder(name) for name in studies(ledger))) or ledger.claim(folder):
        return False
    try:
        if whole or path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    finally:
        ledger.release(folder)
    return True


def _taken_and_released(lock: Path) -> bool:
    holder: Holder | None = take(lock)
    if holder is None:
        release(lock)
    return holder is None


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
