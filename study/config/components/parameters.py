"""Parameters of components: the markers that annotations use, and the check of a value against an annotation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Le
from pydantic import TypeAdapter

from study.errors import ErrorCode, InputError, Mistake, nearest, nearest_name, quoted, shown


@dataclass(frozen=True)
class Range(GroupedMetadata):
    """Bounds of a number, both inclusive; None where there is no bound."""

    low: float | None = None
    high: float | None = None

    def __iter__(self) -> Any:
        if self.low is not None:
            yield Ge(self.low)
        if self.high is not None:
            yield Le(self.high)


@dataclass(frozen=True)
class LocalPath:
    """Marks a parameter that is a path on this machine: it changes no number and is left out of identities."""


@dataclass(frozen=True)
class File:
    """Marks a parameter that names a file: its content counts in a run's identity, its path does not.

    The default of the parameter means no file.
    """


@dataclass(frozen=True)
class Legacy:
    """Marks a parameter that was added later: at this value, runs are as before and the identity leaves it out."""

    value: bool | int | float | str


@dataclass(frozen=True)
class InTrials:
    """Marks a parameter that trials of a search have this value of, because others leave no validation score.

    Where a study sets another value, one more training with it follows each search.
    """

    value: bool | int | float | str


@dataclass(frozen=True)
class Internal:
    """Marks a parameter that the harness sets: a study cannot set it, and listings leave it out."""


@dataclass(frozen=True)
class Unsearchable:
    """Marks a parameter that a search cannot set, because its trials would not be comparable."""


if TYPE_CHECKING:
    Part = Any  # its default is a name, its value a table
else:

    class Part:
        """Marks a parameter as a component of the kind that has the parameter's name."""


MARKERS: dict[str, Any] = {
    "Range": Range,
    "LocalPath": LocalPath,
    "File": File,
    "Legacy": Legacy,
    "InTrials": InTrials,
    "Internal": Internal,
    "Unsearchable": Unsearchable,
}
ANNOTATION_NAMES: dict[str, Any] = {
    "Annotated": Annotated,
    "Literal": Literal,
    **MARKERS,
    "Part": Part,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "list": list,
    "dict": dict,
}
"""Names that annotations of parameters may use, besides ``None``."""


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
        """Whether the parameter is another component, of the kind that has the parameter's name."""
        return get_args(self.annotation)[0] is Part

    @property
    def is_local_path(self) -> bool:
        """Whether the parameter is a path on this machine and left out of a run's identity."""
        return self._has_marker(LocalPath)

    @property
    def is_file(self) -> bool:
        """Whether the parameter names a file whose content counts."""
        return self._has_marker(File)

    @property
    def is_internal(self) -> bool:
        """Whether the harness sets the parameter."""
        return self._has_marker(Internal)

    def _has_marker(self, marker: type) -> bool:
        return any(isinstance(item, marker) for item in get_args(self.annotation)[1:])

    @property
    def legacy_default(self) -> Any:
        """The value at which a later-added parameter is left out of a run's identity; None for other parameters."""
        return legacy_default(self.annotation)

    @property
    def in_trials(self) -> Any:
        """The value that trials of a search have; None for a parameter that they have the study's value of."""
        return in_trials(self.annotation)

    def allowed(self) -> str:
        """Return a description of the allowed values."""
        return describe(self.annotation)

    def validated(self, value: Any, where: str) -> Any:
        """Return `value` as the declared type; raise InputError where it is not allowed."""
        return validated(self.annotation, value, where)


def legacy_default(annotation: Any) -> Any:
    """Return the value of the annotation's `Legacy` marker; None where there is none."""
    return next((item.value for item in get_args(annotation)[1:] if isinstance(item, Legacy)), None)


def in_trials(annotation: Any) -> Any:
    """Return the value of the annotation's `InTrials` marker; None where there is none."""
    return next((item.value for item in get_args(annotation)[1:] if isinstance(item, InTrials)), None)


def validated(annotation: Any, value: Any, where: str) -> Any:
    """Return `value` as `annotation`'s type; raise InputError, with the allowed values, where it is not allowed."""
    try:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
        return _adapter(annotation).validate_python(value, strict=True)
    except ValueError:  # the base class of pydantic's errors
        choices = [str(choice) for choice in _choices(annotation)]
        near = nearest(value, choices) if isinstance(value, str) else ""
        allowed = tuple(choices) or describe(annotation)
        raise InputError(
            f"{where}: must be {describe(annotation)}. Got {shown(value)} instead.{near}",
            Mistake(ErrorCode.WRONG_VALUE, where, value, allowed, nearest_name(str(value), choices)),
        ) from None


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def describe(annotation: Any) -> str:
    """Return a description of the values that `annotation` allows."""
    markers: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *extras = get_args(annotation)
        markers = tuple(extras)
    if get_origin(annotation) is Literal:
        return quoted(get_args(annotation))
    if get_origin(annotation) is list:
        return f"a list, each entry {describe(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return "a table"
    if args := get_args(annotation):  # a union
        return " or ".join(describe(arg) for arg in args)
    descriptions = {
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "a table",
        type(None): "none",
        Part: "a part",
    }
    text = descriptions.get(annotation, getattr(annotation, "__name__", str(annotation)))
    return text + "".join(_bounds(marker) for marker in markers if isinstance(marker, Range))


def _bounds(bounds: Range) -> str:
    """Return a phrase for bounds, such as `` from 0 to 1``."""
    if bounds.low is not None and bounds.high is not None:
        return f" from {bounds.low:g} to {bounds.high:g}"
    if bounds.low is not None:
        return f" of at least {bounds.low:g}"
    return f" of at most {bounds.high:g}" if bounds.high is not None else ""
