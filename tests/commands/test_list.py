"""`study list`: the same components for a person and a script, lines that end between words on a terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from study.cli.app import app
from study.config.registry import Registry
from study.terminal.tables import print_text


def test_a_script_reads_the_components_with_their_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text("")
    listed = json.loads(CliRunner().invoke(app, ["list", "--json"], catch_exceptions=False).output)
    registry = Registry(())
    assert {kind: {each["name"] for each in found} for kind, found in listed["kinds"].items()} == {
        kind: set(registry.names(kind)) for kind in registry.kinds if registry.names(kind)
    }
    [issm] = [each for each in listed["kinds"]["splitter"] if each["name"] == "issm"]
    frozen = {each["name"]: each for each in issm["parameters"]}["frozen"]
    assert (frozen["default"], frozen["required"], frozen["allowed"]) == (False, False, "true or false")


@pytest.mark.parametrize("width", [80, 120])
def test_a_long_line_ends_between_words_and_keeps_its_indent(width: int) -> None:
    stream = io.StringIO()
    words = [f"word{number}" for number in range(60)]
    print_text(Console(file=stream, width=width, force_terminal=True), "  " + " ".join(words))
    lines = stream.getvalue().splitlines()
    assert len(lines) > 1
    assert all(line.startswith("  word") and len(line) <= width for line in lines)
    assert " ".join(lines).split() == words
