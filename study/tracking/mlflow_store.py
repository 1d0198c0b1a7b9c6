"""One experiment in an MLflow store, with a summary run a variant, its trainings as children, and the report.

Children hold values in the metrics' own units, summaries scaled ones, as the findings do.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from study.analysis.findings import Findings, VariantFinding
from study.analysis.units import heading
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
from study.errors import StudyError
from study.files import write
from study.hashing import digest
from study.ledger.record import RunState
from study.records import Epoch, RunSpec
from study.servers import require_answer
from study.tracking.mlflow_values import (
    EPOCH_SECONDS,
    NOTE,
    curves,
    cut,
    entity_names,
    flat,
    summary_metrics,
    summary_tags,
)

Entity = TypeVar("Entity")
PARAMETERS_A_REQUEST, METRICS_A_REQUEST = 100, 1000
UNLOGGED = ("config", "local_paths", "modules", "import_paths", "legacy", "options")
"""Fields of a run's request that are not logged as parameters; the configuration is logged key by key instead."""


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
    is_configured: bool
    """Whether its parameters are logged."""


class ExperimentStore:
    """One experiment of an MLflow store, created with the store if missing; used by one thread only."""

    def __init__(self, uri: str, artifacts: Path, study: str) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when mlflow is imported
        from mlflow import MlflowClient

        # MLflow's own errors appear as the mirror's one warning.
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        if file := database_of(uri):
            _require_same_file(uri, file)
            _prepare_database(file)
        require_answer(uri)
        self._client = MlflowClient(tracking_uri=uri)
        self._study = study
        self._uri = uri
        self._experiment = self._open_experiment(artifacts)
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
        name = f"{'repetition' if job.purpose == 'repetition' else 'trial'} {job.number + 1}"
        if job.repetition is not None:
            name += f", repetition {job.repetition + 1}"
        if job.run.fold is not None:
            name += f", fold {job.run.fold}"
        tags = {
            "study.purpose": job.purpose,
            "study.variant": job.variant,
            "study.run": job.run.id,
            "mlflow.parentRunId": self._summary_run(now, job.variant).id,
        }
        run = self._run(now, name, tags)
        if not run.is_configured:
            self._log_configuration(run, job.run)
        return run

    def _log_configuration(self, run: _StoredRun, spec: RunSpec) -> None:
        from mlflow.entities import Param

        request = asdict(spec) | {"run": spec.id}
        logged = {key: value for key, value in request.items() if key not in UNLOGGED}
        values = flat(
            {**{f"run.{k}" if k in spec.config else k: v for k, v in logged.items()}, **spec.config}
        )
        self._client.log_text(
            run.id, json.dumps(request, indent=1, ensure_ascii=False, default=str), "configuration.json"
        )
        parameters = [Param(key, value) for key, value in values.items()]
        for batch in _batches(parameters, PARAMETERS_A_REQUEST):
            self._client.log_batch(run.id, params=batch)
        run.is_configured = True

    def _write_state(self, now: int, run: _StoredRun, state: RunState, history: Iterable[Epoch] = ()) -> None:
        """Write the state of a run; the result of a run that the store has as finished is not repeated."""
        result, failure, pruned = state.result, state.failure, state.pruned
        self._log_epochs(now, run, pruned.history if pruned else history)
        if result and not (run.status == "FINISHED" and "best_epoch" in run.metrics):
            self._log_epochs(now, run, result.history)
            figures = {f"validation_best/{name}": value for name, value in result.validation.items()}
            figures |= {"seconds": result.seconds, "best_epoch": result.best_epoch}
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
            f"Summary runs are in the report's unit, {heading(findings.primary)}, seeds and trials in the metrics' own."
        )
        self._client.set_experiment_tag(self._experiment, NOTE, text)
        for variant in findings.variants:
            self._write_summary(now, findings, variant, event.over)
        run = self._run(now, "report", {"study.purpose": "report", NOTE: text})
        self._client.log_artifacts(run.id, str(event.report))
        self._set_status(run, "FINISHED", now)

    def _write_summary(self, now: int, findings: Findings, variant: VariantFinding, over: bool) -> None:
        scales = {metric.name: metric.scale for metric in findings.metrics}
        for repetition in variant.repetitions:
            if repetition.run in self._runs:
                values = {
                    f"test/{name}": value / scales.get(name, 1) for name, value in repetition.metrics.items()
                }
                self._log(now, self._runs[repetition.run], values)
        run = self._summary_run(now, variant.name)
        self._log(now, run, summary_metrics(variant))
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

    def end_running(self, now: int) -> None:
        """Mark every run that is still open as killed."""
        for run in self._runs.values():
            if run.status == "RUNNING":
                self._set_status(run, "KILLED", now)

    def _open_experiment(self, artifacts: Path) -> str:
        location = (artifacts.absolute() / re.sub(r"[^\w.-]", "_", self._study)).as_uri()
        name = self._study
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None and self._is_other_project(str(experiment.artifact_location), location):
            name = f"{self._study} {digest(location, 6)}"
            experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return self._client.create_experiment(
                name, artifact_location=location, tags={"mlflow.experimentKind": "custom_model_development"}
            )
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _is_other_project(self, found: str, own: str) -> bool:
        """Return whether an experiment of the study's name is another project's, by its folder of artifacts.

        One in a SQLite file whose folder is gone belongs to this project, which was moved; so does one that was
        created by hand, with artifacts elsewhere than in a folder.
        """
        if found.rstrip("/") == own or not found.startswith("file:"):
            return False
        return database_of(self._uri) is None or Path(unquote(urlsplit(found).path)).exists()

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
                    is_configured=bool(run.data.params),
                )
                for run in page
            ]
            token = page.token or None
        return stored

    def _summary_run(self, now: int, variant: str) -> _StoredRun:
        return self._run(now, variant, {"study.purpose": "summary", "study.variant": variant})

    def _run(self, now: int, name: str, tags: Mapping[str, str]) -> _StoredRun:
        """Return the run that these tags identify, created if missing, with these tags set."""
        run_tags = {**tags, "study.study": self._study, "mlflow.runName": name}
        run = self._runs.get(_identity(run_tags))
        if run is None:
            run_tags["study.status"] = "running"
            created = self._client.create_run(self._experiment, now, run_tags, name)
            run = _StoredRun(
                created.info.run_id, "RUNNING", run_tags, metrics={}, epochs=set(), is_configured=False
            )
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
        self._write_points(now, run, {epoch.epoch: curves(epoch) for epoch in new})
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


def database_of(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for other stores."""
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return None if path in ("", uri, ":memory:") else Path(unquote(path))


def _require_same_file(uri: str, file: Path) -> None:
    """Raise StudyError where the installed SQLAlchemy takes the URI for another file: before 2.1 it decodes none."""
    from sqlalchemy.engine import make_url

    if make_url(uri).database != str(file):
        raise StudyError(
            f"{file}: the installed SQLAlchemy cannot open a path with '?', '#' or '%'. Install SQLAlchemy 2.1, rename "
            "the folder, or name another store in study.toml (mlflow)"
        )


def _prepare_database(file: Path) -> None:
    """Create a SQLite store if it is missing, and let readers work while a process writes (WAL).

    MLflow's migrations are no transaction: a store whose creation was killed can never be opened again. They
    therefore run on a temporary file, and the store appears whole.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        from mlflow import MlflowClient

        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            new = Path(folder, "new.db")
            MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
            content = new.read_bytes()
        if not file.exists():  # another study may have created it meanwhile
            write(file, content)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
