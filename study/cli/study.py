"""``study run``, ``plan``, ``report`` and ``profile``: what is done with a study's file."""

from __future__ import annotations

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
from study.errors import InputError

if TYPE_CHECKING:
    from study.analysis.findings import Findings
    from study.api import Study
    from study.ledger.record import StudyRecord
    from study.ledger.store import Ledger

LAST_LINES = 30
"""How many last lines of a failed program's output are printed."""


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


def report(study: StudyFile, preset: Preset = None, set_: Changes = None, skip_bad: SkipBad = False) -> None:
    """Write the report of a study anew from the ledger; train and measure nothing."""
    from study.api import write_report
    from study.config.study import name_of

    settings = read_settings()
    name = name_of(study, preset, with_skipping(skip_bad, study, preset, set_ or []))
    _conclude(write_report(name, settings), settings.reports / name)


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


def _conclude(found: Findings, folder: Path) -> None:
    """Print the answer, what limits it, and where the report is."""
    print(f"\n{found.question}\n{found.answer}\n")
    for warning in found.warnings:
        print(f"Warning: {warning}")
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
