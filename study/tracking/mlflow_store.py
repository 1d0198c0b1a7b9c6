"""One experiment in an MLflow store, with a summary run a variant, its trainings as children, and the report.

Values of declared metrics are scaled, as in reports.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from study.analysis.findings import Findings, VariantFinding
from study.analysis.sentences.units import difference_axis, heading
from study.engine.events import (
    EpochEnded,
    Event,
    JobEnded,
    JobRetried,
    JobStarted,
    StudyConcluded,
    TrainingFound,
)
from study.engine.plan import Job
from study.hashing import digest
from study.ledger.record import RunState, StudyRecord, VariantRecord
from study.records import Epoch
from study.servers import is_server, require_answer
from study.tracking.mlflow_database import database_of, prepare_database, require_same_file
from study.tracking.mlflow_values import (
    EPOCH_SECONDS,
    NOTE,
    curves,
    cut,
    data_input,
    entity_names,
    flat,
    repetition_name,
    run_name,
    scaled,
    summary_metrics,
    summary_tags,
    training_parameters,
)
from study.tracking.mlflow_view import VIEW, with_view

if TYPE_CHECKING:
    from mlflow.entities import Experiment

Entity = TypeVar("Entity")
PARAMETERS_A_REQUEST, METRICS_A_REQUEST = 100, 1000
DIGITS = 6
"""Digits of a project's digest."""
PROJECT = "study.project"
"""The tag that tells the projects on one server apart."""


@dataclass
class _StoredRun:
    """One MLflow run as the store has it."""

    id: str
    status: str
    tags: dict[str, str]
    metrics: dict[str, float]
    """The latest value under each name."""
    epochs: set[int] | None
    """The epochs with points; None if they have not been read yet."""
    parameters: dict[str, str] = field(default_factory=dict)
    has_data: bool = False
    """Whether its data set is logged."""


class ExperimentStore:
    """One experiment of an MLflow store, created with the store if missing; used by one thread only."""

    def __init__(self, uri: str, artifacts: Path, study: StudyRecord) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when mlflow is imported
        from mlflow import MlflowClient

        # MLflow's own errors appear as the mirror's one warning.
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        if file := database_of(uri):
            require_same_file(uri, file)
            prepare_database(file)
        require_answer(uri)
        self._client = MlflowClient(tracking_uri=uri)
        self._study = study.name
        self._variants = {variant.name: variant for variant in study.variants}
        self._scales = {metric.name: metric.scale for metric in study.metrics}
        self._data = study.data
        self._uri = uri
        self._experiment = self._open_experiment(artifacts, study)
        self._runs = {_identity(run.tags): run for run in self._stored_runs()}
        self.end_running(now_ms())  # runs left open by a killed conductor

    def write(self, now: int, event: Event) -> None:
        """Mirror one event, which happened at `now`."""
        match event:
            case JobStarted(job) if job.kind == "train":
                for run in (self._training_run(now, job), self._summary_run(now, job.variant)):
                    self._set_status(run, "RUNNING")
            case EpochEnded(job, epoch):
                self._log_epochs(now, self._training_run(now, job), [epoch])
            case TrainingFound(job, state, history):
                self._write_state(now, self._training_run(now, job), state, history)
            case JobEnded(job, state) if job.kind in ("train", "evaluate"):
                self._write_state(now, self._training_run(now, job), state)
            case JobRetried(job, reason) if job.kind == "train":
                self._tag(self._training_run(now, job), {"study.status": cut(f"running again: {reason}")})
            case StudyConcluded():
                self._write_findings(now, event)

    def _training_run(self, now: int, job: Job) -> _StoredRun:
        """Return the MLflow run of a repetition or trial, with its configuration logged."""
        spec = job.run
        tags = {
            "study.purpose": job.purpose,
            "study.variant": job.variant,
            "study.run": spec.id,
            "mlflow.parentRunId": self._summary_run(now, job.variant).id,
        }
        variant = self._variants.get(job.variant)
        levels = flat(variant.levels) if variant else {}
        run = self._run(now, run_name(job), tags, levels)
        if not run.parameters:
            self._client.log_text(
                run.id,
                json.dumps(asdict(spec) | {"run": spec.id}, indent=1, ensure_ascii=False, default=str),
                "configuration.json",
            )
        self._log_parameters(run, training_parameters(spec) | levels)
        self._log_data(run, variant, spec.data_digest)
        return run

    def _log_parameters(self, run: _StoredRun, parameters: Mapping[str, str]) -> None:
        """Log the parameters that a run lacks; MLflow changes none that it has."""
        from mlflow.entities import Param

        new = [Param(key, value) for key, value in parameters.items() if key not in run.parameters]
        for batch in _batches(new, PARAMETERS_A_REQUEST):
            self._client.log_batch(run.id, params=batch)
        run.parameters = {**parameters, **run.parameters}

    def _log_data(self, run: _StoredRun, variant: VariantRecord | None, data_digest: str) -> None:
        """Log the data set of a run as its input, unless it is not tracked."""
        if data_digest and not run.has_data:
            data = (variant.data if variant else None) or self._data
            self._client.log_inputs(run.id, [data_input(data, data_digest)])
            run.has_data = True

    def _write_state(self, now: int, run: _StoredRun, state: RunState, history: Iterable[Epoch] = ()) -> None:
        """Write the state of a run; the result of a run that the store has as finished is not repeated."""
        result, failure, pruned = state.result, state.failure, state.pruned
        self._log_epochs(now, run, pruned.history if pruned else history)
        if result and not (run.status == "FINISHED" and "best_epoch" in run.metrics):
            self._log_epochs(now, run, result.history)
            figures = scaled("validation_best", result.validation, self._scales)
            figures |= {"seconds": result.seconds, "best_epoch": result.best_epoch}
            # the prefix puts them on the page of system metrics
            figures |= {f"system/{part}_seconds": seconds for part, seconds in result.seconds_in.items()}
            if result.parameters is not None:
                figures["parameters"] = result.parameters
            self._log(now, run, figures)
        if failure:
            if run.tags.get("study.failure") != cut(failure.reason):
                self._client.log_text(run.id, failure.detail, "failure.txt")
            self._set_status(run, "FAILED", now, failure=failure.reason)
        elif result:
            self._set_status(run, "FINISHED", now, label=result.status)
        elif pruned:
            self._log(now, run, {"pruned_after_epoch": pruned.epoch})
            self._set_status(run, "FINISHED", now, label="pruned")
        else:
            self._set_status(run, "KILLED", now)

    def _write_findings(self, now: int, event: StudyConcluded) -> None:
        findings = event.findings
        text = (
            f"**{findings.question}**\n\n{findings.answer}\n\n"
            f"Scores: {heading(findings.primary)}. Differences: {difference_axis(findings.primary)}, with the interval "
            "that decides. A run is a variant; its repetitions and trials are below it."
        )
        self._client.set_experiment_tag(self._experiment, NOTE, text)
        images = sorted(Path(event.report, "figures").glob("*.png"))
        for variant in findings.variants:
            run = self._write_summary(now, findings, variant, event.over)
            for image in images:
                self._client.log_artifact(run.id, str(image), "figures")
        run = self._run(now, "report", {"study.purpose": "report", NOTE: text})
        self._client.log_artifacts(run.id, str(event.report))
        self._set_status(run, "FINISHED", now)

    def _write_summary(self, now: int, findings: Findings, variant: VariantFinding, over: bool) -> _StoredRun:
        for repetition in variant.repetitions:
            if (tested := self._runs.get(repetition.run)) is not None:
                # the best trial of a search is a repetition from here on
                name = repetition_name(variant.name, repetition.repetition, repetition.fold)
                self._tag(tested, {"mlflow.runName": name, "study.purpose": "repetition"})
                self._log(now, tested, scaled("test", repetition.metrics, {}))
        run = self._summary_run(now, variant.name)
        self._log(now, run, summary_metrics(variant, findings.metric))
        tags = summary_tags(variant)
        self._tag(run, tags)
        for stale in [key for key in run.tags if key.startswith("chosen.") and key not in tags]:
            self._client.delete_tag(run.id, stale)
            del run.tags[stale]
        if not over and len(variant.repetitions) < variant.planned:
            self._set_status(run, "KILLED", now)
        else:
            without_result = variant.score is None and bool(variant.failures)
            self._set_status(run, "FAILED" if without_result else "FINISHED", now)
        return run

    def end_running(self, now: int) -> None:
        """Mark every run that is still open as killed."""
        for run in self._runs.values():
            if run.status == "RUNNING":
                self._set_status(run, "KILLED", now)

    def _open_experiment(self, artifacts: Path, study: StudyRecord) -> str:
        """Return the id of the study's experiment, created or restored if necessary, with its table of results."""
        location = (artifacts.absolute() / re.sub(r"[^\w.-]", "_", self._study)).as_uri()
        name, project = self._study, digest(location, DIGITS)
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None and self._is_other_project(experiment, location, project):
            name = f"{self._study} {project}"
            experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            tags = {"mlflow.experimentKind": "custom_model_development", PROJECT: project}
            # a server keeps the artifacts of its clients, which cannot read this machine's folders
            folder = None if is_server(self._uri) else location
            created = self._client.create_experiment(name, artifact_location=folder, tags=tags)
            experiment = self._client.get_experiment(created)
        elif experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        found = experiment.tags.get(VIEW, "")
        if (view := with_view(found, study, now_ms())) != found:
            self._client.set_experiment_tag(experiment.experiment_id, VIEW, view)
        return str(experiment.experiment_id)

    def _is_other_project(self, found: Experiment, own: str, project: str) -> bool:
        """Return whether an experiment of the study's name is another project's, by its folder of artifacts.

        One in a SQLite file whose folder is gone belongs to this project, which was moved; so does one that was
        created by hand, with artifacts elsewhere than in a folder.
        """
        location = str(found.artifact_location)
        if not location.startswith("file:"):
            return bool(found.tags.get(PROJECT, project) != project)
        if location.rstrip("/") == own:
            return False
        return database_of(self._uri) is None or Path(unquote(urlsplit(location).path)).exists()

    def _stored_runs(self) -> list[_StoredRun]:
        stored = []
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs([self._experiment], max_results=1000, page_token=token or None)
            stored += [
                _StoredRun(
                    run.info.run_id,
                    run.info.status,
                    tags=dict(run.data.tags),
                    metrics=dict(run.data.metrics),
                    epochs=None,
                    parameters=dict(run.data.params),
                    has_data=bool(run.inputs and run.inputs.dataset_inputs),
                )
                for run in page
            ]
            token = page.token or None
        return stored

    def _summary_run(self, now: int, name: str) -> _StoredRun:
        variant = self._variants.get(name)
        levels = flat(variant.levels) if variant else {}
        run = self._run(now, name, {"study.purpose": "summary", "study.variant": name}, levels)
        self._log_parameters(run, levels)
        self._log_data(run, variant, variant.template.data_digest if variant else "")
        return run

    def _run(
        self, now: int, name: str, tags: Mapping[str, str], levels: Mapping[str, str] = MappingProxyType({})
    ) -> _StoredRun:
        """Return the run that these tags identify, created if missing, with these tags set.

        One with other levels is replaced, since MLflow changes no parameter.
        """
        run_tags = {**tags, "study.study": self._study, "mlflow.runName": name}
        run = self._runs.get(_identity(run_tags))
        if run is not None and any(run.parameters.get(key, value) != value for key, value in levels.items()):
            self._client.delete_run(run.id)
            run = None
        if run is None:
            run_tags["study.status"] = "running"
            created = self._client.create_run(self._experiment, now, run_tags, name)
            run = _StoredRun(created.info.run_id, "RUNNING", run_tags, metrics={}, epochs=set())
            self._runs[_identity(run_tags)] = run
        self._tag(run, run_tags)
        return run

    def _log_epochs(self, now: int, run: _StoredRun, epochs: Iterable[Epoch]) -> None:
        """Log the epochs that the store lacks, in one request a run."""
        new = [epoch for epoch in epochs if run.epochs is None or epoch.epoch not in run.epochs]
        if not new:
            return
        if run.epochs is None:
            run.epochs = {point.step for point in self._client.get_metric_history(run.id, EPOCH_SECONDS)}
            new = [epoch for epoch in new if epoch.epoch not in run.epochs]
        self._write_points(now, run, {epoch.epoch: curves(epoch, self._scales) for epoch in new})
        run.epochs |= {epoch.epoch for epoch in new}

    def _log(self, now: int, run: _StoredRun, values: Mapping[str, float]) -> None:
        """Log metrics that a run has once; unchanged ones are not repeated."""
        names = entity_names(values)
        new = {names[key]: value for key, value in values.items() if run.metrics.get(names[key]) != value}
        self._write_points(now, run, {0: new})

    def _write_points(self, now: int, run: _StoredRun, values: Mapping[int, Mapping[str, float]]) -> None:
        """Log values by step and name."""
        from mlflow.entities import Metric

        names = entity_names({key for named in values.values() for key in named})
        points = [
            Metric(names[key], float(value), now, step)
            for step, named in values.items()
            for key, value in named.items()
            if math.isfinite(value)  # MLflow would plot an infinity as 1.8e308
        ]
        for batch in _batches(points, METRICS_A_REQUEST):
            self._client.log_batch(run.id, metrics=batch)
        run.metrics |= {point.key: point.value for point in points}

    def _tag(self, run: _StoredRun, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            if run.tags.get(key) != value:
                self._client.set_tag(run.id, key, value)
                run.tags[key] = value

    def _set_status(
        self, run: _StoredRun, status: str, now: int | None = None, label: str = "", failure: str = ""
    ) -> None:
        if run.status != status:
            if status == "RUNNING":
                self._client.update_run(run.id, status)
            else:
                self._client.set_terminated(run.id, status, now)
        run.status = status
        self._tag(run, {"study.status": label or status.lower()})
        if failure:
            self._tag(run, {"study.failure": cut(failure)})
        elif "study.failure" in run.tags:
            self._client.delete_tag(run.id, "study.failure")
            del run.tags["study.failure"]


def _identity(tags: Mapping[str, str]) -> str:
    """Return what identifies a run within its experiment."""
    return tags.get("study.run") or f"{tags.get('study.purpose')} {tags.get('study.variant')}"


def _batches(entities: Sequence[Entity], size: int) -> Iterator[Sequence[Entity]]:
    return (entities[start : start + size] for start in range(0, len(entities), size))


def now_ms() -> int:
    """Return the time since 1970 in milliseconds, as MLflow counts it."""
    return time.time_ns() // 1_000_000
