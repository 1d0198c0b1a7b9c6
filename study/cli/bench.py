"""The command `bench`: measures the package against baselines, both sides in one process."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from study.errors import unknown_name

ALL = "all"


def bench(
    name: Annotated[str, typer.Argument(help="step, small, loader, scale, growth or all.")],
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Measurements of each side; by default the benchmark's own.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
) -> None:
    """Measure steps, the small network, data loaders or the harness, each beside its baseline."""
    from rich.console import Console

    from study.bench.result import Measured, as_json, as_table
    from study.bench.run import BENCHMARKS, LONG, measured

    if name not in (*BENCHMARKS, ALL):
        raise unknown_name("NAME", f"no benchmark is called {name!r}", name, [*BENCHMARKS, ALL])
    results: list[Measured] = []
    for one in (one for one in BENCHMARKS if one not in LONG) if name == ALL else (name,):
        with redirect_stdout(sys.stderr if json_ else sys.stdout):  # the progress of the measurements
            found = list(measured(one, repeats))
        results += found
        if not json_:
            Console(width=max(140, Console().width)).print(as_table(found, one))
    if json_:
        print(as_json(results))
        return
    versions = next((result.versions for result in results if result.versions), {})
    print(", ".join(f"{package} {version}" for package, version in versions.items()))
