"""Figures in the documents are those of the records that they quote."""

from __future__ import annotations

import json

import pytest
from support.documents import REPOSITORY

from study.calibration.table import ALPHA, as_text, bounded_names, stored

README = " ".join((REPOSITORY / "README.md").read_text().replace("\n> ", "\n").split())


def test_the_readme_has_the_highest_rate_of_false_verdicts_and_that_of_a_paired_t_test() -> None:
    bounded = bounded_names()
    highest = max(row.false_rate for row in stored().cells if row.cell in bounded and not row.planted)
    [paired_t] = [row for row in stored().rivals if "paired t; 1 variant(s), 0 points" in row.cell]
    assert f"At most {highest:.1%}".replace("%", " %") in README
    assert f"{ALPHA:.0%} are promised".replace("%", " %") in README
    assert f"paired t test gives {paired_t.false_rate:.1%}".replace("%", " %") in README


@pytest.mark.parametrize("rows", ["cells", "rivals"])
def test_the_page_on_statistics_shows_the_shipped_counts(rows: str) -> None:
    page = (REPOSITORY / "docs/statistics.md").read_text()
    bounded = bounded_names() if rows == "cells" else frozenset(row.cell for row in stored().rivals)
    lines = as_text(getattr(stored(), rows), bounded).splitlines()[2:]
    assert [line for line in lines if line not in page] == []


def test_the_readme_quotes_the_answer_of_the_main_job() -> None:
    findings = json.loads((REPOSITORY / "reports/examples/issm/findings.json").read_text())
    assert findings["answer"] in README
