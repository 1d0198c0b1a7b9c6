"""``study reproduce`` and ``study check``: whether a training gives the same numbers again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.context import (
    Changes,
    Preset,
    StudyFile,
    compiled,
    open_ledger,
    open_registry,
    read_settings,
)
from study.errors import InputError, StudyError, nearest, quoted
from study.ledger.layout import REQUEST, RESULT, RUNS

if TYPE_CHECKING:
    from study.executors.base import Call, CallEnded, Executor
    from study.ledger.record import StudyRecord, VariantRecord
    from study.ledger.store import Ledger
    from study.records import Epoch, RunResult, RunSpec
    from study.tasks.clips.training.determinism_probe import Mismatch

POLL_S = 0.5
MOST_NAMED = 5
"""Runs, modules or variants that a line of text lists."""
REHEARSE = "study.tasks.clips.training.determinism_probe:rehearse"
AT_ONCE = 2
"""Rehearsals on the processor; on a GPU there is one at a time."""

check = typer.Typer(help="Check a study before much is spent on it.", no_args_is_help=True)


def reproduce(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or its folder.")
    ],
) -> None:
    """Train one run again from its folder alone and compare bit for bit; nothing in the ledger is changed."""
    from study.executors.devices import cuda_devices
    from study.ledger.compare import compared

    settings = read_settings()
    ledger = open_ledger(settings)
    open_registry(settings)  # puts the user's own modules where they are found
    folder = _folder(run, ledger)
    spec, recorded = _recorded(folder)
    if spec.device == "cuda" and not cuda_devices():
        raise InputError(f"{spec.id} was trained on a GPU, and torch finds none here.")
    print(f"{spec.id}: {_described(spec)}, trained with torch {recorded.machine.versions.get('torch', '?')}")
    for change in _changes(spec, recorded, ledger):
        print(f"  {change}")
    with TemporaryDirectory(prefix="study-reproduce-") as again:
        _train_again(spec, recorded, Path(again))
        agreements = compared(folder, Path(again))
    width = max(len(agreement.what) for agreement in agreements)
    for agreement in agreements:
        verdict = {True: "identical", False: "DIFFERENT", None: "not compared"}[agreement.is_identical]
        print(f"{agreement.what:<{width}}  {verdict}: {agreement.told}")
    if any(agreement.is_identical is False for agreement in agreements):
        print("The run does not reproduce bit for bit.")
        raise typer.Exit(1)
    print("The run reproduces bit for bit.")


def _folder(run: str, ledger: Ledger) -> Path:
    """Return the folder of a run that is named by it, by its id or by the beginning of that.

    Raises:
        InputError: There is no such run, or there are several.
    """
    if (Path(run) / REQUEST).is_file():
        return Path(run)
    runs = ledger.root / RUNS
    known = sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
    found = [name for name in known if name.startswith((run, f"r2-{run}"))] if run else []
    if not found:
        raise InputError(
            f"there is no run {run!r} in {runs}, which has {len(known)}, and no folder of that name with a "
            f"run.json.{nearest(run, known)}"
        )
    if len(found) > 1:
        more = " …" if len(found) > MOST_NAMED else ""
        raise InputError(
            f"{len(found)} runs begin with {run!r}: {quoted(found[:MOST_NAMED])}{more}. Say more of it."
        )
    return runs / found[0]


def _recorded(folder: Path) -> tuple[RunSpec, RunResult]:
    """Return what a run's folder says was asked, and what came of it."""
    from study.records import RunResult, RunSpec, from_json

    spec = from_json(RunSpec, (folder / REQUEST).read_bytes(), str(folder / REQUEST))
    if not (folder / RESULT).is_file():
        raise InputError(f"{folder}: the run has no result that it could be compared with.")
    result = from_json(RunResult, (folder / RESULT).read_bytes(), str(folder / RESULT))
    if result.run != spec.id:
        raise InputError(f"{folder}: result.json is of {result.run}, but run.json asks for {spec.id}.")
    return spec, result


def _described(spec: RunSpec) -> str:
    fold = f", fold {spec.fold}" if spec.fold is not None else ""
    names = [
        str(table["name"]) for table in spec.config.values() if isinstance(table, Mapping) and "name" in table
    ]
    epochs = f"; {spec.epochs} epochs" if spec.epochs else ""
    return f"{', '.join(names[:MOST_NAMED]) or spec.task}{epochs}, seed {spec.seed}{fold}"


def _changes(spec: RunSpec, recorded: RunResult, ledger: Ledger) -> Iterator[str]:
    """Yield what is no longer as it was when the run was trained."""
    from study.config.compile import code_of
    from study.config.registry import task_of
    from study.hashing import code_digest
    from study.machine import machine

    task = task_of(spec)
    config = spec.tables if task.kinds else spec.config
    parts = code_of(task.sources(config))
    if (today := code_digest(parts)) != spec.code_digest:
        named = _changed(ledger.code_modules(spec.code_digest), parts)
        yield f"the code has changed{named}: its digest is {today}, recorded is {spec.code_digest}"
    info = task.data(config)
    if (data := info.digests.get(str(spec.fold), info.digest)) != spec.data_digest:
        yield f"the data have changed: their digest is {data}, recorded is {spec.data_digest}"
    here = machine(spec.device)
    for name, before in recorded.machine.versions.items():
        if (now := here.versions.get(name, "not installed")) != before:
            yield f"{name} is {now} here, recorded is {before}"
    if here.hardware != recorded.machine.hardware:
        yield f"the hardware is {here.hardware}, recorded is {recorded.machine.hardware}"


def _changed(before: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """Return the modules that differ, where the ledger knows what the recorded code was made of."""
    if before is None:
        return ""
    odd = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return f" ({', '.join(odd[:MOST_NAMED])}{' …' if len(odd) > MOST_NAMED else ''})"


def _train_again(spec: RunSpec, recorded: RunResult, folder: Path) -> None:
    """Train in `folder` and print of each epoch whether it went as recorded."""
    from study.ledger.compare import epochs_differ
    from study.tasks.work import train

    as_recorded = True
    known = {entry.epoch: entry for entry in recorded.history}

    def show(epoch: Epoch) -> None:
        nonlocal as_recorded
        before = known.get(epoch.epoch)
        as_recorded = as_recorded and before is not None and not epochs_differ(before, epoch)
        loss = f", loss {epoch.train_loss:.4f}" if epoch.train_loss is not None else ""
        name = spec.metric_name
        score = f", {name} {epoch.validation[name]:.4g}" if name in epoch.validation else ""
        verdict = "as recorded" if as_recorded else "not as recorded"
        of = f" of {spec.epochs}" if spec.epochs else ""
        print(f"  epoch {epoch.epoch}{of}{loss}{score}: {verdict}", flush=True)

    print(f"Training again, which took {recorded.seconds:.0f} s when it was recorded:", flush=True)
    try:
        train(spec, folder, show)
    except InputError:
        raise
    except StudyError as error:
        raise InputError(f"the run cannot be trained here: {error}") from error


@check.command()
def component(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The component's name.")],
    kind: Annotated[str | None, typer.Option("--kind", help="Its kind, where several have the name.")] = None,
) -> None:
    """Run the conformance suite on a component of yours; exit code 1 where something fails."""
    from study.testing.report import check_component

    failed = False
    for line in check_component(name, kind, open_registry(read_settings())):
        failed = failed or line.is_failure
        print(line, flush=True)
    if failed:
        raise typer.Exit(1)


@check.command()
def determinism(
    study: StudyFile,
    preset: Preset = None,
    set_: Changes = None,
    steps: Annotated[int, typer.Option(min=2, help="Training steps of each rehearsal.")] = 8,
) -> None:
    """Train a few steps of each variant twice, and once killed and resumed; say whether all agree bit for bit."""
    from study.config.compile import try_variants
    from study.executors.devices import cuda_devices
    from study.executors.local import LocalWorkers

    found = compiled(study, preset, set_ or [])
    record = found.record
    if record.task != "clips":
        raise InputError(
            f"{study}: steps of the task {record.task!r} cannot be compared; use `study reproduce`."
        )
    try_variants(record)
    chosen = list(telling(record))
    rest = len(record.variants) - len(chosen)
    left_out = f"; {rest} more combine the same parts" if rest else ""
    asked = record.variants[0].template.config["train"]["determinism"]
    print(
        f'{record.name}: {len(chosen)} variants, {steps} steps each, determinism = "{asked}"{left_out}',
        flush=True,
    )
    devices = cuda_devices()[:1] if record.variants[0].template.device == "cuda" else ()
    workers = 1 if devices else AT_ONCE
    preload = [REHEARSE.partition(":")[0], "torch._dynamo"]
    with (
        TemporaryDirectory(prefix="study-check-") as folder,
        closing(LocalWorkers(workers, devices, preload)) as executor,
    ):
        verdicts = []
        for number, variant in enumerate(chosen):
            run = variant.run(record.first_point, record.seed, record.folds[0])
            verdicts.append(_rehearsed(variant.name, run, steps, Path(folder, str(number)), executor))
    if not all(verdicts):
        raise typer.Exit(1)


def telling(record: StudyRecord) -> Iterator[VariantRecord]:
    """Yield the variants that have some part, or setting of one, that no variant before them has; references first."""
    from study.hashing import canonical_json

    seen: set[str] = set()
    for variant in sorted(record.variants, key=lambda variant: not variant.is_reference):
        parts = {canonical_json([kind, table]) for kind, table in variant.template.config.items()}
        if parts - seen:
            seen |= parts
            yield variant


def _rehearsed(name: str, run: RunSpec, steps: int, folder: Path, executor: Executor) -> bool:
    """Rehearse one variant, print the verdict, and return whether it is good: the same, or by rounding alone."""
    from study.executors.base import Call
    from study.tasks.clips.training.determinism_probe import KILLED, OPERATORS, parting

    def call(rehearsal: str, place: str, end: str = "whole") -> Call:
        return Call(rehearsal, REHEARSE, run, folder / place, (str(steps), end))

    first, second, resumed = (folder / place for place in ("first", "second", "resumed"))
    ended = _carried_out(
        [call("first", "first"), call("second", "second"), call("killed", "resumed", "killed")], executor
    )
    if ended["killed"].reason.endswith(f"exit code {KILLED}"):
        ended |= _carried_out([call("killed", "resumed")], executor)
    if reason := next((end.reason for end in ended.values() if end.ending != "returned"), ""):
        print(f"  {name}: could not be rehearsed: {reason}", flush=True)
        return False
    partings = {"trained twice": parting(first, second), "killed and resumed": parting(first, resumed)}
    print(f"  {name}", flush=True)
    for what, found in partings.items():
        print(f"    {what}: {_verdict(found)}", flush=True)
    if operators := json.loads((first / OPERATORS).read_bytes()):
        print(f"    without a deterministic form: {', '.join(operators)}", flush=True)
    return all(found is None or found.is_tolerable for found in partings.values())


def _carried_out(calls: Sequence[Call], executor: Executor) -> dict[str, CallEnded]:
    """Run tasks side by side and return how each ended, by its key."""
    from study.executors.base import CallEnded

    waiting, ended = list(calls), dict[str, CallEnded]()
    while len(ended) < len(calls):
        while waiting and len(calls) - len(waiting) - len(ended) < executor.capacity:
            executor.submit(waiting.pop(0))
        ended |= {event.call.key: event for event in executor.wait(POLL_S) if isinstance(event, CallEnded)}
    return ended


def _verdict(found: Mismatch | None) -> str:
    if found is None:
        return "bit-exact"
    where = f"first in step {found.step}: {found.tensor}"
    gaps = f"predictions by at most {found.predictions:.2g}, weights by at most {found.weights:.2g}"
    return f"{'within tolerance' if found.is_tolerable else 'DIVERGED'}, {where}; {gaps}"
