"""Parameters of components: the words that annotations use, and the check of a value against one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Le
from pydantic import TypeAdapter

from study.errors import InputError, nearest


@dataclass(frozen=True)
class Range(GroupedMetadata):
    """The least and greatest value that a number may have, both allowed; None where there is no bound."""

    low: float | None = None
    high: float | None = None

    def __iter__(self) -> Any:
        if self.low is not None:
            yield Ge(self.low)
        if self.high is not None:
            yield Le(self.high)


@dataclass(frozen=True)
class LocalPath:
    """Marks a parameter that says where something lies on this machine: it changes no number, so no identity."""


@dataclass(frozen=True)
class File:
    """Marks a parameter that names a file: its content counts towards a run's identity, its place does not.

    The parameter's default is a word for no file.
    """


@dataclass(frozen=True)
class Legacy:
    """Marks a parameter that was added later: at this value all is as before, so no identity names it."""

    value: bool | int | float | str


@dataclass(frozen=True)
class Internal:
    """Marks a parameter that the harness sets: a study cannot name it, and nothing lists it."""


if TYPE_CHECKING:
    Part = Any  # declared with a name, built with a table
else:

    class Part:
        """Marks a parameter as a component of the kind that the parameter is named after."""


MARKS: dict[str, Any] = {
    "Range": Range,
    "LocalPath": LocalPath,
    "File": File,
    "Legacy": Legacy,
    "Internal": Internal,
}
VOCABULARY: dict[str, Any] = {
    "Annotated": Annotated,
    "Literal": Literal,
    **MARKS,
    "Part": Part,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "list": list,
    "dict": dict,
}
"""What annotations are made of; ``None`` too."""


@dataclass(frozen=True)
class Parameter:
    """One user-facing parameter of a component, as its builder declares it."""

    name: str
    annotation: Any
    help: str
    required: bool
    default: Any

    @property
    def is_part(self) -> bool:
        """Whether the parameter names another component, of the kind that it is called after."""
        return get_args(self.annotation)[0] is Part

    @property
    def is_local_path(self) -> bool:
        """Whether the parameter is a place on this machine and so left out of a run's identity."""
        return any(isinstance(mark, LocalPath) for mark in get_args(self.annotation)[1:])

    @property
    def is_file(self) -> bool:
        """Whether the parameter names a file whose content counts."""
        return any(isinstance(mark, File) for mark in get_args(self.annotation)[1:])

    @property
    def is_internal(self) -> bool:
        """Whether the harness sets the parameter."""
        return any(isinstance(mark, Internal) for mark in get_args(self.annotation)[1:])

    @property
    def legacy_default(self) -> Any:
        """The value at which a parameter that was added later is left out of a run's identity; None for none."""
        return legacy_default(self.annotation)

    def allowed(self) -> str:
        """Return in words what values are allowed."""
        return describe(self.annotation)

    def validated(self, value: Any, where: str) -> Any:
        """Return `value` as the declared type, or raise InputError."""
        return validated(self.annotation, value, where)


def legacy_default(annotation: Any) -> Any:
    """Return the value of the annotation's `Legacy` mark, None where there is none."""
    return next((mark.value for mark in get_args(annotation)[1:] if isinstance(mark, Legacy)), None)


def validated(annotation: Any, value: Any, where: str) -> Any:
    """Return `value` as `annotation`'s type; InputError says what is allowed where it does not fit."""
    try:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
        return _adapter(annotation).validate_python(value, strict=True)
    except ValueError:  # pydantic's errors are of this kind
        choices = [str(choice) for choice in _choices(annotation)]
        near = nearest(value, choices) if isinstance(value, str) else ""
        raise InputError(f"{where}: must be {describe(annotation)}. Got {value!r} instead.{near}") from None


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def describe(annotation: Any) -> str:
    """Return in words what values `annotation` allows."""
    marks: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *rest = get_args(annotation)
        marks = tuple(rest)
    if get_origin(annotation) is Literal:
        return _values(get_args(annotation))
    if get_origin(annotation) is list:
        return f"a list, each entry {describe(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return "a table"
    if args := get_args(annotation):  # a union
        return " or ".join(describe(arg) for arg in args)
    words = {
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "a table",
        type(None): "none",
        Part: "a part",
    }
    text = words.get(annotation, getattr(annotation, "__name__", str(annotation)))
    for mark in marks:
        if isinstance(mark, Range):
            text += _bounds(mark)
    return text


def _values(values: Iterable[Any]) -> str:
    texts = [repr(value) for value in values]
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " or " + texts[-1]


def _bounds(limits: Range) -> str:
    if limits.low is not None and limits.high is not None:
        return f" from {limits.low:g} to {limits.high:g}"
    if limits.low is not None:
        return f" of at least {limits.low:g}"
    return f" of at most {limits.high:g}" if limits.high is not None else ""
