"""The story of a study: from a file that asks to a report that answers."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from study import plan
from study.analysis.findings import Findings
from study.analysis.gather import gather
from study.data.clips import Dataset, Split
from study.design.variants import Variant, claimed, variants
from study.errors import InputError, listing
from study.events import Began, Concluded, Ended, EpochEnded, Found, Listener, Started
from study.executors import protocol
from study.executors.protocol import Executor, Task
from study.hashing import code_digest, digest
from study.ledger.record import (
    ClaimRecord,
    DataRecord,
    RunState,
    SplitSizes,
    StudyRecord,
    VariantRecord,
)
from study.ledger.store import Ledger
from study.records import Failure, RunSpec
from study.registry import KINDS, Registry
from study.search import suggest
from study.spec.settings import Settings
from study.spec.study import StudySpec, dimensions
from study.training.observed import needed_truth

POLL_S = 0.5
SPLITS: tuple[Split, ...] = ("train", "selection", "test")

TARGETS: Mapping[plan.JobKind, str] = {
    "train": "study.training.train:train",
    "evaluate": "study.training.evaluate:evaluate",
    "measure": "study.training.measure:measure",
    "profile": "study.profiling.counts:profile",
}


def prepare(spec: StudySpec, registry: Registry, settings: Settings, device: str) -> StudyRecord:
    """Return the record of what `spec` asks for: every variant resolved, every identity known.

    Raises:
        InputError: Whatever the file names that is not there, before anything is written.
    """
    cells = variants(spec, registry, settings)
    datasets: dict[str, Dataset] = {}
    for cell in cells:
        if _key(cell) not in datasets:
            datasets[_key(cell)] = _dataset(cell, registry, spec.file)
    claims = [claimed(claim, cells, f"{spec.file}: claims") for claim in spec.claims]
    records = [_variant(c, spec.search.space, datasets[_key(c)], registry, settings, device) for c in cells]
    return StudyRecord(
        name=spec.name,
        file=spec.file,
        title=spec.title,
        question=spec.question,
        seed=spec.seed,
        metric=spec.analysis.metric,
        rope=spec.analysis.rope,
        alpha=spec.analysis.alpha,
        variants=tuple(records),
        claims=tuple(ClaimRecord(that.name, beats.name) for that, beats in claims),
        space={key: _without_none(asdict(dimension)) for key, dimension in dimensions(spec).items()},
        trials=spec.search.trials,
        generation=spec.search.generation,
        sampler=spec.search.sampler,
        seeds=spec.confirm.seeds,
        folds=datasets[_key(cells[0])].folds or (None,),
        data=_data_record(cells[0].config["dataset"]["name"], datasets[_key(cells[0])]),
        claims_digest=digest([asdict(claim) for claim in spec.claims]),
        measures=tuple(_measures(spec, registry, datasets.values())),
    )


def run(
    study: StudyRecord,
    ledger: Ledger,
    executor: Executor,
    reports: Path,
    tell: Listener,
    targets: Mapping[plan.JobKind, str] = TARGETS,
) -> Findings:
    """Carry the study out and write its report.

    Raises:
        StudyError: Another conductor holds the study.
    """
    with ledger.hold(study.name):
        carry_out(ledger.save(study), ledger, executor, tell, targets)
        return report(study.name, ledger, reports, tell)


def check(study: StudyRecord) -> None:
    """Build every variant's network once, so that what does not fit is said before anything is trained.

    Raises:
        InputError: Parts of a variant that do not go together, or do not fit the clips.
    """
    from study.training.check import check as check_run

    first = {key: d["choices"][0] if "choices" in d else d["low"] for key, d in study.space.items()}
    for variant in study.variants:
        try:
            check_run(variant.run(first, study.seed, study.folds[0]))
        except InputError as error:
            raise InputError(f"{study.file}: variant {variant.name!r}: {error}") from None


def carry_out(
    study: StudyRecord,
    ledger: Ledger,
    executor: Executor,
    tell: Listener,
    targets: Mapping[plan.JobKind, str] = TARGETS,
) -> None:
    """Do whatever is ready until nothing is: the whole study, or what is left of it."""
    begun, clock = datetime.now(UTC), time.monotonic()
    running: dict[str, plan.Job] = {}
    trained = 0
    _greet(study, ledger, tell)
    try:
        while True:
            step = plan.ready(study, ledger.state, _profiled(study, ledger))
            for ask in step.asks:
                tried = suggest(study.space, study.sampler, ask.history, ask.seed)
                study = ledger.suggest(study, ask.decision, tried)
            if step.asks:
                continue
            for job in step.jobs:
                if job.key not in running and len(running) < executor.capacity:
                    executor.submit(_task(job, ledger, targets))
                    running[job.key] = job
                    tell(Started(job))
            if not running:
                return
            for event in executor.wait(POLL_S):
                job = running[event.task.key]
                if isinstance(event, protocol.EpochEnded):
                    tell(EpochEnded(job, event.epoch))
                else:
                    del running[job.key]
                    trained += job.kind == "train"
                    tell(Ended(job, _settle(job, event, ledger)))
    finally:
        executor.close()
        if trained:
            session = {
                "begun": begun.isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - clock, 1),
                "trainings": trained,
                "workers": executor.capacity,
                "commit": _commit(),
            }
            ledger.log_session(study.name, session)


def report(name: str, ledger: Ledger, reports: Path, tell: Listener) -> Findings:
    """Draw the findings from the ledger and write the report; nothing is trained or measured."""
    from study.analysis.analyse import findings as analyse
    from study.reporting.write import write

    findings = analyse(gather(ledger, ledger.study(name)))
    write(findings, reports / name)
    tell(Concluded(findings, reports / name))
    return findings


def done(study: StudyRecord, ledger: Ledger) -> int:
    """Return how many of the study's trainings have ended, well or badly."""
    return sum(state.final for _, state in _known(study, ledger))


def failures(study: StudyRecord, ledger: Ledger) -> list[tuple[plan.Job, Failure]]:
    """Return every training and every measure of the study that ended without a result, with the reason."""
    return [failed for job, state in _known(study, ledger) for failed in _failures(study, job, state)]


def forget_failures(study: StudyRecord, ledger: Ledger) -> int:
    """Let the study's failed runs be tried again; return how many there are."""
    failed = {job.run.id: job.run for job, _ in failures(study, ledger)}
    for run in failed.values():
        ledger.forget_failure(run)
    return len(failed)


def _failures(study: StudyRecord, job: plan.Job, state: RunState) -> Iterator[tuple[plan.Job, Failure]]:
    if state.failure is not None:
        yield job, state.failure
    if job.purpose == "confirm":
        for measure in study.measures:
            if measure in state.unmeasured:
                yield replace(job, kind="measure", measure=measure), state.unmeasured[measure]


def _greet(study: StudyRecord, ledger: Ledger, tell: Listener) -> None:
    """Tell what is asked and what earlier sessions have already done of it."""
    ended = [(job, state) for job, state in _known(study, ledger) if state.final]
    tell(Began(study, plan.size(study), len(ended)))
    for job, state in ended:
        tell(Found(job, state))


def _known(study: StudyRecord, ledger: Ledger) -> list[tuple[plan.Job, RunState]]:
    """Return every training that is decided so far, with what the ledger holds of it."""
    study = ledger.with_suggestions(study)
    return [(job, ledger.state(job.run.id)) for job in plan.trainings(study, ledger.state)]


def _task(job: plan.Job, ledger: Ledger, targets: Mapping[plan.JobKind, str]) -> Task:
    folder = ledger.profile_folder(job.run) if job.kind == "profile" else ledger.begin(job.run)
    return Task(job.key, targets[job.kind], job.run, folder, (job.measure,) if job.measure else ())


def _settle(job: plan.Job, event: protocol.Ended, ledger: Ledger) -> RunState:
    """Return what an ended job left behind; without what it was for, it is a failure with a reason."""
    state = ledger.state(job.run.id)
    done = {
        "train": state.result is not None,
        "evaluate": state.tested,
        "measure": job.measure in state.measured,
        "profile": ledger.profile(job.run) is not None,
    }[job.kind]
    if done:
        return state
    reason = event.reason or "the job returned without writing its result"
    failure = Failure(job.run.id, job.kind, reason, event.detail)
    folder = ledger.profile_folder(job.run) if job.kind == "profile" else ledger.run_folder(job.run)
    ledger.fail(folder, failure, job.measure)
    return replace(state, failure=failure)


def _profiled(study: StudyRecord, ledger: Ledger) -> frozenset[str]:
    networks = ((v.name, plan.profile_of(study, v, ledger.state)) for v in study.variants)
    return frozenset(name for name, network in networks if network and ledger.is_profiled(network))


def _dataset(cell: Variant, registry: Registry, file: str) -> Dataset:
    places = {key.partition(".")[2]: path for key, path in cell.places.items() if key.startswith("dataset.")}
    try:
        dataset: Dataset = registry.build("dataset", {**cell.config["dataset"], **places})
    except InputError as error:
        raise InputError(f"{file}: base.dataset: {error}") from None
    return dataset


def _measures(spec: StudySpec, registry: Registry, datasets: Iterable[Dataset]) -> Iterator[str]:
    """Yield the measures that the study asks for, each with the digest of its code.

    Raises:
        InputError: There is no such measure, it is named twice, or it needs a truth that a data set does not know.
    """
    where = f"{spec.file}: analysis.measures"
    for name in spec.analysis.measures:
        registry.resolve("measure", name, where)
        if spec.analysis.measures.count(name) > 1:
            raise InputError(f"{where}: names {name!r} twice.")
        needed = needed_truth(registry.builder("measure", name))
        for dataset in datasets if needed else ():
            if absent := set(needed) - set(dataset.split("test", next(iter(dataset.folds), None)).truth):
                raise InputError(
                    f"{where}: the measure {name!r} needs a data set whose clips' true {listing(sorted(absent))} "
                    "is known, such as 'faces'. Leave it out, or measure it in a study on such a data set."
                )
        job, module = TARGETS["measure"].partition(":")[0], registry.get("measure", name).module
        yield f"{name}@{code_digest([job, module])}"


def _variant(
    cell: Variant, space: Iterable[str], dataset: Dataset, registry: Registry, settings: Settings, device: str
) -> VariantRecord:
    modules = {
        registry.get(kind, table["name"]).module for kind, table in cell.config.items() if kind in KINDS
    }
    jobs = {target.partition(":")[0] for target in (TARGETS["train"], TARGETS["evaluate"])}
    config = {kind: dict(table) for kind, table in cell.config.items()}
    for key in space:
        kind, _, parameter = key.partition(".")
        config[kind][parameter] = None
    template = RunSpec(
        config=config,
        seed=0,
        data_digest=dataset.digest,
        code_digest=code_digest(sorted(modules | jobs)),
        device="cuda" if device == "cuda" else "cpu",
        places=cell.places,
        modules=settings.components,
    )
    return VariantRecord(cell.name, cell.levels, cell.reference, template)


def _key(cell: Variant) -> str:
    return digest([cell.config["dataset"], cell.places])


def _data_record(name: str, dataset: Dataset) -> DataRecord:
    shape = dataset.shape
    description = (
        f"{shape.frames} frames of {shape.height} x {shape.width} pixels, {shape.channels} channel(s)"
    )
    sizes = tuple(_sizes(dataset, fold) for fold in dataset.folds or (None,))
    return DataRecord(name, dataset.digest, dataset.classes, description, sizes)


def _sizes(dataset: Dataset, fold: int | None) -> SplitSizes:
    train, selection, test = (dataset.split(name, fold).labels for name in SPLITS)
    largest = max(Counter(test.tolist()).values(), default=0) / max(len(test), 1)
    return SplitSizes(len(train), len(selection), len(test), largest)


def _commit() -> str:
    """Return the commit that the working folder is at, marked where files differ from it."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "not under version control"


def _without_none(table: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if value is not None}
