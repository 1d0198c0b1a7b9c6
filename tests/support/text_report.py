"""Writes a report without figures and PDF, which take seconds."""

from __future__ import annotations

from pathlib import Path

from study import files
from study.analysis.findings import Findings
from study.reporting.sections.report import render
from study.reporting.write import machine_readable


def write_text(findings: Findings, folder: Path) -> None:
    """Write ``report.md`` and ``findings.json``."""
    files.write(folder / "report.md", render(findings))
    files.write(folder / "findings.json", machine_readable(findings))
