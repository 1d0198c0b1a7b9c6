"""Reads scores from the runs of an MLflow experiment."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

from study.analysis.outside.rows import Columns, Row, Scores
from study.errors import StudyError, quoted, unavailable, unknown_name, without_passwords
from study.servers import require_answer

RUNS_A_REQUEST = 1000
FINISHED = "FINISHED"


def read_experiment(uri: str, experiment: str, columns: Columns) -> Scores:
    """Return the latest value of a metric of every run of an experiment.

    A run's tag or parameter names its variant, its repetition and, where it has one, its fold. Runs that name no
    variant are left out and counted. A run that is not finished has no score, and is left out where another one of
    the same variant, repetition and fold is finished.

    Raises:
        InputError: The store cannot be read, it has no such experiment, or a run lacks its repetition or the metric.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when mlflow is imported
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    try:
        require_answer(uri)
    except StudyError as error:
        raise unavailable("--mlflow", f"{uri} cannot be read: {error}") from None
    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            names = [other.name for other in client.search_experiments()]
            raise unknown_name(
                "--experiment",
                f"{uri} has no experiment {experiment!r}",
                experiment,
                names,
                f"It has {quoted(names)}.",
            )
        runs = list(_runs(client, found.experiment_id))
    except MlflowException as error:
        raise unavailable("--mlflow", f"{uri} cannot be read: {str(error).splitlines()[0]}") from None
    rows = {run.info.run_id: _row(run, columns) for run in runs if columns.variant in _names(run)}
    if not rows:
        known = sorted({name for run in runs for name in _names(run) if not name.startswith("mlflow.")})
        raise unknown_name(
            "--variant",
            f"no run of the experiment {experiment!r} has a tag or parameter {columns.variant!r}",
            columns.variant,
            known,
            f"Its runs have {quoted(known)}.",
        )
    finished = {_key(rows[run.info.run_id]) for run in runs if run.info.run_id in rows and _is_finished(run)}
    kept = tuple(
        rows[run.info.run_id]
        for run in runs
        if run.info.run_id in rows and (_is_finished(run) or _key(rows[run.info.run_id]) not in finished)
    )
    left_out = len(runs) - len(kept)
    return Scores(
        name=experiment,
        metric=columns.score,
        rows=kept,
        facts={
            "scores": f"MLflow experiment {experiment} of {without_passwords(uri)}",
            "runs": f"{len(kept)}"
            + (f"; {left_out} without a variant or repeated were left out" if left_out else ""),
        },
    )


def _runs(client: Any, experiment_id: str) -> Iterator[Any]:
    """Yield the runs of an experiment, oldest first."""
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            max_results=RUNS_A_REQUEST,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _names(run: Any) -> dict[str, str]:
    """Return the parameters and tags of a run."""
    return {**run.data.params, **run.data.tags}


def _is_finished(run: Any) -> bool:
    return bool(run.info.status == FINISHED)


def _key(row: Row) -> tuple[str, str, str]:
    return row.variant, row.fold, row.repetition


def _row(run: Any, columns: Columns) -> Row:
    names, run_id = _names(run), run.info.run_id
    if columns.repetition not in names:
        raise unknown_name(
            "--repetition",
            f"the run {run_id} has no tag or parameter {columns.repetition!r}",
            columns.repetition,
            names,
            "",
        )
    if _is_finished(run) and columns.score not in run.data.metrics:
        raise unknown_name(
            "--score",
            f"the run {run_id} has no metric {columns.score!r}",
            columns.score,
            run.data.metrics,
            f"It has {quoted(run.data.metrics)}.",
        )
    return Row(
        where=f"run {run_id}",
        run=run_id[:8],
        variant=names[columns.variant],
        repetition=names[columns.repetition],
        score=run.data.metrics[columns.score] if _is_finished(run) else None,
        fold=names.get(columns.fold, ""),
    )
