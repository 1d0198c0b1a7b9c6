"""``study run``, ``plan``, ``report`` and ``profile``: the commands that take a study's file."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from study.cli.context import (
    AcceptCode,
    AcceptData,
    AsJson,
    Changes,
    EngineName,
    Preset,
    Quiet,
    RequireClaims,
    SkipBad,
    StudyFile,
    compiled,
    exit_unless_claims_hold,
    format_ledger,
    open_ledger,
    read_settings,
    require_claims_in,
    require_own_record,
    resumable,
    with_skipping,
)
from study.cli.records import json_output, plan_record
from study.errors import InputError, conflict
from study.terminal.output import PrintedConsole
from study.terminal.tables import print_text

if TYPE_CHECKING:
    from study.analysis.exploration import Ranking
    from study.analysis.findings import Findings
    from study.api import Study
    from study.engine.events import Event, Listener
    from study.ledger.record import StudyRecord
    from study.ledger.store import Ledger

OUTPUT_LINES = 30
"""The number of last lines of a failed program's output that are printed."""


def run(
    study: StudyFile,
    preset: Preset = None,
    set_: Changes = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed runs again.")] = False,
    skip_bad: SkipBad = False,
    accept_code: AcceptCode = False,
    accept_data: AcceptData = False,
    engine: EngineName = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(help="With --engine ray: auto or host:port; by default a cluster is started."),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option("--detach", help="Let jobs of the cluster carry the study out, and return at once."),
    ] = False,
    require_claims: RequireClaims = None,
    explore: Annotated[
        bool, typer.Option("--explore", help="Rank variants on validation; test nothing, give no verdict.")
    ] = False,
    quiet: Quiet = False,
    json_: AsJson = False,
) -> None:
    """Train what is not trained yet, then write the report."""
    if explore and require_claims:
        raise conflict("--explore", "judges no claim. Leave --require-claims out.")
    if ray_address is not None and engine != "ray":
        raise conflict("--ray-address", "is an option of --engine ray.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # batch systems send it in place of Ctrl-C
    with resumable(), ExitStack() as stack:
        write = stack.enter_context(json_output()) if json_ else None
        changes = with_skipping(skip_bad, study, preset, set_ or [])
        loaded = compiled(
            study,
            preset,
            changes,
            accept_data=accept_data,
            engine=engine,
            engine_options={} if ray_address is None else {"address": ray_address},
        )
        if accept_code:
            loaded = _with_accepted_code(loaded)
        require_claims_in(loaded.record.claims, require_claims)
        if detach:
            print(loaded.detach([argument for argument in sys.argv[1:] if argument != "--detach"]))
            return
        print(format_ledger(loaded.settings, study), flush=True)
        listeners: list[Listener] | None = [] if quiet else None
        if write is not None:
            listeners = [_event_writer(write)]
        if explore:
            ranking = loaded.explore(retry_failed=retry_failed, listeners=listeners)
            if write is None:
                _print_ranking(ranking, loaded.reports)
            else:
                write({"event": "Ranking", **_read_json(loaded.reports / "exploration.json")})
            _print_failures(loaded.record, loaded.ledger)
            return
        findings = loaded.run(retry_failed=retry_failed, listeners=listeners)
        if write is None:
            _print_conclusion(findings, loaded.reports)
        else:
            write({"event": "Findings", **_read_json(loaded.reports / "findings.json")})
        _print_failures(loaded.record, loaded.ledger)
        _fail_if_damaged(findings)
        exit_unless_claims_hold(findings, require_claims)


def _event_writer(write: Callable[[Mapping[str, Any]], None]) -> Listener:
    """Return a listener that writes each event as JSON; the conclusion is written as findings."""
    from study.cli.records import event_record
    from study.engine.events import StudyConcluded

    def listen(event: Event) -> None:
        if not isinstance(event, StudyConcluded):
            write(event_record(event))

    return listen


def _read_json(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def _with_accepted_code(study: Study) -> Study:
    """Return the study with the runs of earlier code that can replace its own, and print which."""
    from study.engine.accept import describe_accepted

    accepting = study.accept_code()
    new = {
        code: old
        for code, old in accepting.record.accepted_code.items()
        if code not in study.record.accepted_code
    }
    sentences = describe_accepted(study.record, study.ledger, new)
    print("\n".join(sentences) or "There are no runs of other code to keep.")
    return accepting


def plan(
    study: StudyFile,
    preset: Preset = None,
    set_: Changes = None,
    skip_bad: SkipBad = False,
    accept_code: AcceptCode = False,
    engine: EngineName = "local",
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="List where values come from, and the code that counts.",
        ),
    ] = False,
    sd: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Expected standard deviation of paired differences, in the metric's unit."
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Print the designs that fit, such as 24gpu-h, 8cpu-h or 90min.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.001, help="With --budget: the time that one training takes.")
    ] = None,
    quiet: Quiet = False,
    json_: AsJson = False,
) -> None:
    """Show what `run` would do: trainings, time, disk, power; trains nothing."""
    changes = with_skipping(skip_bad, study, preset, set_ or [])
    if json_:
        if budget is not None:
            raise conflict("--json", "prints a plan, not the designs that fit a budget. Leave --budget out.")
        with json_output() as write:
            loaded = compiled(study, preset, changes, engine=engine)
            write(plan_record((loaded.accept_code() if accept_code else loaded).plan(sd)))
        return
    loaded = compiled(study, preset, changes, engine=engine)
    if accept_code:
        loaded = _with_accepted_code(loaded)
    if budget is not None:
        from study.terminal.power import format_offers, format_power

        print(format_offers(loaded.record, loaded.offers(budget, sd, seconds)))
        print(f"\n{format_power(loaded.record, loaded.plan(sd).spread)}")
        return
    planned, console = loaded.plan(sd), PrintedConsole()
    print_text(console, f"{planned}")
    print_text(console, format_ledger(loaded.settings, study))
    if verbose:
        from study.terminal.planned import format_values

        print(f"\n{format_values(planned.values)}")
        print("\nCode that counts, with its digest:")
        for name, digest in sorted({item for parts in loaded.record.code.values() for item in parts.items()}):
            print(f"  {name}  {digest[:16]}")
        if loaded.record.unfollowed:
            print(
                "\nNot followed: what these calls read or run does not count. List files in [task] sources:"
            )
            for call in loaded.record.unfollowed:
                print(f"  {call.where}  {call.call}")


def report(
    study: StudyFile,
    preset: Preset = None,
    set_: Changes = None,
    skip_bad: SkipBad = False,
    require_claims: RequireClaims = None,
    quiet: Quiet = False,
    json_: AsJson = False,
) -> None:
    """Write the report of a study again from the ledger; trains and measures nothing."""
    from study.api import write_report
    from study.config.study import load, name_of

    settings = read_settings()
    changes = with_skipping(skip_bad, study, preset, set_ or [])
    name = name_of(study, preset, changes)
    question = None
    with suppress(InputError):  # a report needs the ledger alone
        question = load(study, preset, changes).question
    require_own_record(study, name, open_ledger(settings), question)
    findings = write_report(name, settings)
    if json_:
        with json_output() as write:
            write(_read_json(settings.reports / name / "findings.json"))
    else:
        _print_conclusion(findings, settings.reports / name)
    _fail_if_damaged(findings)
    require_claims_in(findings.claims, require_claims)
    exit_unless_claims_hold(findings, require_claims)


def profile(
    study: StudyFile,
    preset: Preset = None,
    set_: Changes = None,
    train: Annotated[
        bool,
        typer.Option(
            "--train", help="Take a few steps of one variant's training and time their parts instead."
        ),
    ] = False,
    variant: Annotated[
        str, typer.Option(help="With --train: the variant's name; default: the reference.")
    ] = "",
    quiet: Quiet = False,
    json_: AsJson = False,
) -> None:
    """Count parameters and operations of every variant's network and time it; keeps no training."""
    loaded = compiled(study, preset, set_ or [])
    if not loaded.record.has_profile:
        raise conflict(
            f"{study}",
            f"the task {loaded.record.task!r} knows its networks only while they train: "
            "call run.profile(model, example_input) in the training.",
        )
    if train and json_:
        raise conflict("--json", "prints the profile of every variant, not the time of training steps.")
    if train:
        from study.tasks.clips.profiling.training import profile_training
        from study.terminal.display import progress_from_first

        with progress_from_first("Generating", "clips") as progress:
            profile_training(loaded.record, PrintedConsole(), variant, progress=progress)
        return
    if variant:
        raise conflict("--variant", "chooses the variant of --train; without it, every variant is profiled.")
    from study.tasks.clips.profiling.command import profile_study

    progress_console = PrintedConsole(quiet=quiet)
    if not json_:
        from study.tasks.clips.profiling.table import render

        profiled = profile_study(loaded.record, loaded.settings.reports, progress_console)
        print_text(PrintedConsole(), render(profiled))
        return
    from study.records import to_json

    with json_output() as write:
        profiled = profile_study(loaded.record, loaded.settings.reports, progress_console)
        write(json.loads(to_json(profiled)))


def _print_conclusion(findings: Findings, folder: Path) -> None:
    """Print the results, and the paths of the report."""
    from study.terminal.output import PrintedConsole
    from study.terminal.results import print_results

    print_results(findings, PrintedConsole())
    files = (str(folder / name) for name in ("report.html", "report.pdf", "report.md"))
    print("\nReport: " + "\n        ".join(files))


def _print_ranking(ranking: Ranking, folder: Path) -> None:
    """Print the ranking of an exploration, and its path."""
    from study.reporting.exploration import render

    print(f"\n{ranking.question}\n\n{render(ranking)}\nWritten: {folder / 'exploration.md'}")


def _fail_if_damaged(findings: Findings) -> None:
    """Exit with code 1 if files of the ledger that the findings need are damaged; the limits name them."""
    from study.analysis.findings import LimitCode

    if any(limit.code == LimitCode.DAMAGED for limit in findings.limits):
        raise typer.Exit(1)


def _print_failures(record: StudyRecord, ledger: Ledger) -> None:
    """Print each failed job with its reason; a program's output once.

    Raises:
        typer.Exit: A job has failed.
    """
    from study.engine import jobs
    from study.terminal.display import format_job

    failed = jobs.failures(record, ledger)
    if not failed:
        return
    print(f"\n{len(failed)} of the study's runs failed:", file=sys.stderr)
    printed: set[str] = set()
    for job, failure in failed:
        print(f"  {format_job(job)}: {failure.reason}\n    see {ledger.run_folder(job.run)}", file=sys.stderr)
        output = "\n".join(f"    | {line}" for line in failure.detail.splitlines()[-OUTPUT_LINES:])
        if job.run.task == "command" and output and output not in printed:
            printed.add(output)
            print(output, file=sys.stderr)
    print("Try them again with --retry-failed.", file=sys.stderr)
    raise typer.Exit(1)


def schema() -> None:
    """Print the JSON Schema of a study file, with this machine's components, for editors and scripts."""
    from study.cli.context import open_registry
    from study.config.schema import study_schema
    from study.config.study import DEFAULT_TASK

    registry = open_registry(read_settings())
    tables = registry.task({"name": DEFAULT_TASK}).tables
    print(json.dumps(study_schema(registry, tables), indent=1, ensure_ascii=False))
