"""Rows for spreadsheets and scripts: every run, trial and comparison once, with its own numbers."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from support.example_findings import HOSTILE, damaged, findings, hostile

from study.analysis.findings import Findings
from study.analysis.rows import TABLES
from study.reporting.document import Byline
from study.reporting.figures.draw import draw
from study.reporting.sections.report import document
from study.reporting.writers.html import html
from study.reporting.writers.latex import latex
from study.reporting.writers.markdown import markdown
from study.reporting.writers.rows import csv_files, json_rows


def read(report: Findings, kind: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_files(report)[f"tables/{kind}.csv"])))


def test_a_row_for_each_run_with_its_score() -> None:
    report = findings()
    rows = read(report, "runs")
    expected = [(v.name, run.run, run.score) for v in report.variants for run in v.repetitions]
    assert [(row["variant"], row["run"], float(row["test/war"])) for row in rows] == expected


def test_a_row_for_each_trial_with_its_hyperparameters() -> None:
    report = findings()
    rows = read(report, "trials")
    expected = [
        (v.name, t.number, t.status, t.parameters["train.lr"]) for v in report.variants for t in v.trials
    ]
    assert [
        (r["variant"], int(r["trial"]), r["status"], float(r["hyperparameter/train.lr"])) for r in rows
    ] == expected
    failed = [row for row in rows if row["status"] != "finished"]
    assert failed
    assert all(row["validation/war"] == "" for row in failed)


def test_a_row_for_each_comparison_with_the_interval_that_decides() -> None:
    report = findings(["a", "b", "c"])
    (first, second) = read(report, "comparisons")
    difference = report.variants[1].difference
    assert difference is not None
    assert (first["variant"], first["reference"], first["verdict"]) == ("b", "a", difference.verdict)
    assert float(first["deciding_low"]) == difference.corrected.low
    assert float(first["confidence"]) == pytest.approx(1 - 0.05 / 2)
    assert second["variant"] == "c"


def test_a_factor_and_a_metric_of_one_name_are_two_columns() -> None:
    base = findings()
    report = replace(base, variants=tuple(replace(v, levels={"loss": "ldam"}) for v in base.variants))
    row = read(report, "runs")[0]
    assert row["level/loss"] == "ldam"
    assert float(row["test/loss"]) == base.variants[0].repetitions[0].metrics["loss"]


def test_variants_with_different_hyperparameters_share_the_columns() -> None:
    base = findings()
    reference, other = base.variants
    own = tuple(replace(trial, parameters={"splitter.depth": 2}) for trial in other.trials)
    rows = TABLES["trials"](replace(base, variants=(reference, replace(other, trials=own))))
    assert len({tuple(row) for row in rows}) == 1
    assert rows[0]["hyperparameter/splitter.depth"] is None
    assert rows[-1]["hyperparameter/train.lr"] is None


@pytest.mark.parametrize("report", [damaged(), hostile()], ids=["damaged", "hostile"])
def test_names_survive_and_json_agrees_with_csv(report: Findings) -> None:
    record = json.loads(json_rows(report))
    for kind in TABLES:
        path = f"tables/{kind}.csv"
        if not record[kind]:
            assert path not in csv_files(report)
            continue
        assert len(read(report, kind)) == len(record[kind])
    names = {row["variant"] for row in record["runs"]}
    assert names == {variant.name for variant in report.variants if variant.repetitions}
    assert HOSTILE in names or report.variants[1].name == "issm"


def test_authors_stand_below_the_title_in_every_document() -> None:
    report = replace(findings(), authors=("Ada & Co", "Émilie"), affiliation="Institute #1")
    shown = document(report)
    assert shown.blocks[1] == Byline(("Ada & Co", "Émilie"), "Institute #1")
    assert "Ada \\& Co, Émilie\\\n*Institute #1*" in markdown(shown)
    assert r"\noindent Ada \& Co, Émilie\\" in latex(shown)
    assert "Ada &amp; Co, Émilie<br><em>Institute #1</em>" in html(shown, report, draw(report))
    assert not any(isinstance(block, Byline) for block in document(findings()).blocks)
