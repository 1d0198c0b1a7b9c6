"""Write records as JSON and read them, older schemas upgraded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from study.errors import InputError

SCHEMA = 2
OLDEST_SCHEMA = 2
"""The schema of the first release; records of earlier versions are refused."""
Record = TypeVar("Record")


def to_json(record: Any) -> str:
    """Return a record as indented JSON, keys in the order of declaration."""
    return json.dumps(asdict(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


UPGRADES: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Functions from schema n to n + 1 by ``(record, n)``; a record that did not change has none.

A new field with a default needs no new schema. The function of a record also upgrades the records nested in it.
"""


class TornError(InputError):
    """Raised for a truncated file, such as after a crash of the disk."""


def from_json(kind: type[Record], text: str | bytes, where: str = "") -> Record:
    """Read a record, older schemas upgraded step by step.

    Raises:
        TornError: The text is no JSON: the file is truncated.
        InputError: The record was written by a newer version or before the first release, or is of another kind.
    """
    try:
        data = json.loads(text)
        schema = data.get("schema", SCHEMA)
        if schema > SCHEMA:
            raise InputError(
                f"{where}: written with schema {schema}, this version reads up to {SCHEMA}; upgrade study."
            )
        if schema < OLDEST_SCHEMA:
            raise InputError(
                f"{where}: this ledger was written before the first release and cannot be read. Move its folder aside, "
                "or name another one with 'ledger' in study.toml; the study then starts anew."
            )
        record: Record = _adapter(cast(Any, kind)).validate_python(upgraded(kind.__name__, data))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TornError(f"{where}: not a readable {kind.__name__}: {error}") from None
    except (ValidationError, AttributeError) as error:
        raise InputError(f"{where}: not a readable {kind.__name__}: {error}") from None
    return record


def upgraded(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of a record in this version's schema, upgraded step by step."""
    while (schema := data.get("schema", SCHEMA)) < SCHEMA:
        upgrade = UPGRADES.get((kind, schema), dict)
        data = {**upgrade(data), "schema": schema + 1}
    return data


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
