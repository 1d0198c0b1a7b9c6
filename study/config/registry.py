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
kind hands to every builder; what stands behind it are the user's parameters. Both are read from the source, so
that names and parameters are checked, listed and documented without importing torch. Annotations use the words of
`study.config.parameters`, names of such annotations, assigned or imported, and dataclasses, whose fields are
parameters; defaults are literals or names of literals.

Kinds belong to the task: its module has ``KINDS`` and the modules of its components, ``COMPONENTS``. A parameter
marked `Part` makes a kind of its own name.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from study.config.declarations import Component, Group, declarations
from study.config.parameters import (
    File,
    Internal,
    Legacy,
    LocalPath,
    Parameter,
    Part,
    Range,
    describe,
    legacy_default,
    validated,
)
from study.errors import InputError, nearest, quoted
from study.hashing import module_path
from study.metrics import Metric
from study.records import metric_key
from study.task import Kind

if TYPE_CHECKING:
    from study.task import Task

__all__ = [
    "Component",
    "Config",
    "File",
    "Internal",
    "Legacy",
    "LocalPath",
    "Parameter",
    "Part",
    "Range",
    "Registry",
    "component",
    "describe",
    "legacy_default",
    "validated",
]

_log = logging.getLogger(__name__)
Builder = TypeVar("Builder", bound=Callable[..., Any])
Config = dict[str, Any]

TASK = Kind(
    "task", ("registry",), "what is trained and judged: the [task] table of a study", is_configured=False
)
TASKS = ("study.tasks.clips.task", "study.tasks.function", "study.tasks.command")
"""Modules of the built-in tasks."""
PLUGINS = "study.components"
"""The entry-point group of installed modules of components."""


def component(kind: str, **attributes: Any) -> Callable[[Builder], Builder]:
    """Register the decorated function as a component of `kind`, under its own name.

    Args:
        kind: A kind of the task, ``task``, or a kind that a component names as a `Part`.
        attributes: Literals; those of a metric are the fields of `study.metrics.Metric`.
    """

    def unchanged(builder: Builder) -> Builder:
        return builder

    return unchanged


class Registry:
    """The components of a task, of the user's modules and of installed plug-ins.

    Args:
        modules: The user's modules of components.
        task: The name of the task, whose kinds and components are known.
        where: File and key of the task's name, for messages.

    Raises:
        InputError: An unknown task or kind, or a declaration that cannot be read.
    """

    def __init__(self, modules: Iterable[str] = (), task: str = "clips", where: str = "task") -> None:
        self._components: dict[tuple[str, str], Component] = {}
        self._broken: dict[str, str] = {}
        tasks = [new for module in TASKS if module_path(module) for new in declarations(module)]
        own: list[Component] = []
        for module in modules:
            if module_path(module) is None:
                raise InputError(
                    f"study.toml: components: no module {module!r} can be found on the Python path."
                )
            own += declarations(module)
        plugins = self._plugins()
        installed = [new for of in plugins.values() for new in of]
        self._tasks = {new.name: new for new in (*installed, *own, *tasks) if new.kind == TASK.name}
        if task not in self._tasks:
            raise InputError(
                f"{where}: unknown task {task!r}.{nearest(task, self._tasks)} "
                f"Allowed: {quoted(sorted(self._tasks))}."
            )
        self._own_kinds: Mapping[str, Kind] = self._of_task(task, "KINDS", {})
        parts = [new for module in self._of_task(task, "COMPONENTS", ()) for new in declarations(module)]
        self._add((*tasks, *parts, *own), ())
        for name, of in plugins.items():
            try:
                self._add(of, self._components.values())
            except InputError as error:
                self._leave_out(name, error)

    def _of_task(self, task: str, name: str, default: Any) -> Any:
        """Return what the light module of a task says, without importing its components."""
        module = self._tasks[task].module
        try:
            return getattr(importlib.import_module(module), name, default)
        except Exception as error:
            raise InputError(
                f"the task {task!r}: its module {module!r} cannot be imported: {type(error).__name__}: {error}."
            ) from error

    def _plugins(self) -> dict[str, tuple[Component, ...]]:
        found: dict[str, tuple[Component, ...]] = {}
        for entry in importlib.metadata.entry_points(group=PLUGINS):
            try:
                found[entry.name] = declarations(entry.module)
            except Exception as error:  # a broken plug-in must not stop a study that does not use it
                self._leave_out(entry.name, error)
        return found

    def _leave_out(self, plugin: str, error: Exception) -> None:
        self._broken[plugin] = str(error)
        _log.warning("plug-in %s is broken and left out: %s", plugin, error)

    def _add(self, new: Iterable[Component], old: Iterable[Component]) -> None:
        """Register components whose kinds this task knows; those of other tasks are left out.

        Raises:
            InputError: A kind that no task knows, another context than the kind's, or a name that is taken.
        """
        new = tuple(new)
        kinds = self._known(*old, *new)
        added: dict[tuple[str, str], Component] = {}
        for found in new:
            if found.kind not in kinds:
                if any(found.kind in self._of_task(task, "KINDS", {}) for task in self._tasks):
                    continue
                raise InputError(
                    f"{found.where}: unknown kind {found.kind!r}.{nearest(found.kind, kinds)} Allowed: "
                    f"{quoted(kinds)}, and kinds that a component names as a Part."
                )
            declared = found.kind in self._own_kinds or found.kind == TASK.name
            needed = kinds[found.kind].context
            if declared and len(found.context) != len(needed):
                raise InputError(
                    f"{found.where}: the {found.kind} {found.name!r} must take ({', '.join(needed)}) before the "
                    f"'*'. Got ({', '.join(found.context)}) instead."
                )
            key = (found.kind, found.name)
            there = self._components.get(key) or added.setdefault(key, found)
            if there != found:
                raise InputError(
                    f"{found.where}: the {found.kind} {found.name!r} is already registered by {there.module}; "
                    "rename one of the two builders."
                )
        self._components |= added
        self.__dict__.pop("kinds", None)

    def _known(self, *components: Component) -> dict[str, Kind]:
        asked = {
            key: Kind(key, help=parameter.help)
            for found in components
            for key, parameter in sorted(found.parameters.items())
            if parameter.is_part
        }
        return {
            **self._own_kinds,
            **{k: v for k, v in asked.items() if k not in self._own_kinds},
            "task": TASK,
        }

    @cached_property
    def kinds(self) -> Mapping[str, Kind]:
        """The task's kinds, then those that components name as a `Part`, then ``task``."""
        return self._known(*self._components.values())

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
            if kind not in self.kinds:
                near = nearest(kind, self.kinds)
                raise InputError(
                    f"{prefix}unknown kind {kind!r}.{near} Allowed: {quoted(self.kinds)}."
                ) from None
            broken = (
                f" The plug-in of that name is broken: {self._broken[name]}." if name in self._broken else ""
            )
            raise InputError(
                f"{prefix}unknown {kind} {name!r}.{nearest(name, names)}{broken} Allowed: {quoted(names)}."
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
                f"Allowed names: {quoted(self.names(kind))}."
            )
        found = self.get(kind, given.pop("name"), where)
        parameters = {key: p for key, p in found.parameters.items() if not p.is_part}
        public = [key for key, parameter in parameters.items() if not parameter.is_internal]
        for key in given:
            if key not in public:
                allowed = f"allowed: {quoted(public)}" if public else "it takes none"
                raise InputError(
                    f"{where}.{key}: the {kind} {found.name!r} has no parameter {key!r}; {allowed}."
                    f"{nearest(key, public)}"
                )
        resolved: Config = {"name": found.name}
        for key, parameter in parameters.items():
            if key in given:
                resolved[key] = parameter.validated(given[key], f"{where}.{key}")
            elif parameter.required:
                named = (
                    f" Name it here, or in study.toml under [data.{found.name}]."
                    if parameter.is_local_path
                    else ""
                )
                raise InputError(
                    f"{where}: the {kind} {found.name!r} needs {key!r}: {parameter.help}.{named}"
                )
            else:
                resolved[key] = parameter.default
        return resolved

    def reduced(self, kind: str, config: Mapping[str, Any]) -> Config:
        """Return a resolved configuration without the parameters that stand at their defaults."""
        declared = self.get(kind, config["name"]).parameters
        return {
            key: value for key, value in config.items() if key == "name" or value != declared[key].default
        }

    def parts(self, name: str, kind: str = "network") -> dict[str, Any]:
        """Return the kinds of parts that a component is built from, each with its default."""
        found = self.get(kind, name)
        return {key: p.default for key, p in found.parameters.items() if p.is_part}

    def builder(self, kind: str, name: str) -> Callable[..., Any]:
        """Import and return the builder of a component."""
        return _builder(self.get(kind, name))

    def build(self, kind: str, config: Config, *context: Any) -> Any:
        """Build the component that `config` describes; `context` is what the kind hands to every builder."""
        found = self.get(kind, config["name"])
        built = _call(found, config, *context)
        if built is None:
            raise InputError(
                f"the {kind} {found.name!r}: its builder, {found.function} in {found.module}, returned nothing."
            )
        return built

    def metric(self, config: Mapping[str, Any] | str, where: str = "metric") -> Metric:
        """Return the metric that a name, or a table of a name and parameters, describes.

        Its ``compute(labels, logits)`` imports the component's module when it is called. Its name is the component's,
        followed by the parameters that differ from their defaults.
        """
        resolved = self.resolve("metric", config, where)
        found = self.get("metric", resolved["name"])
        attributes = dict(found.attributes)
        attributes["label"] = str(attributes.get("label", found.name)).format(**resolved)
        name = metric_key(self.reduced("metric", resolved))
        return Metric(name=name, compute=_Compute(found, resolved), **attributes)

    def task(self, options: Mapping[str, Any], where: str = "task") -> Task:
        """Return the task that ``options["name"]`` names, built from the other keys, those of the harness included."""
        declared = self.get("task", options["name"], where).parameters
        set_here = {
            key: value for key, value in options.items() if key in declared and declared[key].is_internal
        }
        asked = {key: value for key, value in options.items() if key not in set_here}
        built: Task = self.build("task", {**self.resolve("task", asked, where), **set_here}, self)
        return built

    def __iter__(self) -> Iterator[Component]:
        order = {kind: place for place, kind in enumerate(self.kinds)}
        return iter(sorted(self._components.values(), key=lambda c: (order[c.kind], c.name)))


@dataclass(frozen=True)
class _Compute:
    """A metric's function: imports its module when it is called; can be sent to other processes."""

    component: Component
    config: Config

    def __call__(self, labels: Any, logits: Any) -> float:
        """Return the metric of labels (n,) and logits (n, classes)."""
        value = _call(self.component, self.config, labels, logits)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise InputError(
                f"{self.component.where}: the metric {self.component.name!r} must return a number. "
                f"Got {value!r} instead."
            ) from None


def _builder(found: Component) -> Callable[..., Any]:
    try:
        module = importlib.import_module(found.module)
    except Exception as error:
        raise InputError(
            f"the {found.kind} {found.name!r}: its module {found.module!r} cannot be imported: "
            f"{type(error).__name__}: {error}."
        ) from error
    builder: Callable[..., Any] = getattr(module, found.function)
    return builder


def _call(found: Component, config: Config, *context: Any) -> Any:
    given = {key: value for key, value in config.items() if key != "name"}
    builder = _builder(found)
    groups = {group.name: _grouped(group, given) for group in found.groups}
    inside = {key for group in found.groups for key in group}
    return builder(*context, **{key: value for key, value in given.items() if key not in inside}, **groups)


def _grouped(group: Group, given: Config) -> Any:
    """Return the dataclass of a group, filled from the parameters that are its fields."""
    plain = {key: given[key] for key in group.fields if key in given}
    return getattr(importlib.import_module(group.module), group.dataclass)(
        **plain, **{below.name: _grouped(below, given) for below in group.groups}
    )
