"""A study's events mirrored into MLflow, live, for people to browse: nothing is ever read back into a plan.

One experiment a study; in it one summary run a variant with its seeds and trials as children, and one run
that holds the report. Children score in [0, 1], summaries in percentage points, as the findings do.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import queue
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from study.analysis.findings import Findings, VariantFinding
from study.errors import InputError
from study.ledger.files import write
from study.records import Epoch, Failure, RunResult, RunSpec, TestResult

LOG = logging.getLogger(__name__)
PARAMETER_LIMIT = 6000
"""Characters; MLflow cuts longer values silently."""
TAG_LIMIT = 8000
NAME_LIMIT = 250
SERVER_STOP_SECONDS = 10.0
NOTE = "mlflow.note.content"
"""What the UI shows, as Markdown, above a run or an experiment."""


class Mirror:
    """The writing end of a mirror: every method returns at once, one thread does the work.

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
        self._queue: queue.Queue[Callable[[_Store], None] | None] = queue.Queue(capacity)
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
            LOG.warning(
                "%d of %d events did not reach MLflow at %s. The ledger has them all: "
                "the next run of this study mirrors what is missing.",
                lost,
                self._sent,
                self._uri,
            )

    def run_seen(
        self, spec: RunSpec, variant: str, purpose: Literal["search", "confirm"], number: int
    ) -> None:
        """Announce a run that starts or is found in the ledger, before anything else about it."""
        self._send(lambda store, now: store.run_seen(now, spec, variant, purpose, number))

    def epoch(self, run: str, epoch: Epoch) -> None:
        """Mirror one epoch of a live training."""
        self._send(lambda store, now: store.epochs(now, run, [epoch]))

    def finished(self, result: RunResult) -> None:
        """Mirror the end of a training, with every epoch of its history that is not there yet."""
        self._send(lambda store, now: store.finished(now, result))

    def tested(self, result: TestResult) -> None:
        """Mirror a run's test figures."""
        self._send(lambda store, now: store.tested(now, result))

    def failed(self, failure: Failure) -> None:
        """Mirror a training or evaluation that ended without a result."""
        self._send(lambda store, now: store.failed(now, failure))

    def concluded(self, findings: Findings, report: Path) -> None:
        """Mirror what the study concludes, and the files of the folder `report`."""
        self._send(lambda store, now: store.concluded(now, findings, report))

    def _send(self, event: Callable[[_Store, int], None]) -> None:
        now = _now()
        self._sent += 1
        try:
            self._queue.put_nowait(lambda store: event(store, now))
        except queue.Full:
            self._warn("more than it can take")

    def _write(self) -> None:
        store = None
        try:
            store = _Store(self._uri, self._artifacts, self._study)
        except Exception as error:
            self._warn(error)
        while not self._abandoned and (event := self._queue.get()) is not None:
            if store is None:
                continue
            try:
                event(store)
                self._written += 1
            except Exception as error:
                self._warn(error)
        if store is not None and not self._abandoned:
            with contextlib.suppress(Exception):
                store.end_running(_now())

    def _warn(self, reason: object) -> None:
        if not self._warned:
            self._warned = True
            first_line = (str(reason).splitlines() or [repr(reason)])[0]
            LOG.warning(
                "MLflow at %s: %s. Training goes on; the mirror may lack events.", self._uri, first_line
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

    def run_seen(self, now: int, spec: RunSpec, variant: str, purpose: str, number: int) -> None:
        name = f"{'seed' if purpose == 'confirm' else 'trial'} {number}"
        if spec.fold is not None:
            name += f", fold {spec.fold}"
        tags = {
            "study.purpose": purpose,
            "study.variant": variant,
            "study.run": spec.id,
            "mlflow.parentRunId": self._summary(now, variant).id,
        }
        run = self._run(now, name, tags)
        if run.status == "FINISHED":
            return
        from mlflow.entities import Param

        asked = asdict(spec) | {"run": spec.id}
        counted = {key: value for key, value in asked.items() if key not in ("config", "places", "modules")}
        values = _flat({**counted, **spec.config})
        self._client.log_batch(run.id, params=[Param(key, value) for key, value in values.items()])
        self._client.log_text(
            run.id, json.dumps(asked, indent=1, ensure_ascii=False, default=str), "configuration.json"
        )

    def epochs(self, now: int, run_id: str, epochs: Iterable[Epoch]) -> None:
        run = self._known(run_id)
        if run.status == "FINISHED":
            return
        for each in (run, self._summary(now, run.tags["study.variant"])):
            if each.status != "RUNNING":
                self._set_status(each, "RUNNING")
        self._log_epochs(now, run, epochs)

    def finished(self, now: int, result: RunResult) -> None:
        run = self._known(result.run)
        new = "best_epoch" not in run.metrics
        self._log_epochs(now, run, result.history)
        figures = {f"best/{name}": value for name, value in result.selection.items()}
        figures |= {
            "best_epoch": result.best_epoch,
            "parameters": result.parameters,
            "seconds": result.seconds,
        }
        self._log(now, run, figures)
        if new or run.status in ("RUNNING", "KILLED"):
            self._set_status(run, "FINISHED", now, shown=result.status)

    def tested(self, now: int, result: TestResult) -> None:
        run = self._known(result.run)
        new = not any(name.startswith("test/") for name in run.metrics)
        self._log(now, run, {f"test/{name}": value for name, value in result.metrics.items()})
        if new and run.status == "FAILED":
            self._set_status(run, "FINISHED", now)

    def failed(self, now: int, failure: Failure) -> None:
        run = self._known(failure.run)
        if run.status == "FAILED" and run.tags.get("study.failure") == _cut(failure.reason):
            return
        self._client.log_text(run.id, failure.detail, "failure.txt")
        self._set_status(run, "FAILED", now, failure=failure.reason)

    def concluded(self, now: int, findings: Findings, report: Path) -> None:
        text = (
            f"**{findings.question}**\n\n{findings.answer}\n\n"
            "Summary runs are in percentage points, seeds and trials in [0, 1]."
        )
        self._client.set_experiment_tag(self._experiment, NOTE, text)
        for variant in findings.variants:
            run = self._summary(now, variant.name)
            self._log(now, run, _figures(variant))
            tags = _conclusions(variant)
            self._tag(run, tags)
            for stale in [key for key in run.tags if key.startswith("chosen.") and key not in tags]:
                self._client.delete_tag(run.id, stale)
                del run.tags[stale]
            without_result = variant.score is None and bool(variant.failures)
            self._set_status(run, "FAILED" if without_result else "FINISHED", now)
        run = self._run(now, "report", {"study.purpose": "report", NOTE: text})
        self._client.log_artifacts(run.id, str(report))
        self._set_status(run, "FINISHED", now)

    def end_running(self, now: int) -> None:
        """Say of every run that is still open that it was cut short."""
        for run in self._runs.values():
            if run.status == "RUNNING":
                self._set_status(run, "KILLED", now)

    def _open_experiment(self, artifacts: Path) -> str:
        found = self._client.get_experiment_by_name(self._study)
        if found is None:
            # The kind makes the UI open on the table of runs; without it, on traces of language models.
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
                _Mirrored(run.info.run_id, run.info.status, dict(run.data.tags), dict(run.data.metrics), None)
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
            run = self._runs[_key(wanted)] = _Mirrored(made.info.run_id, "RUNNING", wanted, {}, set())
        self._tag(run, wanted)
        return run

    def _known(self, run_id: str) -> _Mirrored:
        if run_id not in self._runs:
            raise LookupError(f"run {run_id} was not announced")
        return self._runs[run_id]

    def _log_epochs(self, now: int, run: _Mirrored, epochs: Iterable[Epoch]) -> None:
        if run.epochs is None:
            run.epochs = {point.step for point in self._client.get_metric_history(run.id, "learning_rate")}
        for epoch in epochs:
            if epoch.epoch in run.epochs:
                continue
            values = {f"selection/{name}": value for name, value in epoch.selection.items()}
            values |= {"train/loss": epoch.train_loss, "learning_rate": epoch.learning_rate}
            self._write_batch(now, run, values | {"epoch_seconds": epoch.seconds}, epoch.epoch)
            run.epochs.add(epoch.epoch)

    def _log(self, now: int, run: _Mirrored, values: Mapping[str, float]) -> None:
        """Log figures that a run has once; those that stand already are left alone."""
        self._write_batch(
            now, run, {key: value for key, value in values.items() if run.metrics.get(_name(key)) != value}, 0
        )

    def _write_batch(self, now: int, run: _Mirrored, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        # MLflow would store an infinity as 1.8e308 and draw it.
        finite = {_name(key): float(value) for key, value in values.items() if math.isfinite(value)}
        if finite:
            points = [Metric(key, value, now, step) for key, value in finite.items()]
            self._client.log_batch(run.id, metrics=points)
            run.metrics |= finite

    def _tag(self, run: _Mirrored, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            if run.tags.get(key) != value:
                self._client.set_tag(run.id, key, value)
                run.tags[key] = value

    def _set_status(
        self, run: _Mirrored, status: str, now: int | None = None, shown: str = "", failure: str = ""
    ) -> None:
        if status == "RUNNING":
            self._client.update_run(run.id, status)
        elif run.status != status:
            self._client.set_terminated(run.id, status, now)
        run.status = status
        self._tag(run, {"study.status": shown or status.lower()})
        if failure:
            self._tag(run, {"study.failure": _cut(failure)})
        elif "study.failure" in run.tags:
            self._client.delete_tag(run.id, "study.failure")
            del run.tags["study.failure"]


def ui(uri: str, artifacts: Path, host: str = "127.0.0.1", port: int = 5000) -> int:
    """Serve MLflow's pages until Ctrl-C, on loopback unless told otherwise; return the server's exit code.

    Raises:
        InputError: Nothing has been mirrored yet, or the port is taken.
    """
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
    LOG.info("MLflow will answer at http://%s:%d in about ten seconds; Ctrl-C ends it.", host, port)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--workers", "1"]
    command += ["--artifacts-destination", str(artifacts.absolute()), "--host", host, "--port", str(port)]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(command, env={**os.environ, **quiet})
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            server.wait(timeout=SERVER_STOP_SECONDS)
        server.kill()


def _figures(variant: VariantFinding) -> dict[str, float]:
    """Return a summary's metrics, in points where they are scores."""
    figures: dict[str, float | None] = {
        "n": len(variant.seeds),
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
    levels = {f"level.{_name(factor)}": _cut(level) for factor, level in variant.levels.items()}
    chosen = {f"chosen.{key}": value for key, value in _flat(variant.chosen).items()}
    return {"study.verdict": verdict, NOTE: _cut(sentence), **levels, **chosen}


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
