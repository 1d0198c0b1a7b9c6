"""Records outlive code: ledgers that older versions wrote are read for good, those of newer ones are refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from study.analysis.analyse import findings
from study.analysis.gather import gather
from study.cli import app as cli
from study.errors import InputError
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger
from study.records import (
    OLDEST_SCHEMA,
    SCHEMA,
    Failure,
    Measurement,
    Profile,
    RunResult,
    RunSpec,
    Stopped,
    TestResult,
    from_json,
    serialization,
)
from study.reporting.write import machine_readable

LEDGERS = sorted((Path(__file__).parent / "ledgers").glob("schema-*"))
KINDS = {
    "run": RunSpec,
    "result": RunResult,
    "test": TestResult,
    "failure": Failure,
    "measure": Measurement,
    "unmeasured": Failure,
    "stopped": Stopped,
    "profile": Profile,
    "study": StudyRecord,
}
NO_RECORDS = {"suggestions", "sessions", "code", "accepted"}
"""Folders of tables that have no schema of their own."""


def files(ledger: Path) -> list[tuple[Path, type]]:
    """Return every record of a ledger with what it is."""
    found = [path for name in ("runs", "studies", "profiles") for path in (ledger / name).rglob("*.json")]
    return [(p, KINDS[p.stem.partition("-")[0]]) for p in sorted(found) if p.parent.name not in NO_RECORDS]


def test_there_is_a_ledger_of_every_schema() -> None:
    assert [ledger.name for ledger in LEDGERS] == [
        f"schema-{number}" for number in range(OLDEST_SCHEMA, SCHEMA + 1)
    ]


@pytest.mark.parametrize("ledger", LEDGERS, ids=lambda path: path.name)
def test_every_record_that_was_ever_written_can_be_read(ledger: Path) -> None:
    read = [(path, from_json(kind, path.read_bytes(), str(path))) for path, kind in files(ledger)]
    assert {type(record) for _, record in read} >= {*KINDS.values()} - {Stopped}
    for path, record in read:
        if isinstance(record, RunSpec):
            assert record.id == path.parent.name, "it keeps its identity"


@pytest.mark.parametrize("ledger", LEDGERS, ids=lambda path: path.name)
def test_an_old_ledger_yields_the_findings_that_it_yielded_when_it_was_written(ledger: Path) -> None:
    now = json.loads(machine_readable(findings(gather(Ledger(ledger), Ledger(ledger).study("s")))))
    then = json.loads((ledger / "findings.json").read_text())
    assert found(now) == found(then)
    assert len(then["variants"]) == 2
    assert then["variants"][1]["difference"]["n"] == 3


def found(report: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of findings, without their words."""
    variants = {
        variant["name"]: {
            "repetitions": [
                (run["repetition"], run["run"], run["score"], run["validation"])
                for run in variant["repetitions"]
            ],
            "score": variant["score"],
            "difference": variant["difference"] and variant["difference"]["interval"],
            "trials": [(trial["parameters"], trial["status"], trial["score"]) for trial in variant["trials"]],
            "chosen": _chosen(variant["chosen"]),
            "measures": variant["measures"],
        }
        for variant in report["variants"]
    }
    return {"variants": variants, "claims": [claim["verdict"] for claim in report["claims"]]}


def _chosen(chosen: Any) -> dict[str, Any]:
    """Return the hyperparameters that the only search of a variant chose; they were a table of their own once."""
    return (
        chosen
        if isinstance(chosen, dict)
        else {k: v for choice in chosen for k, v in choice["parameters"].items()}
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    """Return a folder with the oldest ledger and its study, as a user would have it."""
    shutil.copytree(LEDGERS[0], tmp_path / "ledger")
    shutil.copy(LEDGERS[0] / "s.toml", tmp_path)
    (tmp_path / "study.toml").write_text('ledger = "ledger"\ndevice = "cpu"\nmlflow = "off"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch, *words: str) -> int:
    """Run the command line and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["study", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("file", ["study.json", "result.json", "test.json", "failure.json"])
def test_a_ledger_of_a_newer_version_is_refused_by_file_and_number(
    project: Path, monkeypatch, capsys, file: str
) -> None:
    newer = sorted((project / "ledger").rglob(file))[0]
    written = json.loads(newer.read_text())
    newer.write_text(json.dumps({**written, "schema": SCHEMA + 1}) + "\n")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert run(monkeypatch, "report", "s.toml") == 2
    phrase = capsys.readouterr().err
    assert phrase.startswith("Error: ")
    assert str(newer.relative_to(project)) in phrase
    assert f"written with schema {SCHEMA + 1}, this version reads up to {SCHEMA}" in phrase
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", ["report", "status"])
def test_a_ledger_from_before_the_first_release_is_refused_in_one_line_with_what_to_do(
    project: Path, monkeypatch, capsys, command: str
) -> None:
    for file in (project / "ledger").rglob("*.json"):
        file.write_text(file.read_text().replace(f'"schema": {SCHEMA}', '"schema": 1'))
    assert run(monkeypatch, command, "s.toml") == 2
    phrase = capsys.readouterr().err
    assert phrase.startswith("Error: ")
    assert "written before the first release" in phrase
    assert "Move its folder aside" in phrase
    assert "Traceback" not in phrase


def test_a_run_of_a_newer_version_stops_no_plan_of_another_study(project: Path, monkeypatch, capsys) -> None:
    request = sorted((project / "ledger").glob("runs/*/run.json"))[0]
    request.write_text(json.dumps({"schema": SCHEMA + 1, "config": "of another kind"}))
    assert run(monkeypatch, "plan", "s.toml", "--set", "train.ema=0.5") == 0
    assert "not yet determined" in capsys.readouterr().out


# Upgrades


@pytest.fixture
def later(monkeypatch) -> None:
    """A version that is two schemas further: `Failure` had its reason split, then renamed."""
    monkeypatch.setattr(serialization, "SCHEMA", SCHEMA + 2)
    monkeypatch.setitem(
        serialization.UPGRADES,
        ("Failure", SCHEMA),
        lambda old: {**{k: v for k, v in old.items() if k != "why"}, "words": old["why"].split()},
    )
    monkeypatch.setitem(
        serialization.UPGRADES,
        ("Failure", SCHEMA + 1),
        lambda old: {**{k: v for k, v in old.items() if k != "words"}, "reason": "-".join(old["words"])},
    )


def written(schema: int, **fields: object) -> str:
    return json.dumps({"run": "r", "job": "train", "detail": "", "schema": schema, **fields})


@pytest.mark.usefixtures("later")
def test_an_old_record_is_upgraded_step_by_step() -> None:
    oldest = from_json(Failure, written(SCHEMA, why="out of luck"))
    older = from_json(Failure, written(SCHEMA + 1, words=["out", "of", "luck"]))
    today = from_json(Failure, written(SCHEMA + 2, reason="out-of-luck"))
    assert oldest == older == today
    assert (oldest.reason, oldest.schema) == ("out-of-luck", SCHEMA + 2)
    with pytest.raises(InputError, match=rf"x.json: written with schema {SCHEMA + 3}"):
        from_json(Failure, written(SCHEMA + 3, reason=""), "x.json")


@pytest.mark.usefixtures("later")
def test_a_record_that_a_new_schema_does_not_touch_needs_no_upgrade() -> None:
    path, kind = next((path, kind) for path, kind in files(LEDGERS[0]) if kind is Profile)
    old = from_json(kind, path.read_bytes())
    assert old.schema == SCHEMA + 2
    assert old.parameters == json.loads(path.read_text())["parameters"]


@pytest.mark.usefixtures("later")
def test_an_upgrade_changes_no_identity() -> None:
    for path, kind in files(LEDGERS[0]):
        if kind is RunSpec:
            assert from_json(RunSpec, path.read_bytes()).id == path.parent.name
