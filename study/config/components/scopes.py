"""Evaluate annotations and literals from a module's source, without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from study.config.components.parameters import ANNOTATION_NAMES, MARKERS
from study.errors import code_error, nearest
from study.hashing import module_path

_CLOSED = (
    "typing",
    "typing_extensions",
    "annotated_types",
    "study.config.registry",
    "study.config.components.parameters",
)
"""Modules of which only the names in `ANNOTATION_NAMES` can be evaluated."""


class Unresolved(Exception):  # noqa: N818 - becomes an InputError that names the parameter
    """Raised for an expression whose value is unknown without running code; the message is the reason."""


@dataclass(frozen=True)
class Dataclass:
    """A dataclass that an annotation names."""

    scope: Scope
    node: ast.ClassDef


@dataclass(frozen=True)
class _Imported:
    """A name that a module imports."""

    module: str
    name: str | None
    """None for the module itself."""


class Scope:
    """The names that a module defines at its top level.

    Raises:
        InputError: The file is not valid Python.
    """

    def __init__(self, module: str, path: Path) -> None:
        self.module, self.path = module, path
        try:
            self.tree = ast.parse(path.read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise code_error(f"{path}:{error.lineno}", f"not valid Python: {error.msg}.") from None
        except (UnicodeDecodeError, ValueError) as error:
            raise code_error(f"{path}", f"not valid Python: {error}.") from None
        self.names: dict[str, ast.expr | ast.ClassDef | _Imported] = dict(self._defined(self.tree.body))
        self.pending: set[str] = set()
        """Names that are being evaluated, to detect cycles."""

    def _defined(self, body: Iterable[ast.stmt]) -> Iterator[tuple[str, Any]]:
        for node in body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    yield name, value
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    yield name, value
                case ast.ClassDef(name=name):
                    yield name, node
                case ast.Import(names=names):
                    for alias in names:
                        full = alias.name if alias.asname else alias.name.partition(".")[0]
                        yield alias.asname or full, _Imported(full, None)
                case ast.ImportFrom(names=names):
                    for alias in names:
                        yield alias.asname or alias.name, _Imported(self._base(node), alias.name)
                case ast.If() | ast.Try():
                    yield from self._defined(node.orelse)
                    yield from self._defined(node.body)

    def _base(self, node: ast.ImportFrom) -> str:
        """Return the absolute name of the module that a statement imports from."""
        if not node.level:
            return node.module or ""
        package = self.module.split(".")
        above = len(package) - node.level + (self.path.name == "__init__.py")
        return ".".join([*package[:above], *([node.module] if node.module else [])])

    def fields(self, node: ast.ClassDef) -> Iterator[tuple[Scope, str, ast.expr, ast.expr | None]]:
        """Yield the fields of a dataclass, inherited ones first: scope, name, annotation, default."""
        fields: dict[str, tuple[Scope, str, ast.expr, ast.expr | None]] = {}
        for base in node.bases:
            try:
                inherited = self.evaluate(base)
            except Unresolved:
                continue
            if isinstance(inherited, Dataclass):
                fields |= {entry[1]: entry for entry in inherited.scope.fields(inherited.node)}
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                name = statement.target.id
                fields[name] = (self, name, statement.annotation, _field_default(statement.value))
        yield from fields.values()

    def evaluate(self, node: ast.expr) -> Any:
        """Return the value of an annotation or a literal.

        Raises:
            Unresolved: The value is unknown without running code.
        """
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self.lookup(name)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                imported = self.names.get(name)
                if isinstance(imported, _Imported):
                    full = imported.module if imported.name is None else f"{imported.module}.{imported.name}"
                    return _lookup(_Imported(full, attribute))
            case ast.Tuple(elts=items):
                return tuple(map(self.evaluate, items))
            case ast.List(elts=items):
                return [self.evaluate(item) for item in items]
            case ast.Dict(keys=keys, values=values) if all(keys):
                return {
                    self.evaluate(key): self.evaluate(value)
                    for key, value in zip(keys, values, strict=True)
                    if key
                }
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value = self.evaluate(operand)
                if isinstance(value, int | float):
                    return -value
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return _apply(lambda a, b: a | b, self.evaluate(left), self.evaluate(right), node)
            case ast.Subscript(value=base, slice=index):
                return _apply(lambda a, b: a[b], self.evaluate(base), self.evaluate(index), node)
            case ast.Call(func=func, args=args, keywords=keywords):
                called = self.evaluate(func)
                if called in MARKERS.values():
                    values = [self.evaluate(arg) for arg in args]
                    named = {keyword.arg or "": self.evaluate(keyword.value) for keyword in keywords}
                    return _apply(lambda a, b: called(*a, **b), values, named, node)
        raise Unresolved(f"{ast.unparse(node)!r} cannot be evaluated")

    def lookup(self, name: str) -> Any:
        """Return the value of a name of the module; raise Unresolved where it is unknown."""
        definition = self.names.get(name)
        if definition is None:
            if name in ANNOTATION_NAMES:
                return ANNOTATION_NAMES[name]
            raise Unresolved(f"{name!r} is not defined in {self.path}.{nearest(name, self.names)}")
        if name in self.pending:
            raise Unresolved(f"{name!r} of {self.path} is defined by itself")
        self.pending.add(name)
        try:
            if isinstance(definition, _Imported):
                return _lookup(definition)
            if isinstance(definition, ast.ClassDef):
                return self._dataclass(definition)
            return self.evaluate(definition)
        finally:
            self.pending.discard(name)

    def _dataclass(self, node: ast.ClassDef) -> Any:
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if getattr(called, "id", getattr(called, "attr", None)) == "dataclass":
                return Dataclass(self, node)
        raise Unresolved(f"{node.name!r} of {self.path} is no dataclass")


def _lookup(imported: _Imported) -> Any:
    """Return the value of an imported name; raise Unresolved where it is unknown."""
    module, name = imported.module, imported.name
    if name is None:
        raise Unresolved(f"{module!r} is a module")
    if module in _CLOSED:
        if name in ANNOTATION_NAMES:
            return ANNOTATION_NAMES[name]
        raise Unresolved(f"{name!r} of {module} is no annotation of a parameter")
    scope = scope_of(module)
    if scope is None:
        raise Unresolved(f"{name!r} is imported from {module!r}, whose source cannot be found")
    if name not in scope.names and name in ANNOTATION_NAMES:
        return ANNOTATION_NAMES[name]
    return scope.lookup(name)


def scope_of(module: str) -> Scope | None:
    """Return the scope of a module; None where it has no source file. It is cached until the file changes."""
    path = module_path(module)
    if path is None:
        return None
    state = path.stat()
    return _parsed(module, path, (state.st_mtime_ns, state.st_size))


@cache
def _parsed(module: str, path: Path, state: tuple[int, int]) -> Scope:
    return Scope(module, path)


def _apply(operation: Any, left: Any, right: Any, node: ast.expr) -> Any:
    """Return the result of an operation; raise Unresolved where it fails."""
    try:
        return operation(left, right)
    except Exception as error:
        raise Unresolved(f"{ast.unparse(node)!r} is no annotation: {error}") from None


def _field_default(node: ast.expr | None) -> ast.expr | None:
    """Return the default inside ``field(default=…)`` or ``field(default_factory=lambda: …)``, else the node."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "field":
        arguments = {keyword.arg: keyword.value for keyword in node.keywords}
        factory = arguments.get("default_factory")
        if isinstance(factory, ast.Lambda):
            return factory.body
        if isinstance(factory, ast.Name) and factory.id in ("list", "dict"):
            return ast.List(elts=[]) if factory.id == "list" else ast.Dict(keys=[], values=[])
        return arguments.get("default", factory)
    return node
