"""Write records as JSON and read them, older schemas upgraded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from study.errors import InputError, file_error
from study.hashing import canonical_json, digest

SCHEMA = 2
OLDEST_SCHEMA = 2
"""The schema of the first release; records of earlier versions are refused."""
LONGEST_SHOWN = 40
Record = TypeVar("Record")


OWNER, CHECKSUM, CONTENT = "of", "checksum", "content"
"""Keys of a sealed file beside its content: the run or study that it belongs to, and the digest of all the rest."""


def to_json(record: Any, of: str = "") -> str:
    """Return a record as indented, sealed JSON, keys in the order of declaration; see `sealed`."""
    return sealed(asdict(record), of)


def sealed(content: Mapping[str, Any], of: str = "") -> str:
    """Return a table as indented JSON with a checksum.

    Args:
        content: The table.
        of: The file that it is for, such as ``r2-0123456789abcdef/result.json``; left out if empty.
    """
    owned = {**content, OWNER: of} if of else {**content}
    text = json.dumps({**owned, CHECKSUM: digest(owned)}, indent=1, ensure_ascii=False, allow_nan=False)
    return text + "\n"


UPGRADES: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Functions from schema n to n + 1 by ``(record, n)``; a record that did not change has none.

A new field with a default needs no new schema. The function of a record also upgrades the records nested in it.
"""


class DamagedError(InputError):
    """Raised for a file whose content is not what was written.

    Args:
        where: The file.
        problem: How it shows, as what follows the file's name: ``is torn``.
        kind: What the file must be.
    """

    def __init__(self, where: str, problem: str, kind: str = "") -> None:
        super().__init__(f"{where}: not a readable {kind}: it {problem}." if kind else f"{where} {problem}.")
        self.problem = problem


def unsealed(text: str | bytes, of: str = "", where: str = "") -> dict[str, Any]:
    """Return a table that `sealed` wrote, or that an earlier version wrote without checksum.

    Args:
        text: The content of the file.
        of: The file that it must be for; empty to accept any.
        where: The file, for messages.

    Raises:
        DamagedError: The text is no JSON table, disagrees with its checksum, or is for another file.
    """
    data = parsed(text, where)
    if not isinstance(data, dict):
        raise DamagedError(where, f"holds {_summary(data)} in place of a table")
    checksum = data.pop(CHECKSUM, None)
    if checksum is not None and checksum != digest(data):
        raise DamagedError(where, "was changed after it was written: its content disagrees with its checksum")
    owner = data.pop(OWNER, None)
    if of and owner not in (None, of):
        raise DamagedError(where, f"is a copy of {_summary(owner)}")
    return data


def parsed(text: str | bytes, where: str = "") -> Any:
    """Return the content of JSON text with finite numbers.

    Raises:
        DamagedError: The text is no such JSON.
    """
    try:
        data = json.loads(text)
        canonical_json(data).encode()  # refuses NaN, numbers that overflow, and halves of characters
    except (ValueError, RecursionError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DamagedError(where, f"is torn or overwritten: {problem.splitlines()[0].rstrip('.')}") from None
    return data


def from_json(kind: type[Record], text: str | bytes, where: str = "", of: str = "") -> Record:
    """Read a record, older schemas upgraded step by step.

    Args:
        kind: The class of the record.
        text: The content of its file.
        where: The file, for messages.
        of: The file that it must be for; empty to accept any.

    Raises:
        DamagedError: The file is truncated, was changed after it was written, belongs to another run, or is of
            another kind.
        InputError: The record was written by a newer version or before the first release.
    """
    try:
        return _read(kind, text, where, of)
    except DamagedError as error:
        raise DamagedError(where, error.problem, kind.__name__) from None


def _read(kind: type[Record], text: str | bytes, where: str, of: str) -> Record:
    data = parsed(text, where)
    if isinstance(data, dict):
        _check_schema(data.get("schema", SCHEMA), where)
    is_sealed = isinstance(data, dict) and CHECKSUM in data
    data = unsealed(text, of, where)
    names = {field.name for field in fields(cast(Any, kind))}
    if not is_sealed and (unknown := sorted(data.keys() - names)) and data.get("schema", SCHEMA) == SCHEMA:
        raise DamagedError(where, f"has the unknown key {unknown[0]!r}")
    try:
        record: Record = _adapter(cast(Any, kind)).validate_json(
            json.dumps(upgraded(kind.__name__, data)), strict=True
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise DamagedError(where, f"has a wrong value: {key}: {first['msg']}") from None
    return record


def _check_schema(schema: Any, where: str) -> None:
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise DamagedError(where, f"has schema {_summary(schema)} in place of a whole number")
    if schema > SCHEMA:
        raise file_error(
            where, f"written with schema {schema}, this version reads up to {SCHEMA}; upgrade study."
        )
    if schema < OLDEST_SCHEMA:
        raise file_error(
            where,
            "this ledger was written before the first release and cannot be read. Move its folder aside, "
            "or name another one with 'ledger' in study.toml; the study then starts anew.",
        )


def _summary(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def upgraded(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of a record in this version's schema, upgraded step by step."""
    while (schema := data.get("schema", SCHEMA)) < SCHEMA:
        upgrade = UPGRADES.get((kind, schema), dict)
        data = {**upgrade(data), "schema": schema + 1}
    return data


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
