"""Swappable parts by name.

A component is one decorated builder::

    @component("splitter")
    def issm(
        features: Features,
        *,
        frozen: Annotated[bool, "keep every offset at zero"] = False,
    ) -> nn.Module:
        '''Soft resampling of frames by their similarity.'''

Its name is its function's (``conv_tiny`` becomes ``conv-tiny``). What stands before the ``*`` is what the
kind hands to every builder; what stands behind it are the user's parameters. Their annotations are read
from the source, so that names and parameters are checked, listed and documented without importing torch.
The annotations therefore use only the words in `VOCABULARY`, and defaults are literals.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Le
from pydantic import TypeAdapter

from study.errors import InputError, listing, nearest
from study.hashing import module_path

_log = logging.getLogger(__name__)
Builder = TypeVar("Builder", bound=Callable[..., Any])
Config = dict[str, Any]

CONFIGURED = (
    "dataset",
    "network",
    "backbone",
    "splitter",
    "lifting",
    "readout",
    "head",
    "loss",
    "augmentation",
)
"""The kinds that a training is configured from."""
KINDS = (*CONFIGURED, "measure")

BUILT_IN = (
    "study.tasks.clips.data.faces.dataset",
    "study.tasks.clips.data.sets.dfew",
    "study.tasks.clips.data.sets.ferv39k",
    "study.tasks.clips.data.sets.mafw",
    "study.tasks.clips.data.sets.folder",
    "study.tasks.clips.nets.ifdd.network",
    "study.tasks.clips.nets.video.baselines",
    "study.tasks.clips.nets.video.backbones",
    "study.tasks.clips.nets.video.torchvision_backbones",
    "study.tasks.clips.nets.ifdd.splitters",
    "study.tasks.clips.nets.ifdd.lifting",
    "study.tasks.clips.nets.ifdd.readouts",
    "study.tasks.clips.nets.video.temporal",
    "study.tasks.clips.nets.ifdd.heads",
    "study.tasks.clips.nets.ifdd.losses",
    "study.tasks.clips.data.augmentation",
    "study.tasks.clips.measures.disentanglement",
)


CONTEXT: dict[str, tuple[str, ...]] = {
    "dataset": (),
    "network": ("shape", "classes", "build"),
    "backbone": ("shape",),
    "splitter": ("features",),
    "lifting": ("groups",),
    "readout": ("groups",),
    "head": ("features", "classes"),
    "loss": (),
    "augmentation": (),
    "measure": ("seen",),
}
"""What each kind hands to its builders, before the ``*``."""


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
class Place:
    """Marks a parameter that says where something lies on this machine: it changes no number, so no identity."""


@dataclass(frozen=True)
class File:
    """Marks a parameter that names a file: its content counts towards a run's identity, its place does not.

    The parameter's default is a word for no file.
    """


@dataclass(frozen=True)
class Neutral:
    """Marks a parameter that was added later: at this value all is as before, so no identity names it."""

    value: bool | int | float | str


if TYPE_CHECKING:
    Part = Any  # declared with a name, built with a table
else:

    class Part:
        """Marks a network's parameter as a part of the kind that the parameter is named after."""


VOCABULARY: dict[str, Any] = {
    "Annotated": Annotated,
    "Literal": Literal,
    "Range": Range,
    "Place": Place,
    "File": File,
    "Neutral": Neutral,
    "Part": Part,
    "None": None,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "list": list,
}


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
    def is_place(self) -> bool:
        """Whether the parameter is a place on this machine and so left out of a run's identity."""
        return any(isinstance(mark, Place) for mark in get_args(self.annotation)[1:])

    @property
    def is_file(self) -> bool:
        """Whether the parameter names a file whose content counts."""
        return any(isinstance(mark, File) for mark in get_args(self.annotation)[1:])

    @property
    def neutral(self) -> Any:
        """The value at which a parameter that was added later is left out of a run's identity; None for none."""
        return neutral_value(self.annotation)

    def allowed(self) -> str:
        """Say in words what values are allowed."""
        return describe(self.annotation)

    def check(self, value: Any, where: str) -> Any:
        """Return `value` as the declared type, or raise InputError."""
        return check(self.annotation, value, where)


@dataclass(frozen=True)
class Component:
    """A registered part: where its builder lies and what may be said to it."""

    kind: str
    name: str
    module: str
    function: str
    help: str
    parameters: Mapping[str, Parameter]


def component(kind: str) -> Callable[[Builder], Builder]:
    """Register the decorated builder under its own name as a component of `kind`."""
    if kind not in KINDS:
        raise ValueError(f"'kind' must be {listing(KINDS)}. Got {kind!r} instead.{nearest(kind, KINDS)}")

    def unchanged(builder: Builder) -> Builder:
        return builder

    return unchanged


class Registry:
    """The components of this project, of the user's modules and of installed plug-ins."""

    def __init__(self, modules: Iterable[str] = ()) -> None:
        self._components: dict[tuple[str, str], Component] = {}
        self._broken: dict[str, str] = {}
        for module in BUILT_IN:
            self._add(module, declarations(module))
        for module in modules:
            if module_path(module) is None:
                raise InputError(
                    f"study.toml: components: no module {module!r} can be found on the Python path."
                )
            self._add(module, declarations(module))
        self._add_plugins()

    def _add(self, source: str, found: Iterable[Component]) -> None:
        for new in found:
            old = self._components.setdefault((new.kind, new.name), new)
            if old is not new and old != new:
                raise InputError(
                    f"{source}: the {new.kind} {new.name!r} is already registered by {old.module}; "
                    "rename one of the two builders."
                )

    def _add_plugins(self) -> None:
        for entry in importlib.metadata.entry_points(group="study.tasks.clips.nets"):
            try:
                self._add(entry.value, declarations(entry.module))
            except Exception as error:  # a broken plug-in must not stop a study that does not use it
                self._broken[entry.name] = f"{entry.value}: {error}"
                _log.warning("plug-in %s (%s) is broken and left out: %s", entry.name, entry.value, error)

    def names(self, kind: str) -> list[str]:
        """Return the registered names of `kind`, sorted."""
        return sorted(name for of, name in self._components if of == kind)

    def get(self, kind: str, name: str, where: str = "") -> Component:
        """Return the component; InputError names the nearest one where there is none."""
        try:
            return self._components[kind, name]
        except KeyError:
            names = self.names(kind)
            prefix = f"{where}: " if where else ""
            broken = (
                f" The plug-in of that name is broken: {self._broken[name]}." if name in self._broken else ""
            )
            raise InputError(
                f"{prefix}unknown {kind} {name!r}.{nearest(name, names)}{broken} Allowed: {listing(names)}."
            ) from None

    def resolve(self, kind: str, value: Any, where: str) -> Config:
        """Return the full configuration ``{"name": …, parameter: value, …}`` that `value` asks for.

        Args:
            kind: The kind of component.
            value: A name, or a table with ``name`` and some of the component's parameters.
            where: File and key path, for messages.

        Raises:
            InputError: An unknown name or parameter, a wrong type, a value out of range, a missing parameter.
        """
        given = (
            {"name": value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else None
        )
        if given is None or not isinstance(given.get("name"), str):
            raise InputError(
                f"{where}: must be the name of a {kind} or a table with 'name'. Got {value!r} instead. "
                f"Allowed names: {listing(self.names(kind))}."
            )
        found = self.get(kind, given.pop("name"), where)
        parameters = {key: p for key, p in found.parameters.items() if not p.is_part}
        for key in given:
            if key not in parameters:
                allowed = f"allowed: {listing(parameters)}" if parameters else "it takes none"
                raise InputError(
                    f"{where}.{key}: the {kind} {found.name!r} has no parameter {key!r}; {allowed}."
                    f"{nearest(key, parameters)}"
                )
        resolved: Config = {"name": found.name}
        for key, parameter in parameters.items():
            if key in given:
                resolved[key] = parameter.check(given[key], f"{where}.{key}")
            elif parameter.required:
                named = (
                    f" Name it here, or in study.toml under [data.{found.name}]."
                    if parameter.is_place
                    else ""
                )
                raise InputError(
                    f"{where}: the {kind} {found.name!r} needs {key!r}: {parameter.help}.{named}"
                )
            else:
                resolved[key] = parameter.default
        return resolved

    def parts(self, network: str) -> dict[str, Any]:
        """Return the kinds of parts that `network` is built from, each with its default."""
        found = self.get("network", network)
        return {key: p.default for key, p in found.parameters.items() if p.is_part}

    def builder(self, kind: str, name: str) -> Callable[..., Any]:
        """Import and return the builder of a component."""
        found = self.get(kind, name)
        try:
            module = importlib.import_module(found.module)
        except Exception as error:
            raise InputError(
                f"the {kind} {name!r}: its module {found.module!r} cannot be imported: {type(error).__name__}: {error}."
            ) from error
        builder: Callable[..., Any] = getattr(module, found.function)
        return builder

    def build(self, kind: str, config: Config, *context: Any) -> Any:
        """Build the component that `config` describes; `context` is what the kind hands to every builder."""
        parameters = {key: value for key, value in config.items() if key != "name"}
        built = self.builder(kind, config["name"])(*context, **parameters)
        if built is None:
            found = self.get(kind, config["name"])
            raise InputError(
                f"the {kind} {found.name!r}: its builder, {found.function} in {found.module}, returned nothing."
            )
        return built

    def __iter__(self) -> Any:
        order = {kind: place for place, kind in enumerate(KINDS)}
        return iter(sorted(self._components.values(), key=lambda c: (order[c.kind], c.name)))


def neutral_value(annotation: Any) -> Any:
    """Return what a `Neutral` mark of the annotation says, None where there is none."""
    return next((mark.value for mark in get_args(annotation)[1:] if isinstance(mark, Neutral)), None)


def check(annotation: Any, value: Any, where: str) -> Any:
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
    """Say in words what values `annotation` allows."""
    marks: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *rest = get_args(annotation)
        marks = tuple(rest)
    if get_origin(annotation) is Literal:
        return listing_of_values(get_args(annotation))
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
        type(None): "none",
        Part: "a part",
    }
    text = words.get(annotation, getattr(annotation, "__name__", str(annotation)))
    for mark in marks:
        if isinstance(mark, Range):
            text += _bounds(mark)
    return text


def listing_of_values(values: Iterable[Any]) -> str:
    """Return values joined with commas and 'or', strings quoted."""
    texts = [repr(value) for value in values]
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + " or " + texts[-1]


def _bounds(limits: Range) -> str:
    if limits.low is not None and limits.high is not None:
        return f" from {limits.low:g} to {limits.high:g}"
    if limits.low is not None:
        return f" of at least {limits.low:g}"
    return f" of at most {limits.high:g}"


def declarations(module: str) -> tuple[Component, ...]:
    """Return the components that a module's source declares, without importing the module.

    Raises:
        InputError: A declaration that cannot be read: file and line are named.
    """
    path = module_path(module)
    if path is None:
        raise InputError(f"no source file for the component module {module!r}.")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise InputError(f"{path}:{error.lineno}: not valid Python: {error.msg}.") from None
    return tuple(
        _declaration(node, kind, module, f"{path}:{node.lineno}")
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and (kind := _kind_of(node))
    )


def _kind_of(node: ast.FunctionDef) -> str | None:
    for decorator in node.decorator_list:
        if (
            isinstance(decorator, ast.Call)
            and getattr(decorator.func, "id", getattr(decorator.func, "attr", None)) == "component"
            and decorator.args
            and isinstance(decorator.args[0], ast.Constant)
        ):
            return str(decorator.args[0].value)
    return None


def _declaration(node: ast.FunctionDef, kind: str, module: str, where: str) -> Component:
    if kind not in KINDS:
        raise InputError(f"{where}: unknown kind {kind!r}.{nearest(kind, KINDS)} Allowed: {listing(KINDS)}.")
    given, needed = [arg.arg for arg in node.args.args], CONTEXT[kind]
    if len(given) != len(needed):
        raise InputError(
            f"{where}: the {kind} {node.name!r} must take ({', '.join(needed)}) before the '*'. "
            f"Got ({', '.join(given)}) instead."
        )
    doc = ast.get_docstring(node)
    if not doc:
        raise InputError(
            f"{where}: the {kind} {node.name!r} needs a docstring; its first line is shown to users."
        )
    if node.args.vararg or node.args.kwarg:
        raise InputError(
            f"{where}: the {kind} {node.name!r} must name its parameters: no *args, no **kwargs."
        )
    parameters = {
        arg.arg: _parameter(arg, default, f"{where}: parameter {arg.arg!r}")
        for arg, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    }
    name = node.name.replace("_", "-")
    return Component(kind, name, module, node.name, doc.splitlines()[0], parameters)


def _parameter(arg: ast.arg, default: ast.expr | None, where: str) -> Parameter:
    if arg.annotation is None:
        raise InputError(f"{where} needs an annotation such as Annotated[int, Range(0, 3), 'what it does'].")
    try:
        annotation = eval(ast.unparse(arg.annotation), {"__builtins__": {}}, VOCABULARY)
    except Exception as error:
        raise InputError(f"{where}: the annotation may use only {listing(VOCABULARY)}: {error}.") from None
    texts = [mark for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, str)]
    if not texts:
        raise InputError(f"{where} needs one line of help: Annotated[type, 'what it does'].")
    try:
        value = None if default is None else ast.literal_eval(default)
    except ValueError:
        raise InputError(f"{where}: the default must be a literal.") from None
    parameter = Parameter(arg.arg, annotation, texts[0], default is None, value)
    if default is not None and not parameter.is_part:
        parameter.check(value, f"{where}: the default")
    return parameter
