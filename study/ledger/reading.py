"""Read and write the ledger's files; a damaged one counts as missing, so that it is made again."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from study.errors import StudyError
from study.files import content_digest, content_digests, write
from study.ledger import layout
from study.records import (
    CHECKSUM,
    CONTENT,
    DamagedError,
    Epoch,
    RunResult,
    RunSpec,
    Stopped,
    from_json,
    parsed,
    sealed,
    to_json,
    unsealed,
)

_EPOCHS = TypeAdapter(tuple[Epoch, ...])
_log = logging.getLogger(__name__)
MADE_AGAIN = "it counts as missing, and `study run` makes it again"
_warned: set[tuple[Path, str]] = set()
"""Damage that this process has reported."""

Record = TypeVar("Record")


class Reader:
    """Reads files of one ledger and remembers which are damaged.

    A file is damaged if it is no JSON, disagrees with its checksum, lacks what it must hold, or belongs to another
    run. A file that exists and cannot be read stops the study: it may be sound, so nothing replaces it.
    """

    def __init__(self) -> None:
        self.damaged: dict[Path, str] = {}
        """What is wrong with each file that was damaged when it was read last, and is to be made again."""

    def record(self, kind: type[Record], path: Path) -> Record | None:
        """Return a record; None if the file is missing or damaged.

        Raises:
            InputError: Another version of study wrote it.
            StudyError: It cannot be read.
        """
        if (text := self._text(path)) is None:
            return None
        folder = path.parent
        try:
            record = from_json(kind, text, str(path), owner_of(path))
            run = record.id if isinstance(record, RunSpec) else getattr(record, "run", folder.name)
            if folder.parent.name == layout.RUNS and run != folder.name:
                raise DamagedError(str(path), f"belongs to the run {run}")
        except DamagedError as error:
            self.report(path, error.problem)
            return None
        return record

    def table(self, path: Path, consequence: str = MADE_AGAIN) -> Any:
        """Return the content of a file that `sealed_content` or an earlier version wrote.

        None if the file is missing or damaged; the log then names the consequence.

        Raises:
            StudyError: It cannot be read.
        """
        if (text := self._text(path)) is None:
            return None
        try:
            return content_of(text, path)
        except DamagedError as error:
            self.report(path, error.problem, consequence)
            return None

    def report(self, path: Path, problem: str, consequence: str = MADE_AGAIN) -> None:
        """Remember that a file is damaged, and log it once."""
        if consequence == MADE_AGAIN:
            self.damaged[path] = problem
        if (path, problem) not in _warned:
            _warned.add((path, problem))
            _log.warning("%s %s; %s.", path, problem, consequence)

    def _text(self, path: Path) -> bytes | None:
        self.damaged.pop(path, None)
        return read_bytes(path)


def read_bytes(path: Path) -> bytes | None:
    """Return the content of a file; None if it does not exist.

    Raises:
        StudyError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be read: {error.strerror}. It may be sound, so nothing replaces it: make it readable, "
            "or move it aside to have it made again."
        ) from None


def sealed_content(content: Any, path: Path) -> str:
    """Return JSON of any form as the text of the file `path`, with a checksum."""
    return sealed({CONTENT: content}, owner_of(path))


def owner_of(path: Path) -> str:
    """Return how a sealed file names itself: within its folder, as the ledger may be moved."""
    return path.name if path.name == layout.ACCEPTED else f"{path.parent.name}/{path.name}"


def write_record(path: Path, record: Any) -> None:
    """Write a record with its checksum."""
    write(path, to_json(record, owner_of(path)))


def content_of(text: bytes, path: Path) -> Any:
    """Return what `sealed_content` wrote, or all of the JSON if an earlier version wrote it.

    Raises:
        DamagedError: The text is no JSON, disagrees with its checksum, or is for another file.
    """
    data = parsed(text, str(path))
    if data is None:
        raise DamagedError(str(path), "holds nothing")
    if not isinstance(data, dict) or CHECKSUM not in data:
        return data
    table = unsealed(text, owner_of(path), str(path))
    return table[CONTENT] if table.keys() == {CONTENT} else table


def epochs_of(content: Any, path: Path) -> tuple[Epoch, ...]:
    """Return the epochs of a history's content; none where there is none.

    Raises:
        DamagedError: The content is no list of epochs.
    """
    try:
        return _EPOCHS.validate_json(json.dumps(content or []), strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise DamagedError(str(path), f"is not a list of epochs: {problem}") from None


def differing_file(folder: Path, digests: Mapping[str, str], names: tuple[str, ...]) -> Path | None:
    """Return the first of the named files whose content differs from its recorded digest; None if none does.

    Missing files, and those without a digest, are left out.
    """
    for name in names:
        path = folder / name
        if name in digests and path.exists() and content_digest(path) != digests[name]:
            return path
    return None


def valid_result(reader: Reader, folder: Path) -> RunResult | None:
    """Return the result in a run's folder; None if it is missing, damaged, or disagrees with what belongs to it."""
    path = folder / layout.RESULT
    result = reader.record(RunResult, path)
    if result is None:
        return None
    if result.status == "finished" and not result.validation and result.best_epoch == 0:
        reader.report(path, "has neither a best epoch nor metrics, although the training finished")
        return None
    # a training that wrote them itself is repeated, as no other job makes them again
    for name in (layout.TEST_RESULT, layout.PROFILE):
        recorded = result.files.get(name)
        if recorded is not None and content_digests(folder, [name]).get(name) != recorded:
            reader.report(folder / name, "was changed after it was written")
            return None
    return result


def is_trained(spec: RunSpec, folder: Path, rule: Mapping[str, float]) -> bool:
    """Return whether a run's folder holds the end of its training, with sound weights where it left some.

    Args:
        spec: The run.
        folder: Its folder.
        rule: The pruning rule of its search, by epoch; empty if there is none.
    """
    reader = Reader()
    if rule and (pruned := reader.record(Stopped, folder / layout.stopped_file(rule))):
        return pruned.run == spec.id
    result = valid_result(reader, folder)
    if result is None or result.run != spec.id:
        return False
    has_weights = any((folder / name).exists() for name in layout.WEIGHTS)
    is_complete = has_weights or not result.has_weights
    return is_complete and differing_file(folder, result.files, layout.TEST_INPUTS) is None
