"""The sections on parts of the test split: breakdowns, confusions of classes, examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from study.analysis.described import BreakdownFinding, Confusion
from study.analysis.findings import Findings, VariantFinding
from study.analysis.sentences.units import label_with_unit, signed_difference
from study.reporting import text
from study.reporting.document import Line, Side, emphasis
from study.reporting.figure_specs import compared_in, examples_caption, most_different
from study.reporting.pictures import pictured
from study.reporting.sections.blocks import COLUMNS_PER_TABLE, Blocks
from study.reporting.sections.phrases import figure_runs_note, name_with_runs
from study.reporting.text import MISSING

MOST_COLUMNS, LONGEST_COLUMN = 7, 14
"""With more or longer rows than this, the table of a breakdown has a column for each variant."""
MOST_PARTS = 2
"""A table is printed in at most so many parts; the files of rows have all columns."""
MOST_CONFUSIONS = 12
"""The most confusions in one table."""

Cell = Callable[[VariantFinding, str], str]


def add_parts(report: Blocks, findings: Findings) -> None:
    """Add the section on parts of the test split, where predictions say anything about them."""
    has_confusions = any(variant.confusion is not None for variant in findings.variants)
    if findings.breakdowns or has_confusions or pictured(findings) is not None:
        report.heading("Parts of the test split", level=3)
        _add_breakdowns(report, findings)
        _add_confusions(report, findings)
        _add_examples(report, findings)


def _add_breakdowns(report: Blocks, findings: Findings) -> None:
    """Add a table for each breakdown of the test split with the differences, and the figure of the first short one."""
    for part in findings.breakdowns:
        _add_breakdown(report, findings, part)
    report.figure("breakdown")


def _add_breakdown(report: Blocks, findings: Findings, part: BreakdownFinding) -> None:
    variants = [variant for variant in findings.variants if variant.breakdowns.get(part.name)]
    compared = compared_in(findings, part)
    unit = f" in {part.unit}" if part.unit else ""
    points = "points" if part.unit == "%" else part.unit

    def value(variant: VariantFinding, row: str) -> str:
        shown = text.mean_with_half_width(variant.breakdowns[part.name].get(row), part.unit)
        return shown + figure_runs_note(variant, f"{part.name}/{row}")

    def difference(variant: VariantFinding, row: str) -> str:
        interval = variant.breakdown_differences[part.name].get(row)
        return text.difference_with_interval(interval, part.unit)

    caption = f"{part.title} on the test split{unit}: mean over repetitions ± half of the 95 % t interval."
    first = next((each for each in findings.breakdowns if each.counts), None)
    if part is first:
        noun = findings.noun.capitalize()
        caption += f" {noun}s: number in the test split; a figure over few of them is uncertain."
    of_differences = "[95 % t interval, not corrected for the number of rows]"
    if len(variants) == 2 and len(compared) == 1:
        head = label_with_unit("Difference", points)
        _add_rows(
            report,
            findings,
            part,
            f"{caption} Difference: paired, {of_differences}.",
            {
                **{name_with_runs(each): (each, value) for each in variants},
                head: (compared[0], difference),
            },
        )
        return
    _add_oriented(report, findings, part, caption, variants, value)
    if compared:
        _add_oriented(
            report,
            findings,
            part,
            f"{part.title}: paired difference from the reference{f' in {points}' * bool(points)} {of_differences}.",
            compared,
            difference,
        )


def _add_oriented(
    report: Blocks,
    findings: Findings,
    part: BreakdownFinding,
    caption: str,
    variants: Sequence[VariantFinding],
    cell: Cell,
) -> None:
    """Add a table with rows of variants or, where there are many or long names of parts, with rows of parts."""
    is_short = len(part.rows) <= MOST_COLUMNS and all(len(row) <= LONGEST_COLUMN for row in part.rows)
    fits_across = len(part.rows) <= MOST_PARTS * COLUMNS_PER_TABLE
    if (is_short and not part.counts) or (len(variants) > COLUMNS_PER_TABLE and fits_across):
        counts = [text.count(part.counts.get(row)) for row in part.rows]
        rows: list[list[Line]] = [
            [name_with_runs(variant), *(cell(variant, row) for row in part.rows)] for variant in variants
        ]
        if part.counts:
            rows.append([emphasis(f"{findings.noun}s"), *counts])
        report.wide_table(caption, "Variant", dict.fromkeys(part.rows, "right"), rows)
        return
    shown = variants
    most = MOST_PARTS * COLUMNS_PER_TABLE - bool(part.counts)
    if len(variants) > most:
        shown = most_different(findings, variants, most)
        caption += (
            f" Of {len(variants)} variants the reference and those with the largest differences in "
            f"{findings.primary.title}; tables/parts.csv has all."
        )
    _add_rows(report, findings, part, caption, {name_with_runs(each): (each, cell) for each in shown})


def _add_rows(
    report: Blocks,
    findings: Findings,
    part: BreakdownFinding,
    caption: str,
    columns: dict[str, tuple[VariantFinding, Cell]],
) -> None:
    """Add a table with a row for each part of the test split."""
    count_column: dict[Line, Side] = {f"{findings.noun.capitalize()}s": "right"} if part.counts else {}
    report.wide_table(
        caption,
        part.name.capitalize(),
        {**count_column, **dict.fromkeys(columns, "right")},
        [
            [
                row,
                *([text.count(part.counts.get(row))] if part.counts else []),
                *(cell(variant, row) for variant, cell in columns.values()),
            ]
            for row in part.rows
        ],
    )


def _add_confusions(report: Blocks, findings: Findings) -> None:
    """Add the confusions of classes: as a figure or, of many classes, the most frequent ones as a table."""
    known = [variant for variant in findings.variants if variant.confusion is not None]
    if not known:
        return
    if report.has_figure("confusion"):
        report.figure("confusion", floats=True)
        return
    reference = next((variant for variant in known if variant.is_reference), known[0])
    assert reference.confusion is not None
    classes = reference.confusion.classes
    others = [
        v for v in known if v is not reference and v.confusion is not None and v.confusion.classes == classes
    ]
    shown = most_different(findings, [reference, *others], MOST_PARTS)
    shares = {variant.name: variant.confusion.shares for variant in shown if variant.confusion is not None}
    pairs = [(true, other) for true in range(len(classes)) for other in range(len(classes)) if true != other]
    pairs.sort(key=lambda pair: -max(of[pair[0]][pair[1]] or 0.0 for of in shares.values()))
    noun = findings.noun
    reduced = (
        f" {shown[1].name} is the variant with the largest difference in {findings.primary.title}."
        if len(others) > 1
        else ""
    )
    report.table(
        f"The most frequent confusions of {len(classes)} classes on the test split, all tested runs together: "
        f"{noun}s of the true class that are predicted as the other, in %.{reduced} All are in "
        "tables/confusions.csv.",
        {
            "True class": "left",
            "Predicted as": "left",
            **{variant.name: "right" for variant in shown},
            **({label_with_unit("Difference", "points"): "right"} if len(shown) > 1 else {}),
        },
        [
            [
                classes[true],
                classes[other],
                *(text.value(of[true][other]) for of in shares.values()),
                *_share_difference(shown, true, other),
            ]
            for true, other in pairs[:MOST_CONFUSIONS]
        ],
    )


def _share_difference(shown: Sequence[VariantFinding], true: int, other: int) -> Iterator[str]:
    """Yield the difference of the second variant's share from the first one's, where there are two."""
    own: list[Confusion] = [variant.confusion for variant in shown if variant.confusion is not None]
    if len(own) > 1:
        value = own[1].minus(own[0])[true][other]
        yield MISSING if value is None else signed_difference(value, "%")


def _add_examples(report: Blocks, findings: Findings) -> None:
    """Add examples that a variant classifies correctly and its reference does not: as pictures, or their names."""
    variant = pictured(findings)
    if variant is None or variant.disagreement is None:
        return
    if report.has_figure("examples"):
        report.figure("examples", floats=True)
        return
    found = variant.disagreement
    has_folds = any(example.fold is not None for example in found.examples)
    report.table(
        f"{examples_caption(findings, variant, found)} Right: in how many repetitions.",
        {
            findings.noun.capitalize(): "left",
            **({"Fold": "right"} if has_folds else {}),
            "Class": "left",
            f"{variant.reference} predicts": "left",
            f"{variant.reference} right": "right",
            f"{variant.name} right": "right",
        },
        [
            [
                example.id,
                *([str(example.fold)] if has_folds else []),
                example.label,
                example.reference_predicted,
                f"{example.reference_right} of {example.repetitions}",
                f"{example.right} of {example.repetitions}",
            ]
            for example in found.examples
        ],
    )
