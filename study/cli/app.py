"""The command line. Heavy imports stay inside the commands that need them."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from study.cli.context import (
    INTERRUPTED,
    AcceptCode,
    Changes,
    Preset,
    SkipBad,
    StudyFile,
    compiled,
    read_settings,
    with_skipping,
)
from study.cli.data import data
from study.cli.runs import check, reproduce
from study.cli.studies import gc, status, stop, sync
from study.cli.weights import weights
from study.errors import InputError, StudyError, nearest, quoted

if TYPE_CHECKING:
    from study.analysis.findings import Findings
    from study.api import Study
    from study.ledger.record import StudyRecord
    from study.ledger.store import Ledger

LAST_LINES = 30
"""How many last lines of a failed program's output are printed."""

app = typer.Typer(
    help="Ablations and benchmarks of trainings: a TOML file asks, a report answers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data, name="data")
app.add_typer(weights, name="weights")
app.add_typer(check, name="check")
for command in (status, stop, gc, sync, reproduce):
    app.command()(command)


@app.callback()
def _main(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    log = logging.getLogger("study")
    log.handlers[:] = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.WARNING)
    log.propagate = False


@app.command()
def run(
    study: StudyFile,
    preset: Preset = None,
    set_: Changes = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed runs again.")] = False,
    skip_bad: SkipBad = False,
    accept_code: AcceptCode = False,
) -> None:
    """Carry a study out: train what is not trained yet, then write the report."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what a batch system sends
    try:
        _run(study, preset, set_ or [], retry_failed, skip_bad, accept_code)
    except KeyboardInterrupt:
        print(
            "\nInterrupted; whatever was finished is kept. Go on with the same command:\n"
            f"  {shlex.join(['study', *sys.argv[1:]])}",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None


def _run(
    path: Path,
    preset: str | None,
    changes: list[str],
    retry_failed: bool,
    skip_bad: bool,
    accept_code: bool,
) -> None:
    study = compiled(path, preset, with_skipping(skip_bad, path, preset, changes))
    if accept_code:
        study = _accepting(study)
    found = study.run(retry_failed=retry_failed)
    _conclude(found, study.reports)
    _list_failures(study.record, study.ledger)


def _accepting(study: Study) -> Study:
    """Return the study with the runs of earlier code that it could keep, and print which."""
    from study.engine.accept import described

    accepting = study.accept_code()
    new = {
        code: old
        for code, old in accepting.record.accepted_code.items()
        if code not in study.record.accepted_code
    }
    print("\n".join(described(study.record, study.ledger, new)) or "There are no runs of other code to keep.")
    return accepting


@app.command()
def plan(
    study: StudyFile,
    preset: Preset = None,
    set_: Changes = None,
    skip_bad: SkipBad = False,
    accept_code: AcceptCode = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="List the code that counts in the identity of runs.")
    ] = False,
) -> None:
    """Show what `run` would do and where every value comes from; train nothing."""
    found = compiled(study, preset, with_skipping(skip_bad, study, preset, set_ or []))
    if accept_code:
        found = _accepting(found)
    print(found.plan())
    if verbose:
        print("\nCode that counts, with its digest:")
        for name, digest in sorted({item for parts in found.record.code.values() for item in parts.items()}):
            print(f"  {name}  {digest[:16]}")


@app.command()
def report(study: StudyFile, preset: Preset = None, set_: Changes = None, skip_bad: SkipBad = False) -> None:
    """Write the report of a study anew from the ledger; train and measure nothing."""
    from study.api import write_report
    from study.config.study import name_of

    settings = read_settings()
    name = name_of(study, preset, with_skipping(skip_bad, study, preset, set_ or []))
    _conclude(write_report(name, settings), settings.reports / name)


@app.command()
def profile(study: StudyFile, preset: Preset = None, set_: Changes = None) -> None:
    """Count and time the network of every variant; train nothing."""
    from study.tasks.clips.profiling.command import profile_study

    found = compiled(study, preset, set_ or [])
    if not found.record.has_profile:
        raise InputError(
            f"{study}: the task {found.record.task!r} knows its networks only while they train: "
            "call run.profile(model, example_input) in the training."
        )
    profile_study(found.record, found.settings.reports, Console())


@app.command(name="list")
def list_(
    pattern: Annotated[str, typer.Argument(help="A name or kind to look for; * and ? match anything.")] = "*",
    task: Annotated[str, typer.Option("--task", help="The task whose components are listed.")] = "clips",
) -> None:
    """List the components that a study may name, with their parameters, ranges and defaults; recipes; tasks."""
    from fnmatch import fnmatch

    from study.api import put_on_path
    from study.config.recipes import RECIPES
    from study.config.registry import Registry

    settings = read_settings()
    put_on_path(settings.root)
    registry = Registry(settings.components, task)
    known_recipes = RECIPES
    kinds = list(registry.kinds)
    known = [*kinds, "recipe", *(component.name for component in registry), *known_recipes]
    if not any(fnmatch(name, pattern) for name in known):
        raise InputError(f"nothing is called {pattern!r}.{nearest(pattern, known)} Kinds: {quoted(kinds)}.")
    for kind in kinds:
        found = [
            c for c in registry if c.kind == kind and (fnmatch(c.name, pattern) or fnmatch(kind, pattern))
        ]
        if found:
            print(f"\n{kind}")
        for component in found:
            print(f"  {component.name:<22} {component.help}")
            for parameter in component.parameters.values():
                if parameter.is_internal:
                    continue
                default = "required" if parameter.required else f"default {parameter.default!r}"
                print(f"      {parameter.name:<18} {parameter.allowed()}; {default}: {parameter.help}")
    chosen = {
        name: r for name, r in known_recipes.items() if fnmatch(name, pattern) or fnmatch("recipe", pattern)
    }
    if chosen:
        print("\nrecipe")
    for name, recipe in chosen.items():
        print(f"  {name:<22} {recipe.help}.")


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; loopback unless told otherwise.")
    ] = "127.0.0.1",
) -> None:
    """Start the MLflow UI on this machine's studies."""
    from study.tracking import mlflow as tracking

    settings = read_settings()
    raise typer.Exit(tracking.ui(settings.mlflow, settings.artifacts, host, port))


def _conclude(found: Findings, folder: Path) -> None:
    """Print the answer, what limits it, and where the report is."""
    print(f"\n{found.question}\n{found.answer}\n")
    for limit in found.limits:
        print(f"Warning: {limit.sentence}")
    print(f"\nReport: {folder / 'report.md'}\n        {folder / 'report.pdf'}")


def _list_failures(record: StudyRecord, ledger: Ledger) -> None:
    from study.cli.display import title
    from study.engine import jobs

    failed = jobs.failures(record, ledger)
    if not failed:
        return
    print(f"\n{len(failed)} of the study's runs failed:", file=sys.stderr)
    shown: set[str] = set()
    for job, failure in failed:
        print(f"  {title(job)}: {failure.reason}\n    see {ledger.run_folder(job.run)}", file=sys.stderr)
        output = "\n".join(f"    | {line}" for line in failure.detail.splitlines()[-LAST_LINES:])
        if job.run.task == "command" and output and output not in shown:
            shown.add(output)
            print(output, file=sys.stderr)
    print("Try them again with --retry-failed.", file=sys.stderr)
    raise typer.Exit(1)


def main() -> None:
    """Run the command line; a mistake ends in one message and an exit code, never in a traceback."""
    try:
        app()
    except StudyError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"Error: {error.filename or 'input or output'}: {error.strerror or error}.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
