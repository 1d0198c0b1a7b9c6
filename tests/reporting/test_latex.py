"""LaTeX that a paper takes in: names never become commands, the best is bold, and TeX accepts it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.example_findings import HOSTILE, damaged, findings, hostile, minimized

from study.analysis.described import Interval
from study.analysis.findings import Findings
from study.reporting.document import Document, Table, plain_text, spans
from study.reporting.document import Style as TextStyle
from study.reporting.figures.draw import draw
from study.reporting.sections.paper import Spread, paper_table
from study.reporting.sections.report import document
from study.reporting.writers.latex import PACKAGES, escaped, latex

SHAPES: dict[str, Callable[[], Findings]] = {
    "full": findings,
    "hostile": hostile,
    "damaged": damaged,
    "minimized": minimized,
    "long": lambda: findings(repetitions=30, trials=30, epochs=3),
}


def documents(report: Findings) -> list[Document]:
    return [document(report), *(paper_table(report, spread) for spread in Spread)]


def table_of(report: Findings, spread: Spread = Spread.SD) -> Table:
    (shown,) = paper_table(report, spread).blocks
    assert isinstance(shown, Table)
    return shown


def column(shown: Table, head: str) -> list[str]:
    at = [plain_text(column.head) for column in shown.columns].index(head)
    return [plain_text(row[at]) for row in shown.rows]


def structure(source: str) -> list[str]:
    """Return the faults of LaTeX source: unbalanced braces and environments, rows of another length than the table."""
    faults = []
    body = re.sub(r"(?<!\\)%.*", "", source)
    bare = re.sub(r"\\[{}\\&%#_$]", "", body)
    if bare.count("{") != bare.count("}"):
        faults.append("braces")
    if bare.count("$") % 2:
        faults.append("math")
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if kind == "begin":
            opened.append(name)
        elif not opened or opened.pop() != name:
            faults.append(name)
    faults += opened
    for align, inside in re.findall(
        r"\\begin\{(?:tabular|longtable)\}\{([lr]+)\}(.*?)\\end\{(?:tabular|longtable)\}",
        body,
        flags=re.DOTALL,
    ):
        rows = [
            line for line in inside.splitlines() if line.endswith(r"\\") and not line.startswith(r"\caption")
        ]
        widths = {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows}
        faults += [f"{len(align)} columns, rows of {widths}"] if widths != {len(align)} else []
    return faults


@pytest.mark.parametrize("shape", SHAPES)
def test_the_source_is_well_formed(shape: str) -> None:
    for each in documents(SHAPES[shape]()):
        assert structure(latex(each)) == []


@pytest.mark.parametrize(
    "fault", ["{", r"\begin{table}", "$", r"\begin{tabular}{lr}" + "\na \\\\\n" + r"\end{tabular}"]
)
def test_the_check_of_the_source_finds_faults(fault: str) -> None:
    assert structure(fault)


def test_names_are_not_commands() -> None:
    shown = escaped(HOSTILE + r"\input{/etc/passwd}")
    assert set(re.findall(r"\\([A-Za-z]+)", shown)) == {
        "char",
        "textasciigrave",
        "textasciitilde",
        "textbackslash",
        "textbar",
        "textgreater",
        "textless",
    }
    assert not re.search(r"(?<!\\)[$&#%_]", shown)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("shape", SHAPES)
def test_tex_compiles_it(shape: str, tmp_path: Path) -> None:
    report = SHAPES[shape]()
    inputs = []
    for number, each in enumerate(documents(report)):
        (tmp_path / f"part{number}.tex").write_text(latex(each), encoding="utf-8")
        inputs.append(rf"\input{{part{number}}}")
    for path, content in draw(report).items():
        if path.endswith(".pdf"):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(content)
    main = (
        rf"\documentclass{{article}}\usepackage{{{','.join(PACKAGES)}}}\begin{{document}}"
        + "\n".join(inputs)
        + r"\end{document}"
    )
    (tmp_path / "main.tex").write_text(main, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "main.pdf").read_bytes().startswith(b"%PDF-")


def test_the_best_mean_of_each_metric_is_bold_in_its_direction() -> None:
    def bold(report: Findings, head: str) -> list[str]:
        shown = table_of(report)
        at = [plain_text(column.head) for column in shown.columns].index(head)
        return [
            plain_text(row[0])
            for row in shown.rows
            if any(span.style is TextStyle.STRONG for span in spans(row[at]))
        ]

    means = {v.name: v.score.mean for v in findings().variants if v.score is not None}
    assert bold(findings(), "WAR (%)") == [max(means, key=lambda name: means[name])]
    errors = {v.name: v.score.mean for v in minimized().variants if v.score is not None}
    assert bold(minimized(), "RMSE (K)") == [min(errors, key=lambda name: errors[name])]


def test_mean_and_standard_deviation_or_interval() -> None:
    base = findings(repetitions=3)
    reference, other = base.variants
    runs = tuple(
        replace(run, score=score, metrics={"war": score})
        for run, score in zip(reference.repetitions, (60.0, 62.0, 64.0), strict=True)
    )
    reference = replace(reference, repetitions=runs, score=Interval(62.0, 57.0, 67.0))
    report = replace(base, variants=(reference, other))
    assert column(table_of(report, Spread.SD), "WAR (%)")[0] == "62.0 ± 2.0"
    assert column(table_of(report, Spread.INTERVAL), "WAR (%)")[0] == "62.0 [57.0, 67.0]"


def test_the_mark_is_the_deciding_intervals() -> None:
    base = findings(["a", "b", "c"])
    bounds = {"b": Interval(1.0, 0.1, 1.9), "c": Interval(1.0, -0.1, 2.1)}
    variants = tuple(
        v if v.difference is None else replace(v, difference=replace(v.difference, corrected=bounds[v.name]))
        for v in base.variants
    )
    cells = column(table_of(replace(base, variants=variants)), "Difference (points)")
    assert [cell.endswith("*") for cell in cells] == [False, True, False]
    unjudged = replace(base, variants=variants, is_optimistic=True)
    assert not any(cell.endswith("*") for cell in column(table_of(unjudged), "Difference (points)"))


def test_factors_of_two_levels_are_columns_of_check_marks() -> None:
    levels = [
        {"splitter": "even-odd", "attention": "false"},
        {"splitter": "issm", "attention": "false"},
        {"splitter": "even-odd", "attention": "true"},
        {"splitter": "issm", "attention": "true"},
    ]
    base = findings(["a", "b", "c", "d"])
    variants = tuple(replace(v, levels=own) for v, own in zip(base.variants, levels, strict=True))
    shown = table_of(replace(base, variants=variants))
    assert column(shown, "splitter = issm") == ["✗", "✓", "✗", "✓"]
    assert column(shown, "attention") == ["✗", "✗", "✓", "✓"]
    assert "Variant" not in [plain_text(column.head) for column in shown.columns]
    source = latex(Document("x", "x", (shown,)))
    assert source.count(r"$\checkmark$") == 4
    assert structure(source) == []
