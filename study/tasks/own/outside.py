"""Files that runs write outside of their folders: two runs of a study that write the same one disturb each other."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from study.config.revisions import is_junk
from study.files import write
from study.ledger.layout import OWN_OUTSIDE, RUNS
from study.task import Run
from study.tasks.options import Options

_log = logging.getLogger(__name__)

MOST_FILES, LONGEST_S = 10_000, 0.5
"""A search that would take more is given up: then nothing is known."""


@contextlib.contextmanager
def watched(run: Run, options: Options) -> Iterator[None]:
    """Note the files below the user's folder that change meanwhile; warn of one that another run wrote too.

    Which run wrote a file is not known where several ran at a time. So a warning needs two runs that did not overlap,
    and none that overlapped both.
    """
    path = run.folder / OWN_OUTSIDE
    began = time.time()
    _write(path, began, None, [], [])
    try:
        yield
    finally:
        places = {options.root_folder.resolve(), options.code.resolve()}
        skipped = {(options.code / name).resolve() for name in (*options.outputs, "reports")}
        skipped |= {run.folder.resolve().parent, *(p / RUNS for p in run.folder.resolve().parents)}
        files = [str(found) for place in places for found in _changed(place, skipped, began)]
        shared = list(_shared(path, began, files)) if files else []
        _write(path, began, time.time(), files, shared)
        for other, name in shared:
            run.warn(
                f"{os.path.relpath(name, options.root_folder)} was written by several runs, such as {other}: what one "
                "run left may have changed another. Runs must write to run.folder alone."
            )


def _write(
    path: Path, began: float, ended: float | None, files: list[str], shared: list[tuple[str, str]]
) -> None:
    """Keep when a run worked, what it wrote outside, and which of that another run wrote: run and file."""
    write(path, json.dumps({"began": began, "ended": ended, "files": files, "shared": shared}))


def _changed(place: Path, skipped: set[Path], since: float) -> list[Path]:
    found, seen, end = [], 0, time.monotonic() + LONGEST_S
    for parent, folders, names in os.walk(place):
        folders[:] = [n for n in folders if not is_junk(Path(parent, n)) and Path(parent, n) not in skipped]
        seen += len(names)
        if seen > MOST_FILES or time.monotonic() > end:
            return []
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            with contextlib.suppress(OSError):
                is_code = path.suffix == ".py"  # which a user may be editing
                if not is_code and path not in skipped and path.stat().st_mtime >= since:
                    found.append(path)
    return found


def _shared(own: Path, began: float, files: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the runs beside this one that wrote one of its files for certain, and the first such file."""
    others: dict[str, dict[str, Any]] = {}
    end = time.monotonic() + LONGEST_S
    for path in own.parent.parent.glob(f"*/{OWN_OUTSIDE}"):
        if time.monotonic() > end:
            return
        if path != own:
            with contextlib.suppress(OSError, ValueError):
                others[path.parent.name] = json.loads(path.read_bytes())
    for name, other in others.items():
        both = sorted(set(files) & set(other["files"]))
        apart = other["ended"] is not None and other["ended"] < began
        between = (o for o in others.values() if o["began"] < (other["ended"] or 0))
        if (
            both
            and apart
            and not any(o is not other and (o["ended"] or time.time()) > began for o in between)
        ):
            yield name, both[0]
            return
