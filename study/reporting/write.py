"""Writes a report: the same findings in every format."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from study import files
from study.analysis.findings import Findings
from study.analysis.rows import TABLES
from study.analysis.sentences.limits import SKIPPED_FILE
from study.fonts import fallback
from study.metrics import record_of
from study.reporting.figure_specs import FOLDER, FORMATS, NAMES, figure_specs
from study.reporting.figures.draw import draw
from study.reporting.pictures import NO_PICTURES, Pictures
from study.reporting.sections.paper import Spread, paper_table
from study.reporting.sections.report import document
from study.reporting.shown import shown
from study.reporting.text import one_line
from study.reporting.writers.html import html
from study.reporting.writers.latex import latex
from study.reporting.writers.markdown import markdown
from study.reporting.writers.pdf import pdf
from study.reporting.writers.rows import csv_files, finite, json_rows, path_of

_log = logging.getLogger(__name__)
SCHEMA = 1


def write(findings: Findings, folder: Path, pictures: Pictures = NO_PICTURES) -> tuple[Path, ...]:
    """Write the report into `folder` and return its files, ``report.md`` first.

    Equal findings and pictures give equal bytes. Files of an earlier report that this one has no data for are removed.

    Args:
        findings: The findings.
        folder: The folder; it is made.
        pictures: Frames of the examples that the report shows.
    """
    fonts = fallback(str(findings))
    if fonts.sentence:
        _log.warning("%s", fonts.sentence)
    findings = shown(findings, fonts)
    specs = figure_specs(findings, pictures)
    figures = draw(findings, pictures)
    report = document(findings, pictures)
    documents: dict[str, str | bytes] = {
        "report.md": markdown(report),
        "report.pdf": pdf(report, figures),
        "report.html": html(report, findings, figures),
        "latex/report.tex": latex(report),
        **{f"latex/results-{spread}.tex": latex(paper_table(findings, spread)) for spread in Spread},
        **figures,
        "findings.json": machine_readable(findings),
        "tables/rows.json": json_rows(findings),
        **csv_files(findings),
    }
    for kind in TABLES:
        if path_of(kind) not in documents:
            (folder / path_of(kind)).unlink(missing_ok=True)
    if findings.skipped:
        documents[SKIPPED_FILE] = "".join(f"{one_line(line)}\n" for line in findings.skipped)
    else:
        (folder / SKIPPED_FILE).unlink(missing_ok=True)
    for name in NAMES:
        if name not in specs:
            for form in FORMATS:
                (folder / FOLDER / f"{name}.{form}").unlink(missing_ok=True)
    for path, content in documents.items():
        files.write(folder / path, content)
    return tuple(folder / path for path in documents)


def machine_readable(findings: Findings) -> str:
    """Return findings as JSON, metrics scaled, times in seconds; numbers that are not finite become null."""
    record = {"schema": SCHEMA, **asdict(findings), "metrics": [record_of(m) for m in findings.metrics]}
    return json.dumps(finite(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
