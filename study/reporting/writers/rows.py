"""Writes the rows of runs, trials and comparisons, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from typing import Any

from study.analysis.findings import Findings
from study.analysis.rows import TABLES, Row
from study.metrics import record_of

SCHEMA = 1


def csv_files(findings: Findings) -> dict[str, str]:
    """Return a CSV file for each kind of rows that the findings have, by path; a missing value is an empty cell."""
    tables = {kind: rows(findings) for kind, rows in TABLES.items()}
    return {path_of(kind): _csv(rows) for kind, rows in tables.items() if rows}


def path_of(kind: str) -> str:
    """Return the path of the CSV file of one kind of rows, from the report's folder."""
    return f"tables/{kind}.csv"


def json_rows(findings: Findings) -> str:
    """Return all kinds of rows as one JSON object with the study's name and metrics."""
    record = {
        "schema": SCHEMA,
        "study": findings.name,
        "metric": findings.metric,
        "metrics": [record_of(metric) for metric in findings.metrics],
        **{kind: rows(findings) for kind, rows in TABLES.items()},
    }
    return json.dumps(finite(record), indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def finite(value: Any) -> Any:
    """Return `value` with None for numbers that are not finite, which JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _csv(rows: list[Row]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return file.getvalue()


def _cell(value: Any) -> str | int | float | None:
    """Return a cell as a reader of numbers takes it: lists and tables are JSON, truth is ``true`` or ``false``."""
    if isinstance(value, bool | list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    if value is None or isinstance(value, int | float | str):
        return value
    return str(value)
