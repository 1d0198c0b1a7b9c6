"""Functions of the user named as ``module:function``: found and checked without importing them, then loaded."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import InputError, nearest
from study.hashing import module_path

_NAME = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


class UserImportError(InputError):
    """A module of the user that cannot be imported; `detail` is its traceback."""

    def __init__(self, message: str, detail: str) -> None:
        super().__init__(message)
        self.detail = detail


@dataclass(frozen=True)
class Reference:
    """A function of the user.

    Args:
        text: ``module:function``.
        key: The key that names it, such as ``task.function``, for messages.
        root: Folder in which modules are looked for first.
        parameters: Names of what the function is called with, in order.
    """

    text: str
    key: str
    root: Path
    parameters: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not _NAME.fullmatch(self.text):
            raise InputError(
                f"{self.key}: must be 'module:function', such as 'my_project.train:train'. Got {self.text!r} instead."
            )

    @property
    def module(self) -> str:
        """The module's dotted name."""
        return self.text.partition(":")[0]

    @property
    def function(self) -> str:
        """The function's name in the module."""
        return self.text.partition(":")[2]

    @property
    def signature(self) -> str:
        """How the function must be declared."""
        return f"def {self.function}({', '.join(self.parameters)})"

    def validate(self) -> None:
        """Find the function in the module's source, and check what it takes; nothing is imported.

        Raises:
            InputError: No such module or function, a syntax error, or other parameters.
        """
        path = self._source()
        tree = self.syntax()
        names = dict(_bound(tree.body))
        if self.function not in names and "*" not in names:
            near = nearest(self.function, [name for name, node in names.items() if node is not None])
            raise InputError(f"{self.key}: {path} has no function {self.function!r}.{near}")
        node = names.get(self.function)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list:
            if isinstance(node, ast.AsyncFunctionDef):
                raise self._wrong("is an async function", f"{path}:{node.lineno}")
            if not _takes(node.args, len(self.parameters)):
                raise self._wrong(f"takes ({ast.unparse(node.args)})", f"{path}:{node.lineno}")
        elif isinstance(node, ast.ClassDef):
            raise self._wrong("is a class", f"{path}:{node.lineno}")

    def syntax(self) -> ast.Module:
        """Return the module's syntax tree; InputError names file and line of a mistake."""
        path = self._source()
        try:
            return ast.parse(path.read_bytes())
        except SyntaxError as error:
            raise InputError(f"{self.key}: {path}:{error.lineno}: not valid Python: {error.msg}.") from None
        except ValueError as error:
            raise InputError(f"{self.key}: {path}: not valid Python: {error}.") from None

    def load(self) -> Callable[..., Any]:
        """Import the module and return the function.

        Raises:
            UserImportError: The module raises when it is imported.
            InputError: It has no such function, or one with other parameters.
        """
        if sys.path[:1] != [str(self.root)]:
            sys.path.insert(0, str(self.root))
        try:
            module = importlib.import_module(self.module)
        except (Exception, SystemExit) as error:
            raise UserImportError(
                f"{self.key}: the module {self.module!r} cannot be imported: {_where(error)}"
                f"{type(error).__name__}: {error}",
                traceback.format_exc(),
            ) from error
        found, wanted = getattr(module, "__file__", None), self._source()
        if (
            found and Path(found).exists() and not wanted.samefile(found)
        ):  # as of two revisions in one process
            raise InputError(
                f"{self.key}: the module {self.module!r} is {found}, imported before; expected {wanted}."
            )
        function = getattr(module, self.function, None)
        if function is None:
            near = nearest(self.function, [name for name, value in vars(module).items() if callable(value)])
            raise InputError(
                f"{self.key}: the module {self.module!r} has no function {self.function!r}.{near}"
            )
        if not callable(function):
            raise self._wrong(f"is of type {type(function).__name__}")
        try:
            signature = inspect.signature(function)
            signature.bind(*self.parameters)
        except TypeError:
            raise self._wrong(f"takes {signature}") from None
        except ValueError:  # compiled functions have no signature
            pass
        loaded: Callable[..., Any] = function
        return loaded

    def _source(self) -> Path:
        *folders, last = self.module.split(".")
        for root in (str(self.root), *sys.path):
            below = Path(root or ".", *folders)
            for path in (below / f"{last}.py", below / last / "__init__.py"):
                if path.is_file():
                    return path
        if (installed := module_path(self.module)) is not None:  # as editable installs are
            return installed
        beside = [path.stem for path in self.root.joinpath(*folders).glob("*.py")]
        beside += [path.parent.name for path in self.root.joinpath(*folders).glob("*/__init__.py")]
        near = nearest(last, beside)
        raise InputError(
            f"{self.key}: no module {self.module!r} below {self.root} or on the Python path.{near}"
        )

    def _wrong(self, what: str, where: str = "") -> InputError:
        place = f"{where}: " if where else ""
        return InputError(
            f"{self.key}: {place}{self.function!r} {what}; it must be declared as `{self.signature}`."
        )


def check_imports(references: Iterable[Reference], env: Mapping[str, str]) -> None:
    """Load functions in a process of its own, so that this one keeps free of what they import.

    Raises:
        UserImportError: Why one cannot be imported, or is not declared as it must be.
    """
    asked = [[r.text, r.key, str(r.root), list(r.parameters)] for r in references]
    question = json.dumps([sys.path, asked])
    if question in _LOADABLE:
        return
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "found")
        done = subprocess.run(
            [sys.executable, "-c", _CHECK, str(found)],
            input=question,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if not found.exists():
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise UserImportError(f"{asked[0][1]}: importing {asked[0][0]!r} failed: {last[0]}", done.stderr)
        for message, detail in json.loads(found.read_text()):
            raise UserImportError(message, detail)
    _LOADABLE.add(question)


_LOADABLE: set[str] = set()
"""Questions to `check_imports` that were answered well: a study asks the same of each variant."""
_CHECK = """
import json, pathlib, sys
path, asked = json.load(sys.stdin)
sys.path[:] = path
from study.errors import InputError
from study.tasks.own.references import Reference
problems = []
for text, key, root, parameters in asked:
    try:
        Reference(text, key, pathlib.Path(root), tuple(parameters)).load()
    except InputError as error:
        problems = [[str(error), getattr(error, "detail", "")]]
        break
pathlib.Path(sys.argv[1]).write_text(json.dumps(problems))
"""
"""Loads functions; leaves the first problem in the file that it is given."""


def _bound(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt | None]]:
    """Yield every name that statements of a module bind, functions and classes with their node."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name.partition(".")[0], None) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            names = (inner for inner in ast.walk(node) if isinstance(inner, ast.Name))
            yield from ((name.id, None) for name in names if isinstance(name.ctx, ast.Store))
        else:
            for field in ("body", "orelse", "finalbody"):
                yield from _bound(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from _bound(handler.body)


def _takes(arguments: ast.arguments, count: int) -> bool:
    """Whether a function can be called with so many positional arguments and nothing else."""
    places = len(arguments.posonlyargs) + len(arguments.args)
    needed = places - len(arguments.defaults)
    enough = count <= places or arguments.vararg is not None
    return needed <= count and enough and all(default is not None for default in arguments.kw_defaults)


def _where(error: BaseException) -> str:
    """Return ``file:line: `` of the user's last line in an exception's traceback."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith("<") and frame.filename not in (__file__, importlib.__file__)
    ]
    return f"{own[-1].filename}:{own[-1].lineno}: " if own else ""
