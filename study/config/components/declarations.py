"""Read components from the source of their modules, without importing them.

Annotations of a builder's keyword-only parameters may use the names in `ANNOTATION_NAMES`, names that the module
assigns or imports, and dataclasses, whose fields become parameters.
"""

from __future__ import annotations

import ast
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, get_origin, get_type_hints

from study.config.components.parameters import ANNOTATION_NAMES, Parameter, validated
from study.config.components.scopes import Dataclass, Scope, Unresolved, scope_of
from study.errors import code_error, nearest, quoted
from study.metrics import Metric

ATTRIBUTES: Mapping[str, Mapping[str, Any]] = {
    "metric": {key: hint for key, hint in get_type_hints(Metric).items() if key not in ("name", "compute")}
}
"""Attributes that a component's decorator may have besides the kind: by kind, with the type of each value."""


DESIGN_KEYS = ("kind", "reference", "within", "exclude")
"""Keys of every [design], beside the parameters of its kind."""


@dataclass(frozen=True)
class Group:
    """A parameter of a builder that is a dataclass; its fields are parameters of the component."""

    name: str
    """The name of the builder's parameter."""
    module: str
    """The module of the dataclass."""
    dataclass: str
    fields: tuple[str, ...]
    groups: tuple[Group, ...] = ()
    """Fields that are dataclasses themselves."""

    def __iter__(self) -> Iterator[str]:
        """Yield every field's name, those of nested groups included."""
        yield from self.fields
        for group in self.groups:
            yield from group


@dataclass(frozen=True)
class Component:
    """A component: the module and name of its builder, and its parameters."""

    kind: str
    name: str
    module: str
    function: str
    help: str
    parameters: Mapping[str, Parameter]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Attributes that the decorator sets besides the kind."""
    context: tuple[str, ...] = ()
    """Names of the builder's positional parameters."""
    groups: tuple[Group, ...] = ()
    where: str = ""
    """File and line, for messages."""


def declarations(module: str) -> tuple[Component, ...]:
    """Return the components that a module's source declares, without importing the module.

    Raises:
        InputError: A malformed declaration; the message names file and line.
    """
    scope = scope_of(module)
    if scope is None:
        raise code_error("", f"no source file for the component module {module!r}.")
    return tuple(_Reader(scope).components())


@dataclass(frozen=True)
class _Reader:
    """Reads declarations in the scope of their module."""

    scope: Scope

    def components(self) -> Iterator[Component]:
        """Yield the components that the module declares."""
        for node in self.scope.tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if getattr(called, "id", getattr(called, "attr", None)) == "component":
                    yield self._component(node, decorator, f"{self.scope.path}:{node.lineno}")

    def _component(self, node: ast.stmt, decorator: ast.expr, where: str) -> Component:
        if not isinstance(node, ast.FunctionDef):
            raise code_error(
                where, "@component marks a function; write one that returns the object it builds."
            )
        kind, attributes = self._kind_and_attributes(decorator, where)
        what = f"{where}: the {kind} {node.name!r}"
        doc = ast.get_docstring(node)
        if not doc:
            raise code_error("", f"{what} needs a docstring; its first line is shown to users.")
        if node.args.vararg or node.args.kwarg:
            raise code_error("", f"{what} must name its parameters: no *args, no **kwargs.")
        parameters: dict[str, Parameter] = {}
        groups: list[Group] = []
        for arg, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            declared, group = self.parameter(arg.arg, arg.annotation, default, where)
            groups += [group] if group else []
            if twice := sorted(set(declared) & set(parameters)):
                raise code_error(where, f"parameter {twice[0]!r} is declared twice.")
            parameters |= declared
        for reserved in ("name", *(DESIGN_KEYS if kind == "design" else ())):
            if reserved in parameters:
                raise code_error(
                    what,
                    f"{reserved!r} cannot be the name of a parameter: a study writes something else there; "
                    "rename it.",
                )
        context = tuple(arg.arg for arg in (*node.args.posonlyargs, *node.args.args))
        _check_label(attributes.get("label"), parameters, where)
        return Component(
            kind=kind,
            name=node.name.rstrip("_").replace("_", "-"),
            module=self.scope.module,
            function=node.name,
            help=doc.splitlines()[0],
            parameters=parameters,
            attributes=attributes,
            context=context,
            groups=tuple(groups),
            where=where,
        )

    def _kind_and_attributes(self, decorator: ast.expr, where: str) -> tuple[str, dict[str, Any]]:
        """Return the kind and the attributes that a decorator sets."""
        arguments: dict[str, ast.expr] = {}
        if isinstance(decorator, ast.Call):
            arguments = {keyword.arg: keyword.value for keyword in decorator.keywords if keyword.arg}
            arguments |= {"kind": decorator.args[0]} if decorator.args else {}
        kind = arguments.pop("kind", None)
        if not isinstance(kind, ast.Constant) or not isinstance(kind.value, str):
            raise code_error(where, '@component must name a kind in quotes, such as @component("metric").')
        known = ATTRIBUTES.get(kind.value, {})
        attributes: dict[str, Any] = {}
        for key, node in arguments.items():
            if key not in known:
                allowed = f" Allowed: {quoted(known)}." if known else ""
                raise code_error(
                    where, f"a {kind.value} has no attribute {key!r}.{nearest(key, known)}{allowed}"
                )
            try:
                value = self.scope.evaluate(node)
            except Unresolved:
                raise code_error(where, f"attribute {key!r} must be a literal.") from None
            attributes[key] = validated(known[key], value, f"{where}: attribute {key!r}")
        return kind.value, attributes

    def parameter(
        self, name: str, annotation: ast.expr | None, default: ast.expr | None, where: str
    ) -> tuple[dict[str, Parameter], Group | None]:
        """Return the parameters that one argument declares, and the group where it is a dataclass."""
        what = f"{where}: parameter {name!r}"
        if annotation is None:
            raise code_error(
                "", f"{what} needs an annotation such as Annotated[int, Range(0, 3), 'what it does']."
            )
        try:
            kind = self.scope.evaluate(annotation)
        except Unresolved as error:
            raise code_error(
                what,
                f"{error}; an annotation may use only {quoted(ANNOTATION_NAMES)}, names of such annotations "
                "that the module assigns or imports, and dataclasses of such fields.",
            ) from None
        if isinstance(kind, Dataclass):
            return self._group(name, kind, default, where)
        if get_origin(kind) is not Annotated or not (texts := _help_texts(kind)):
            raise code_error("", f"{what} needs one line of help: Annotated[type, 'what it does'].")
        try:
            value = None if default is None else self.scope.evaluate(default)
        except Unresolved:
            value = default
        if isinstance(value, ast.expr | Dataclass):
            raise code_error(what, "the default must be a literal, or the name of one in the module.")
        parameter = Parameter(name, kind, texts[-1], default is None, value)
        if default is not None and not parameter.is_part:
            value = parameter.validated(value, f"{what}: the default")
            parameter = replace(parameter, default=value)
        return {name: parameter}, None

    def _group(
        self, name: str, group: Dataclass, default: ast.expr | None, where: str
    ) -> tuple[dict[str, Parameter], Group]:
        """Return a dataclass's fields as parameters; a default ``Group(field=value)`` changes fields' defaults."""
        parameters, own, groups = _Reader(group.scope).members(group.node, f"{where}: parameter {name!r}")
        for key, node in self._changed_defaults(name, group, default, where).items():
            if key not in parameters:
                raise code_error(
                    where,
                    f"parameter {name!r}: {group.node.name} has no field {key!r}.{nearest(key, parameters)}",
                )
            try:
                value = self.scope.evaluate(node)
            except Unresolved:
                raise code_error(where, f"parameter {name!r}: {key} must be a literal.") from None
            value = parameters[key].validated(value, f"{where}: parameter {name!r}: {key}")
            parameters[key] = replace(parameters[key], required=False, default=value)
        return parameters, Group(name, group.scope.module, group.node.name, own, groups)

    def members(
        self, node: ast.ClassDef, what: str
    ) -> tuple[dict[str, Parameter], tuple[str, ...], tuple[Group, ...]]:
        """Return all parameters of a dataclass, the names of its simple fields, and its nested groups."""
        pending = f"class {node.name}"
        if pending in self.scope.pending:
            raise code_error(what, f"{node.name} is a field of itself.")
        self.scope.pending.add(pending)
        try:
            parameters: dict[str, Parameter] = {}
            own: list[str] = []
            groups: list[Group] = []
            for scope, name, annotation, value in self.scope.fields(node):
                declared, group = _Reader(scope).parameter(
                    name, annotation, value, f"{scope.path}:{annotation.lineno}"
                )
                if group:
                    groups.append(group)
                else:
                    own.append(name)
                if twice := sorted(set(declared) & set(parameters)):
                    raise code_error(what, f"{node.name} declares {twice[0]!r} twice.")
                parameters |= declared
            return parameters, tuple(own), tuple(groups)
        finally:
            self.scope.pending.discard(pending)

    def _changed_defaults(
        self, name: str, group: Dataclass, default: ast.expr | None, where: str
    ) -> dict[str, ast.expr]:
        """Return the fields that a parameter's default ``Group(field=value)`` sets."""
        if default is None:
            return {}
        try:
            if (
                isinstance(default, ast.Call)
                and not default.args
                and self.scope.evaluate(default.func) == group
            ):
                return {keyword.arg or "**": keyword.value for keyword in default.keywords}
        except Unresolved:
            pass
        raise code_error(
            where, f"parameter {name!r}: the default must be {group.node.name}(…) with fields by name."
        )


def _help_texts(annotation: Any) -> list[str]:
    return [item for item in annotation.__metadata__ if isinstance(item, str)]


def _check_label(label: str | None, parameters: Iterable[str], where: str) -> None:
    """Raise InputError unless every placeholder of a metric's label is a parameter."""
    try:
        named = [name for _, name, _, _ in string.Formatter().parse(label or "") if name is not None]
    except ValueError as error:
        raise code_error(where, f"attribute 'label': {error}.") from None
    for name in named:
        if name not in parameters:
            raise code_error(
                where,
                f"attribute 'label': {{{name}}} is no parameter of the metric; "
                f"allowed: {quoted(parameters)}.{nearest(name, parameters)}",
            )
