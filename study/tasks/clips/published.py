"""Published results on the field's benchmarks, from ``published.toml`` beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.records import DataInfo, PublishedFolds, PublishedResult, PublishedTable

FILE = Path(__file__).with_name("published.toml")
RESULTS = ("dfew", "ferv39k", "mafw")
"""Keys of a row with its figures on a benchmark."""

LABELS = {"uar": "UAR (%)", "war": "WAR (%)"}
"""Titles of the columns of figures, by their keys in a row."""
REMARK = (
    "The code bases of this field that were read select their best epoch on the test split, which makes such figures "
    "optimistic; protocols, pretraining and input sizes differ from row to row."
)


def published(
    info: DataInfo, config: Mapping[str, Any], classes: int, is_synthetic: bool
) -> PublishedTable | None:
    """Return the published results on a study's data set.

    Args:
        info: The data set.
        config: Its parameters in the study.
        classes: Number of its classes.
        is_synthetic: Whether its clips are rendered by a program.

    Returns:
        The results; None if the data set is no benchmark: another name, number of classes (MAFW has a second task, of
        compound emotions) or parameter (MAFW's lists with captions lack a class), or a synthetic data set.
    """
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))
    benchmark = table["benchmarks"].get(info.name)
    if benchmark is None or is_synthetic or classes != benchmark["classes"]:
        return None
    if any(config.get(key, value) != value for key, value in benchmark.get("parameters", {}).items()):
        return None
    rows = [row for row in table["rows"] if info.name in row or not any(key in row for key in RESULTS)]
    first = info.sizes[0]
    validation = 0 if info.is_optimistic else first.validation
    return PublishedTable(
        title=benchmark["title"],
        examples=benchmark["clips"],
        examples_here=first.train + validation + first.test,
        metrics=tuple(LABELS.values()),
        fold_metric=LABELS["war"],
        remark=REMARK,
        results=tuple(_result(row, info.name, benchmark["protocol"]) for row in rows),
        folds=tuple(
            PublishedFolds(band["method"], tuple(band["war"]))
            for band in table["bands"]
            if band["benchmark"] == info.name
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
        figures={label: figures[key] for key, label in LABELS.items() if key in figures},
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
