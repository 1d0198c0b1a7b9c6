"""Published results on the field's benchmarks, from ``published.toml`` beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.analysis.findings import Published, PublishedFolds, PublishedResult
from study.ledger.record import DataRecord

FILE = Path(__file__).with_name("published.toml")
RESULTS = ("dfew", "ferv39k", "mafw")
"""Keys of a row that hold its figures on a benchmark."""


def published(data: DataRecord) -> Published | None:
    """Return what was published on a study's data set.

    None where it is none of the benchmarks: by its name, by its classes (MAFW has another task, of compound
    emotions), by its facts (MAFW's lists with captions are without a class), or because a program drew its clips.
    """
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))
    benchmark = table["benchmarks"].get(data.name)
    if benchmark is None or data.is_procedural or len(data.classes) != benchmark["classes"]:
        return None
    if any(data.facts.get(name, fact) != fact for name, fact in benchmark.get("facts", {}).items()):
        return None
    rows = [row for row in table["rows"] if data.name in row or not any(key in row for key in RESULTS)]
    first = data.sizes[0]
    selection = 0 if data.is_optimistic else first.selection
    return Published(
        title=benchmark["title"],
        clips=benchmark["clips"],
        clips_here=first.train + selection + first.test,
        results=tuple(_result(row, data.name, benchmark["protocol"]) for row in rows),
        folds=tuple(
            PublishedFolds(band["method"], tuple(band["war"]))
            for band in table["bands"]
            if band["benchmark"] == data.name
        ),
        sources={
            letter: text
            for letter, text in table["sources"].items()
            if any(letter in row["sources"] for row in rows)
        },
    )


def _result(row: Mapping[str, Any], benchmark: str, protocol: str) -> PublishedResult:
    figures = row.get(benchmark, {})
    return PublishedResult(
        method=row["method"],
        uar=figures.get("uar"),
        war=figures.get("war"),
        backbone=row["backbone"],
        modality=row["modality"],
        sources=row["sources"],
        protocol=row.get("protocol", {}).get(benchmark, protocol) if figures else "",
        year=row.get("year"),
        params=row.get("params"),
        gmacs=row.get("gmacs"),
        pretraining=row.get("pretraining", ""),
        note=row.get("note", ""),
    )
