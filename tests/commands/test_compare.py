"""`study compare`: studies, or ledgers, side by side, without a change to another ledger."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.command_lab import CommandLab

from study.errors import InputError
from study.ledger import layout
from study.ledger.reading import owner_of, write_record
from study.records import TestResult, from_json


@pytest.fixture
def other(finished: CommandLab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return another project whose ledger has the same study."""
    folder = tmp_path_factory.mktemp("other")
    shutil.copytree(finished.folder, folder, dirs_exist_ok=True)
    return folder


def compared(lab: CommandLab, *words: str) -> Any:
    return json.loads(lab.invoke("compare", *words, "--json"))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_copied_ledger_has_the_same_runs_and_is_not_written_to(finished: CommandLab, other: Path) -> None:
    before = contents(other)
    record = compared(finished, "s", str(other))
    assert [study["label"] for study in record["studies"]] == ["s", "s (2)"]
    assert record["places"] == {"2": str(other)}
    [shared] = record["shared"]
    tested = sum(variant["n"] for variant in record["studies"][0]["variants"])
    assert len(shared["runs"]) == tested > 0
    assert all(one == two for one, two in shared["runs"].values())
    assert record["different"] == {}
    assert contents(other) == before
    assert record == compared(finished, "s", str(other / ".study" / "ledger")) | {
        "places": record["places"],
    }


def test_a_run_that_another_machine_tested_otherwise_is_named(finished: CommandLab, other: Path) -> None:
    path = sorted((other / ".study" / "ledger" / "runs").glob(f"*/{layout.TEST_RESULT}"))[0]
    result = from_json(TestResult, path.read_bytes(), str(path), owner_of(path))
    path.unlink()
    changed = {name: value / 2 for name, value in result.metrics.items()}
    write_record(path, replace(result, metrics=changed))
    [shared] = compared(finished, "s", str(other))["shared"]
    differing = {run: scores for run, scores in shared["runs"].items() if scores[0] != scores[1]}
    assert list(differing) == [path.parent.name]
    [(ours, theirs)] = differing.values()
    assert theirs == pytest.approx(ours / 2)


def test_two_studies_stand_below_each_other_and_show_what_they_declare(finished: CommandLab) -> None:
    finished.run("analysis.rope=7.5")
    names = finished.ledger.studies()
    record = compared(finished, *names)
    assert [study["study"] for study in record["studies"]] == names
    assert record["different"]["Least difference of interest"].count("7.5") == 1
    lines = finished.invoke("compare", *names).splitlines()
    variants = [variant["name"] for variant in record["studies"][0]["variants"]]
    assert sum(line.startswith(variants[0]) for line in lines) == 2


@pytest.mark.parametrize("words", [("s",), ("s", "s"), ("s", "nothing"), ("s", ".."), ("s", "empty")])
def test_what_cannot_be_compared_is_refused(finished: CommandLab, words: tuple[str, ...]) -> None:
    Path("empty").mkdir()
    assert isinstance(finished.input_error("compare", *words), str)
    assert InputError.exit_code == 2
