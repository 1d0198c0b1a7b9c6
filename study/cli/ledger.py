"""``study status``, ``stop``, ``gc`` and ``sync``: look after studies, whether they run or not."""

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
    Changes,
    Preset,
    StudyName,
    open_ledger,
    read_settings,
    study_name,
)

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

LOOK_AGAIN_S = 1.0
STOP_POLL_S = 0.2
REST = 4
"""So many times as long as a look takes is waited until the next one."""


def status(
    study: AnyStudy = None,
    preset: Preset = None,
    set_: Changes = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, also on a terminal.")] = False,
) -> None:
    """Show how far studies have come, from the ledger alone; on a terminal, for as long as one is being run."""
    ledger = open_ledger(read_settings())
    name = None if study is None else study_name(study, preset, set_ or [], ledger)
    console = Console()
    if once or not console.is_terminal:
        print(_told(_look(ledger, name), name))
        return
    try:
        _watch(ledger, name, console)
    except KeyboardInterrupt:
        print()


def stop(
    study: StudyName,
    preset: Preset = None,
    set_: Changes = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return once it has ended.")] = False,
) -> None:
    """Have a running study end as Ctrl-C does, on whichever machine it runs; what is finished is kept."""
    ledger = open_ledger(read_settings())
    name = study_name(study, preset, set_ or [], ledger)
    holder = ledger.ask_to_stop(name)
    if holder is None:
        print(f"{name}: nobody runs it.")
        return
    print(f"{name}: {holder} is asked to stop.")
    if not wait:
        return
    console = Console()
    try:
        with console.status("waiting until it has ended") if console.is_terminal else nullcontext():
            while ledger.holder(name) == holder:
                time.sleep(STOP_POLL_S)
    except KeyboardInterrupt:
        print(f"\n{name}: it has been asked to stop, and has not ended yet.")
        raise typer.Exit(INTERRUPTED) from None
    print(f"{name}: it has ended; the same `study run` goes on with it.")


def gc(
    yes: Annotated[
        bool, typer.Option("--yes", help="Free it; without, what could be freed is shown.")
    ] = False,
    unreferenced: Annotated[
        bool, typer.Option("--unreferenced", help="Runs that no study of the ledger refers to as well.")
    ] = False,
) -> None:
    """Show what of the ledger nobody will read again, and free it; reports and resumed studies miss nothing."""
    from study.engine.gc import free, reclaimable

    settings = read_settings()
    ledger = open_ledger(settings)
    found = reclaimable(ledger, settings.keep, unreferenced=unreferenced)
    if not found:
        print(f"{ledger.root}: nothing to free.")
        return
    print(f"{ledger.root}: to be freed")
    for line in _by_reason(found):
        print(f"  {line}")
    if not yes and not (sys.stdin.isatty() and input("Type 'free' to free them: ").strip() == "free"):
        print("Nothing was freed." if sys.stdin.isatty() else "Nothing was freed; --yes frees it.")
        return
    freed = free(found, ledger)
    print(f"Freed {_bytes(sum(each.bytes for each in freed))}.")
    if left := len(found) - len(freed):
        print(f"{left} came into use meanwhile and were left.")


def _by_reason(found: list[Reclaimable]) -> Iterator[str]:
    reasons = dict.fromkeys(each.reason for each in found)
    rows = [(reason, [each for each in found if each.reason == reason]) for reason in reasons]
    width = max(len(reason) for reason in reasons)
    for reason, spares in [*rows, ("together", found)]:
        yield f"{reason:<{width}} {len(spares):7} {_bytes(sum(each.bytes for each in spares)):>10}"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def sync(study: AnyStudy = None, preset: Preset = None, set_: Changes = None) -> None:
    """Rebuild the pages of studies in MLflow from the ledger: what is missing is added, nothing twice."""
    from study.engine.status import studies

    settings = read_settings()
    ledger = open_ledger(settings)
    if study is not None:
        _sync(study_name(study, preset, set_ or [], ledger), ledger, settings)
        return
    for name in studies(ledger):
        if holder := ledger.holder(name):
            print(f"{name}: left to {holder}, which runs it and mirrors it meanwhile.")
        else:
            _sync(name, ledger, settings)


def _sync(name: str, ledger: Ledger, settings: Settings) -> None:
    from study.cli.display import counting
    from study.engine import plan
    from study.tracking.mlflow import sync as write
    from study.tracking.replay import replay

    with (
        ledger.hold(name),  # or two would write the same pages
        TemporaryDirectory() as report,
        counting(f"Mirroring {name}", "trainings") as told,
    ):
        study = ledger.study(name)
        events = replay(study, ledger, Path(report))
        write(settings.mlflow, settings.artifacts, name, _counted(events, plan.size(study), told))
    print(f"{name}: its pages in MLflow tell what the ledger holds.")


def _counted(events: Iterable[Event], total: int, told: Callable[[int, int], None]) -> Iterator[Event]:
    for number, event in enumerate(events):
        yield event
        told(min(number + 1, total), total)


def _watch(ledger: Ledger, name: str | None, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            seen = _look(ledger, name)
            live.update(Text(_told(seen, name)), refresh=True)
            if not any(status.holder for status in seen):
                return
            time.sleep(max(LOOK_AGAIN_S, REST * (time.monotonic() - began)))


def _look(ledger: Ledger, name: str | None) -> list[StudyStatus]:
    from study.engine.status import status, studies

    names = studies(ledger) if name is None else [name]
    return [status(ledger.study(name), ledger) for name in names]


def _told(seen: list[StudyStatus], name: str | None) -> str:
    return "\n".join(_of_one(seen[0]) if name is not None else _of_all(seen))


def _of_all(seen: list[StudyStatus]) -> Iterator[str]:
    if not seen:
        yield "The ledger has no study yet."
    width = max((len(status.study) for status in seen), default=0)
    for status in seen:
        counts = status.counts
        others = {"running": counts.running, "failed": counts.failed, "pruned": counts.pruned}
        told = [f"{counts.done} of {counts.total} done"]
        told += [f"{number} {word}" for word, number in others.items() if number]
        yield f"{status.study:<{width}}  {', '.join(told)}; {_who(status)}"


def _of_one(status: StudyStatus) -> Iterator[str]:
    from study.cli.display import turn

    yield f"{status.study}: {status.question}"
    who = _who(status)
    yield f"{who[0].upper()}{who[1:]}."
    width = max(len("variant"), *(len(variant.name) for variant in status.variants))
    yield f"{'variant':<{width}}  running   done  failed  pruned  waiting"
    for variant in status.variants:
        c = variant.counts
        yield f"{variant.name:<{width}}  {c.running:7}{c.done:7}{c.failed:8}{c.pruned:8}{c.waiting:9}"
        for training in variant.running:
            elsewhere = "" if training.holder == status.holder else f", by {training.holder}"
            yield f"  {turn(training.job)}: epoch {training.epoch} of {training.epochs}{elsewhere}"
    if status.counts.failed:
        yield "`study run` with --retry-failed tries what failed again."


def _who(status: StudyStatus) -> str:
    """Say who runs the study, and how long that will take."""
    from study.cli.display import duration

    counts = status.counts
    waiting = counts.running + counts.waiting
    left = f"about {duration(status.seconds_left)}" if waiting and status.seconds_left is not None else ""
    number = status.workers
    workers = f" with {number} worker{'s' if number > 1 else ''}" if number else ""
    if status.holder is not None:
        return f"{status.holder} runs it{workers}" + (f", {left} left" if left else "")
    if not waiting:
        return "nobody runs it; every training has ended"
    trainings = f"{waiting} training{'s' if waiting > 1 else ''} left"
    return f"nobody runs it; {trainings}" + (f", {left}{workers}" if left else "")
