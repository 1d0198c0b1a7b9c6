"""Export revisions of the user's code, each to a folder that its runs import and execute code from.

A study names revisions as levels: ``code = ["git:main", "."]``. The folder that `export` returns becomes the task's
option ``export``: it is the first of `RunSpec.import_paths`, and scripts and ``task.cwd`` are relative to it.
``task.data`` and a function's working folder stay relative to the user's ``root``, because data are seldom under
version control.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from study.errors import unavailable, unknown_name, wrong_value
from study.files import PARTIAL_SUFFIX

CODE = "code"
"""The key of a configuration whose value is a revision."""
GIT, WORKING_TREE = "git:", "."
_JUNK = ("__pycache__", "node_modules", "venv")


def export(revision: str, root: Path, store: Path, outputs: Iterable[Path] = ()) -> Path:
    """Return the folder below `store` that holds a revision of the code; the user's tree is only read.

    Args:
        revision: ``git:REV`` for a commit, branch or tag; ``.`` for the working tree, without files that git ignores.
        root: The folder of study.toml; of a larger repository, only this folder is exported.
        store: The folder of exported revisions, each named by the hash of its content and exported once.
        outputs: Folders that the harness writes; ``.`` leaves them out.

    Raises:
        InputError: A malformed or unknown revision, no git repository, or no git.
    """
    if revision == WORKING_TREE:
        return _export_files(root, store, [path.resolve() for path in outputs])
    if revision.startswith(GIT) and len(revision) > len(GIT):
        return _export_commit(revision.removeprefix(GIT), root, store)
    raise wrong_value(CODE, "must be '.' or 'git:REVISION', such as 'git:main'.", revision)


def is_junk(path: Path) -> bool:
    """Return whether a file or folder is never code: hidden, compiled, or a virtual environment."""
    return path.name.startswith(".") or path.name in _JUNK or (path / "pyvenv.cfg").is_file()


def _export_commit(name: str, root: Path, store: Path) -> Path:
    if not _is_in_git(root):
        raise unavailable(CODE, f"'git:{name}' needs a git repository, and {root} is in none.")
    parsed = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if parsed.returncode and parsed.stderr.strip():  # such as a repository of another user
        raise wrong_value(CODE, f"{parsed.stderr.decode(errors='replace').strip().splitlines()[0]}")
    if parsed.returncode:
        refs = _git(
            root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes"
        )
        names = refs.stdout.decode().split()
        raise unknown_name(CODE, f"git has no revision {name!r}", name, names, "")
    commit = parsed.stdout.decode().strip()
    prefix = _git(root, "rev-parse", "--show-prefix").stdout.decode().strip()
    tree = _git(root, "rev-parse", "--verify", "--quiet", f"{commit}:{prefix}")
    if tree.returncode:
        raise wrong_value(CODE, f"the revision {name!r} has no folder {prefix!r}.")
    target = store / tree.stdout.decode().strip()[:16]
    if target.is_dir():
        return target
    top = Path(_git(root, "rev-parse", "--show-toplevel").stdout.decode().strip())
    archive = _git(top, "archive", "--format=tar", tree.stdout.decode().strip())
    if archive.returncode:
        raise unavailable(
            CODE, f"git cannot export {name!r}: {archive.stderr.decode(errors='replace').strip()}"
        )
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store, prefix=".export-", suffix=PARTIAL_SUFFIX) as temporary:
        exported = Path(temporary) / "tree"
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(exported, filter="tar")
        return _rename_read_only(exported, target)


def _export_files(root: Path, store: Path, outputs: list[Path]) -> Path:
    content = hashlib.sha256()
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store, prefix=".export-", suffix=PARTIAL_SUFFIX) as temporary:
        tree = Path(temporary) / "tree"
        tree.mkdir()
        for path in sorted(_code_files(root, [*outputs, store.resolve()])):
            name = path.relative_to(root)
            copied = tree / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                copied.symlink_to(path.readlink())
                kind, data = "link", os.fsencode(path.readlink())
            else:
                shutil.copy2(path, copied)
                kind = "program" if os.access(copied, os.X_OK) else "file"
                data = copied.read_bytes()
            for part in (kind.encode(), str(name).encode(), data):
                content.update(f"{len(part)} ".encode() + part)
        return _rename_read_only(tree, store / content.hexdigest()[:16])


def _code_files(root: Path, skipped: list[Path]) -> Iterator[Path]:
    """Yield the code files below a folder: those that git tracks or would add; without git, all but junk."""
    if _is_in_git(root):
        listing = _git(root, "ls-files", "-co", "--exclude-standard", "-z").stdout
        listed = [root / os.fsdecode(name) for name in dict.fromkeys(listing.split(b"\0")) if name]
        paths = [path for path in listed if path.is_symlink() or path.is_file()]
    else:
        paths = list(_files_without_junk(root))
    for path in paths:
        resolved = path.parent.resolve() / path.name
        if not any(folder == resolved or folder in resolved.parents for folder in skipped):
            yield path


def _files_without_junk(root: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_junk(Path(parent, name))]
        yield from (Path(parent, name) for name in names if not is_junk(Path(parent, name)))


def _rename_read_only(tree: Path, target: Path) -> Path:
    """Make the files of an export read-only, so that no run changes them, and rename its folder to `target`."""
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    try:
        tree.rename(target)
    except OSError:
        if not target.is_dir():  # another process may have exported the same revision
            raise
    return target


def _is_in_git(root: Path) -> bool:
    return any((folder / ".git").exists() for folder in (root.resolve(), *root.resolve().parents))


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", *arguments], cwd=folder, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise unavailable(
            CODE, "git is not installed, or not on PATH; it is needed to export the code."
        ) from None
