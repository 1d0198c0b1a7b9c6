"""Writes a report: the same findings as Markdown, PDF, figures and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from study import files
from study.analysis.findings import Findings
from study.analysis.limits import SKIPPED_FILE
from study.metrics import record_of
from study.reporting.figure_specs import FOLDER, NAMES, figure_specs
from study.reporting.figures.draw import draw
from study.reporting.sections.report import document
from study.reporting.text import one_line
from study.reporting.writers.markdown import markdown
from study.reporting.writers.pdf import pdf

SCHEMA = 1


def write(findings: Findings, folder: Path) -> tuple[Path, ...]:
    """Write the report into `folder` and return its files, ``report.md`` first.

    Equal findings give equal bytes. Files of an earlier report that this one has no data for are removed.
    """
    specs = figure_specs(findings)
    figures = {specs[name].path: svg for name, svg in draw(findings).items()}
    report = document(findings)
    documents: dict[str, str | bytes] = {
        "report.md": markdown(report),
        "report.pdf": pdf(report, figures),
        **figures,
        "findings.json": machine_readable(findings),
    }
    if findings.skipped:
        documents[SKIPPED_FILE] = "".join(f"{one_line(line)}\n" for line in findings.skipped)
    else:
        (folder / SKIPPED_FILE).unlink(missing_ok=True)
    for name in NAMES:
        if name not in specs:
            (folder / FOLDER / f"{name}.svg").unlink(missing_ok=True)
    for path, content in documents.items():
        files.write(folder / path, content)
    return tuple(folder / path for path in documents)


def machine_readable(findings: Findings) -> str:
    """Return findings as JSON, metrics scaled, times in seconds; numbers that are not finite become null."""
    record = {"schema": SCHEMA, **asdict(findings), "metrics": [record_of(m) for m in findings.metrics]}
    return json.dumps(_finite(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
