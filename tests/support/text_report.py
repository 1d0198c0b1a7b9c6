"""Writes a report without figures and PDF, which take seconds."""

from __future__ import annotations

from pathlib import Path

from study import files
from study.analysis.findings import Findings
from study.reporting.sections.report import document
from study.reporting.write import machine_readable
from study.reporting.writers.markdown import markdown


def render(findings: Findings) -> str:
    """Return the report as Markdown."""
    return markdown(document(findings))


def write_text(findings: Findings, folder: Path) -> None:
    """Write ``report.md`` and ``findings.json``."""
    files.write(folder / "report.md", render(findings))
    files.write(folder / "findings.json", machine_readable(findings))
