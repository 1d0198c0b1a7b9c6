"""``study status``, ``stop``, ``gc`` and ``sync``: look after the studies and runs in the ledger."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from study.cli.context import (
    INTERRUPTED,
    AsJson,
    Changes,
    Preset,
    Quiet,
    StudyName,
    format_ledger,
    open_ledger,
    read_settings,
    study_name,
)
from study.cli.records import json_output, status_record
from study.terminal.output import PrintedConsole
from study.terminal.program import as_typed
from study.terminal.tables import print_text

if TYPE_CHECKING:
    from study.config.settings import Settings
    from study.engine.events import Event
    from study.engine.gc import Reclaimable
    from study.engine.status import StudyStatus
    from study.ledger.store import Ledger

AnyStudy = Annotated[
    str | None,
    typer.Argument(metavar="STUDY", help="A study's TOML file, or its name in the ledger; all if left out."),
]

REFRESH_S = 1.0
STOP_POLL_S = 0.2
IDLE_FACTOR = 4
"""The pause between two refreshes is at least this many times as long as a refresh takes."""


def status(
    study: AnyStudy = None,
    preset: Preset = None,
    set_: Changes = None,
    once: Annotated[bool, typer.Option("--once", help="Print once and exit, also on a terminal.")] = False,
    json_: AsJson = False,
) -> None:
    """Show the progress of studies from the ledger alone; on a terminal, refresh it while one is running."""
    settings = read_settings()
    ledger = open_ledger(settings)
    name = None if study is None else study_name(study, preset, set_ or [], ledger)
    if json_:
        with json_output() as write:
            for each in _read_statuses(ledger, name):
                write(status_record(each))
        return
    if not ledger.studies():
        print(f"The ledger has no study yet.\n{format_ledger(settings)}")
        return
    console = PrintedConsole()
    if once or not console.is_terminal:
        print_text(console, _format_statuses(_read_statuses(ledger, name), name))
        return
    try:
        _watch(ledger, name, console)
    except KeyboardInterrupt:
        print()


def stop(
    study: StudyName,
    preset: Preset = None,
    set_: Changes = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return once it has stopped.")] = False,
) -> None:
    """Stop a running study as Ctrl-C does, on whichever machine it runs; finished work is kept."""
    ledger = open_ledger(read_settings())
    name = study_name(study, preset, set_ or [], ledger)
    holder = ledger.request_stop(name)
    if holder is None:
        print(f"{name}: not running.")
        return
    print(f"{name}: stop requested from {holder}.")
    if not wait:
        return
    console = PrintedConsole()
    try:
        with console.status("waiting until it has stopped") if console.is_terminal else nullcontext():
            while ledger.holder(name) == holder:
                time.sleep(STOP_POLL_S)
    except KeyboardInterrupt:
        print(f"\n{name}: stop requested; it has not stopped yet.")
        raise typer.Exit(INTERRUPTED) from None
    print(as_typed(f"{name}: stopped; the same `study run` continues it."))


def unlock(
    host: Annotated[
        str, typer.Option("--host", help="The host whose processes have ended, as messages name it.")
    ],
) -> None:
    """Remove the locks that processes on another host left when they were killed; list them first."""
    from study.errors import quoted, unknown_name

    ledger = open_ledger(read_settings())
    locks = list(ledger.locks())
    if not (found := [(path, holder) for path, holder in locks if holder.host == host]):
        hosts = sorted({holder.host for _, holder in locks})
        has = f"; it has locks of {quoted(hosts)}" if hosts else ""
        raise unknown_name(
            "--host", f"the ledger {ledger.root} has no lock of {host!r}{has}", host, hosts, ""
        )
    removed = 0
    for holder in dict.fromkeys(holder for _, holder in found):
        if is_running := not holder.is_elsewhere and not holder.is_gone:
            print(as_typed(f"{holder} is running; end it with `study stop`. Its locks stay:"))
        else:
            print(f"{holder}; if it still runs, it stops:")
        for path, _ in (lock for lock in found if lock[1] == holder):
            print(f"  {path}")
            if not is_running:
                ledger.remove_lock(path, holder)
                removed += 1
    print(f"Removed {removed} of {len(found)} locks.")
    if removed < len(found):
        raise typer.Exit(1)


def gc(
    yes: Annotated[
        bool, typer.Option("--yes", help="Free the files; without it, they are only listed.")
    ] = False,
    unreferenced: Annotated[
        bool, typer.Option("--unreferenced", help="Include runs that no study of the ledger refers to.")
    ] = False,
) -> None:
    """List files that no report and no resumed study reads, in the ledger and beside it, and free them."""
    from study.engine.gc import free, reclaimable
    from study.terminal.display import format_bytes
    from study.tracking.mlflow_database import database_of

    settings = read_settings()
    ledger = open_ledger(settings)
    database = database_of(settings.mlflow)
    folders = (*settings.written, *([database.parent] if database else []))
    items = reclaimable(ledger, settings.keep, unreferenced=unreferenced, folders=folders)
    if not items:
        print(f"{ledger.root}: nothing to free.")
        return
    print(f"{ledger.root}: can be freed")
    for line in _sizes_by_reason(items):
        print(f"  {line}")
    if not yes and not (sys.stdin.isatty() and input("Type 'free' to free them: ").strip() == "free"):
        print("Nothing was freed." if sys.stdin.isatty() else "Nothing was freed; --yes frees them.")
        return
    freed = free(items, ledger)
    print(f"Freed {format_bytes(sum(item.bytes for item in freed))}.")
    if in_use := len(items) - len(freed):
        print(f"{in_use} came into use in the meantime and were kept.")


def _sizes_by_reason(items: list[Reclaimable]) -> Iterator[str]:
    """Yield one line a reason, with the number and size of its files, and a line with the totals."""
    from study.terminal.display import GC_REASONS, format_bytes

    groups: dict[str, list[Reclaimable]] = {}
    for item in items:
        groups.setdefault(GC_REASONS[item.reason], []).append(item)
    width = max(len(words) for words in groups)
    for words, group in [*groups.items(), ("together", items)]:
        yield f"{words:<{width}} {len(group):7} {format_bytes(sum(item.bytes for item in group)):>10}"


def sync(study: AnyStudy = None, preset: Preset = None, set_: Changes = None, quiet: Quiet = False) -> None:
    """Rebuild the MLflow pages of studies from the ledger: add what is missing, nothing twice."""
    settings = read_settings()
    ledger = open_ledger(settings)
    if study is not None:
        _sync(study_name(study, preset, set_ or [], ledger), ledger, settings)
        return
    for name in ledger.studies():
        if holder := ledger.holder(name):
            print(f"{name}: skipped; {holder} runs it and mirrors it.")
        else:
            _sync(name, ledger, settings)


def _sync(name: str, ledger: Ledger, settings: Settings) -> None:
    from study.api import metric_functions, report_writer
    from study.engine import plan
    from study.terminal.display import progress_bar
    from study.tracking.mlflow import sync as write
    from study.tracking.replay import replay

    with (
        ledger.hold(name),  # or two processes would write the same pages
        TemporaryDirectory() as report,
        progress_bar(f"Mirroring {name}", "trainings") as progress,
    ):
        study = ledger.study(name)
        events = replay(study, ledger, Path(report), metric_functions(study), report_writer(study, settings))
        write(
            settings.mlflow,
            settings.artifacts,
            study,
            _counted(events, plan.total_trainings(study), progress),
        )
    print(f"{name}: MLflow has everything that the ledger {ledger.root} holds.")


def _counted(events: Iterable[Event], total: int, progress: Callable[[int, int], None]) -> Iterator[Event]:
    for number, event in enumerate(events):
        yield event
        progress(min(number + 1, total), total)


def _watch(ledger: Ledger, name: str | None, console: Console) -> None:
    """Show the status until none of the studies is running."""
    with Live(console=console, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            statuses = _read_statuses(ledger, name)
            live.update(Text(_format_statuses(statuses, name)), refresh=True)
            if not any(status.holder for status in statuses):
                return
            time.sleep(max(REFRESH_S, IDLE_FACTOR * (time.monotonic() - began)))


def _read_statuses(ledger: Ledger, name: str | None) -> list[StudyStatus]:
    from study.engine.status import status

    names = ledger.studies() if name is None else [name]
    return [status(ledger.study(name), ledger) for name in names]


def _format_statuses(statuses: list[StudyStatus], name: str | None) -> str:
    """Return a table of variants if one study is named, else one line a study."""
    return "\n".join(_variant_table(statuses[0]) if name is not None else _study_lines(statuses))


def _study_lines(statuses: list[StudyStatus]) -> Iterator[str]:
    width = max((len(status.study) for status in statuses), default=0)
    for status in statuses:
        counts = status.counts
        optional = {"running": counts.running, "failed": counts.failed, "pruned": counts.pruned}
        cells = [f"{counts.done} of {counts.total} done"]
        cells += [f"{number} {word}" for word, number in optional.items() if number]
        yield f"{status.study:<{width}}  {', '.join(cells)}; {_format_activity(status)}"


def _variant_table(status: StudyStatus) -> Iterator[str]:
    from study.terminal.display import format_run_number

    yield f"{status.study}: {status.question}"
    activity = _format_activity(status)
    yield f"{activity[0].upper()}{activity[1:]}."
    width = max(len("variant"), *(len(variant.name) for variant in status.variants))
    yield f"{'variant':<{width}}  running   done  failed  pruned  waiting"
    for variant in status.variants:
        c = variant.counts
        yield f"{variant.name:<{width}}  {c.running:7}{c.done:7}{c.failed:8}{c.pruned:8}{c.waiting:9}"
        for training in variant.running:
            elsewhere = "" if training.holder == status.holder else f", by {training.holder}"
            number = format_run_number(training.job)
            yield f"  {number}: epoch {training.epoch} of {training.epochs}{elsewhere}"
    if status.counts.failed:
        yield as_typed("`study run` with --retry-failed tries failed runs again.")


def _format_activity(status: StudyStatus) -> str:
    """Return which process runs the study, and the time or the number of trainings left."""
    from study.terminal.display import format_time_left

    counts = status.counts
    unfinished = counts.running + counts.waiting
    has_estimate = unfinished and status.seconds_left is not None
    time_left = f", {format_time_left(status.seconds_left or 0)}" if has_estimate else ""
    number = status.workers
    workers = f" with {number} worker{'s' if number > 1 else ''}" if number else ""
    if status.holder is not None:
        return f"{status.holder} runs it{workers}" + (f"{time_left} left" if time_left else "")
    if not unfinished:
        return "not running; every training has ended"
    trainings = f"{unfinished} training{'s' if unfinished > 1 else ''} left"
    return f"not running; {trainings}" + (f"{time_left}{workers}" if time_left else "")
