"""Detect files outside of run folders that several runs of a study write: one run may then affect another."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from study.config.revisions import is_junk
from study.files import write
from study.ledger.layout import OWN_OUTSIDE, RUNS
from study.ledger.reading import owner_of
from study.records import DamagedError, sealed, unsealed
from study.run import Run
from study.tasks.options import Options

_log = logging.getLogger(__name__)

MOST_FILES, LONGEST_S = 10_000, 0.5
"""Limits of the scan for changed files; a scan that exceeds them finds nothing."""


@contextlib.contextmanager
def watched(run: Run, options: Options) -> Iterator[None]:
    """Record the files below the user's folder that change inside the block; warn of those that another run wrote too.

    A changed file cannot be attributed while several runs overlap. A warning therefore needs two runs that did not
    overlap, and no third run that overlapped both.
    """
    path = run.folder / OWN_OUTSIDE
    began = time.time()
    _write(path, began, None, [], [])
    try:
        yield
    finally:
        roots = {options.root_folder.resolve(), options.code.resolve()}
        skipped = {(options.code / name).resolve() for name in (*options.outputs, "reports")}
        skipped |= {run.folder.resolve().parent, *(p / RUNS for p in run.folder.resolve().parents)}
        files = [str(file) for root in roots for file in _changed_files(root, skipped, began)]
        shared = list(_shared_files(path, began, files)) if files else []
        _write(path, began, time.time(), files, shared)
        for other, name in shared:
            run.warn(
                f"{os.path.relpath(name, options.root_folder)} was written by several runs, such as {other}: one run "
                "may have changed the result of another. Runs must write to run.folder alone."
            )


def _write(
    path: Path, began: float, ended: float | None, files: list[str], shared: list[tuple[str, str]]
) -> None:
    """Write the times of a run, the files that it wrote outside of its folder, and those that another run wrote too."""
    content = {"began": began, "ended": ended, "files": files, "shared": shared}
    write(path, sealed(content, owner_of(path)))


def _changed_files(root: Path, skipped: set[Path], since: float) -> list[Path]:
    """Return the files below a folder that changed since a time; none where the scan exceeds its limits."""
    changed, count, end = [], 0, time.monotonic() + LONGEST_S
    for parent, folders, names in os.walk(root):
        folders[:] = [n for n in folders if not is_junk(Path(parent, n)) and Path(parent, n) not in skipped]
        count += len(names)
        if count > MOST_FILES or time.monotonic() > end:
            return []
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            with contextlib.suppress(OSError):
                is_code = path.suffix == ".py"  # the user may be editing it
                if not is_code and path not in skipped and path.stat().st_mtime >= since:
                    changed.append(path)
    return changed


def _shared_files(own: Path, began: float, files: list[str]) -> Iterator[tuple[str, str]]:
    """Yield a run that certainly wrote one of this run's files, and the first such file; at most one pair."""
    others: dict[str, dict[str, Any]] = {}
    end = time.monotonic() + LONGEST_S
    for path in own.parent.parent.glob(f"*/{OWN_OUTSIDE}"):
        if time.monotonic() > end:
            return
        if path != own:
            with contextlib.suppress(OSError, DamagedError):
                others[path.parent.name] = unsealed(path.read_bytes(), owner_of(path), str(path))
    for name, other in others.items():
        common = sorted(set(files) & set(other["files"]))
        ended_before = other["ended"] is not None and other["ended"] < began
        overlapping = (o for o in others.values() if o["began"] < (other["ended"] or 0))
        if (
            common
            and ended_before
            and not any(o is not other and (o["ended"] or time.time()) > began for o in overlapping)
        ):
            yield name, common[0]
            return
