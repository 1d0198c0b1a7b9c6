"""Find and remove what a ledger no longer needs: nothing that a report or a resumed study reads, nothing in use."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from study.config.settings import WRITTEN_BY_DATA_SETS, Keep
from study.engine import plan
from study.errors import StudyError, unavailable
from study.files import PARTIAL_SUFFIX, remove
from study.ledger import layout
from study.ledger.locks import holder_of, release, take
from study.ledger.reading import Reader
from study.ledger.record import RunState
from study.ledger.store import Ledger, Snapshot


class Reason(StrEnum):
    """Why a file or folder can be freed."""

    FINISHED_CHECKPOINT = "finished-checkpoint"
    """The checkpoint of a run with a result."""
    PRUNED_CHECKPOINT = "pruned-checkpoint"
    """The checkpoint of a pruned trial."""
    TRIAL_WEIGHTS = "trial-weights"
    """Weights or predictions of a beaten search trial."""
    PARTIAL_FILE = "partial-file"
    """A file or folder that a crash left half-written."""
    STALE_LOCK = "stale-lock"
    """A lock of a process that has ended."""
    UNREFERENCED_RUN = "unreferenced-run"
    """The folder of a run that no study refers to."""


PARTIAL_AGE_S = 600
"""A younger partial file may still be written, by a process that holds no lock yet."""


@dataclass(frozen=True)
class Reclaimable:
    """A file or folder that can be freed."""

    path: Path
    reason: Reason
    bytes: int


def reclaimable(
    ledger: Ledger, keep: Keep = "tested", *, unreferenced: bool = False, folders: Iterable[Path] = ()
) -> list[Reclaimable]:
    """Return what can be freed now.

    Args:
        ledger: The ledger to search.
        keep: Which runs keep their weights.
        unreferenced: List runs that no study of the ledger refers to as well; none while a study is being run,
            which may refer to them soon.
        folders: Other folders that are written to, such as that of the reports: searched for half-written files, as are
            the caches and packs of all studies.

    Raises:
        InputError: Unreferenced runs are asked for, and a file that says what a study refers to cannot be read.
    """
    references = _References(ledger)
    if unreferenced and references.unreadable:
        raise unavailable(
            "--unreferenced",
            f"{references.unreadable[0]} cannot be read, so the runs that its study refers to are "
            "not known and none is freed. Run the study again, restore the file, or remove the study's folder if it "
            "is of no use.",
        )
    found: list[Reclaimable] = []
    for folder in _folders_in(ledger.root / layout.RUNS):
        if folder.name in references.in_use or holder_of(folder / layout.CLAIM):
            continue
        if unreferenced and folder.name not in references.jobs and not references.held:
            found.append(Reclaimable(folder, Reason.UNREFERENCED_RUN, _size(folder)))
            continue
        jobs = () if references.unreadable else references.jobs.get(folder.name, ())
        found += [
            Reclaimable(folder / name, reason, _size(folder / name))
            for name, reason in _unneeded_files(
                ledger.state(folder.name), jobs, folder.name in references.read_again or keep == "all"
            )
            if (folder / name).exists()
        ]
        found += _crash_leftovers(folder)
    for folder in _folders_in(ledger.root / layout.STUDIES):
        if folder.name not in references.held:
            for name in ("", layout.SUGGESTIONS, layout.SESSIONS, layout.INTERIMS):
                found += _crash_leftovers(folder / name)
    if not references.held:
        profiles = _folders_in(ledger.root / layout.PROFILES)
        for folder in (*profiles, ledger.root / layout.CODE, ledger.root / layout.LOOKS, ledger.root):
            found += _crash_leftovers(folder)
    inside = ledger.root.resolve()
    others = {folder.resolve() for folder in (*folders, *references.caches)}
    for folder in sorted(other for other in others if not other.is_relative_to(inside)):
        found += _partial_files(folder)
    return found


def free(items: Iterable[Reclaimable], ledger: Ledger) -> list[Reclaimable]:
    """Remove the items except those that have come into use since; return the removed ones."""
    return [item for item in items if _remove(item, ledger)]


class _References:
    """The jobs of all studies of a ledger, by run."""

    def __init__(self, ledger: Ledger) -> None:
        names = ledger.studies()
        self.held = {name for name in names if ledger.holder(name)}
        """Studies that are being run."""
        self.in_use: set[str] = set()
        """Runs of studies that are being run."""
        self.jobs: Mapping[str, list[tuple[plan.Job, RunState]]] = defaultdict(list)
        """Jobs by run, each with the state of the run."""
        self.read_again: set[str] = set()
        """Runs whose weights are tested or measured, or may be: repetitions, and the best trials so far."""
        self.caches: set[Path] = set()
        """Folders in which the data sets of studies keep what they have read or rendered."""
        self.unreadable: list[Path] = list(_unreadable_records(ledger, names))
        """Files that say what a study refers to and cannot be read: what refers to a run is not known then."""
        states = Snapshot(ledger)
        for name in names:
            try:
                study = ledger.study(name)
            except (StudyError, OSError):
                self.unreadable.append(ledger.root / layout.STUDIES / name / layout.STUDY)
                continue
            self.caches |= {
                Path(folder)
                for variant in study.variants
                for key, folder in variant.template.local_paths.items()
                if folder and key.rpartition(".")[2] in WRITTEN_BY_DATA_SETS
            }
            self.read_again |= plan.runs_to_test(study, states)
            for job in plan.trainings(study, states):
                self.jobs[job.run.id].append((job, job.state_in(states)))
                if name in self.held:
                    self.in_use.add(job.run.id)
                result = ledger.run_folder(job.run) / layout.RESULT
                if states(job.run.id).result is None and result.exists():
                    self.unreadable.append(
                        result
                    )  # a search without it has not ended: it refers to no repetition
        suggestions = (path for path in ledger.damaged if path.parent.name == layout.SUGGESTIONS)
        self.unreadable += [path for path in suggestions if path not in self.unreadable]


def _unreadable_records(ledger: Ledger, names: Collection[str]) -> Iterator[Path]:
    """Yield files and folders of studies that cannot be read: folders of folders, and suggestions."""
    for folder in _folders_in(ledger.root / layout.STUDIES):
        suggestions = folder / layout.SUGGESTIONS
        inner = [
            inside
            for inside in _folders_in(folder)
            if inside.name not in (layout.SUGGESTIONS, layout.SESSIONS, layout.INTERIMS)
        ]
        if inner:
            yield inner[0]
        if folder.name not in names and (suggestions.exists() or (folder / layout.SESSIONS).exists()):
            yield folder / layout.STUDY
        for file in sorted(suggestions.glob("*.json")):
            try:
                is_read = isinstance(Reader().table(file), Mapping)
            except (StudyError, OSError):
                is_read = False
            if not is_read:
                yield file


def _unneeded_files(
    state: RunState, jobs: Iterable[tuple[plan.Job, RunState]], keeps_weights: bool
) -> Iterator[tuple[str, Reason]]:
    """Yield the names of a run's files that nothing reads again."""
    only_trial = bool(jobs) and not keeps_weights
    for name in layout.CHECKPOINTS:
        if state.result is not None:
            yield name, Reason.FINISHED_CHECKPOINT
        elif only_trial and all(job_state.pruned is not None for _, job_state in jobs):
            yield name, Reason.PRUNED_CHECKPOINT
    if state.result is not None and only_trial:
        for name in layout.TEST_INPUTS:
            yield name, Reason.TRIAL_WEIGHTS


def _crash_leftovers(folder: Path) -> Iterator[Reclaimable]:
    """Yield what killed processes left in a folder: partial files and locks."""
    yield from _partial_files(folder)
    for path in _inside(folder):
        if re.match(rf"({layout.LOCK}|{layout.CLAIM})(-|$)", path.name) and holder_of(path) is None:
            yield Reclaimable(path, Reason.STALE_LOCK, _size(path))


def _partial_files(folder: Path) -> Iterator[Reclaimable]:
    """Yield what a crash left half-written in a folder."""
    for path in _inside(folder):
        is_partial = path.name.startswith(".") and path.name.endswith(PARTIAL_SUFFIX)
        if is_partial and time.time() - path.lstat().st_mtime > PARTIAL_AGE_S:
            yield Reclaimable(path, Reason.PARTIAL_FILE, _size(path))


def _inside(folder: Path) -> list[Path]:
    """Return what a folder holds; nothing where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _remove(item: Reclaimable, ledger: Ledger) -> bool:
    """Remove one item unless a process holds it; return whether it was removed."""
    if item.reason is Reason.STALE_LOCK:
        return _take_and_release(item.path)
    if item.reason is Reason.PARTIAL_FILE:
        remove(item.path)
        return True
    is_run = item.reason is Reason.UNREFERENCED_RUN
    folder = item.path if is_run else item.path.parent
    if (is_run and any(ledger.holder(name) for name in ledger.studies())) or ledger.acquire(folder):
        return False
    try:
        remove(item.path)
    finally:
        ledger.release(folder)
    return True


def _take_and_release(lock: Path) -> bool:
    is_taken = take(lock) is None
    if is_taken:
        release(lock)
    return is_taken


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
