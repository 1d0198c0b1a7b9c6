"""Digests of values, files and code, and seeds: the same on every machine and in every order."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from study.errors import ErrorCode, code_error, file_error, shortened
from study.followed import Named, Unfollowed, named

HARNESS = "study"
DECLARATION = "component"
"""The decorator that registers a builder; the builder's keyword-only parameters are declarations."""
DECLARING = (f"{HARNESS}.config", f"{HARNESS}.errors")
"""Packages of the harness that components import only to declare parameters and to raise errors."""


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces; NaN and infinities raise ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any, length: int = 16) -> str:
    """Return the first `length` hexadecimal digits of the SHA-256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def file_digest(path: Path) -> str:
    """Return the first 16 hexadecimal digits of a file's SHA-256; raise InputError where there is no such file."""
    try:
        if not path.is_file():
            raise file_error(path, "there is no such file.", ErrorCode.MISSING_FILE)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:  # such as a name that is too long
        raise file_error(shortened(str(path)), f"cannot be read: {error.strerror}.") from None


def seed_of(*parts: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on every part and on their order."""
    return int.from_bytes(hashlib.sha256(canonical_json(parts).encode()).digest()[:8]) >> 1


def code_digest(parts: Mapping[str, str]) -> str:
    """Return the digest of code by the digests of its parts, their names left out: a moved module is the same code."""
    return digest(sorted(parts.values()))


@dataclass(frozen=True)
class Code:
    """Code that counts in an identity."""

    parts: Mapping[str, str]
    """The digest of every module and file, by name."""
    unfollowed: tuple[Unfollowed, ...] = ()
    """Calls in the user's modules that may read or run other files."""


def code_parts(
    modules: Iterable[str], follow: Sequence[str] = (), root: Path | None = None, files: Iterable[Path] = ()
) -> dict[str, str]:
    """Return the digests of `code_of` alone."""
    return dict(code_of(modules, follow, root, files).parts)


def code_of(
    modules: Iterable[str], follow: Sequence[str] = (), root: Path | None = None, files: Iterable[Path] = ()
) -> Code:
    """Return the digest of every module that `modules` import, and of every file, by name.

    A module's digest leaves out what changes no number: comments, docstrings, layout, annotations of functions,
    the arguments of raised exceptions, and the parameters that a component declares, whose values are part of the
    configuration, with the imports that declarations need. Imports are followed statically in the user's own
    modules, packages without ``__init__.py`` included, and so are names and paths in calls as far as the source
    names them: ``import_module``, ``run_path``, data files beside the module. Libraries are left out: their versions
    are recorded.

    Args:
        modules: Names of modules.
        follow: Packages of the harness inside which imports are followed too.
        root: Folder that is searched for modules before the module path.
        files: Files whose bytes count; named relative to `root`.

    Raises:
        InputError: A module that is not valid Python, or a file that does not exist.
    """
    digests: dict[str, str] = {}
    unfollowed: dict[Unfollowed, None] = {}
    imports, folders, named_files = dict[str, None](), dict[Path, None](), dict[Path, None]()
    seen: set[Path] = set()
    pending: list[tuple[str, Path | None]] = [(name, module_path(name, root)) for name in modules]
    while pending:
        name, path = pending.pop()
        if path is None:
            raise code_error("", f"no source file for the module {name!r}.")
        if name in digests or path.resolve() in seen:
            continue
        seen.add(path.resolve())
        module = path.stem if name.startswith(_FILE) else name
        digests[name], imported = _digest_and_imports(path, module, path.stat().st_mtime_ns)
        pending += [
            (other, module_path(other, root)) for other in imported if _is_followed(other, follow, root)
        ]
        if name.partition(".")[0] == HARNESS:
            continue
        found = _named(path, module, path.stat().st_mtime_ns, root)
        unfollowed |= dict.fromkeys(found.unfollowed)
        imports |= dict.fromkeys((*imported, *found.modules))
        folders |= {folder.absolute(): None for folder in found.folders}
        pending += [
            (other, module_path(other, root)) for other in found.modules if _is_followed(other, follow, root)
        ]
        for file in filter(_is_own_file, map(Path.absolute, found.paths)):
            if file.suffix == ".py":
                pending.append((_FILE + _relative(file, root), file))
            else:
                named_files[file] = None
        pending += [
            (other, at)
            for other in imports
            for folder in folders
            if other not in digests and (at := _in_folder(other, folder)) is not None
        ]
    for file in files:
        digests[f"file {os.path.relpath(file, root) if root else file}"] = file_digest(file)
    for file in named_files:
        if file.resolve() not in {listed.resolve() for listed in files}:
            digests[_FILE + _relative(file, root)] = file_digest(file)
    return Code(digests, tuple(unfollowed))


_FILE = "file "


def _relative(file: Path, root: Path | None) -> str:
    """Return a file's path from the root, or else from the working folder."""
    return os.path.relpath(file, root)


def _is_own_file(file: Path) -> bool:
    """Return whether a named path is a file of the user's, not of a library."""
    is_library = bool({"site-packages", "dist-packages"} & set(file.parts))
    return file.is_file() and not is_library and Path(__file__).parent not in file.parents


def _in_folder(module: str, folder: Path) -> Path | None:
    """Return the source file of a module in a folder that is added to the module path."""
    path = folder.joinpath(*module.split("."))
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()), None)


def _is_followed(module: str, follow: Sequence[str], root: Path | None) -> bool:
    """Return whether an imported module is part of the user's code, or lies in a followed package of the harness."""
    if module.partition(".")[0] == HARNESS:
        within = any(module == package or module.startswith(package + ".") for package in follow)
        return within and module_path(module, root) is not None
    return not is_installed(module.partition(".")[0], root) and module_path(module, root) is not None


@cache
def _digest_and_imports(path: Path, module: str, modified_ns: int) -> tuple[str, tuple[str, ...]]:
    """Return a module's digest and all that it may import; `modified_ns` invalidates the cache after an edit."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise code_error(f"{path}:{error.lineno}", f"not valid Python: {error.msg}.") from None
    imported = tuple(_imports(tree, module, is_package=path.name == "__init__.py"))
    _remove_irrelevant_nodes(tree)
    return hashlib.sha256(canonical_json(_syntax_as_json(tree)).encode()).hexdigest(), imported


@cache
def _named(path: Path, module: str, modified_ns: int, root: Path | None) -> Named:
    """Return what a module names in calls and paths; `modified_ns` invalidates the cache after an edit."""

    def folder_of(package: str) -> Path | None:
        location = module_path(package, root)
        folder = location.parent if location else _location(package.partition(".")[0], root)
        if location is None and folder is not None:  # a package without __init__.py
            folder = folder.joinpath(*package.split(".")[1:])
        return folder if folder is not None and folder.is_dir() else None

    return named(ast.parse(path.read_bytes()), path.absolute(), module, folder_of)


def _remove_irrelevant_nodes(tree: ast.Module) -> None:
    """Remove the nodes of a syntax tree that change no number, in place."""
    tree.body = [node for node in tree.body if not _is_declaring(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            undocumented = node.body[ast.get_docstring(node, clean=False) is not None :]
            node.body = undocumented or [ast.Pass()]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(DECLARATION):
                    node.args.kwonlyargs, node.args.kw_defaults = [], []
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node.exc = node.exc.func


def _is_declaring(node: ast.stmt) -> bool:
    """Return whether a statement imports names that only declarations of components use."""
    module = node.module or "" if isinstance(node, ast.ImportFrom) and not node.level else ""
    return any(module == package or module.startswith(package + ".") for package in DECLARING)


def _syntax_as_json(value: Any) -> Any:
    """Return a syntax tree as JSON, the same in every version of Python that has the syntax."""
    if isinstance(value, ast.AST):
        fields = {name: _syntax_as_json(field) for name, field in ast.iter_fields(value)}
        return [
            type(value).__name__,
            {name: field for name, field in fields.items() if field not in (None, [])},
        ]
    if isinstance(value, list):
        return [_syntax_as_json(item) for item in value]
    return value if value is None else f"{type(value).__name__} {value!r}"


def _imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield every name that a module may import as a module, its parent packages included."""
    yield from _parent_packages(module)
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
        elif isinstance(node, ast.Call) and _is_import_call(node):
            candidates = [node.args[0].value]  # type: ignore[attr-defined]
        else:
            continue
        for name in candidates:
            yield from (name, *_parent_packages(name))


def _is_import_call(node: ast.Call) -> bool:
    """Return whether a call imports a module by a literal name."""
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    has_literal = (
        bool(node.args) and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    )
    return has_literal and name in ("import_module", "__import__")


def _parent_packages(module: str) -> Iterator[str]:
    """Yield the packages that contain a module, the outermost first."""
    parts = module.split(".")
    yield from (".".join(parts[:length]) for length in range(1, len(parts)))


@cache
def is_installed(top: str, root: Path | None = None) -> bool:
    """Return whether a top-level module is a library or comes with Python; a missing one counts as installed."""
    location = _location(top, root)
    if location is None:
        return True
    standard = Path(os.__file__).parent
    return bool({"site-packages", "dist-packages"} & set(location.parts)) or standard in location.parents


def _location(top: str, root: Path | None) -> Path | None:
    """Return the file or folder of a top-level module without running it."""
    if root is not None:
        for path in (root / f"{top}.py", root / top / "__init__.py"):
            if path.is_file():
                return path if path.parent == root else path.parent
    try:
        spec = importlib.util.find_spec(top)
    except (ValueError, ImportError):
        spec = None
    if spec is None:  # installed packages take precedence over a folder without __init__.py
        return root / top if root is not None and (root / top).is_dir() else None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin and spec.origin.endswith((".py", ".so")) else None


def module_path(module: str, root: Path | None = None) -> Path | None:
    """Return the source file of `module` without running it; None where there is none.

    A package without ``__init__.py`` has no file, but its modules have.

    Args:
        module: The dotted name.
        root: Folder that is searched before the module path.
    """
    top, *rest = module.split(".")
    location = _location(top, root)
    if location is None:
        return None
    if not rest:
        location = location / "__init__.py" if location.is_dir() else location
        return location if location.suffix == ".py" and location.is_file() else None
    folders = [location]
    if root is None or location.parent != root:
        with suppress(ValueError, ImportError):
            spec = importlib.util.find_spec(top)  # for a submodule, find_spec imports its parent packages
            folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    for folder in folders:
        path = folder.joinpath(*rest)
        for file in (path.parent / f"{path.name}.py", path / "__init__.py"):
            if file.is_file():
                return file
    return None
