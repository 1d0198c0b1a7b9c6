"""Read the ledger's JSON files; a torn file, as a crash of the disk leaves it, counts as missing."""

from __future__ import annotations

import json
import logging
import os
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from study.records import TornError, from_json

_log = logging.getLogger(__name__)
RECORD_END = b"}\n"

Record = TypeVar("Record")


def read_record(kind: type[Record], path: Path) -> Record | None:
    """Return a record; None if the file is missing or torn, so that it is made again."""
    try:
        return from_json(kind, path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except TornError:
        _warn_of_torn(path)
        return None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None if it is missing or torn."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        _warn_of_torn(path)
        return None


def is_whole(path: Path) -> bool:
    """Return whether a record exists to its last byte, without reading all of it."""
    try:
        with path.open("rb") as file:
            file.seek(-len(RECORD_END), os.SEEK_END)
            whole = file.read() == RECORD_END
    except FileNotFoundError:
        return False
    except OSError:  # shorter than the end of a record
        whole = False
    if not whole:
        _warn_of_torn(path)
    return whole


@cache
def _warn_of_torn(path: Path) -> None:
    _log.warning("%s is torn, as a crash of the disk leaves a file; it counts as missing.", path)
