"""A report as one HTML file that works from disk: tables that sort, filters, charts of single runs.

Everything is in the file, and its policy lets a browser load nothing else.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path, PurePosixPath
from string import Template
from typing import Any

from study.analysis.described import EpochCurve, Interval, RepetitionScore
from study.analysis.findings import Findings, VariantFinding
from study.analysis.sentences.units import difference_axis, heading
from study.reporting import text
from study.reporting.document import (
    Block,
    Bullets,
    Byline,
    Document,
    Figure,
    Heading,
    Line,
    Listing,
    Note,
    Span,
    Style,
    Table,
    Text,
    emphasis,
    join,
    plain_text,
    spans,
    strong,
)
from study.reporting.figures.panels import Look, looks
from study.reporting.figures.style import REFERENCE_LINE
from study.reporting.writers.rows import finite

TEMPLATE = Path(__file__).with_name("report.html")
SCRIPT = Path(__file__).with_name("report.js")
CHARTS = ("repetitions", "differences", "learning")
"""The figures that the page draws itself, from the runs."""
DASHES = {"-": "", REFERENCE_LINE: "6 3"}
"""Line styles as SVG has them."""
MOST_POINTS = 120_000
"""The most points of all learning curves together; longer curves are thinned evenly."""
MOST_SVG_BYTES = 300_000
"""A larger figure is embedded as PNG."""
TAGS = {Style.STRONG: "strong", Style.EMPHASIS: "em", Style.CODE: "code"}


def html(document: Document, findings: Findings, figures: Mapping[str, bytes]) -> str:
    """Return a report as HTML; equal input gives equal text.

    Args:
        document: The report.
        findings: Those of the document: runs, intervals and curves.
        figures: The figures' files by their paths from the report's folder.
    """
    names = {text.one_line(variant.name): index for index, variant in enumerate(findings.variants)}
    body = "\n".join(_block(shown, figures, names) for shown in document.blocks)
    record = json.dumps(finite(_data(findings)), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(plain_text(document.title)),
        body=body,
        data=record.replace("<", "\\u003c"),
        script=SCRIPT.read_text(encoding="utf-8"),
    )


def inline(line: Line) -> str:
    """Return a line as HTML."""
    return "".join(map(_span, spans(line)))


def _span(span: Span) -> str:
    shown = escape(span.text)
    if span.target:
        shown = f'<a href="{escape(span.target)}">{shown}</a>'
    tag = TAGS.get(span.style)
    return f"<{tag}>{shown}</{tag}>" if tag else shown


def _block(shown: Block, figures: Mapping[str, bytes], names: Mapping[str, int]) -> str:
    if isinstance(shown, Table):
        return _table(shown, names)
    if isinstance(shown, Figure):
        return _figure(shown, figures)
    return _WRITERS[type(shown)](shown)


def _byline(shown: Byline) -> str:
    lines = (inline(", ".join(shown.authors)), inline(emphasis(shown.affiliation)))
    return f'<p class="byline">{"<br>".join(line for line in lines if line)}</p>'


def _bullets(items: tuple[Line, ...]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{inline(item)}</li>" for item in items) + "\n</ul>"


def _table(shown: Table, names: Mapping[str, int]) -> str:
    sides = [' class="right"' if column.side == "right" else "" for column in shown.columns]
    heads = "".join(
        f'<th scope="col"{side}>{inline(column.head)}</th>'
        for column, side in zip(shown.columns, sides, strict=True)
    )
    of_variants = plain_text(shown.columns[0].head) == "Variant"
    rows = "\n".join(
        f"<tr{_variant(row[0], names) if of_variants else ''}>"
        + "".join(f"<td{side}>{inline(cell)}</td>" for cell, side in zip(row, sides, strict=True))
        + "</tr>"
        for row in shown.rows
    )
    caption = "" if shown.number is None else _caption("Table", shown.number, shown.caption)
    grid = f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    return f'{caption}<div class="scroll">{grid}</div>'


def _variant(cell: Line, names: Mapping[str, int]) -> str:
    """Return the attribute by which a row follows the filter of its variant's verdict."""
    shown = plain_text(cell)
    index = names.get(shown, names.get(shown.rpartition(" (")[0]))
    return "" if index is None else f' data-variant="{index}"'


def _caption(kind: str, number: int, caption: Line) -> str:
    return f'<p class="caption">{inline(join(strong(f"{kind} {number}."), " ", caption))}</p>\n'


def _figure(shown: Figure, figures: Mapping[str, bytes]) -> str:
    caption = _caption("Figure", shown.number, shown.caption)
    if shown.name in CHARTS:
        drawing = f'<div data-chart="{shown.name}"></div>'
    else:
        path, kind = shown.path, "svg+xml"
        if len(figures[path]) > MOST_SVG_BYTES:
            path, kind = str(PurePosixPath(path).with_suffix(".png")), "png"
        encoded = base64.b64encode(figures[path]).decode()
        drawing = f'<img src="data:image/{kind};base64,{encoded}" alt="{escape(plain_text(shown.alt_text))}">'
    return f"<figure>{drawing}\n<figcaption>{caption}</figcaption></figure>"


def _data(findings: Findings) -> dict[str, Any]:
    """Return what the page's charts show."""
    points = sum(
        len(curve.train_loss) + len(curve.validation)
        for variant in findings.variants
        for curve in variant.curves
    )
    step = max(1, -(-points // MOST_POINTS))
    scores = {
        (v.name, run.repetition, run.fold): run.score for v in findings.variants for run in v.repetitions
    }
    metric = findings.primary
    shown = looks(findings.variants)
    return {
        "score_label": f"test {heading(metric)}",
        "validation_label": f"validation {heading(metric)}",
        "difference_label": f"difference from the reference, in {difference_axis(metric)}",
        "rope": findings.rope,
        "variants": [
            {**_variant_data(findings, variant, scores, step), **_look(shown[variant.name])}
            for variant in findings.variants
        ],
    }


def _variant_data(
    findings: Findings,
    variant: VariantFinding,
    scores: Mapping[tuple[str, int, int | None], float],
    step: int,
) -> dict[str, Any]:
    unit, found = findings.primary.unit, variant.difference
    curves = {(curve.repetition, curve.fold): curve for curve in variant.curves}
    pairs = [
        (run, run.score - scores[variant.reference, run.repetition, run.fold])
        for run in variant.repetitions
        if found is not None and (variant.reference, run.repetition, run.fold) in scores
    ]
    return {
        "name": text.one_line(variant.name),
        "is_reference": variant.is_reference,
        "verdict": variant.verdict_text,
        "score": _ends(variant.score),
        "score_text": text.mean_with_interval(variant.score, unit),
        "runs": [
            {
                **_run(run),
                "score": run.score,
                "text": f"{findings.primary.title} {text.value(run.score, unit)}",
                **_curves(curves.get((run.repetition, run.fold)), step),
            }
            for run in variant.repetitions
        ],
        "difference": None if found is None else _ends(found.interval),
        "deciding": None if found is None else _ends(found.corrected),
        "difference_text": "" if found is None else text.difference_with_interval(found.interval, unit),
        "pairs": [
            {
                **_run(run),
                "value": value,
                "text": text.difference_with_interval(Interval(value, None, None), unit),
            }
            for run, value in pairs
        ],
    }


def _look(look: Look) -> dict[str, str]:
    return {"colour": look.colour, "mark": look.marker, "dash": DASHES[look.line]}


def _run(run: RepetitionScore) -> dict[str, Any]:
    return {"repetition": run.repetition, "fold": run.fold, "run": run.run, "seed": run.seed}


def _ends(interval: Interval | None) -> tuple[float | None, float | None, float | None] | None:
    return None if interval is None else (interval.mean, interval.low, interval.high)


def _curves(curve: EpochCurve | None, step: int) -> dict[str, Any]:
    if curve is None:
        return {}
    shown: dict[str, Any] = {"best": curve.best_epoch}
    for key, points in (("loss", curve.points("train_loss")), ("validation", curve.points("validation"))):
        last = max(points, default=0)
        kept = [
            epoch
            for at, epoch in enumerate(points)
            if at % step == 0 or epoch == last or (key == "validation" and epoch == curve.best_epoch)
        ]
        finite_points = [(epoch, points[epoch]) for epoch in kept if math.isfinite(points[epoch])]
        if finite_points:
            shown[key] = [
                [epoch for epoch, _ in finite_points],
                [float(f"{v:.4g}") for _, v in finite_points],
            ]
    return shown


_WRITERS: Mapping[type[Block], Callable[[Any], str]] = {
    Heading: lambda shown: f"<h{shown.level}>{inline(shown.text)}</h{shown.level}>",
    Byline: _byline,
    Text: lambda shown: f"<p>{inline(shown.line)}</p>",
    Bullets: lambda shown: _bullets(shown.items),
    Note: lambda shown: f"<aside>\n<strong>{inline(shown.title)}</strong>\n{_bullets(shown.items)}\n</aside>",
    Listing: lambda shown: f"<pre>{escape(shown.text)}</pre>",
}
