"""Revisions of the user's code, each exported to a folder of its own that a run's code is read and run from.

A study names them as levels: ``code = ["git:main", "."]``. The folder that `export` returns takes the place of the
user's own as the task's option ``export``: modules are found there (so it is the first of `RunSpec.import_paths`),
scripts and ``task.cwd`` are relative to it. ``task.data`` and a function's working folder stay relative to the user's
``root``, since data are seldom under version control.
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

from study.errors import InputError, nearest

CODE = "code"
"""The key of a configuration whose value is a revision."""
GIT, WORKING_TREE = "git:", "."
_JUNK = ("__pycache__", "node_modules", "venv")


def export(revision: str, root: Path, store: Path, outputs: Iterable[Path] = ()) -> Path:
    """Return the folder below `store` that holds a revision of the code; the user's tree is only read.

    Args:
        revision: ``git:REV`` for a commit, branch or tag; ``.`` for the files as they are now, without those that
            git ignores.
        root: The folder of study.toml; of a larger repository, what lies below it.
        store: Where revisions are kept, each under the hash of its content; one that is there is used again.
        outputs: Folders that the harness writes, left out of ``.``.

    Raises:
        InputError: Another form, an unknown revision, no git repository, or no git.
    """
    if revision == WORKING_TREE:
        return _export_files(root, store, [path.resolve() for path in outputs])
    if revision.startswith(GIT) and len(revision) > len(GIT):
        return _export_commit(revision.removeprefix(GIT), root, store)
    raise InputError(f"{CODE}: must be '.' or 'git:REVISION', such as 'git:main'. Got {revision!r} instead.")


def is_junk(path: Path) -> bool:
    """Whether a file or folder is never code: hidden, compiled, or an environment."""
    return path.name.startswith(".") or path.name in _JUNK or (path / "pyvenv.cfg").is_file()


def _export_commit(name: str, root: Path, store: Path) -> Path:
    if not _is_in_git(root):
        raise InputError(f"{CODE}: 'git:{name}' needs a git repository, and {root} is in none.")
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if found.returncode and found.stderr.strip():  # such as a repository of another user
        raise InputError(f"{CODE}: {found.stderr.decode(errors='replace').strip().splitlines()[0]}")
    if found.returncode:
        listed = _git(
            root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes"
        )
        names = listed.stdout.decode().split()
        raise InputError(f"{CODE}: git knows no revision {name!r}.{nearest(name, names)}")
    commit = found.stdout.decode().strip()
    prefix = _git(root, "rev-parse", "--show-prefix").stdout.decode().strip()
    tree = _git(root, "rev-parse", "--verify", "--quiet", f"{commit}:{prefix}")
    if tree.returncode:
        raise InputError(f"{CODE}: the revision {name!r} has no folder {prefix!r}.")
    target = store / tree.stdout.decode().strip()[:16]
    if target.is_dir():
        return target
    top = Path(_git(root, "rev-parse", "--show-toplevel").stdout.decode().strip())
    archive = _git(top, "archive", "--format=tar", tree.stdout.decode().strip())
    if archive.returncode:
        raise InputError(
            f"{CODE}: git cannot export {name!r}: {archive.stderr.decode(errors='replace').strip()}"
        )
    with tempfile.TemporaryDirectory(dir=_made(store), prefix=".export-") as aside:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(Path(aside) / "tree", filter="tar")
        return _placed(Path(aside) / "tree", target)


def _export_files(root: Path, store: Path, outputs: list[Path]) -> Path:
    content = hashlib.sha256()
    with tempfile.TemporaryDirectory(dir=_made(store), prefix=".export-") as aside:
        tree = Path(aside) / "tree"
        tree.mkdir()
        for path in sorted(_files(root, [*outputs, store.resolve()])):
            name = path.relative_to(root)
            copied = tree / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                copied.symlink_to(path.readlink())
                kind, held = "link", os.fsencode(path.readlink())
            else:
                shutil.copy2(path, copied)
                kind = "program" if os.access(copied, os.X_OK) else "file"
                held = copied.read_bytes()
            for part in (kind.encode(), str(name).encode(), held):
                content.update(f"{len(part)} ".encode() + part)
        return _placed(tree, store / content.hexdigest()[:16])


def _files(root: Path, skipped: list[Path]) -> Iterator[Path]:
    """Yield the files below a folder that are code: what git tracks or would add, else all but hidden ones."""
    if _is_in_git(root):
        listed = _git(root, "ls-files", "-co", "--exclude-standard", "-z").stdout
        named = [root / os.fsdecode(name) for name in dict.fromkeys(listed.split(b"\0")) if name]
        found = [path for path in named if path.is_symlink() or path.is_file()]
    else:
        found = list(_walked(root))
    for path in found:
        place = path.parent.resolve() / path.name
        if not any(folder == place or folder in place.parents for folder in skipped):
            yield path


def _walked(root: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_junk(Path(parent, name))]
        yield from (Path(parent, name) for name in names if not is_junk(Path(parent, name)))


def _placed(tree: Path, target: Path) -> Path:
    """Give an export its name, its files protected from runs that would write to them."""
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    try:
        tree.rename(target)
    except OSError:
        if not target.is_dir():  # unless another process was faster
            raise
    return target


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_in_git(root: Path) -> bool:
    return any((folder / ".git").exists() for folder in (root.resolve(), *root.resolve().parents))


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", *arguments], cwd=folder, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise InputError(
            f"{CODE}: git is not installed, or not on PATH; it is needed to export the code."
        ) from None
