"""``study compare``: studies, or the studies of several ledgers, side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.context import AsJson, open_ledger, read_settings, study_name
from study.cli.records import SCHEMA, Record, json_output
from study.errors import file_error, missing_value, not_comparable, quoted
from study.terminal.output import PrintedConsole

if TYPE_CHECKING:
    from study.ledger.store import Ledger
    from study.terminal.side_by_side import Side


def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="A B …",
            help="Studies by file or name, or folders: a ledger, a project, an unpacked archive.",
        ),
    ],
    json_: AsJson = False,
) -> None:
    """Set studies side by side: scores, differences, verdicts, what is different, and which runs are shared.

    A folder stands for its studies that the other arguments have too. Writes nothing to other ledgers.
    """
    from study.terminal.side_by_side import print_side_by_side

    if len(sides) < 2:
        raise missing_value("", "compare: give at least two studies, or folders with ledgers.")
    sides = list(dict.fromkeys(sides))
    compared = [_side(*each) for each in _studies(sides)]
    places = {str(number): side for number, side in enumerate(sides, start=1) if Path(side).is_dir()}
    metrics = {side.findings.primary.title: side.findings.primary.unit for side in compared}
    if len(metrics) > 1 or len({side.findings.metric for side in compared}) > 1:
        raise not_comparable("", f"compare: the studies have different primary metrics, {quoted(metrics)}.")
    if json_:
        with json_output() as write:
            write({**_record(compared), "places": places})
        return
    for number, place in places.items():
        print(f"({number}) {place}")
    print_side_by_side(compared, PrintedConsole())


def _studies(sides: list[str]) -> list[tuple[str, str, Ledger]]:
    """Return label, name and ledger of every study that is compared."""
    own = open_ledger(read_settings())
    found: list[tuple[str, Ledger, list[str]]] = []
    for side in sides:
        if Path(side).is_dir():
            ledger = _ledger_in(Path(side))
            found.append((side, ledger, ledger.studies()))
        else:
            found.append(("", own, [study_name(side, None, [], own)]))
    studies = []
    for place, ledger, names in found:
        others = [name for other in found if other[0] != place or not place for name in other[2]]
        shown = [name for name in names if name in others] if place else names
        if not shown:
            raise not_comparable(
                "",
                f"compare: {place} has no study that the others have too. It has {quoted(names)}, they have "
                f"{quoted(others)}.",
            )
        number = f" ({sides.index(place) + 1})" if place else ""
        studies += [(f"{name}{number}", name, ledger) for name in shown]
    if len(studies) < 2:
        raise not_comparable("", "compare: both arguments are one study.")
    return studies


def _ledger_in(folder: Path) -> Ledger:
    """Return the ledger that a folder is, or that its study.toml names."""
    from study.config.settings import root_of, settings
    from study.ledger.layout import STUDIES
    from study.ledger.store import Ledger

    if (folder / STUDIES).is_dir():
        return Ledger(folder.resolve())
    ledger = settings(folder).ledger
    if root_of(folder) != folder.resolve() or not (ledger / STUDIES).is_dir():
        raise file_error(folder, "is neither a ledger nor a project with one.")
    return Ledger(ledger)


def _side(label: str, name: str, ledger: Ledger) -> Side:
    """Return the findings of a study; a look is recorded in this machine's ledger alone."""
    from study.api import metric_functions
    from study.engine.conductor import conclude
    from study.ledger import looks
    from study.terminal.side_by_side import Side

    record = ledger.study(name)
    conclusion = conclude(record, ledger, metric_functions(record))
    if conclusion.look is not None and ledger.root == open_ledger(read_settings()).root:
        looks.save(ledger.root, conclusion.look)
    return Side(label, conclusion.findings)


def _record(sides: list[Side]) -> Record:
    from itertools import combinations

    from study.terminal.side_by_side import differing_facts, shared_runs

    return {
        "schema": SCHEMA,
        "metric": sides[0].findings.metric,
        "unit": sides[0].findings.primary.unit,
        "studies": [
            {
                "label": side.label,
                "study": side.findings.name,
                "question": side.findings.question,
                "answer": side.findings.answer,
                "variants": [
                    {
                        "name": variant.name,
                        "is_reference": variant.is_reference,
                        "verdict": variant.verdict_text,
                        "score": variant.score and asdict(variant.score),
                        "difference": variant.difference and asdict(variant.difference.interval),
                        "corrected": variant.difference and asdict(variant.difference.corrected),
                        "n": len(variant.repetitions),
                        "planned": variant.planned,
                    }
                    for variant in side.findings.variants
                ],
            }
            for side in sides
        ],
        "different": differing_facts(sides),
        "shared": [
            {"studies": [one.label, other.label], "runs": shared_runs(one.findings, other.findings)}
            for one, other in combinations(sides, 2)
        ],
    }
