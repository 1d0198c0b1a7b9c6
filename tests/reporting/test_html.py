"""The HTML report is complete in one file, small, and its tables, filters and charts work in a browser."""

from __future__ import annotations

import html as htmllib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.browser import BROWSER, evaluate
from support.example_findings import HOSTILE, damaged, findings, hostile, minimized

from study.analysis.findings import Findings
from study.reporting.document import Table, plain_text
from study.reporting.figures.draw import draw
from study.reporting.sections.report import document
from study.reporting.writers.html import html

needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs a Chromium browser")
SHAPES = {"full": findings(), "hostile": hostile(), "damaged": damaged(), "minimized": minimized()}
VOID = {"meta", "img", "br", "input", "hr", "link"}


def page(report: Findings) -> str:
    figures = draw(report) if any(v.repetitions for v in report.variants) else {}
    return html(document(report), report, figures)


def judged() -> Findings:
    """Return three variants: the reference, one that helps and one that is inconclusive."""
    base = findings(["a", "b", "c"])
    verdicts = {"b": "helps", "c": "inconclusive"}
    variants = tuple(
        v if v.difference is None else replace(v, difference=replace(v.difference, verdict=verdicts[v.name]))  # type: ignore[arg-type]
        for v in base.variants
    )
    seeded = tuple(
        replace(v, repetitions=tuple(replace(run, seed=1000 + run.repetition) for run in v.repetitions))
        for v in variants
    )
    return replace(base, variants=seeded)


class Structure(HTMLParser):
    """Collects the tags left open, the addresses and the text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data


@pytest.mark.parametrize("report", SHAPES.values(), ids=SHAPES)
def test_the_page_is_well_formed_and_loads_nothing(report: Findings) -> None:
    seen = Structure(page(report))
    assert (seen.open, seen.faults) == ([], [])
    assert all(re.match(r"data:image/|findings\.json$", address) for address in seen.addresses)
    for limit in report.limits:
        assert " ".join(limit.sentence.split()) in seen.text


def test_names_are_text() -> None:
    source = page(hostile())
    assert HOSTILE not in source.split('<script type="application/json"')[0]
    assert htmllib.escape(HOSTILE) in source
    (record,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', source, re.DOTALL)
    assert json.loads(record)["variants"][1]["name"] == HOSTILE


def test_every_cell_of_every_table_is_in_the_page() -> None:
    report = findings()
    text = Structure(page(report)).text
    for block in document(report).blocks:
        if isinstance(block, Table):
            for row in block.rows:
                assert all(plain_text(cell) in text for cell in row)


def test_a_thousand_runs_take_at_most_three_megabytes() -> None:
    report = findings([f"variant {n}" for n in range(10)], repetitions=100, trials=4, epochs=60)
    assert sum(len(variant.repetitions) for variant in report.variants) == 1000
    assert len(page(report).encode()) <= 3 * 2**20


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(judged()), encoding="utf-8")
    return path


def asked(written: Path, folder: Path, script: str) -> Any:
    return evaluate(written, script, folder)


@needs_browser
def test_a_click_on_a_heading_sorts_by_number(written: Path, tmp_path: Path) -> None:
    script = """
        const table = document.querySelectorAll("table")[0];
        const names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
        const button = table.tHead.rows[0].cells[1].querySelector("button");
        button.click(); const up = names(); button.click(); return [up, names()];
    """
    means = {v.name: v.score.mean for v in judged().variants if v.score is not None}
    upwards = sorted(means, key=lambda name: means[name])
    assert asked(written, tmp_path, script) == [upwards, upwards[::-1]]


@needs_browser
def test_a_verdict_that_is_switched_off_hides_its_rows_and_dots(written: Path, tmp_path: Path) -> None:
    script = """
        const rows = () => [...document.querySelectorAll("table")[0].tBodies[0].rows]
            .filter((row) => row.offsetParent !== null).map((row) => row.cells[0].textContent);
        const dots = () => document.querySelectorAll("[data-chart=repetitions] .dot").length;
        const before = [rows(), dots()];
        document.querySelector("[data-verdict=helps]").click();
        const during = [rows(), dots()];
        document.querySelector("[data-verdict=helps]").click();
        return [before, during, [rows(), dots()]];
    """
    before, during, after = asked(written, tmp_path, script)
    assert before == [["a", "b", "c"], 15]
    assert during == [["a", "c"], 10]
    assert after == before


@needs_browser
def test_every_dot_names_its_run_and_seed(written: Path, tmp_path: Path) -> None:
    script = """
        const dots = [...document.querySelectorAll("[data-chart=repetitions] .dot")];
        return dots.map((dot) => {
            dot.dispatchEvent(new MouseEvent("mouseenter", { clientX: 5, clientY: 5 }));
            return document.getElementById("tooltip").textContent;
        });
    """
    shown = asked(written, tmp_path, script)
    runs = [(v.name, run) for v in judged().variants for run in v.repetitions]
    assert len(shown) == len(runs) == 15
    for text, (name, run) in zip(shown, runs, strict=True):
        assert text.splitlines()[0] == name
        assert f"run {run.run}" in text
        assert f"seed {run.seed}" in text


@needs_browser
def test_learning_curves_are_switched_off_and_on(written: Path, tmp_path: Path) -> None:
    script = """
        const curves = () => document.querySelectorAll("[data-chart=learning] .curve").length;
        const before = curves();
        document.querySelector("[data-curve=b]").click(); const without = curves();
        document.querySelector("[data-curve=b]").click(); return [before, without, curves()];
    """
    assert asked(written, tmp_path, script) == [30, 20, 30]


@needs_browser
@pytest.mark.parametrize(
    "report", [hostile(), damaged(), minimized()], ids=["hostile", "damaged", "minimized"]
)
def test_the_page_runs_without_errors(report: Findings, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(report), encoding="utf-8")
    script = """
        const outside = performance.getEntriesByType("resource").map((entry) => entry.name);
        return [document.documentElement.dataset.ready, outside.filter((name) => !name.startsWith("data:"))];
    """
    assert asked(path, tmp_path, script) == ["yes", []]
