"""Digests and seeds: the same value gives the same name on every machine and in every order."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from study.errors import InputError


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces; NaN and infinities raise ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any, length: int = 16) -> str:
    """Return the first `length` hexadecimal digits of the SHA-256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def file_digest(path: Path) -> str:
    """Return the first 16 hexadecimal digits of a file's SHA-256; InputError where there is no such file."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def seed_of(*parts: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on every part and on their order."""
    return int.from_bytes(hashlib.sha256(canonical_json(parts).encode()).digest()[:8]) >> 1


def code_digest(modules: Iterable[str]) -> str:
    """Return a digest of the code that `modules` run, comments, docstrings and layout left out."""
    return digest(code_parts(modules))


def code_parts(modules: Iterable[str]) -> dict[str, str]:
    """Return the digest of every module that `modules` run, by its name, comments, docstrings and layout left out.

    Imports are followed statically inside each module's own top-level package and, outside site-packages, to
    the modules that lie beside it: what a library does is told by its recorded version, not by its source.
    """
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name], imported = _parse(name)
        waiting += imported
    return found


@cache
def _parse(module: str) -> tuple[str, list[str]]:
    path = module_path(module)
    if path is None:
        raise ModuleNotFoundError(f"no source file for module {module!r}")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = list(_imports(tree, module, is_package=path.name == "__init__.py"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            undocumented = node.body[ast.get_docstring(node, clean=False) is not None :]
            node.body = undocumented or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest(), imported


def _imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield the modules that its syntax tree imports from `module`'s own top-level package or from beside it."""
    top = module.partition(".")[0]
    beside = _folder_of(top)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".") if is_package else module.split(".")[:-1]
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            candidates = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in candidates:
            other = name.partition(".")[0]
            own = other == top and name != top
            if (own or (other != top and beside and _folder_of(other) == beside)) and module_path(name):
                yield name


@cache
def _folder_of(top: str) -> Path | None:
    """Return the folder that a top-level module lies in, None for what is installed or comes with Python."""
    path = module_path(top)
    if path is None:
        return None
    folder = path.parent.parent if path.name == "__init__.py" else path.parent
    installed = {"site-packages", "dist-packages"} & set(folder.parts)
    return None if installed or folder == Path(os.__file__).parent else folder


@cache
def module_path(module: str) -> Path | None:
    """Return the source file of `module` without running it, or None where there is none."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)  # of a submodule it would import the modules above
    except ValueError:
        return None
    if spec is None or spec.origin is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin.endswith(".py") else None
    for location in spec.submodule_search_locations or ():
        path = Path(location, *rest)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None
