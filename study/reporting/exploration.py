"""Writes the ranking of an exploration: as Markdown, which is printed too, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from study import files
from study.analysis.exploration import RankedVariant, Ranking
from study.analysis.sentences.units import difference, heading
from study.metrics import record_of
from study.reporting import text
from study.reporting.document import Column, Document, Heading, Table, Text, join, strong
from study.reporting.shown import shown_text
from study.reporting.writers.markdown import markdown

SCHEMA = 1


def write(ranking: Ranking, folder: Path) -> tuple[Path, ...]:
    """Write ``exploration.md`` and ``exploration.json`` into `folder` and return them."""
    record = {
        "schema": SCHEMA,
        **asdict(ranking),
        "metric": record_of(ranking.metric),
        "variants": [{**asdict(v), "mean": v.mean, "sd": v.sd} for v in ranking.variants],
    }
    documents = {
        "exploration.md": render(ranking),
        "exploration.json": json.dumps(record, indent=1, ensure_ascii=False) + "\n",
    }
    for name, content in documents.items():
        files.write(folder / name, shown_text(content))
    return tuple(folder / name for name in documents)


def render(ranking: Ranking) -> str:
    """Return the ranking as Markdown."""
    unit = ranking.metric.unit
    rows = tuple(
        (
            "–" if variant.mean is None else str(place),
            variant.name + (" (reference)" if variant.is_reference else ""),
            text.value(variant.mean, unit),
            text.MISSING if variant.sd is None else difference(variant.sd, unit),
            _runs(variant),
        )
        for place, variant in enumerate(ranking.variants, start=1)
    )
    columns = (
        Column("Place", "right"),
        Column("Variant"),
        Column(f"Validation {heading(ranking.metric)}", "right"),
        Column("sd", "right"),
        Column("n", "right"),
    )
    title = f"Exploration of {ranking.name}"
    return markdown(
        Document(
            ranking.name,
            title,
            (
                Heading(title, level=1),
                Text(
                    join(
                        strong("Exploratory: no verdict."),
                        " Variants by their mean score on the validation split, which also chose epochs and "
                        "hyperparameters; the test split was not read. The best of many is best by luck in part: "
                        "confirm it by an ordinary study, which reuses these trainings.",
                    )
                ),
                Table(columns, rows),
            ),
        )
    )


def _runs(variant: RankedVariant) -> str:
    diverged = f", {variant.diverged} diverged" if variant.diverged else ""
    return text.runs_of_planned(len(variant.scores), variant.planned) + diverged
