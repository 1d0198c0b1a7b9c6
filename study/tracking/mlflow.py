"""A study's events mirrored into MLflow, live, for people to browse: nothing is ever read back into a plan.

One experiment a study; in it one summary run a variant with its seeds and trials as children, and one run
that holds the report. Children hold values in the metrics' own units, summaries scaled ones, as the findings do.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import queue
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from study.analysis.findings import Findings, VariantFinding
from study.analysis.units import heading
from study.engine.events import Concluded, EpochEnded, Event, Found, JobEnded, Listener, Retried, Started
from study.engine.plan import Job
from study.errors import InputError, StudyError
from study.files import write
from study.ledger.record import RunState
from study.records import Epoch, RunSpec

_log = logging.getLogger(__name__)
Entity = TypeVar("Entity")
OFF = "off"
"""In place of a store's URI: no mirror."""
EVERY_EPOCH = "epoch_seconds"
"""The curve that has a point for every epoch."""
PARAMETER_LIMIT = 6000
"""Characters; MLflow cuts longer values silently."""
TAG_LIMIT = 8000
PARAMETERS_A_REQUEST, METRICS_A_REQUEST = 100, 1000
NAME_LIMIT = 250
SERVER_STOP_SECONDS = 10.0
UNSHOWN = ("config", "local_paths", "modules", "import_paths", "legacy", "options")
"""Fields of a run's request that are not logged as parameters; the configuration is logged key by key instead."""
NOTE = "mlflow.note.content"
"""What the UI shows, as Markdown, above a run or an experiment."""


def mirror(uri: str, artifacts: Path, study: str) -> contextlib.AbstractContextManager[Listener]:
    """Return the mirror of `study` in the store at `uri`, or a listener that does nothing where it is ``off``."""
    return contextlib.nullcontext(_ignore) if uri == OFF else Mirror(uri, artifacts, study)


def _ignore(_: Event) -> None:
    pass


def sync(uri: str, artifacts: Path, study: str, events: Iterable[Event]) -> None:
    """Write into the store at `uri` what `events` tell of `study`: what is missing is added, nothing repeated.

    Runs are matched by the tags that they carry. Nobody else may be mirroring the study meanwhile.

    Raises:
        InputError: Mirroring is off.
        StudyError: The store cannot be read or written.
    """
    if uri == OFF:
        raise InputError("mlflow is 'off' in study.toml: there is no mirror to rebuild.")
    with _as_study_error(uri):
        store = _Store(uri, artifacts, study)
    for event in events:
        with _as_study_error(uri):
            store.take(_now(), event)
    with _as_study_error(uri):
        store.end_running(_now())


@contextlib.contextmanager
def _as_study_error(uri: str) -> Iterator[None]:
    """Turn whatever MLflow raises into one line."""
    try:
        yield
    except Exception as error:
        raise StudyError(f"MLflow at {uri}: {_first_line(error)}. The ledger is as it was.") from error


class Mirror:
    """A listener that returns at once; one thread does the work.

    Args:
        uri: An MLflow store, ``sqlite:///path``; made where it is missing.
        artifacts: Folder for configurations and reports.
        study: Name of the experiment.
        capacity: Events that may wait; further ones are dropped and counted.
        drain_seconds: How long leaving the context may wait for the events still queued.

    A store that is down, slow or broken costs one warning when it shows and one on leaving, with the number
    of lost events. The same study mirrored again adds what is missing and repeats nothing.
    """

    def __init__(
        self, uri: str, artifacts: Path, study: str, *, capacity: int = 10_000, drain_seconds: float = 30.0
    ) -> None:
        self._uri = uri
        self._artifacts = artifacts
        self._study = study
        self._drain_seconds = drain_seconds
        self._queue: queue.Queue[tuple[int, Event] | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._write, name="mlflow mirror", daemon=True)
        self._abandoned = False
        self._warned = False
        self._sent = 0
        self._written = 0

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + self._drain_seconds
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=self._drain_seconds)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._abandoned = True
        if lost := self._sent - self._written:
            _log.warning(
                "%d of %d events did not reach MLflow at %s. The ledger has them all: "
                "the next run of this study mirrors what is missing, and so does: study sync %s",
                lost,
                self._sent,
                self._uri,
                self._study,
            )

    def __call__(self, event: Event) -> None:
        """Queue an event, or drop and count it where the queue is full."""
        self._sent += 1
        try:
            self._queue.put_nowait((_now(), event))
        except queue.Full:
            self._warn("more events than it can take")

    def _write(self) -> None:
        store = None
        broken = False
        while not self._abandoned and (waiting := self._queue.get()) is not None:
            if store is None and not broken:
                try:  # not before there is something to say: a study that is refused must leave no trace
                    store = _Store(self._uri, self._artifacts, self._study)
                except Exception as error:
                    broken = True
                    self._warn(error)
            if store is None:
                continue
            try:
                store.take(*waiting)
                self._written += 1
            except Exception as error:
                self._warn(error)
        if store is not None and not self._abandoned:
            with contextlib.suppress(Exception):
                store.end_running(_now())

    def _warn(self, reason: object) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "MLflow at %s: %s. Training goes on; the mirror may lack events.",
                self._uri,
                _first_line(reason),
            )


@dataclass
class _Mirrored:
    """What the store holds about one MLflow run."""

    id: str
    status: str
    tags: dict[str, str]
    metrics: dict[str, float]
    """The latest value under each name."""
    epochs: set[int] | None
    """None: not asked for yet."""
    configured: bool


class _Store:
    """One experiment of an MLflow store, used by the writer thread alone."""

    def __init__(self, uri: str, artifacts: Path, study: str) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when mlflow is imported
        from mlflow import MlflowClient

        # What MLflow has to say reaches people as the mirror's one warning.
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        if file := _database(uri):
            _prepare(file)
        self._client = MlflowClient(tracking_uri=uri)
        self._study = study
        self._experiment = self._open_experiment(artifacts)
        self._runs = {_key(run.tags): run for run in self._stored_runs()}
        self.end_running(_now())  # left by a conductor that was killed

    def take(self, now: int, event: Event) -> None:
        """Mirror one event, which happened at `now`."""
        match event:
            case Started(job) if job.kind == "train":
                for run in (self._child(now, job), self._summary(now, job.variant)):
                    self._set_status(run, "RUNNING")
            case EpochEnded(job, epoch):
                self._log_epochs(now, self._child(now, job), [epoch])
            case Found(job, state, history):
                self._settle(now, self._child(now, job), state, history)
            case JobEnded(job, state) if job.kind in ("train", "evaluate"):
                self._settle(now, self._child(now, job), state)
            case Retried(job, reason) if job.kind == "train":
                self._tag(self._child(now, job), {"study.status": _cut(f"running again: {reason}")})
            case Concluded():
                self._conclude(now, event)

    def _child(self, now: int, job: Job) -> _Mirrored:
        """Return a seed's or trial's run, with its configuration."""
        name = f"{'seed' if job.purpose == 'confirm' else 'trial'} {job.number + 1}"
        if job.run.fold is not None:
            name += f", fold {job.run.fold}"
        tags = {
            "study.purpose": job.purpose,
            "study.variant": job.variant,
            "study.run": job.run.id,
            "mlflow.parentRunId": self._summary(now, job.variant).id,
        }
        run = self._run(now, name, tags)
        if not run.configured:
            self._configure(run, job.run)
        return run

    def _configure(self, run: _Mirrored, spec: RunSpec) -> None:
        from mlflow.entities import Param

        asked = asdict(spec) | {"run": spec.id}
        shown = {key: value for key, value in asked.items() if key not in UNSHOWN}
        values = _flat(
            {**{f"run.{k}" if k in spec.config else k: v for k, v in shown.items()}, **spec.config}
        )
        self._client.log_text(
            run.id, json.dumps(asked, indent=1, ensure_ascii=False, default=str), "configuration.json"
        )
        parameters = [Param(key, value) for key, value in values.items()]
        for some in _batches(parameters, PARAMETERS_A_REQUEST):
            self._client.log_batch(run.id, params=some)
        run.configured = True

    def _settle(self, now: int, run: _Mirrored, state: RunState, history: Iterable[Epoch] = ()) -> None:
        """Write what a run came to; one that is known to have finished is left alone."""
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
            if run.tags.get("study.failure") != _cut(failure.reason):
                self._client.log_text(run.id, failure.detail, "failure.txt")
            self._set_status(run, "FAILED", now, failure=failure.reason)
        elif result:
            self._set_status(run, "FINISHED", now, shown=result.status)
        elif pruned:
            self._log(now, run, {"pruned_after_epoch": pruned.epoch})
            self._set_status(run, "FINISHED", now, shown="pruned")
        else:
            self._set_status(run, "KILLED", now)

    def _conclude(self, now: int, event: Concluded) -> None:
        findings = event.findings
        text = (
            f"**{findings.question}**\n\n{findings.answer}\n\n"
            f"Summary runs are in the report's unit, {heading(findings.primary)}, seeds and trials in the metrics' own."
        )
        self._client.set_experiment_tag(self._experiment, NOTE, text)
        for variant in findings.variants:
            self._summarise(now, findings, variant, event.over)
        run = self._run(now, "report", {"study.purpose": "report", NOTE: text})
        self._client.log_artifacts(run.id, str(event.report))
        self._set_status(run, "FINISHED", now)

    def _summarise(self, now: int, findings: Findings, variant: VariantFinding, over: bool) -> None:
        scales = {metric.name: metric.scale for metric in findings.metrics}
        for repetition in variant.repetitions:
            if repetition.run in self._runs:
                values = {
                    f"test/{name}": value / scales.get(name, 1) for name, value in repetition.metrics.items()
                }
                self._log(now, self._runs[repetition.run], values)
        run = self._summary(now, variant.name)
        self._log(now, run, _figures(variant))
        tags = _conclusions(variant)
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
        """Say of every run that is still open that it was cut short."""
        for run in self._runs.values():
            if run.status == "RUNNING":
                self._set_status(run, "KILLED", now)

    def _open_experiment(self, artifacts: Path) -> str:
        found = self._client.get_experiment_by_name(self._study)
        if found is None:
            return self._client.create_experiment(
                self._study,
                artifact_location=(artifacts.absolute() / re.sub(r"[^\w.-]", "_", self._study)).as_uri(),
                tags={"mlflow.experimentKind": "custom_model_development"},
            )
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _stored_runs(self) -> list[_Mirrored]:
        stored = []
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs([self._experiment], max_results=1000, page_token=token or None)
            stored += [
                _Mirrored(
                    run.info.run_id,
                    run.info.status,
                    tags=dict(run.data.tags),
                    metrics=dict(run.data.metrics),
                    epochs=None,
                    configured=bool(run.data.params),
                )
                for run in page
            ]
            token = page.token or None
        return stored

    def _summary(self, now: int, variant: str) -> _Mirrored:
        return self._run(now, variant, {"study.purpose": "summary", "study.variant": variant})

    def _run(self, now: int, name: str, tags: Mapping[str, str]) -> _Mirrored:
        """Return the run that these tags identify, made where it is missing, with its tags as given."""
        wanted = {**tags, "study.study": self._study, "mlflow.runName": name}
        run = self._runs.get(_key(wanted))
        if run is None:
            wanted["study.status"] = "running"
            made = self._client.create_run(self._experiment, now, wanted, name)
            run = _Mirrored(made.info.run_id, "RUNNING", wanted, metrics={}, epochs=set(), configured=False)
            self._runs[_key(wanted)] = run
        self._tag(run, wanted)
        return run

    def _log_epochs(self, now: int, run: _Mirrored, epochs: Iterable[Epoch]) -> None:
        """Log the epochs that the store lacks, together: one request a run, not one an epoch."""
        new = [epoch for epoch in epochs if run.epochs is None or epoch.epoch not in run.epochs]
        if not new:
            return
        if run.epochs is None:
            run.epochs = {point.step for point in self._client.get_metric_history(run.id, EVERY_EPOCH)}
            new = [epoch for epoch in new if epoch.epoch not in run.epochs]
        self._write_points(now, run, {epoch.epoch: _curves(epoch) for epoch in new})
        run.epochs |= {epoch.epoch for epoch in new}

    def _log(self, now: int, run: _Mirrored, values: Mapping[str, float]) -> None:
        """Log figures that a run has once; those that stand already are left alone."""
        new = {key: value for key, value in values.items() if run.metrics.get(_name(key)) != value}
        self._write_points(now, run, {0: new})

    def _write_points(self, now: int, run: _Mirrored, values: Mapping[int, Mapping[str, float]]) -> None:
        """Log values by step and name."""
        from mlflow.entities import Metric

        points = [
            Metric(_name(key), float(value), now, step)
            for step, named in values.items()
            for key, value in named.items()
            if math.isfinite(value)  # MLflow would store an infinity as 1.8e308 and draw it
        ]
        for some in _batches(points, METRICS_A_REQUEST):
            self._client.log_batch(run.id, metrics=some)
        run.metrics |= {point.key: point.value for point in points}

    def _tag(self, run: _Mirrored, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            if run.tags.get(key) != value:
                self._client.set_tag(run.id, key, value)
                run.tags[key] = value

    def _set_status(
        self, run: _Mirrored, status: str, now: int | None = None, shown: str = "", failure: str = ""
    ) -> None:
        if run.status != status:
            if status == "RUNNING":
                self._client.update_run(run.id, status)
            else:
                self._client.set_terminated(run.id, status, now)
        run.status = status
        self._tag(run, {"study.status": shown or status.lower()})
        if failure:
            self._tag(run, {"study.failure": _cut(failure)})
        elif "study.failure" in run.tags:
            self._client.delete_tag(run.id, "study.failure")
            del run.tags["study.failure"]


def ui(uri: str, artifacts: Path, host: str = "127.0.0.1", port: int = 5000) -> int:
    """Serve MLflow's pages until Ctrl-C, on loopback by default; return the server's exit code.

    Raises:
        InputError: Mirroring is off, nothing has been mirrored yet, or the port is taken.
    """
    if uri == OFF:
        raise InputError("mlflow is 'off' in study.toml: there is nothing to show.")
    if (file := _database(uri)) and not file.exists():
        raise InputError(f"{file}: nothing has been mirrored into MLflow yet; run a study first.")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = f"port {port} on {host} cannot be used ({error.strerror}); name another one."
            raise InputError(reason) from None
    # Without the last part of the address the pages open on language models, whatever the experiment's kind.
    print(
        f"In about ten seconds: http://{host}:{port}/#/experiments?workflowType=machine_learning\n"
        "Ctrl-C ends it.",
        flush=True,
    )
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--workers", "1"]
    command += ["--artifacts-destination", str(artifacts.absolute()), "--host", host, "--port", str(port)]
    command += ["--uvicorn-opts", "--log-level warning"]
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    # In a session of its own, or Ctrl-C would reach each of the server's processes, and each complain.
    server = subprocess.Popen(command, env={**os.environ, **quiet}, start_new_session=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            server.wait(timeout=SERVER_STOP_SECONDS)
        server.kill()


def _curves(epoch: Epoch) -> dict[str, float]:
    """Return what an epoch adds to a run's curves."""
    values = {f"validation/{name}": value for name, value in epoch.validation.items()}
    values |= {f"diagnostics/{name}": value for name, value in epoch.diagnostics.items()}
    if epoch.train_loss is not None:
        values["train/loss"] = epoch.train_loss
    if epoch.learning_rate is not None:
        values["learning_rate"] = epoch.learning_rate
    return values | {EVERY_EPOCH: epoch.seconds}


def _figures(variant: VariantFinding) -> dict[str, float]:
    """Return a summary's metrics, scaled where they are scores."""
    figures: dict[str, float | None] = {
        "n": len(variant.repetitions),
        "planned": variant.planned,
        "parameters": variant.parameters,
        "macs": variant.macs,
        "train_seconds": variant.train_seconds,
    }
    if score := variant.score:
        figures |= {"mean": score.mean, "interval_low": score.low, "interval_high": score.high}
    if variant.difference:
        gap = variant.difference.interval
        figures |= {"difference": gap.mean, "difference_low": gap.low, "difference_high": gap.high}
    return {key: value for key, value in figures.items() if value is not None}


def _conclusions(variant: VariantFinding) -> dict[str, str]:
    """Return a summary's tags: the verdict, its sentence, the levels and what the search chose."""
    difference = variant.difference
    verdict = difference.verdict if difference else "reference" if variant.is_reference else "none"
    sentence = difference.sentence if difference else "The reference." if variant.is_reference else ""
    runs = f"{len(variant.repetitions)} of {variant.planned}"
    if len(variant.repetitions) != variant.planned:
        sentence = f"{sentence} Results of {runs} confirmation runs: a mean is of those alone.".strip()
    levels = {f"level.{_name(factor)}": _cut(level) for factor, level in variant.levels.items()}
    chosen = {f"chosen.{key}": value for key, value in _flat(variant.chosen).items()}
    return {"study.verdict": verdict, "study.runs": runs, NOTE: _cut(sentence), **levels, **chosen}


def _key(tags: Mapping[str, str]) -> str:
    """Return what identifies a run within its experiment."""
    return tags.get("study.run") or f"{tags.get('study.purpose')} {tags.get('study.variant')}"


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested tables as ``{"train.lr": "0.001"}``, names and lengths as MLflow takes them."""
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            flat[_name(f"{prefix}{key}")] = _cut(text, PARAMETER_LIMIT)
    return flat


def _name(name: str) -> str:
    """Return a name that MLflow takes: word characters, dots, dashes, spaces, and slashes as in a path."""
    parts = re.sub(r"[^\w\-. /]", "_", name).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))[:NAME_LIMIT].strip("./") or "_"


def _cut(text: str, limit: int = TAG_LIMIT) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _batches(entities: Sequence[Entity], size: int) -> Iterator[Sequence[Entity]]:
    return (entities[start : start + size] for start in range(0, len(entities), size))


def _first_line(reason: object) -> str:
    return (str(reason).splitlines() or [repr(reason)])[0]


def _now() -> int:
    """Return the time as MLflow counts it, in milliseconds."""
    return time.time_ns() // 1_000_000


def _database(uri: str) -> Path | None:
    """Return the file of a SQLite store."""
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return None if path in ("", uri, ":memory:") else Path(path)


def _prepare(file: Path) -> None:
    """Make a SQLite store that is missing, and let its readers not wait for its writer.

    MLflow's migrations are no transaction: a store whose making was killed can never be opened again. So they
    run aside, and the store appears whole.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        from mlflow import MlflowClient

        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            new = Path(folder, "new.db")
            MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
            made = new.read_bytes()
        if not file.exists():  # another study may have been faster
            write(file, made)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
