"""The shipped calibration table: its counts, made once, and their text.

``python -m study.calibration.table`` makes it anew, in about an hour of one processor core.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from study.calibration.cells import LOOKS, PLANTED, Cell, cells
from study.calibration.model import Design
from study.calibration.rivals import Rival, adastop, count_rival, paired_t
from study.calibration.studies import Count, count
from study.files import write

TABLE = Path(__file__).with_name("table.json")
STUDIES, STUDIES_OF_RIVALS = 2000, 500
ALPHA = 0.05
FIRST = 40
KEYS = ("cells", "first", "rivals")


@dataclass(frozen=True)
class Table:
    """Counts of all cells, and of what is done elsewhere beside this package's method on the same studies."""

    cells: tuple[Count, ...]
    first: tuple[Count, ...]
    """The same cells over the first `FIRST` studies, which tests repeat."""
    rivals: tuple[Count, ...]


def stored() -> Table:
    """Return the shipped table."""
    content = json.loads(TABLE.read_text())
    return Table(*(tuple(Count(**row) for row in content[key]) for key in KEYS))


def rivals() -> Iterator[tuple[str, Cell, Rival | None]]:
    """Yield the methods that are compared, each on studies without and with a difference; None is this package."""
    once = Design(search="study", trials=4, repetitions=10, looks=(5, 10, 15), scope="test-set")
    own = Design(search="repetition", trials=4, repetitions=5, scope="test-set")
    for comparisons in (1, 3):
        for effect in (0.0, PLANTED):
            effects = (effect,) * comparisons
            for title, design, rival in (
                ("one search, 10 repetitions, paired t", once, paired_t),
                ("one search, AdaStop, 5 to 15 repetitions", once, adastop),
                ("a search in each of 5 repetitions", own, None),
                ("a search in each repetition, looks 5, 8, 12", replace(own, looks=LOOKS), None),
            ):
                name = f"{title}; {comparisons} variant(s), {effect:g} points"
                yield name, Cell(name, replace(design, comparisons=comparisons), effects), rival


def make(studies: int, of_rivals: int, processes: int, only: str = "", known: Table | None = None) -> Table:
    """Simulate every cell and every rival whose name contains `only`, with a line of progress for each.

    The counts of the others are those of the table `known`.
    """
    kept = known or Table((), (), ())
    with ProcessPoolExecutor(processes) as pool:

        def counted(cell: Cell, of: int, rival: Rival | None, before: tuple[Count, ...]) -> Future[Count]:
            if only not in cell.name:
                return pool.submit(_kept, cell.name, before)
            return (
                pool.submit(count, cell, of) if rival is None else pool.submit(count_rival, cell, rival, of)
            )

        groups = (
            [counted(cell, studies, None, kept.cells) for cell in cells()],
            [counted(cell, FIRST, None, kept.first) for cell in cells()],
            [counted(cell, of_rivals, rival, kept.rivals) for _, cell, rival in rivals()],
        )
        _show([future for group in groups for future in group])
        return Table(*(tuple(future.result() for future in group) for group in groups))


def _kept(name: str, counts: tuple[Count, ...]) -> Count:
    return next(row for row in counts if row.cell == name)


def _show(futures: Sequence[Future[Count]]) -> None:
    for number, future in enumerate(as_completed(futures), start=1):
        print(f"{number} of {len(futures)}: {future.result().cell}", file=sys.stderr, flush=True)


def save(table: Table, path: Path = TABLE) -> None:
    """Write a table."""
    rows = {key: [asdict(row) for row in getattr(table, key)] for key in KEYS}
    lines = ",\n".join(
        f'"{key}": [\n' + ",\n".join(json.dumps(row) for row in group) + "\n]" for key, group in rows.items()
    )
    write(path, "{\n" + lines + "\n}\n")


def as_text(counts: Iterable[Count], bounded: frozenset[str]) -> str:
    """Return counts as a Markdown table; rates of cells that are not bounded are marked."""
    rows = [
        "| studies | false verdicts | found differences | interval holds the truth | trainings a study |",
        "|:---|---:|---:|---:|---:|",
    ]
    for row in counts:
        mark = "" if row.cell in bounded or row.planted else " (not bounded)"
        found = "–" if row.power is None else f"{row.power:.3f}"
        covered = f"{row.covered / row.intervals:.3f}" if row.intervals else "–"
        false = "–" if row.planted else f"{row.false_rate:.3f}{mark}"
        rows.append(f"| {row.cell} | {false} | {found} | {covered} | {row.trainings / row.studies:.1f} |")
    return "\n".join(rows) + "\n"


def bounded_names() -> frozenset[str]:
    """Return the names of the cells whose false verdicts must stay at alpha."""
    return frozenset(cell.name for cell in cells() if cell.is_bounded)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--rivals", type=int, default=STUDIES_OF_RIVALS)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--only", default="", help="cells whose names contain this text; others stay as they are"
    )
    options = parser.parse_args()
    save(
        make(
            options.studies,
            options.rivals,
            options.processes,
            options.only,
            stored() if options.only else None,
        )
    )
