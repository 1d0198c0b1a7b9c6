"""Files and modules that a source file names without an import statement, found without running it."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from pathlib import Path

MOST_VALUES = 64
"""Values of an expression beyond which it counts as computed."""
IMPORTS = {"import_module": 0, "__import__": 0, "run_module": 0}
"""Functions that import a module by its name, each with the position of the name."""
RUNS = {"spec_from_file_location": 1, "SourceFileLoader": 1, "run_path": 0}
"""Functions that run a file of Python, each with the position of its path."""
READERS = frozenset(
    (
        *("open", "load", "loadtxt", "genfromtxt", "fromfile", "memmap", "load_file", "safe_open"),
        *("read_csv", "read_json", "read_parquet", "read_pickle"),
    )
)
"""Functions that read a file by a path, their first argument."""
METHODS = frozenset(("read_text", "read_bytes", "open"))
"""Methods of a path that read its file."""
OF_HANDLES = frozenset(("json", "pickle", "yaml", "toml", "tomllib", "marshal", "hub", "cpp_extension"))
"""Modules whose ``load`` takes no path of a file."""
NESTING = frozenset(("resolve", "absolute", "expanduser", "as_posix", "__fspath__"))
SAME = frozenset(("str", "fspath", "abspath", "realpath", "normpath"))


class UnfollowedKind(StrEnum):
    """What a source file does not tell."""

    MODULE = "module"
    """The name of a module that it imports."""
    CODE = "code"
    """The code that it runs."""
    PATH = "path"
    """Where modules are searched."""
    FILE = "file"
    """A file that it reads, by a path that it computes."""
    ARGUMENT = "argument"
    """A file that it reads, by a path that it is passed: a value of the configuration, or data."""


@dataclass(frozen=True)
class Unfollowed:
    """A call whose modules or files cannot be followed."""

    where: str
    """``file:line``"""
    call: str
    kind: UnfollowedKind


@dataclass(frozen=True)
class Named:
    """What a source file names."""

    modules: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    """Absolute, and relative ones that it reads; they need not exist."""
    folders: tuple[Path, ...] = ()
    """Folders that it adds to the module path."""
    unfollowed: tuple[Unfollowed, ...] = ()


def named(tree: ast.Module, path: Path, module: str, folder_of: Callable[[str], Path | None]) -> Named:
    """Return the modules and files that a source file names in calls and in paths relative to ``__file__``.

    Args:
        tree: Its syntax tree.
        path: The file, absolute.
        module: Its dotted name.
        folder_of: Returns the folder of a package.
    """
    return _Finder(tree, path, module, folder_of).find(tree)


class _Finder:
    def __init__(
        self, tree: ast.Module, path: Path, module: str, folder_of: Callable[[str], Path | None]
    ) -> None:
        self._path, self._module, self._folder_of = path, module, folder_of
        self._package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        self._assigned: dict[str, list[ast.expr]] = {}
        self._arguments: set[str] = set()
        self._open: set[str] = set()
        """Names whose values are being evaluated."""
        for node in ast.walk(tree):
            self._add_names(node)

    def _add_names(self, node: ast.AST) -> None:
        """Record the expressions that a statement assigns to names."""
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(target, node.value)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            self._assign(node.target, node.value)
        elif isinstance(node, ast.For | ast.comprehension):
            items = node.iter.elts if isinstance(node.iter, ast.Tuple | ast.List | ast.Set) else [node.iter]
            for item in items:
                self._assign(node.target, item)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._assign(node.optional_vars, node.context_expr)
        elif isinstance(node, ast.arg):
            self._arguments.add(node.arg)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._assigned.setdefault(target.id, []).append(value)
        elif isinstance(target, ast.Tuple | ast.List):
            values = value.elts if isinstance(value, ast.Tuple | ast.List) else [value] * len(target.elts)
            for inner, item in zip(target.elts, values, strict=False):
                self._assign(inner, item)

    def find(self, tree: ast.Module) -> Named:
        """Return what the file names."""
        modules: list[str] = []
        paths: list[Path] = []
        folders: list[Path] = []
        unfollowed: list[Unfollowed] = []

        def note(node: ast.AST, kind: UnfollowedKind) -> None:
            line = f"{self._path.name}:{getattr(node, 'lineno', 0)}"
            unfollowed.append(Unfollowed(line, " ".join(ast.unparse(node).split())[:80], kind))

        for node in ast.walk(tree):
            if isinstance(node, ast.expr):
                paths += [path for path in map(Path, self.values(node)) if path.is_absolute()]
            if isinstance(node, ast.Assign | ast.AugAssign) and "sys.path" in _targets(node):
                note(node, UnfollowedKind.PATH)
            if not isinstance(node, ast.Call):
                continue
            name = _tail(node.func)
            if name in IMPORTS and (found := self._argument(node, IMPORTS[name], "name")) is not None:
                modules += (absolute := self._absolute(node, found))
                if not absolute:
                    note(node, UnfollowedKind.MODULE)
            elif name in RUNS or self._is_reader(node):
                found = self._read_path(node, name)
                values = self.values(found) if found is not None else []
                paths += map(Path, values)
                if found is not None and not values and not self._is_nested(found):
                    read = UnfollowedKind.ARGUMENT if self._is_passed(found) else UnfollowedKind.FILE
                    note(node, UnfollowedKind.CODE if name in RUNS else read)
            elif name == "get_data" and len(node.args) > 1:  # pkgutil
                for package, inner in product(self.values(node.args[0]), self.values(node.args[1])):
                    paths += [folder / inner for folder in [self._folder_of(package)] if folder]
            elif name == "exec" and node.args and not self._is_told(node.args[0]):
                note(node, UnfollowedKind.CODE)
            elif name in ("append", "insert", "extend", "addsitedir") and (
                name == "addsitedir" or ast.unparse(node.func).startswith("sys.path.")
            ):
                values = self.values(node.args[-1]) if node.args else []
                folders += map(Path, values)
                if not values:
                    note(node, UnfollowedKind.PATH)
        return Named(*(tuple(dict.fromkeys(found)) for found in (modules, paths, folders, unfollowed)))  # type: ignore[arg-type]

    def _argument(self, node: ast.Call, position: int, keyword: str) -> ast.expr | None:
        if len(node.args) > position:
            return node.args[position]
        return next((k.value for k in node.keywords if k.arg in (keyword, "location", "path", "file")), None)

    def _absolute(self, node: ast.Call, name: ast.expr) -> list[str]:
        """Return the names of the modules that a call imports, relative ones made absolute."""
        package = self._argument(node, 1, "package") if _tail(node.func) == "import_module" else None
        anchors = self.values(package) if package is not None else []
        names = []
        for value in self.values(name):
            level = len(value) - len(value.lstrip("."))
            for anchor in anchors or [self._package] if level else [""]:
                parents = anchor.split(".")
                kept = parents[: len(parents) - level + 1] if level else []
                names.append(".".join([*kept, value[level:]]).strip("."))
        return [one for one in names if one]

    def _is_reader(self, node: ast.Call) -> bool:
        """Return whether a call reads a file, not only writes one."""
        name, owner = _tail(node.func), getattr(node.func, "value", None)
        if (
            name in METHODS
            and owner is not None
            and _tail(owner) not in ("io", "os", "codecs", "gzip", "Image")
        ):
            mode = node.args[0] if node.args and name == "open" else None
        elif name in READERS and not (owner is not None and _tail(owner) in OF_HANDLES):
            mode = node.args[1] if len(node.args) > 1 and name == "open" else None
        else:
            return False
        mode = mode or next((k.value for k in node.keywords if k.arg == "mode"), None)
        return not (isinstance(mode, ast.Constant) and set(str(mode.value)) & set("wax"))

    def _read_path(self, node: ast.Call, name: str) -> ast.expr | None:
        """Return the expression of the path that a call reads or runs."""
        if name in RUNS:
            return self._argument(node, RUNS[name], "path")
        owner = getattr(node.func, "value", None)
        modules = ("io", "os", "codecs", "gzip", "Image", "np", "numpy", "torch", "pd", "pandas")
        if name in METHODS and owner is not None and _tail(owner) not in modules:
            return owner  # type: ignore[no-any-return]
        return self._argument(node, 0, "file")

    def _is_told(self, code: ast.expr) -> bool:
        """Return whether executed code is a literal, or read from a file that is followed or noted itself."""
        return isinstance(code, ast.Constant) or any(
            isinstance(inner, ast.Call) and (self._is_reader(inner) or _tail(inner.func) in RUNS)
            for expression in (code, *self._reached(code))
            for inner in ast.walk(expression)
        )

    def _reached(self, node: ast.expr) -> Iterator[ast.expr]:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                yield from self._assigned.get(inner.id, ())

    def _is_nested(self, found: ast.expr) -> bool:
        """Return whether a path is an open file or the like, whose own call is followed or noted."""
        expressions = (found, *self._reached(found))
        return any(isinstance(one, ast.Call) and self._is_reader(one) for one in expressions)

    def _is_passed(self, found: ast.expr) -> bool:
        """Return whether a path is made of arguments or attributes."""
        nodes = [inner for one in (found, *self._reached(found)) for inner in ast.walk(one)]
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        return bool(names & self._arguments)

    def values(self, node: ast.expr | None) -> list[str]:
        """Return the texts that an expression may have, as far as the source shows; empty if it is computed."""
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) and "\0" not in node.value else []
        if isinstance(node, ast.Name):
            return self._values_of_name(node.id)
        if isinstance(node, ast.Attribute):
            return [os.path.dirname(v) for v in self.values(node.value)] if node.attr == "parent" else []  # noqa: PTH120
        if isinstance(node, ast.Subscript):
            return self._values_of_parents(node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Add):
            join = _joined if isinstance(node.op, ast.Div) else "".join
            return self._combined([node.left, node.right], join)
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.FormattedValue) else part for part in node.values]
            return self._combined(parts, "".join)
        if isinstance(node, ast.IfExp):
            return [*self.values(node.body), *self.values(node.orelse)]
        return self._values_of_call(node) if isinstance(node, ast.Call) else []

    def _values_of_name(self, name: str) -> list[str]:
        known = {"__file__": str(self._path), "__name__": self._module, "__package__": self._package}
        if name in known:
            return [known[name]]
        if name in self._open:
            return []
        self._open.add(name)
        try:
            found = [value for node in self._assigned.get(name, ()) for value in self.values(node)]
        finally:
            self._open.discard(name)
        return list(dict.fromkeys(found))[:MOST_VALUES]

    def _values_of_parents(self, node: ast.Subscript) -> list[str]:
        """Return the values of ``path.parents[n]``."""
        of, index = node.value, node.slice
        if not (isinstance(of, ast.Attribute) and of.attr == "parents" and isinstance(index, ast.Constant)):
            return []
        parents = [Path(value).parents for value in self.values(of.value)]
        return [
            str(up[index.value]) for up in parents if isinstance(index.value, int) and index.value < len(up)
        ]

    def _values_of_call(self, node: ast.Call) -> list[str]:
        name, owner = _tail(node.func), getattr(node.func, "value", None)
        if name in ("Path", "PurePath", "PosixPath"):
            return self._combined(node.args, _joined) if node.args else []
        if name in SAME and len(node.args) == 1:
            return [os.path.normpath(value) for value in self.values(node.args[0])]
        if name == "dirname" and node.args:
            return [os.path.dirname(value) for value in self.values(node.args[0])]  # noqa: PTH120
        if name == "files" and node.args:
            folders = [self._folder_of(value) for value in self.values(node.args[0])]
            return [str(folder) for folder in folders if folder]
        if owner is None:
            return []
        if name == "join" and ast.unparse(owner).endswith("path"):
            return self._combined(node.args, _joined)
        if name in NESTING:
            return self.values(owner)
        changes: dict[str, Callable[[Sequence[str]], str]] = {
            "joinpath": _joined,
            "with_name": lambda texts: str(Path(texts[0]).parent / texts[1]),
            "with_suffix": lambda texts: os.path.splitext(texts[0])[0] + texts[1],  # noqa: PTH122
        }
        return self._combined([owner, *node.args], changes[name]) if name in changes else []

    def _combined(self, nodes: Sequence[ast.expr], join: Callable[[Sequence[str]], str]) -> list[str]:
        """Return every combination of the values of several expressions, joined."""
        combinations = product(*(self.values(node) for node in nodes))
        return [join(texts) for texts, _ in zip(combinations, range(MOST_VALUES), strict=False)]


def _joined(texts: Sequence[str]) -> str:
    """Return path segments as one path; an absolute one begins it anew."""
    return str(Path(*texts))


def _tail(node: ast.AST) -> str:
    """Return the last name of a dotted expression."""
    return str(getattr(node, "attr", getattr(node, "id", "")))


def _targets(node: ast.Assign | ast.AugAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [ast.unparse(target).partition("[")[0] for target in targets]
