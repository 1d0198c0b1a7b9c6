"""Read TOML files and ``key=value`` settings, set values in tables, and check tables against dataclasses."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from study.config.located import syntax_line
from study.config.registry import describe, validated
from study.errors import (
    ErrorCode,
    InputError,
    Mistake,
    file_error,
    nearest,
    shortened,
    shown,
    unknown,
    unknown_name,
    wrong_value,
)
from study.files import read_regular
from study.names import has_invisible, require_utf8

Table = dict[str, Any]
Schema = TypeVar("Schema")

LARGEST_FILE = 4 * 2**20
"""Bytes of the largest file that is read: TOML is parsed in Python."""
DEEPEST = 32
"""The most tables and lists inside one another."""
MOST_DIGITS = 40
"""The most digits of an integer: Python does not print very long ones."""
LONGEST_KEY = 200


def read_toml(path: Path) -> Table:
    """Return a TOML file as nested tables; raise InputError where it is missing or invalid."""
    try:
        content = read_regular(path)
        if len(content) > LARGEST_FILE:
            raise file_error(
                path,
                f"has {len(content):,} bytes, which is no file of settings; at most {LARGEST_FILE:,} are read.",
            )
        table = _parsed(content.decode("utf-8-sig"), str(path))
    except FileNotFoundError:
        near = nearest(path.name, [other.name for other in path.parent.glob("*.toml")])
        raise InputError(f"{path}: no such file.{near}", _missing(path)) from None
    except IsADirectoryError:
        raise file_error(path, "is a folder, not a TOML file.") from None
    except tomllib.TOMLDecodeError as error:
        mistake = Mistake(ErrorCode.SYNTAX, file=str(path), line=syntax_line(error))
        raise InputError(f"{path}: not valid TOML: {error}.", mistake) from None
    except UnicodeDecodeError as error:
        raise file_error(path, f"not valid TOML, which is UTF-8: {error}.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise file_error(shortened(str(path)), f"cannot be read: {reason}.") from None
    check_values(table, f"{path}")
    return table


def _missing(path: Path) -> Mistake:
    names = sorted(other.name for other in path.parent.glob("*.toml"))
    return replace(unknown(ErrorCode.MISSING_FILE, "", path.name, names), file=str(path))


def _parsed(text: str, where: str) -> Table:
    """Return TOML as nested tables.

    Raises:
        TOMLDecodeError: It is not TOML.
        InputError: It is nested too deeply, or holds a very long integer.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise wrong_value(where, f"is nested too deeply; at most {DEEPEST} levels are read.") from None
    except ValueError:  # of int(): more digits than Python converts
        raise wrong_value(where, f"holds an integer of more than {MOST_DIGITS} digits.") from None


def check_values(value: Any, where: str, key: str = "", depth: int = 0) -> None:
    """Raise InputError where TOML holds what no setting can be: dates, nan, inf, NUL, huge integers, deep tables."""
    at = f"{where}: {key}"
    if depth > DEEPEST:
        raise wrong_value(at, f"is nested too deeply; at most {DEEPEST} levels are read.")
    if isinstance(value, Mapping):
        for name, item in value.items():
            below = f"{key}.{name}" if key else name
            if not name or len(below) > LONGEST_KEY or has_invisible(name):
                raise wrong_value(
                    where,
                    f"the key {shown(below)} must be one line of at most {LONGEST_KEY} characters that print.",
                )
            check_values(item, where, below, depth + 1)
    elif isinstance(value, list):
        for item in value:
            check_values(item, where, key, depth + 1)
    elif isinstance(value, str):
        if "\0" in value:
            raise wrong_value(at, "must not hold the character NUL.", value)
    elif not isinstance(value, bool | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        got = value if isinstance(value, float) else f"the date or time {value}"
        raise wrong_value(at, "must be a finite number, true, false, text, a list or a table.", got)
    elif abs(value) >= 10**MOST_DIGITS and isinstance(value, int):
        raise wrong_value(at, f"must be an integer of at most {MOST_DIGITS} digits.")


def parse_setting(text: str) -> tuple[str, Any]:
    """Return the dotted key and the TOML value of ``key=value`` on the command line; a bare word is a string."""
    require_utf8(text, "--set")
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise wrong_value(f"--set {shown(text)}", "must be key=value, such as train.epochs=3.")
    where = f"--set {shown(key.strip())}"
    names = key.strip().split(".")
    check_values(dict.fromkeys((*names, key.strip()), True), "--set", depth=len(names))
    try:
        parsed = _parsed(f"value = {value}", where)
        if len(parsed) > 1:
            raise wrong_value(where, "must be one value.", value)
        return key.strip(), parsed["value"]
    except tomllib.TOMLDecodeError as error:
        if value.strip()[:1] in ("{", "[", '"', "'"):
            raise wrong_value(f"--set {shown(text)}", f"the value is not valid TOML: {error}.") from None
        if (meant := _meant(value.strip())) is not None:
            raise wrong_value(
                f"--set {shown(text)}", f"write {key.strip()}={meant}, or quotes around a text."
            ) from None
        return key.strip(), value.strip()


def _meant(word: str) -> str | None:
    """Return the TOML value that a word stands for in Python or JSON; None where it is a mere word."""
    if word.lower() in ("true", "false"):
        return word.lower()
    if word.lower() in ("none", "null"):
        return "a value: TOML has none that means nothing"
    try:
        return str(float(word))
    except ValueError:
        return None


def as_setting(key: str, value: Any) -> str:
    """Return ``key=value`` in the form that `parse_setting` reads."""
    return f"{key}={_toml(value)}"


def _toml(value: Any) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, Mapping):
        items = ", ".join(f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items())
        return "{" + items + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))  # nan and inf are TOML
    if not isinstance(value, str | bool | int | float):
        raise wrong_value("", "a change must be a number, true, false, text, a list or a table.", value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def assign(tree: Table, key: str, value: Any, where: str = "") -> None:
    """Set a value at a dotted key, in place; a component given by name becomes a table where a parent must be one.

    Raises:
        InputError: A parent of the key is a value; `where` names the key in the message.
    """
    *parents, last = key.split(".")
    for parent in parents:
        below = tree.setdefault(parent, {})
        if isinstance(below, str):
            below = tree[parent] = {"name": below}
        elif isinstance(below, Mapping):
            below = tree[parent] = dict(below)
        else:
            raise wrong_value(where or key, f"{parent!r} is a value, not a table.")
        tree = below
    if not parents and isinstance(value, Mapping) and isinstance(tree.get(last), Mapping):
        tree[last] = {**tree[last], **value}
    else:
        tree[last] = value


def fill(schema: type[Schema], given: Any, where: str) -> Schema:
    """Return an instance of the dataclass `schema` from a table, each value checked against its field's annotation.

    Raises:
        InputError: An unknown key, a missing one, a wrong type or a value out of range.
    """
    if not isinstance(given, Mapping):
        raise wrong_value(where, "must be a table.", given, "a table")
    before = f"{where} " if where.endswith(":") else f"{where}."
    fields = {field.name: field for field in dataclasses.fields(schema)}  # type: ignore[arg-type]
    hints = get_type_hints(schema, include_extras=True)
    for key in given:
        if key not in fields:
            raise unknown_name(f"{before}{key}", "unknown key", key, fields, code=ErrorCode.UNKNOWN_KEY)
    for name, field in fields.items():
        if name not in given and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(
                f"{before}{name}: is missing. It must be {describe(hints[name])}.",
                Mistake(ErrorCode.MISSING_KEY, f"{before}{name}", allowed=describe(hints[name])),
            )
    return schema(**{key: validated(hints[key], value, f"{before}{key}") for key, value in given.items()})
