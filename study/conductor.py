"""The story of a study: from a file that asks to a report that answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from study import plan
from study.analysis.analyse import findings as analyse
from study.analysis.evidence import gather
from study.analysis.findings import Findings
from study.data.clips import Dataset, Split
from study.design.variants import Variant, claimed, variants
from study.events import Began, Concluded, Ended, EpochEnded, Found, Listener, Started
from study.executors import protocol
from study.executors.protocol import Executor, Task
from study.hashing import code_digest, digest
from study.ledger.record import ClaimRecord, DataRecord, RunState, StudyRecord, VariantRecord
from study.ledger.store import Ledger
from study.records import Failure, RunSpec
from study.registry import KINDS, Registry
from study.search import suggest
from study.spec.settings import Settings
from study.spec.study import StudySpec, dimensions

_log = logging.getLogger(__name__)
POLL_S = 0.5
SPLITS: tuple[Split, ...] = ("train", "selection", "test")

TARGETS: Mapping[plan.JobKind, str] = {
    "train": "study.training.train:train",
    "evaluate": "study.training.evaluate:evaluate",
    "profile": "study.profiling:profile",
}


def prepare(spec: StudySpec, registry: Registry, settings: Settings, device: str) -> StudyRecord:
    """Return the record of what `spec` asks for: every variant resolved, every identity known.

    Raises:
        InputError: Whatever the file names that is not there, before anything is written.
    """
    cells = variants(spec, registry, settings)
    datasets = {_key(cell): _dataset(cell, registry) for cell in cells}
    claims = [claimed(claim, cells, f"{spec.file}: claims") for claim in spec.claims]
    return StudyRecord(
        name=spec.name,
        file=spec.file,
        title=spec.title,
        question=spec.question,
        seed=spec.seed,
        metric=spec.analysis.metric,
        rope=spec.analysis.rope,
        alpha=spec.analysis.alpha,
        variants=tuple(_variant(cell, datasets[_key(cell)], registry, settings, device) for cell in cells),
        claims=tuple(ClaimRecord(that.name, beats.name) for that, beats in claims),
        space={key: _without_none(asdict(dimension)) for key, dimension in dimensions(spec).items()},
        trials=spec.search.trials,
        generation=spec.search.generation,
        sampler=spec.search.sampler,
        seeds=spec.confirm.seeds,
        folds=datasets[_key(cells[0])].folds or (None,),
        data=_data_record(cells[0].config["dataset"]["name"], datasets[_key(cells[0])]),
        claims_digest=digest([asdict(claim) for claim in spec.claims]),
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
            }
            ledger.log_session(study.name, session)


def report(name: str, ledger: Ledger, reports: Path, tell: Listener) -> Findings:
    """Draw the findings from the ledger and write the report; nothing is trained or measured."""
    from study.reporting.write import write

    findings = analyse(gather(ledger, ledger.study(name)))
    write(findings, reports / name)
    tell(Concluded(findings, reports / name))
    return findings


def failures(study: StudyRecord, ledger: Ledger) -> list[tuple[plan.Job, Failure]]:
    """Return every training of the study that ended without a result, with the reason."""
    found = ((job, ledger.state(job.run.id).failure) for job in plan.trainings(study, ledger.state))
    return [(job, failure) for job, failure in found if failure is not None]


def forget_failures(study: StudyRecord, ledger: Ledger) -> int:
    """Let the study's failed runs be tried again; return how many there are."""
    failed = failures(study, ledger)
    for job, _ in failed:
        ledger.forget_failure(job.run)
    return len(failed)


def _greet(study: StudyRecord, ledger: Ledger, tell: Listener) -> None:
    """Tell what is asked and what earlier sessions have already done of it."""
    known = [(job, ledger.state(job.run.id)) for job in plan.trainings(study, ledger.state)]
    done = [(job, state) for job, state in known if state.final]
    tell(Began(study, plan.size(study), len(done)))
    for job, state in done:
        tell(Found(job, state))


def _task(job: plan.Job, ledger: Ledger, targets: Mapping[plan.JobKind, str]) -> Task:
    folder = ledger.profile_folder(job.run) if job.kind == "profile" else ledger.begin(job.run)
    return Task(job.key, targets[job.kind], job.run, folder)


def _settle(job: plan.Job, event: protocol.Ended, ledger: Ledger) -> RunState:
    """Return what an ended job left behind; without what it was for, it is a failure with a reason."""
    state = ledger.state(job.run.id)
    done = {
        "train": state.result is not None,
        "evaluate": state.tested,
        "profile": ledger.profile(job.run) is not None,
    }[job.kind]
    if done:
        return state
    reason = event.reason or "the job returned without writing its result"
    failure = Failure(job.run.id, job.kind, reason, event.detail)
    ledger.fail(
        ledger.profile_folder(job.run) if job.kind == "profile" else ledger.run_folder(job.run), failure
    )
    return RunState(state.result, state.tested, failure)


def _profiled(study: StudyRecord, ledger: Ledger) -> frozenset[str]:
    return frozenset(variant.name for variant in study.variants if ledger.is_profiled(variant.template))


def _dataset(cell: Variant, registry: Registry) -> Dataset:
    places = {key.partition(".")[2]: path for key, path in cell.places.items() if key.startswith("dataset.")}
    dataset: Dataset = registry.build("dataset", {**cell.config["dataset"], **places})
    return dataset


def _variant(
    cell: Variant, dataset: Dataset, registry: Registry, settings: Settings, device: str
) -> VariantRecord:
    modules = {
        registry.get(kind, table["name"]).module for kind, table in cell.config.items() if kind in KINDS
    }
    jobs = {target.partition(":")[0] for target in (TARGETS["train"], TARGETS["evaluate"])}
    template = RunSpec(
        config=cell.config,
        seed=0,
        data_digest=dataset.digest,
        code_digest=code_digest(sorted(modules | jobs)),
        device="cuda" if device == "cuda" else "cpu",
        places=cell.places,
        modules=settings.components,
    )
    return VariantRecord(cell.name, cell.levels, cell.is_reference, template)


def _key(cell: Variant) -> str:
    return digest([cell.config["dataset"], cell.places])


def _data_record(dataset_name: str, dataset: Dataset) -> DataRecord:
    fold = dataset.folds[0] if dataset.folds else None
    clips = {name: len(dataset.split(name, fold).ids) for name in SPLITS}
    shape = dataset.shape
    size = f"{shape.frames} frames of {shape.height} x {shape.width} pixels, {shape.channels} channel(s)"
    return DataRecord(dataset_name, dataset.digest, dataset.classes, clips, size)


def _without_none(table: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if value is not None}
