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

from study.cli.data import data
from study.cli.context import (
    INTERRUPTED,
    AcceptCode,
    Changes,
    Profile,
    SkipBad,
    StudyFile,
    open_ledger,
    open_registry,
    prepared,
    read_settings,
    with_older_code,
    with_skipping,
)
from study.cli.runs import check, reproduce
from study.cli.studies import gc, status, stop, sync
from study.cli.weights import weights
from study.errors import InputError, StudyError, listing, nearest

if TYPE_CHECKING:
    from study.analysis.findings import Findings
    from study.engine.events import Event
    from study.ledger.record import StudyRecord
    from study.ledger.store import Ledger

app = typer.Typer(
    help="Ablation and benchmarking of PyTorch video networks: a TOML file asks, a report answers.",
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
    profile: Profile = None,
    set_: Changes = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed runs again.")] = False,
    skip_bad: SkipBad = False,
    accept_code: AcceptCode = False,
) -> None:
    """Carry a study out: train what is not trained yet, then write the report."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what a batch system sends
    try:
        _run(study, profile, set_ or [], retry_failed, skip_bad, accept_code)
    except KeyboardInterrupt:
        print(
            "\nInterrupted; whatever was finished is kept. Go on with the same command:\n"
            f"  {shlex.join(['study', *sys.argv[1:]])}",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None


def _run(
    study: Path,
    profile: str | None,
    changes: list[str],
    retry_failed: bool,
    skip_bad: bool,
    accept_code: bool,
) -> None:
    from study.engine import conductor
    from study.tracking import optuna as dashboard
    from study.engine import jobs as outcomes
    from study.engine import plan as planning
    from study.executors.devices import cpu_cores, cuda_devices
    from study.executors.local import LocalWorkers
    from study.config.compile import TARGETS, check
    from study.cli.display import Display
    from study.tracking.mlflow import mirror

    settings = read_settings()
    ledger = open_ledger(settings)
    changes = with_skipping(skip_bad, study, profile, changes, settings)
    spec, record = prepared(study, profile, changes, settings)
    if accept_code:
        record = with_older_code(record, ledger)
    if outcomes.done(record, ledger) < planning.size(record):
        check(record)
    for key, folder in (("ledger", settings.ledger), ("reports", settings.reports)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"study.toml: {key}: {folder} cannot be made: {error.strerror}.") from None
    for new, old in record.accepted_code.items():
        ledger.accept(new, old)
    if retry_failed:
        outcomes.forget_failures(record, ledger)
    devices = cuda_devices() if record.variants[0].template.device == "cuda" else ()
    auto = len(devices) * settings.runs_per_gpu or len(cpu_cores())
    workers = auto if settings.workers == "auto" else settings.workers
    preload = [target.partition(":")[0] for target in TARGETS.values()]
    preload.append("torch._dynamo")  # the first optimiser would import it in every worker
    with (
        Display(Console()) as display,
        mirror(settings.mlflow, settings.artifacts, record.name) as tracker,
        dashboard.mirror(spec.search.storage) as trials,
    ):

        def tell(event: Event) -> None:
            display(event)
            tracker(event)
            trials(event)

        executor = LocalWorkers(workers, devices, preload)
        found = conductor.run(record, ledger, executor, settings.reports, tell, keep=settings.keep)
    _conclude(found, settings.reports / record.name)
    _list_failures(record, ledger)


@app.command()
def plan(
    study: StudyFile,
    profile: Profile = None,
    set_: Changes = None,
    skip_bad: SkipBad = False,
    accept_code: AcceptCode = False,
) -> None:
    """Show what `run` would do and where every value comes from; train nothing."""
    from study.cli.display import describe_plan
    from study.engine.cache import listing

    settings = read_settings()
    ledger = open_ledger(settings)
    changes = with_skipping(skip_bad, study, profile, set_ or [], settings)
    spec, record = prepared(study, profile, changes, settings)
    if accept_code:
        record = with_older_code(record, ledger)
    record = ledger.with_suggestions(record)
    print(describe_plan(record, spec, listing(record, ledger)))


@app.command()
def report(
    study: StudyFile, profile: Profile = None, set_: Changes = None, skip_bad: SkipBad = False
) -> None:
    """Write the report of a study anew from the ledger; train and measure nothing."""
    from study.engine import conductor
    from study.config.study import name_of

    settings = read_settings()
    name = name_of(study, profile, with_skipping(skip_bad, study, profile, set_ or [], settings))
    found = conductor.report(name, open_ledger(settings), settings.reports, lambda event: None)
    _conclude(found, settings.reports / name)


@app.command(name="profile")
def profile_(study: StudyFile, profile: Profile = None, set_: Changes = None) -> None:
    """Count and time the network of every variant; train nothing."""
    from study.tasks.clips.profiling.command import profile_study

    settings = read_settings()
    _, record = prepared(study, profile, set_ or [], settings)
    profile_study(record, settings.reports, Console())


@app.command(name="list")
def list_(
    pattern: Annotated[str, typer.Argument(help="A name or kind to look for; * and ? match anything.")] = "*",
) -> None:
    """List the components that a study may name, with their parameters, ranges and defaults."""
    from fnmatch import fnmatch

    from study.config.registry import KINDS
    from study.config.recipes import RECIPES

    registry = open_registry(read_settings())
    known = [*KINDS, "recipe", *(component.name for component in registry), *RECIPES]
    if not any(fnmatch(name, pattern) for name in known):
        raise InputError(f"nothing is called {pattern!r}.{nearest(pattern, known)} Kinds: {listing(KINDS)}.")
    for kind in KINDS:
        found = [
            c for c in registry if c.kind == kind and (fnmatch(c.name, pattern) or fnmatch(kind, pattern))
        ]
        if found:
            print(f"\n{kind}")
        for component in found:
            print(f"  {component.name:<22} {component.help}")
            for parameter in component.parameters.values():
                default = "required" if parameter.required else f"default {parameter.default!r}"
                print(f"      {parameter.name:<18} {parameter.allowed()}; {default}: {parameter.help}")
    recipes = {name: r for name, r in RECIPES.items() if fnmatch(name, pattern) or fnmatch("recipe", pattern)}
    if recipes:
        print("\nrecipe")
    for name, recipe in recipes.items():
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
    for warning in found.warnings:
        print(f"Warning: {warning}")
    print(f"\nReport: {folder / 'report.md'}\n        {folder / 'report.pdf'}")


def _list_failures(record: StudyRecord, ledger: Ledger) -> None:
    from study.engine import jobs as outcomes
    from study.cli.display import title

    failed = outcomes.failures(record, ledger)
    if not failed:
        return
    print(f"\n{len(failed)} of the study's runs failed:", file=sys.stderr)
    for job, failure in failed:
        print(f"  {title(job)}: {failure.reason}\n    see {ledger.run_folder(job.run)}", file=sys.stderr)
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
