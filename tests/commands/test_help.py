"""The help: every command stands in a group, its examples are accepted, and commands carry the typed name."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import study
from study.cli.app import app
from study.cli.help import EXAMPLES, GROUPS
from study.terminal.program import as_typed, program

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def test_every_command_is_listed_in_one_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(COMMANDS) == set(grouped)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_in_the_help_are_accepted_by_their_command(name: str) -> None:
    assert COMMANDS[name].epilog, "the help shows them"
    for example in EXAMPLES[name]:
        first, *words = shlex.split(example)
        assert first == name
        context = COMMANDS[name].make_context(name, words)
        assert not context.args, "no word is left over"


def test_every_command_without_commands_of_its_own_has_an_example() -> None:
    leaves = {name for name, command in COMMANDS.items() if not hasattr(command, "commands")}
    assert leaves == set(EXAMPLES)


@pytest.mark.parametrize(
    ("argv", "typed", "name"),
    [
        (["/opt/bin/study"], ["/opt/bin/python", "/opt/bin/study", "plan"], "study"),
        (["/lab/study/__main__.py"], ["python3", "-m", "study", "plan"], "python3 -m study"),
        (["/lab/study/__main__.py"], ["my python", "-m", "study"], "'my python' -m study"),
        (["/opt/bin/pytest"], ["python", "-m", "pytest"], "study"),
    ],
)
def test_suggested_commands_begin_with_the_program_as_it_was_started(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], typed: list[str], name: str
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", typed)
    assert program() == name
    assert as_typed("`study run` makes it; the study runs") == f"`{name} run` makes it; the study runs"


def started(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(study.__file__).parents[1])}
    arguments = [sys.executable, "-m", "study", *words]
    return subprocess.run(arguments, capture_output=True, text=True, cwd=folder, check=False, env=environment)


def test_a_started_module_suggests_itself(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text("")
    done = started("status", "nothing", folder=tmp_path)
    assert done.returncode == 2
    assert f"`{shlex.quote(sys.executable)} -m study status`" in done.stderr
    assert started("--version", folder=tmp_path).stdout.split() == ["study", study.__version__]
