"""The registry of components: swappable parts by kind and name.

A component is one decorated builder::

    @component("splitter")
    def issm(
        features: Features,
        *,
        frozen: Annotated[bool, "keep every offset at zero"] = False,
    ) -> nn.Module:
        '''Soft resampling of frames by their similarity.'''

Its name is its function's (``conv_tiny`` becomes ``conv-tiny``). Arguments before the ``*`` are the context, which
every builder of the kind gets; those after it are the user's parameters. Both are read from the source, so that
names and parameters are checked, listed and documented without importing torch. Annotations may use the markers of
`study.config.components.parameters`, names of such annotations, assigned or imported, and dataclasses, whose fields
are parameters; defaults are literals or names of literals.

Kinds belong to the task: its module has ``KINDS``, and ``COMPONENTS``, the modules of its components. A parameter
annotated as `Part` defines a kind of the parameter's name.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from study import seeds
from study.config.components.declarations import Component, Group, declarations
from study.config.components.parameters import (
    File,
    Internal,
    InTrials,
    Legacy,
    LocalPath,
    Parameter,
    Part,
    Range,
    Unsearchable,
    describe,
    in_trials,
    legacy_default,
    validated,
)
from study.errors import (
    ErrorCode,
    InputError,
    Mistake,
    classified,
    code_error,
    nearest,
    quoted,
    shown,
    unknown,
    unknown_name,
    wrong_value,
)
from study.generators import seeded
from study.hashing import HARNESS, module_path, seed_of
from study.metrics import Metric
from study.records import RunSpec, metric_key
from study.task import Kind

if TYPE_CHECKING:
    from study.task import Task

__all__ = [
    "Component",
    "Config",
    "File",
    "InTrials",
    "Internal",
    "Legacy",
    "LocalPath",
    "Parameter",
    "Part",
    "Range",
    "Registry",
    "Unsearchable",
    "component",
    "describe",
    "in_trials",
    "legacy_default",
    "validated",
]

_log = logging.getLogger(__name__)
Builder = TypeVar("Builder", bound=Callable[..., Any])
Config = dict[str, Any]

TASK = Kind(
    "task", ("registry",), "what is trained and evaluated: the [task] table of a study", is_configured=False
)
DESIGN = Kind(
    "design", ("reference", "factors"), "which variants are trained: [design] of a study", is_configured=False
)
DESIGNS = "study.config.layouts"
"""The module of the built-in designs."""
TASKS = ("study.tasks.clips.task", "study.tasks.function", "study.tasks.command")
"""Modules of the built-in tasks."""
PLUGINS = "study.components"
"""The entry-point group of installed modules of components."""


def component(kind: str, **attributes: Any) -> Callable[[Builder], Builder]:
    """Register the decorated function as a component of `kind`, under the function's name.

    Args:
        kind: A kind of the task, ``task``, ``design``, or a kind that a component declares as a `Part`.
        attributes: Literals; those of a metric are the fields of `study.metrics.Metric`.
    """

    def decorate(builder: Builder) -> Builder:
        return builder

    return decorate


class Registry:
    """The components of a task, of the user's modules and of installed plug-ins.

    Args:
        modules: The user's modules of components.
        task: The name of the task, whose kinds and components are registered.
        where: File and key of the task's name, for messages.

    Raises:
        InputError: An unknown task or kind, or a malformed declaration.
    """

    def __init__(self, modules: Iterable[str] = (), task: str = "clips", where: str = "task") -> None:
        self._components: dict[tuple[str, str], Component] = {}
        self._broken: dict[str, str] = {}
        tasks = [new for module in TASKS if module_path(module) for new in declarations(module)]
        own: list[Component] = []
        for module in modules:
            if module_path(module) is None:
                raise wrong_value(
                    "study.toml: components", f"no module {module!r} can be found on the Python path."
                )
            own += declarations(module)
        plugins = self._plugins()
        installed = [new for components in plugins.values() for new in components]
        self._tasks = {new.name: new for new in (*installed, *own, *tasks) if new.kind == TASK.name}
        if task not in self._tasks:
            raise unknown_name(
                where,
                f"unknown task {shown(task)}",
                task,
                self._tasks,
                f"Allowed: {quoted(sorted(self._tasks))}.",
            )
        self._own_kinds: Mapping[str, Kind] = self._task_constant(task, "KINDS", {})
        modules = self._task_constant(task, "COMPONENTS", ())
        parts = [new for module in (*modules, DESIGNS) for new in declarations(module)]
        self._add((*tasks, *parts, *own), ())
        for name, components in plugins.items():
            try:
                self._add(components, self._components.values())
            except InputError as error:
                self._leave_out(name, error)

    def _task_constant(self, task: str, name: str, default: Any) -> Any:
        """Return a constant of a task's module; the modules of its components are not imported."""
        module = self._tasks[task].module
        try:
            return getattr(importlib.import_module(module), name, default)
        except Exception as error:
            raise code_error(
                "",
                f"the task {task!r}: its module {module!r} cannot be imported: {type(error).__name__}: {error}.",
            ) from error

    def _plugins(self) -> dict[str, tuple[Component, ...]]:
        """Return the components of installed plug-ins, by plug-in; broken ones are left out."""
        plugins: dict[str, tuple[Component, ...]] = {}
        for entry in importlib.metadata.entry_points(group=PLUGINS):
            try:
                plugins[entry.name] = declarations(entry.module)
            except Exception as error:  # a broken plug-in must not stop a study that does not use it
                self._leave_out(entry.name, error)
        return plugins

    def _leave_out(self, plugin: str, error: Exception) -> None:
        self._broken[plugin] = str(error)
        _log.warning("plug-in %s is broken and left out: %s", plugin, error)

    def _add(self, new: Iterable[Component], old: Iterable[Component]) -> None:
        """Register components of this task's kinds; those of other tasks' kinds are left out.

        Raises:
            InputError: A kind that no task has, another context than the kind's, or a name that is taken.
        """
        new = tuple(new)
        kinds = self._kinds_with_parts_of(*old, *new)
        added: dict[tuple[str, str], Component] = {}
        for component in new:
            kind, name = component.kind, component.name
            if kind not in kinds:
                if any(kind in self._task_constant(task, "KINDS", {}) for task in self._tasks):
                    continue
                raise unknown_name(
                    component.where,
                    f"unknown kind {shown(kind)}",
                    kind,
                    kinds,
                    f"Allowed: {quoted(kinds)}, and kinds that a component declares as a Part.",
                )
            is_declared = kind in (*self._own_kinds, TASK.name, DESIGN.name)
            context = kinds[kind].context
            if is_declared and len(component.context) != len(context):
                raise code_error(
                    component.where,
                    f"the {kind} {name!r} must take ({', '.join(context)}) before the "
                    f"'*'. Got ({', '.join(component.context)}) instead.",
                )
            key = (kind, name)
            registered = self._components.get(key) or added.setdefault(key, component)
            if registered != component:
                raise code_error(
                    component.where,
                    f"the {kind} {name!r} is already registered by {registered.module}; "
                    "rename one of the two builders.",
                )
        self._components |= added
        self.__dict__.pop("kinds", None)

    def _kinds_with_parts_of(self, *components: Component) -> dict[str, Kind]:
        """Return the task's kinds, those that `components` declare as a `Part`, ``task`` and ``design``."""
        parts = {
            key: Kind(key, help=parameter.help)
            for component in components
            for key, parameter in sorted(component.parameters.items())
            if parameter.is_part
        }
        return {
            **self._own_kinds,
            **{key: kind for key, kind in parts.items() if key not in self._own_kinds},
            "task": TASK,
            "design": DESIGN,
        }

    @cached_property
    def kinds(self) -> Mapping[str, Kind]:
        """The task's kinds, then those that components declare as a `Part`, then ``task`` and ``design``."""
        return self._kinds_with_parts_of(*self._components.values())

    def names(self, kind: str) -> list[str]:
        """Return the registered names of `kind`, sorted."""
        return sorted(name for kind_of, name in self._components if kind_of == kind)

    def get(self, kind: str, name: str, where: str = "") -> Component:
        """Return a component; raise InputError, with the nearest name, where there is none."""
        try:
            return self._components[kind, name]
        except KeyError:
            names = self.names(kind)
            if kind not in self.kinds:
                raise unknown_name(where, f"unknown kind {shown(kind)}", kind, self.kinds) from None
            broken = (
                f"The plug-in of that name is broken: {self._broken[name]}. " if name in self._broken else ""
            )
            raise unknown_name(
                where, f"unknown {kind} {shown(name)}", name, names, f"{broken}Allowed: {quoted(names)}."
            ) from None

    def resolve(self, kind: str, value: Any, where: str) -> Config:
        """Return the full configuration ``{"name": …, parameter: value, …}`` of a component.

        Args:
            kind: The kind of component.
            value: A name, or a table with ``name`` and some of the component's parameters.
            where: File and key path, for messages.

        Raises:
            InputError: An unknown name or parameter, a wrong type, a value out of range, a missing parameter.
        """
        given = component_table(value)
        if given is None or not isinstance(given.get("name"), str):
            raise InputError(
                f"{where}: must be the name of a {kind} or a table with 'name'. Got {shown(value)} instead. "
                f"Allowed names: {quoted(self.names(kind))}.",
                Mistake(ErrorCode.WRONG_VALUE, where, value, tuple(self.names(kind))),
            )
        component = self.get(kind, given.pop("name"), where)
        parameters = {key: p for key, p in component.parameters.items() if not p.is_part}
        public = [key for key, parameter in parameters.items() if not parameter.is_internal]
        for key in given:
            if key not in public:
                allowed = f"allowed: {quoted(public)}" if public else "it takes none"
                raise InputError(
                    f"{where}.{key}: the {kind} {component.name!r} has no parameter {key!r}; {allowed}."
                    f"{nearest(key, public)}",
                    unknown(ErrorCode.UNKNOWN_KEY, f"{where}.{key}", key, public),
                )
        resolved: Config = {"name": component.name}
        for key, parameter in parameters.items():
            if key in given:
                resolved[key] = parameter.validated(given[key], f"{where}.{key}")
            elif parameter.required:
                hint = (
                    f" Set it in the study, or in study.toml under [data.{component.name}]."
                    if parameter.is_local_path
                    else ""
                )
                raise InputError(
                    f"{where}: the {kind} {component.name!r} needs {key!r}: {parameter.help}.{hint}",
                    Mistake(ErrorCode.MISSING_KEY, f"{where}.{key}", allowed=parameter.allowed()),
                )
            else:
                resolved[key] = parameter.default
        return resolved

    def reduced(self, kind: str, config: Mapping[str, Any]) -> Config:
        """Return a resolved configuration without the parameters at their defaults."""
        declared = self.get(kind, config["name"]).parameters
        return {
            key: value for key, value in config.items() if key == "name" or value != declared[key].default
        }

    def parts(self, name: str, kind: str = "network") -> dict[str, Any]:
        """Return the kinds of a component's parts, each with its default."""
        return {key: p.default for key, p in self.get(kind, name).parameters.items() if p.is_part}

    def builder(self, kind: str, name: str) -> Callable[..., Any]:
        """Import and return the builder of a component."""
        return _import_builder(self.get(kind, name))

    def build(self, kind: str, config: Config, *context: Any) -> Any:
        """Build the component that `config` describes; `context` holds the positional arguments of the kind."""
        component = self.get(kind, config["name"])
        with classified(ErrorCode.WRONG_VALUE, kind):
            built = _call_builder(component, config, *context)
        if built is None:
            raise code_error(
                "",
                f"the {kind} {component.name!r}: its builder, {component.function} in {component.module}, "
                "returned nothing.",
            )
        return built

    def metric(self, config: Mapping[str, Any] | str, where: str = "metric") -> Metric:
        """Return the metric that a name, or a table of a name and parameters, describes.

        Its ``compute(labels, logits)`` imports the component's module when it is called. Its name is the component's,
        followed by the parameters that differ from their defaults.
        """
        resolved = self.resolve("metric", config, where)
        component = self.get("metric", resolved["name"])
        attributes = dict(component.attributes)
        attributes["label"] = str(attributes.get("label", component.name)).format(**resolved)
        name = metric_key(self.reduced("metric", resolved))
        return Metric(name=name, compute=_Compute(component, resolved), **attributes)

    def task(self, options: Mapping[str, Any], where: str = "task") -> Task:
        """Return the task ``options["name"]``, built from the other keys, the internal ones included."""
        declared = self.get("task", options["name"], where).parameters
        internal = {
            key: value for key, value in options.items() if key in declared and declared[key].is_internal
        }
        public = {key: value for key, value in options.items() if key not in internal}
        task: Task = self.build("task", {**self.resolve("task", public, where), **internal}, self)
        return task

    def __iter__(self) -> Iterator[Component]:
        order = {kind: position for position, kind in enumerate(self.kinds)}
        return iter(sorted(self._components.values(), key=lambda c: (order[c.kind], c.name)))


def component_table(value: Any) -> Config | None:
    """Return a component's name, or table, as a table; None where the value is neither."""
    if isinstance(value, str):
        return {"name": value}
    return dict(value) if isinstance(value, Mapping) else None


def task_of(run: RunSpec, registry: Registry | None = None) -> Task:
    """Return the task of a run, from the registry of the run's modules unless another one is given."""
    registry = registry or Registry(run.modules, run.task)
    return registry.task(run.options or {"name": run.task})


@dataclass(frozen=True)
class _Compute:
    """A metric's function, which imports its module when it is called and can be pickled."""

    component: Component
    config: Config

    def __call__(self, labels: Any, logits: Any) -> float:
        """Return the metric of labels (n,) and logits (n, classes)."""
        built_in = self.component.module.partition(".")[0] == HARNESS
        with nullcontext() if built_in else seeded(seed_of(seeds.METRIC)):
            value = _call_builder(self.component, self.config, labels, logits)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise code_error(
                self.component.where,
                f"the metric {self.component.name!r} must return a number. Got {shown(value)} instead.",
            ) from None


def _import_builder(component: Component) -> Callable[..., Any]:
    try:
        if component.module not in sys.modules:
            with seeded(seed_of(seeds.MODULE, component.module)):  # for what it draws when it is imported
                importlib.import_module(component.module)
        module = importlib.import_module(component.module)
    except Exception as error:
        raise code_error(
            "",
            f"the {component.kind} {component.name!r}: its module {component.module!r} cannot be imported: "
            f"{type(error).__name__}: {error}.",
        ) from error
    builder: Callable[..., Any] = getattr(module, component.function)
    return builder


def _call_builder(component: Component, config: Config, *context: Any) -> Any:
    """Call a component's builder with its context and parameters, those of groups as dataclasses."""
    parameters = {key: value for key, value in config.items() if key != "name"}
    builder = _import_builder(component)
    groups = {group.name: _build_group(group, parameters) for group in component.groups}
    grouped = {key for group in component.groups for key in group}
    ungrouped = {key: value for key, value in parameters.items() if key not in grouped}
    return builder(*context, **ungrouped, **groups)


def _build_group(group: Group, parameters: Config) -> Any:
    """Return the dataclass of a group, filled from the parameters that are its fields."""
    own = {key: parameters[key] for key in group.fields if key in parameters}
    nested = {inner.name: _build_group(inner, parameters) for inner in group.groups}
    return getattr(importlib.import_module(group.module), group.dataclass)(**own, **nested)
