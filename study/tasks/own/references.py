"""Functions of the user named as ``module:function``: validated without importing them, then loaded."""

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

from study.errors import InputError, code_error, nearest, wrong_value
from study.hashing import module_path

_NAME = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


class UserImportError(InputError):
    """Raised where a module of the user cannot be imported; `detail` is the traceback."""

    def __init__(self, message: str, detail: str) -> None:
        super().__init__(message)
        self.detail = detail


@dataclass(frozen=True)
class Reference:
    """A function of the user.

    Args:
        text: ``module:function``.
        key: The key that names it, such as ``task.function``, for messages.
        root: The first folder that is searched for modules.
        parameters: The names of the function's arguments, in order.
    """

    text: str
    key: str
    root: Path
    parameters: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not _NAME.fullmatch(self.text):
            raise wrong_value(
                self.key, "must be 'module:function', such as 'my_project.train:train'.", self.text
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
        """The declaration that the function must have."""
        return f"def {self.function}({', '.join(self.parameters)})"

    def validate(self) -> None:
        """Check in the module's source that the function exists with its parameters, without importing anything.

        Raises:
            InputError: No such module or function, a syntax error, or other parameters.
        """
        path = self._source()
        names = dict(_bound_names(self.syntax().body))
        if self.function not in names and "*" not in names:
            near = nearest(self.function, [name for name, node in names.items() if node is not None])
            raise code_error(self.key, f"{path} has no function {self.function!r}.{near}")
        node = names.get(self.function)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list:
            if isinstance(node, ast.AsyncFunctionDef):
                raise self._declaration_error("is an async function", f"{path}:{node.lineno}")
            if not _accepts(node.args, len(self.parameters)):
                raise self._declaration_error(f"takes ({ast.unparse(node.args)})", f"{path}:{node.lineno}")
        elif isinstance(node, ast.ClassDef):
            raise self._declaration_error("is a class", f"{path}:{node.lineno}")

    def syntax(self) -> ast.Module:
        """Return the module's syntax tree; raise InputError, with file and line, for invalid Python."""
        path = self._source()
        try:
            return ast.parse(path.read_bytes())
        except SyntaxError as error:
            raise code_error(self.key, f"{path}:{error.lineno}: not valid Python: {error.msg}.") from None
        except ValueError as error:
            raise code_error(self.key, f"{path}: not valid Python: {error}.") from None

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
                f"{self.key}: the module {self.module!r} cannot be imported: {_error_location(error)}"
                f"{type(error).__name__}: {error}",
                traceback.format_exc(),
            ) from error
        imported, expected = getattr(module, "__file__", None), self._source()
        # an earlier import of another revision in the same process
        if imported and Path(imported).exists() and not expected.samefile(imported):
            raise code_error(
                self.key,
                f"the module {self.module!r} is already imported from {imported}; expected {expected}.",
            )
        function = getattr(module, self.function, None)
        if function is None:
            near = nearest(self.function, [name for name, value in vars(module).items() if callable(value)])
            raise code_error(self.key, f"the module {self.module!r} has no function {self.function!r}.{near}")
        if not callable(function):
            raise self._declaration_error(f"is of type {type(function).__name__}")
        try:
            signature = inspect.signature(function)
            signature.bind(*self.parameters)
        except TypeError:
            raise self._declaration_error(f"takes {signature}") from None
        except ValueError:  # compiled functions have no signature
            pass
        loaded: Callable[..., Any] = function
        return loaded

    def _source(self) -> Path:
        """Return the module's source file; raise InputError where there is none."""
        *packages, last = self.module.split(".")
        for root in (str(self.root), *sys.path):
            folder = Path(root or ".", *packages)
            for path in (folder / f"{last}.py", folder / last / "__init__.py"):
                if path.is_file():
                    return path
        if (installed := module_path(self.module)) is not None:  # such as an editable install
            return installed
        siblings = [path.stem for path in self.root.joinpath(*packages).glob("*.py")]
        siblings += [path.parent.name for path in self.root.joinpath(*packages).glob("*/__init__.py")]
        near = nearest(last, siblings)
        raise wrong_value(
            self.key, f"no module {self.module!r} below {self.root} or on the Python path.{near}"
        )

    def _declaration_error(self, problem: str, where: str = "") -> InputError:
        """Return the error for an object that is no function with the parameters."""
        location = f"{where}: " if where else ""
        return code_error(
            self.key, f"{location}{self.function!r} {problem}; it must be declared as `{self.signature}`."
        )


def check_imports(references: Iterable[Reference], env: Mapping[str, str]) -> None:
    """Load functions in a separate process, so that their imports do not affect this one.

    Raises:
        UserImportError: A function cannot be imported, or has another declaration.
    """
    functions = [[r.text, r.key, str(r.root), list(r.parameters)] for r in references]
    request = json.dumps([sys.path, functions])
    if request in _LOADABLE:
        return
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer")
        process = subprocess.run(
            [sys.executable, "-c", _LOAD, str(answer)],
            input=request,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if not answer.exists():
            text, key, *_ = functions[0]
            last = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
            raise UserImportError(f"{key}: importing {text!r} failed: {last[0]}", process.stderr)
        for message, detail in json.loads(answer.read_text()):
            raise UserImportError(message, detail)
    _LOADABLE.add(request)


_LOADABLE: set[str] = set()
"""Requests of `check_imports` that succeeded: a study repeats the same one for each variant."""
_LOAD = """
import json, pathlib, sys
path, functions = json.load(sys.stdin)
sys.path[:] = path
from study.errors import InputError
from study.tasks.own.references import Reference
problems = []
for text, key, root, parameters in functions:
    try:
        Reference(text, key, pathlib.Path(root), tuple(parameters)).load()
    except InputError as error:
        problems = [[str(error), getattr(error, "detail", "")]]
        break
pathlib.Path(sys.argv[1]).write_text(json.dumps(problems))
"""
"""Loads functions, and writes the first problem to the file in its argument."""


def _bound_names(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt | None]]:
    """Yield every name that statements of a module bind, with the node of functions and classes, else None."""
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
                yield from _bound_names(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from _bound_names(handler.body)


def _accepts(arguments: ast.arguments, count: int) -> bool:
    """Return whether a function can be called with `count` positional arguments and no others."""
    positional = len(arguments.posonlyargs) + len(arguments.args)
    required = positional - len(arguments.defaults)
    is_enough = count <= positional or arguments.vararg is not None
    return required <= count and is_enough and all(default is not None for default in arguments.kw_defaults)


def _error_location(error: BaseException) -> str:
    """Return ``file:line: `` of the last line of the user's code in an exception's traceback."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith("<") and frame.filename not in (__file__, importlib.__file__)
    ]
    return f"{own[-1].filename}:{own[-1].lineno}: " if own else ""
