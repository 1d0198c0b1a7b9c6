"""Every block of code in the documents is run or parsed, so that what a reader copies works."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
import typer
from support.documents import REPOSITORY, Block, blocks, documents, without_numbers
from typer.main import get_command

from study.cli.app import app
from study.config.settings import settings
from study.config.study import load
from study.engines import engine
from study.tasks.clips.task import KINDS

BLOCKS = [block for document in documents() for block in blocks(document)]
LANGUAGES = {"sh", "python", "toml", "text", "diff", "json", "csv"}
OPTIONS = {"file", "parsed", "output"}
STUDY = f'study() {{ {shlex.quote(sys.executable)} -m study "$@"; }}\nexport -f study\n'
LONGEST_S = 600
RUN = [document for document in documents() if any(block.is_run for block in blocks(document))]


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def test_every_block_names_a_known_language_and_says_why_its_commands_are_not_run() -> None:
    assert [str(block) for block in BLOCKS if block.language not in LANGUAGES] == []
    assert [str(block) for block in BLOCKS if not set(block.options) <= OPTIONS] == []
    assert [str(block) for block in BLOCKS if block.options.get("parsed") == ""] == []


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_a_python_block_compiles(block: Block) -> None:
    assert compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_a_line_of_a_json_block_is_json(block: Block) -> None:
    assert [json.loads(line) for line in block.text.splitlines()]


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_the_keys_of_a_toml_block_exist(block: Block, tmp_path: Path) -> None:
    if block.options.get("file") == "study.toml":
        (tmp_path / "study.toml").write_text(block.text)
        found = settings(tmp_path)
        assert found.root == tmp_path
        for name in found.engine:
            assert engine(name, found)
        return
    given = tomllib.loads(block.text)
    needed = "" if "factors" in given or "cells" in given.get("design", {}) else "[factors]\nshown = [1, 2]\n"
    study = tmp_path / "shown.toml"
    study.write_text(f"{block.text}\n{needed}")
    for preset in (None, *given.get("preset", {})):
        assert load(study, preset, []).factors


@pytest.mark.parametrize("block", of("sh"), ids=str)
def test_commands_have_the_options_that_a_document_shows(block: Block) -> None:
    assert subprocess.run(["bash", "-n"], input=block.text, text=True).returncode == 0
    for command in block.commands:
        words = command[2:] if command[:2] == ["python", "-m"] else command
        if words[0] == "study":
            parse(words[1:])


def parse(words: list[str]) -> None:
    """Parse a command line as the program does, without running it."""
    command, context, name = get_command(app), None, "study"
    with suppress(typer.Exit):  # of --help and --version
        while True:
            context = command.make_context(name, list(words), parent=context)
            if not hasattr(command, "resolve_command"):
                return
            found, inner, words = command.resolve_command(context, [*context._protected_args, *context.args])
            assert inner is not None, words
            name, command = found or name, inner


@pytest.mark.parametrize("document", RUN, ids=lambda document: document.name)
def test_the_commands_of_a_document_print_what_it_shows(document: Path, tmp_path: Path) -> None:
    written = [block for block in blocks(document) if "file" in block.options]
    (tmp_path / "study.toml").write_text('mlflow = "off"\ndevice = "cpu"\n')
    for block in reversed(written):  # a file that changes later starts as its first version
        file(block, tmp_path)
    printed = ""
    for block in blocks(document):
        if "file" in block.options:
            file(block, tmp_path)
        elif block.is_run:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", STUDY + block.text],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "100"},
                capture_output=True,
                text=True,
                timeout=LONGEST_S,
            )
            printed = done.stdout + done.stderr
            assert done.returncode == 0, f"{block}\n{printed}"
        elif "output" in block.options:
            for line in block.text.splitlines():
                assert without_numbers(line) in without_numbers(printed), f"{block}\n{printed}"


def file(block: Block, folder: Path) -> None:
    """Write the file that a block shows."""
    path = folder / block.options["file"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)


@pytest.mark.parametrize("document", [*documents(), REPOSITORY / "docs/api.md"], ids=lambda path: path.name)
def test_links_of_a_document_lead_to_files_and_headings(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            there = document.parent / path if path else document
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target


def anchors(document: Path) -> set[str]:
    """Return the addresses that a code host gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_table_of_commands_has_every_command() -> None:
    shown = (REPOSITORY / "docs/commands.md").read_text()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for inner in getattr(command, "commands", {"": None}):
            assert f"`study {name} {inner}".rstrip() in shown, (name, inner)


def test_the_table_of_kinds_has_every_kind_with_the_arguments_of_its_builders() -> None:
    shown = (REPOSITORY / "docs/extending.md").read_text()
    for kind in KINDS.values():
        arguments = f"`{', '.join(kind.context)}`" if kind.context else "none"
        assert f"| `{kind.name}` | {arguments} |" in shown


def test_the_reference_of_the_python_interface_is_current() -> None:
    script = runpy.run_path(str(REPOSITORY / "docs/api.py"))
    message = "run `python docs/api.py`, and read what it changed"
    assert (REPOSITORY / "docs/api.md").read_text() == script["page"](), message
