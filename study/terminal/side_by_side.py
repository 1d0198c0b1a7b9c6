"""Studies side by side on a terminal: equal variants below each other, what differs between the studies, equal runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from rich.console import Console

from study.analysis.findings import Findings
from study.analysis.sentences.units import number
from study.terminal.results import NONE, variant_columns
from study.terminal.tables import Column, print_table, print_text

MOST_RUNS = 5
"""The most runs with other scores that are listed."""


@dataclass(frozen=True)
class Side:
    """One of the studies, with the name that tells it from the others."""

    label: str
    findings: Findings


def shared_runs(one: Findings, other: Findings) -> dict[str, tuple[float, float]]:
    """Return the scores of the tested runs that both studies have, by run."""
    first, second = (
        {run.run: run.score for variant in findings.variants for run in variant.repetitions}
        for findings in (one, other)
    )
    return {run: (score, second[run]) for run, score in first.items() if run in second}


def differing_facts(sides: Sequence[Side]) -> dict[str, list[str]]:
    """Return what the studies declare, and what trained them, where it is not the same for all."""
    tables = [_facts(side.findings) for side in sides]
    names = dict.fromkeys(name for table in tables for name in table)
    rows = {name: [table.get(name, NONE) for table in tables] for name in names}
    return {name: values for name, values in rows.items() if len(set(values)) > 1}


def print_side_by_side(sides: Sequence[Side], console: Console) -> None:
    """Print the variants of all studies, equal names below each other, then what differs and which runs are shared."""
    print_table(console, list(_columns(sides)))
    if differing := differing_facts(sides):
        console.print()
        print_table(
            console,
            [
                Column("Different", list(differing), "left"),
                *(
                    Column(side.label, [values[n] for values in differing.values()], "left")
                    for n, side in enumerate(sides)
                ),
            ],
        )
    console.print()
    for one, other in combinations(sides, 2):
        print_text(console, _shared_line(one, other))
    print_text(
        console,
        "Differences between studies are not tested: a study with the variants of all gives verdicts.",
    )


def _facts(findings: Findings) -> Mapping[str, str]:
    declared = {
        "Question": findings.question,
        "Least difference of interest": f"{findings.rope:g}",
        "α": f"{findings.alpha:g}",
        "Comparisons": str(findings.comparisons),
    }
    return {**declared, **findings.facts}


def _columns(sides: Sequence[Side]) -> Iterator[Column]:
    """Yield the columns of results, rows ordered by variant, then by study."""
    found = [[variant.name for variant in side.findings.variants] for side in sides]
    rows = [
        (name, side, names.index(name))
        for name in dict.fromkeys(name for names in found for name in names)
        for side, names in enumerate(found)
        if name in names
    ]
    tables = [variant_columns(side.findings) for side in sides]
    yield Column("Variant", [name for name, _, _ in rows], "left")
    yield Column("Study", [sides[side].label for _, side, _ in rows], "left")
    for number_, column in enumerate(tables[0][1:], start=1):
        heads = {table[number_].head for table in tables}
        head = column.head if len(heads) == 1 else "interval, decides"
        cells = [tables[side][number_].cells[row] for _, side, row in rows]
        yield Column(head, cells, column.side, column.is_optional)


def _shared_line(one: Side, other: Side) -> str:
    shared = shared_runs(one.findings, other.findings)
    unit = one.findings.primary.unit
    both = f"{one.label} and {other.label}: {len(shared)} tested runs in both"
    changed = {run: scores for run, scores in shared.items() if scores[0] != scores[1]}
    if not changed:
        return f"{both}{', each with the same score' if shared else ''}."
    listed = ", ".join(
        f"{run} {number(a, unit)} and {number(b, unit)}" for run, (a, b) in list(changed.items())[:MOST_RUNS]
    )
    return (
        f"{both}, {len(changed)} with different scores: {listed}{' …' if len(changed) > MOST_RUNS else ''}."
    )
