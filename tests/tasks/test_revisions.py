"""Revisions of the code: exported by content, the user's tree untouched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from study.config.revisions import export
from study.errors import InputError


def git(folder: Path, *arguments: str) -> str:
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **who}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project below the top of a repository, with two commits, changes and an ignored file."""
    top, root = tmp_path / "top", tmp_path / "top" / "project"
    root.mkdir(parents=True)
    git(top, "init", "-q", "-b", "main")
    (top / "elsewhere.txt").write_text("no part of the project")
    (top / ".gitignore").write_text("*.log\n")
    (root / "train.py").write_text("one")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "first")
    git(top, "tag", "first")
    (root / "train.py").write_text("two")
    git(top, "commit", "-q", "-am", "second")
    (root / "train.py").write_text("three, not committed")
    (root / "new.py").write_text("untracked")
    (root / "output.log").write_text("ignored")
    return root


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_commit_is_exported_as_it_was_and_used_again(root: Path, tmp_path: Path) -> None:
    status = git(root, "status", "--porcelain")
    first = export("git:first", root, tmp_path / "store")
    assert (first / "train.py").read_text() == "one"
    assert names(first) == {"train.py", "run.sh"}
    assert os.access(first / "run.sh", os.X_OK)
    assert (export("git:main", root, tmp_path / "store") / "train.py").read_text() == "two"
    before = (first / "train.py").stat().st_ino
    assert export("git:main~1", root, tmp_path / "store") == first
    assert (first / "train.py").stat().st_ino == before
    assert git(root, "status", "--porcelain") == status
    assert (root / "train.py").read_text() == "three, not committed"
    assert not [path for path in (tmp_path / "store").iterdir() if path.name.startswith(".")]


def test_a_commit_that_changes_no_file_of_the_project_is_the_same_code(root: Path, tmp_path: Path) -> None:
    (root.parent / "elsewhere.txt").write_text("changed")
    git(root.parent, "commit", "-q", "-m", "third", "elsewhere.txt")
    assert export("git:main", root, tmp_path / "store") == export("git:main~1", root, tmp_path / "store")


def test_the_working_tree_is_exported_by_content_without_ignored_files(root: Path, tmp_path: Path) -> None:
    (root / "reports").mkdir()
    (root / "reports" / "r.md").write_text("of the harness")
    found = export(".", root, tmp_path / "store", [root / "reports"])
    assert names(found) == {"train.py", "run.sh", "new.py"}
    assert (found / "train.py").read_text() == "three, not committed"
    assert os.access(found / "run.sh", os.X_OK)
    (root / "output.log").write_text("another")
    (root / "train.py").touch()
    assert export(".", root, tmp_path / "store", [root / "reports"]) == found
    (root / "train.py").write_text("four")
    assert export(".", root, tmp_path / "store", [root / "reports"]) != found
    (root / "train.py").unlink()
    assert "train.py" not in names(export(".", root, tmp_path / "store"))


def test_a_run_cannot_change_an_exported_file_by_mistake(root: Path, tmp_path: Path) -> None:
    found = export(".", root, tmp_path / "store")
    assert not (found / "train.py").stat().st_mode & 0o222
    assert (root / "train.py").stat().st_mode & 0o200


def test_outside_of_git_all_but_hidden_files_and_environments_are_code(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    for name in (
        "a.py",
        "pack/b.py",
        ".hidden",
        ".study/x",
        "__pycache__/c.pyc",
        "env/pyvenv.cfg",
        "env/d.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert names(export(".", root, tmp_path / "store")) == {"a.py", "pack/b.py"}
    with pytest.raises(InputError, match="needs a git repository"):
        export("git:main", root, tmp_path / "store")


@pytest.mark.parametrize(
    ("revision", "phrase"),
    [
        ("git:mian", "no revision 'mian'. Did you mean 'main'"),
        ("git:fisrt", "Did you mean 'first'"),
        ("git:", "must be '.' or 'git:REVISION'"),
        ("main", "must be '.' or 'git:REVISION'"),
        ("git:--help", "no revision '--help'"),
    ],
)
def test_a_revision_that_is_not_there_names_the_nearest(
    root: Path, tmp_path: Path, revision: str, phrase: str
) -> None:
    with pytest.raises(InputError, match=phrase):
        export(revision, root, tmp_path / "store")


def test_a_revision_without_the_project_is_said(root: Path, tmp_path: Path) -> None:
    later = root.parent / "later"
    later.mkdir()
    with pytest.raises(InputError, match="the revision 'main' has no folder 'later/'"):
        export("git:main", later, tmp_path / "store")


def test_git_that_is_missing_is_said(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="git is not installed"):
        export("git:main", root, tmp_path / "store")
