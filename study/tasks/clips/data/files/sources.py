"""An optional list of sources beside the lists of a data set: the person or film that each clip is of.

::

    <lists>/sources.csv          not in any official release: header video_name,source

Without it each clip is a source of its own. Sources are held out of train whole, and intervals that speak for new
clips count them instead of clips.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from study.errors import InputError
from study.tasks.clips.data.files.listing import Entry, RowFilter, RowProblem, lines

NAME = "sources.csv"
COLUMNS = ("video_name", "source")


def sources_beside(lists: Path, top: Path, clip_id: Callable[[str], str]) -> Mapping[str, str]:
    """Return the source of each clip by its id; empty where there is no list.

    Args:
        lists: The folder of the data set's lists.
        top: The root of the data set.
        clip_id: Returns the id of a clip from its name in the list.

    Raises:
        InputError: A row is not a clip and its source, or names a clip again with another source.
    """
    path = lists / NAME
    source_of: dict[str, str] = {}
    if not path.is_file():
        return source_of
    for number, (where, line) in enumerate(lines(path, top)):
        fields = tuple(field.strip() for field in next(csv.reader([line])))
        if number == 0 and fields == COLUMNS:
            continue
        if len(fields) != len(COLUMNS) or not all(fields):
            raise InputError(f"{top / where}: must be {','.join(COLUMNS)}. Got {line!r} instead.")
        clip, source = clip_id(fields[0]), fields[1]
        if source_of.setdefault(clip, source) != source:
            raise InputError(f"{top / where}: clip {clip} has the source {source_of[clip]!r} already.")
    return source_of


def with_sources(
    entries: Iterable[Entry], source_of: Mapping[str, str], lists: Path, rows: RowFilter
) -> tuple[Entry, ...]:
    """Return clips with their sources; a clip that a list of sources leaves out is rejected, or skipped."""
    if not source_of:
        return tuple(entries)
    found = []
    for entry in entries:
        if entry.id in source_of:
            found.append(replace(entry, source=source_of[entry.id]))
        else:
            reason = f"{(lists / NAME).relative_to(rows.root)} names no source of clip {entry.id}"
            rows.reject(entry.where, RowProblem.NO_SOURCE, reason, entry.id)
    return tuple(found)
