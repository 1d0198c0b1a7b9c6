"""``study reproduce`` and ``study check``: reproducibility of trainings, and conformance of components."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.context import (
    Changes,
    Preset,
    Quiet,
    StudyFile,
    compiled,
    open_ledger,
    open_registry,
    read_settings,
)
from study.cli.usage import Commands
from study.errors import (
    ErrorCode,
    InputError,
    StudyError,
    file_error,
    not_comparable,
    quoted,
    unavailable,
    unknown_name,
    wrong_value,
)
from study.ledger.layout import REQUEST, RESULT, RUNS

if TYPE_CHECKING:
    from study.executors.base import Call, CallEnded, Executor
    from study.ledger.record import StudyRecord, VariantRecord
    from study.ledger.store import Ledger
    from study.records import Epoch, RunResult, RunSpec

POLL_S = 0.5
MOST_NAMED = 5
"""Maximum of runs, modules or components that a message lists."""
PROBE = "study.tasks.clips.training.probes.determinism_probe:probe"
CPU_WORKERS = 2
"""Probes that run at the same time on the CPU; on a GPU it is one."""

check = typer.Typer(cls=Commands, help="Check a study before much is spent on it.", no_args_is_help=True)


def reproduce(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, a prefix of one, or its folder.")],
) -> None:
    """Train one run again from its folder alone and compare bit for bit; nothing in the ledger is changed."""
    from study.executors.devices import cuda_devices
    from study.ledger.compare import compare_trainings
    from study.terminal.comparison import comparison_line

    settings = read_settings()
    ledger = open_ledger(settings)
    open_registry(settings)  # makes the user's own modules importable
    folder = _run_folder(run, ledger)
    spec, recorded = _read_run(folder)
    if spec.device == "cuda" and not cuda_devices():
        raise unavailable("", f"{spec.id} was trained on a GPU, and torch finds none on this machine.")
    print(f"{spec.id}: {_summary(spec)}, trained with torch {recorded.machine.versions.get('torch', '?')}")
    for change in _changes(spec, recorded, ledger):
        print(f"  {change}")
    with TemporaryDirectory(prefix="study-reproduce-") as repeated:
        _train_again(spec, recorded, Path(repeated))
        problem = _verify(spec, Path(repeated))
        comparisons = compare_trainings(folder, Path(repeated))
    width = max(len(comparison.part) for comparison in comparisons)
    for comparison in comparisons:
        print(f"{comparison.part:<{width}}  {comparison_line(comparison)}")
    if problem:
        print(f"The network cannot be tested as it was trained: {problem}")
        raise typer.Exit(1)
    if any(comparison.difference is not None for comparison in comparisons):
        print("The run does not reproduce bit for bit.")
        raise typer.Exit(1)
    print("The run reproduces bit for bit.")


def _run_folder(run: str, ledger: Ledger) -> Path:
    """Return the folder of a run from its path, its id or a prefix of its id.

    Raises:
        InputError: No run matches, or several do.
    """
    if (Path(run) / REQUEST).is_file():
        return Path(run)
    runs = ledger.root / RUNS
    known = sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
    matches = [name for name in known if name.startswith((run, f"r2-{run}"))] if run else []
    if not matches:
        raise unknown_name(
            "RUN",
            f"there is no run {run!r} in {runs}, which has {len(known)}, and no folder of that "
            "name with a run.json",
            run,
            known,
            "",
        )
    if len(matches) > 1:
        more = " …" if len(matches) > MOST_NAMED else ""
        raise wrong_value(
            "",
            f"{len(matches)} runs begin with {run!r}: {quoted(matches[:MOST_NAMED])}{more}. Use a longer prefix.",
        )
    return runs / matches[0]


def _read_run(folder: Path) -> tuple[RunSpec, RunResult]:
    """Return the specification and the result of a run from its folder."""
    from study.records import RunResult, RunSpec, from_json

    spec = from_json(RunSpec, (folder / REQUEST).read_bytes(), str(folder / REQUEST))
    if not (folder / RESULT).is_file():
        raise file_error(folder, "the run has no result to compare with.", ErrorCode.MISSING_FILE)
    result = from_json(RunResult, (folder / RESULT).read_bytes(), str(folder / RESULT))
    if result.run != spec.id:
        raise file_error(folder, f"result.json is of {result.run}, but run.json describes {spec.id}.")
    return spec, result


def _summary(spec: RunSpec) -> str:
    """Return the components, epochs, seed and fold of a run in one line."""
    fold = f", fold {spec.fold}" if spec.fold is not None else ""
    names = [
        str(table["name"]) for table in spec.config.values() if isinstance(table, Mapping) and "name" in table
    ]
    epochs = f"; {spec.epochs} epochs" if spec.epochs else ""
    return f"{', '.join(names[:MOST_NAMED]) or spec.task}{epochs}, seed {spec.seed}{fold}"


def _changes(spec: RunSpec, recorded: RunResult, ledger: Ledger) -> Iterator[str]:
    """Yield one line for each of code, data, libraries and hardware that has changed since the run was trained."""
    from study.config.compile import code_of_sources
    from study.config.registry import task_of
    from study.hashing import code_digest
    from study.machine import machine

    task = task_of(spec)
    config = spec.tables if task.kinds else spec.config
    parts = code_of_sources(task.sources(config)).parts
    if (digest := code_digest(parts)) != spec.code_digest:
        modules = _changed_modules(ledger.code_modules(spec.code_digest), parts)
        yield f"the code has changed{modules}: its digest is {digest}, recorded is {spec.code_digest}"
    info = task.data(config)
    if (data := info.digests.get(str(spec.fold), info.digest)) != spec.data_digest:
        yield f"the data have changed: their digest is {data}, recorded is {spec.data_digest}"
    here = machine(spec.device)
    for name, before in recorded.machine.versions.items():
        if (now := here.versions.get(name, "not installed")) != before:
            yield f"{name} is {now} on this machine, recorded is {before}"
    if here.hardware != recorded.machine.hardware:
        yield f"the hardware is {here.hardware}, recorded is {recorded.machine.hardware}"


def _changed_modules(before: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """Return the modules that differ, in parentheses; empty if the ledger does not have the recorded ones."""
    if before is None:
        return ""
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return f" ({', '.join(changed[:MOST_NAMED])}{' …' if len(changed) > MOST_NAMED else ''})"


def _train_again(spec: RunSpec, recorded: RunResult, folder: Path) -> None:
    """Train in `folder` and print whether each epoch is as recorded."""
    from study.ledger.compare import compare_epochs
    from study.tasks.work import train

    as_recorded = True
    known = {entry.epoch: entry for entry in recorded.history}

    def show(epoch: Epoch) -> None:
        nonlocal as_recorded
        before = known.get(epoch.epoch)
        as_recorded = as_recorded and before is not None and compare_epochs(before, epoch) is None
        loss = f", loss {epoch.train_loss:.4f}" if epoch.train_loss is not None else ""
        name = spec.metric_name
        score = f", {name} {epoch.validation[name]:.4g}" if name in epoch.validation else ""
        verdict = "as recorded" if as_recorded else "not as recorded"
        total = f" of {spec.epochs}" if spec.epochs else ""
        print(f"  epoch {epoch.epoch}{total}{loss}{score}: {verdict}", flush=True)

    print(f"Training again, which took {recorded.seconds:.0f} s when it was recorded:", flush=True)
    try:
        train(spec, folder, show)
    except InputError:
        raise
    except StudyError as error:
        raise unavailable("", f"the run cannot be trained on this machine: {error}") from error


def _verify(spec: RunSpec, folder: Path) -> str:
    """Return why the trained network in `folder` is not what a test would load; empty if it is."""
    from study.tasks.work import verify

    try:
        verify(spec, folder)
    except StudyError as error:
        return str(error)
    return ""


@check.command()
def component(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The component's name.")],
    kind: Annotated[str | None, typer.Option("--kind", help="Its kind, if several have the name.")] = None,
) -> None:
    """Run the conformance suite on a component of yours; exit code 1 if a check fails."""
    from study.testing.report import check_component

    failed = False
    for line in check_component(name, kind, open_registry(read_settings())):
        failed = failed or line.is_failure
        print(line, flush=True)
    if failed:
        raise typer.Exit(1)


@check.command()
def statistics(
    studies: Annotated[int, typer.Option(min=10, help="Simulated studies of each design.")] = 200,
    only: Annotated[str, typer.Option(help="Designs whose name contains this text.")] = "",
    shipped: Annotated[bool, typer.Option("--shipped", help="Print the shipped table instead.")] = False,
    quiet: Quiet = False,
) -> None:
    """Simulate studies whose truth is known; exit code 1 if verdicts are wrong more often than they promise."""
    from study.calibration.cells import cells
    from study.calibration.studies import count
    from study.calibration.table import as_text, bounded_names, stored

    if shipped:
        table = stored()
        print(as_text(table.cells, bounded_names()))
        print(as_text(table.rivals, frozenset(row.cell for row in table.rivals)))
        return
    chosen = [cell for cell in cells() if only in cell.name]
    if not chosen:
        raise wrong_value(
            "--only", f"no design's name contains {only!r}. Names: {quoted(c.name for c in cells())}."
        )
    rows = []
    for number, cell in enumerate(chosen, start=1):
        if not quiet:
            print(f"{number} of {len(chosen)}: {cell.name}", file=sys.stderr, flush=True)
        rows.append(count(cell, studies))
    print(as_text(rows, bounded_names()))
    beyond = [
        row.cell
        for cell, row in zip(chosen, rows, strict=True)
        if cell.is_bounded and not row.is_within(cell.design.alpha)
    ]
    if beyond:
        print(f"More false verdicts than promised: {'; '.join(beyond)}.", file=sys.stderr)
        raise typer.Exit(1)


@check.command()
def determinism(
    study: StudyFile,
    preset: Preset = None,
    set_: Changes = None,
    steps: Annotated[int, typer.Option(min=2, help="Training steps of each probe.")] = 8,
) -> None:
    """Train a few steps of each variant twice, and once killed and resumed; show whether all agree bit for bit."""
    from study.config.compile import try_variants
    from study.executors.devices import cuda_devices
    from study.executors.local import LocalWorkers

    record = compiled(study, preset, set_ or []).record
    if record.task != "clips":
        raise not_comparable(
            "STUDY", f"training steps of the task {record.task!r} cannot be compared. Use `study reproduce`."
        )
    try_variants(record)
    variants = list(representative_variants(record))
    rest = len(record.variants) - len(variants)
    left_out = f"; {rest} more combine the same components" if rest else ""
    setting = record.variants[0].template.config["train"]["determinism"]
    print(
        f'{record.name}: {len(variants)} variants, {steps} steps each, determinism = "{setting}"{left_out}',
        flush=True,
    )
    devices = cuda_devices()[:1] if record.variants[0].template.device == "cuda" else ()
    workers = 1 if devices else CPU_WORKERS
    preload = [PROBE.partition(":")[0], "torch._dynamo"]
    with (
        TemporaryDirectory(prefix="study-check-") as folder,
        closing(LocalWorkers(workers, devices, preload)) as executor,
    ):
        passed = []
        for number, variant in enumerate(variants):
            run = variant.run(record.first_point(variant), record.seed, record.folds_of(variant)[0])
            passed.append(_probe_variant(variant.name, run, steps, Path(folder, str(number)), executor))
    if not all(passed):
        raise typer.Exit(1)


def representative_variants(record: StudyRecord) -> Iterator[VariantRecord]:
    """Yield the variants that have a component or setting that no earlier one has, the reference first."""
    from study.hashing import canonical_json

    seen: set[str] = set()
    for variant in sorted(record.variants, key=lambda variant: not variant.is_reference):
        parts = {canonical_json([kind, table]) for kind, table in variant.template.config.items()}
        if parts - seen:
            seen |= parts
            yield variant


def _probe_variant(name: str, run: RunSpec, steps: int, folder: Path, executor: Executor) -> bool:
    """Probe one variant, print the verdict, and return whether all probes agree up to rounding."""
    from study.executors.base import Call
    from study.tasks.clips.training.probes.determinism_probe import KILLED, OPERATORS, compare_probes
    from study.terminal.comparison import probe_line

    def call(key: str, subfolder: str, end: str = "whole") -> Call:
        return Call(key, PROBE, run, folder / subfolder, (str(steps), end), alone=key)

    first, second, resumed = (folder / subfolder for subfolder in ("first", "second", "resumed"))
    ended = _run_calls(
        [call("first", "first"), call("second", "second"), call("killed", "resumed", "killed")], executor
    )
    if (resumed / KILLED).exists():
        ended |= _run_calls([call("killed", "resumed")], executor)
    if failed := [end for end in ended.values() if end.ending != "returned"]:
        print(f"  {name}: the probe failed: {failed[0].reason}", flush=True)
        return False
    differences = {
        "trained twice": compare_probes(first, second),
        "killed and resumed": compare_probes(first, resumed),
    }
    print(f"  {name}", flush=True)
    for pair, difference in differences.items():
        print(f"    {pair}: {probe_line(difference)}", flush=True)
    if operators := json.loads((first / OPERATORS).read_bytes()):
        print(f"    without a deterministic form: {', '.join(operators)}", flush=True)
    return all(difference is None or difference.is_rounding for difference in differences.values())


def _run_calls(calls: Sequence[Call], executor: Executor) -> dict[str, CallEnded]:
    """Run calls side by side and return how each ended, by its key."""
    from study.executors.base import CallEnded

    waiting, ended = list(calls), dict[str, CallEnded]()
    while len(ended) < len(calls):
        while waiting and len(calls) - len(waiting) - len(ended) < executor.capacity:
            executor.submit(waiting.pop(0))
        ended |= {event.call.key: event for event in executor.wait(POLL_S) if isinstance(event, CallEnded)}
    return ended
