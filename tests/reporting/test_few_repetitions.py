"""Two repetitions: every format prints the difference, and neither an interval nor a verdict."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from support.evidence import two

from study.analysis.analyse import findings
from study.reporting.write import write
from study.terminal.results import print_results
from study.tracking.mlflow_values import VERDICT, summary_metrics, summary_tags

FOUND = findings(two([62.0, 62.4], reference=[60.0, 61.5]))
"""Differences of 2.0 and 0.9 points."""
INTERVAL = re.compile(r"\[[−-]?[0-9.]+, [−-]?[0-9.]+\]")


def test_tables_have_the_difference_and_say_that_repetitions_are_too_few(tmp_path: Path) -> None:
    write(FOUND, tmp_path)
    texts = ("report.md", "latex/report.tex", "latex/results-interval.tex", "report.html")
    for name in texts:
        text = (tmp_path / name).read_text(encoding="utf-8")
        body = text.partition("<script")[0]
        assert "+1.4" in body or "+1.5" in body, name
        assert not INTERVAL.search(body), name
    assert "| too few repetitions |" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_csv_rows_leave_bounds_p_and_verdict_empty(tmp_path: Path) -> None:
    write(FOUND, tmp_path)
    with (tmp_path / "tables" / "comparisons.csv").open(encoding="utf-8") as lines:
        (record,) = csv.DictReader(lines)
    assert float(record["difference"]) == pytest.approx(1.45)
    empty = ("difference_low", "difference_high", "deciding_low", "deciding_high", "p", "p_better", "verdict")
    assert [record[column] for column in empty] == [""] * len(empty)


def test_the_terminal_has_no_bounds() -> None:
    screen = io.StringIO()
    print_results(FOUND, Console(file=screen, width=200))
    (line,) = [line for line in screen.getvalue().splitlines() if line.startswith("issm ")]
    assert " to " not in line
    assert "too few repetitions" in line


def test_mlflow_has_no_bounds() -> None:
    other = FOUND.variants[1]
    metrics = summary_metrics(other, "war")
    assert metrics["difference/war"] == pytest.approx(1.45, abs=0.01)
    assert not [name for name in metrics if name.endswith(("_low", "_high"))]
    assert summary_tags(other)[VERDICT] == "too few repetitions"
