"""The JSON Schema of a study file, made from the dataclasses and component declarations that read it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from study.config.components.declarations import Component
from study.config.registry import Registry
from study.config.repetitions import Adaptive, Fixed
from study.config.study import TASK_KEYS, Analysis, Claim, Design, Search, StudyKeys

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]
_TABLE: Schema = {"type": "object"}


def study_schema(registry: Registry, tables: Mapping[str, type]) -> Schema:
    """Return the JSON Schema of a study file.

    Values that depend on one another are checked when the study is compiled; the schema has what holds for each alone.

    Args:
        registry: The components of the task that a study has without ``[task]``.
        tables: That task's own tables, such as ``[train]``, with the dataclass of their keys.
    """
    own: Schema = {
        "factors": {**_TABLE, "additionalProperties": {"anyOf": [_levels(), _TABLE]}},
        "design": _design(registry),
        "repetitions": {"anyOf": [_of_type(Fixed), _of_dataclass(Adaptive)]},
        "search": _of_dataclass(Search),
        "analysis": _of_dataclass(Analysis),
        "claims": {"type": "array", "items": _of_dataclass(Claim)},
        "task": {"anyOf": [{"enum": registry.names("task")}, _task(registry)]},
        "base": _TABLE,
    }
    keys = _of_dataclass(StudyKeys)
    return {
        "$schema": DIALECT,
        "title": "A study file",
        "type": "object",
        "properties": {
            **keys["properties"],
            **own,
            "preset": {**_TABLE, "additionalProperties": _TABLE},
        },
        "additionalProperties": {**_TABLE, "description": "A table of the task, such as [train]"},
        "if": {"not": {"required": ["task"]}},
        "then": {
            "properties": {
                "base": {**_TABLE, "properties": _kinds(registry)},
                **{name: _of_dataclass(keys) for name, keys in tables.items()},
            }
        },
    }


def _of_type(annotation: Any) -> Schema:
    """Return the schema of an annotation; that of any value where it is no plain type."""
    return TypeAdapter(annotation).json_schema()


def _of_dataclass(keys: type) -> Schema:
    """Return the schema of a table with the fields of a dataclass as keys, described by their docstrings."""
    schema = _of_type(keys)
    described = _field_docs(keys)
    properties = {
        name: {**value, **({"description": described[name]} if name in described else {})}
        for name, value in schema.pop("properties", {}).items()
    }
    return {**schema, "properties": properties, "additionalProperties": False}


def _field_docs(keys: type) -> dict[str, str]:
    """Return the docstrings below the fields of a dataclass, and the texts in their annotations."""
    found = {
        name: text
        for name, hint in inspect.get_annotations(keys, eval_str=True).items()
        for text in getattr(hint, "__metadata__", ())
        if isinstance(text, str)
    }
    body = ast.parse(textwrap.dedent(inspect.getsource(keys))).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, doc in zip(body.body, body.body[1:], strict=False):
        is_text = isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = " ".join(str(doc.value.value).split())  # type: ignore[attr-defined]
    return found


def _levels() -> Schema:
    return {"type": "array", "minItems": 1, "description": "Levels: values, or { value = …, label = … }"}


def _design(registry: Registry) -> Schema:
    """Return the schema of ``[design]``: the keys of every design, and the parameters of each."""
    schema = _of_dataclass(Design)
    del schema["properties"]["parameters"]
    schema["properties"]["kind"] = {**schema["properties"]["kind"], "enum": registry.names("design")}
    for name in registry.names("design"):
        schema["properties"] |= _parameters(registry.get("design", name))
    return schema


def _task(registry: Registry) -> Schema:
    """Return the schema of ``[task]``: for the built-in tasks the keys that one of them has."""
    named = {"name": {"type": "string"}}
    own: Schema = {}
    for name in TASK_KEYS:
        own |= _parameters(registry.get("task", name))
    return {
        **_TABLE,
        "properties": named | own,
        "anyOf": [{"required": [key]} for key in ("name", *TASK_KEYS)],
    }


def _kinds(registry: Registry) -> Schema:
    """Return the schema of each kind of component in ``[base]``: a name, or a table with parameters."""
    return {
        kind: {
            "description": declared.help,
            "anyOf": [
                {"enum": registry.names(kind)},
                *(
                    {
                        **_TABLE,
                        "description": component.help,
                        "properties": {"name": {"const": component.name}, **_parameters(component)},
                        "required": ["name"],
                        "additionalProperties": False,
                    }
                    for component in registry
                    if component.kind == kind
                ),
                {**_TABLE, "not": {"required": ["name"]}},
            ],
        }
        for kind, declared in registry.kinds.items()
        if kind not in ("task", "design")
    }


def _parameters(component: Component) -> Schema:
    found: Schema = {}
    for name, parameter in component.parameters.items():
        if parameter.is_internal:
            continue
        if parameter.is_part:
            schema: Schema = {"type": ["string", "object"]}
        else:
            schema = _of_type(parameter.annotation)
        found[name] = {**schema, "description": parameter.help}
        if not parameter.required:
            found[name]["default"] = parameter.default
    return found
