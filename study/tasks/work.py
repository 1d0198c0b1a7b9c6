"""The functions that workers call: one for each kind of job, the same for every task."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import cast

from study import seeds
from study.config.registry import Registry, task_of
from study.errors import DamagedWeightsError, StudyError
from study.files import remove
from study.generators import seeded
from study.ledger.layout import MEASURED, RESULT, TEST_INPUTS
from study.ledger.reading import Reader, differing_file, is_trained, write_record
from study.records import RunResult, RunSpec
from study.run import OnEpoch, Run, RunStopped
from study.task import CanMeasure, CanVerify, Task

_log = logging.getLogger(__name__)


def open_run(
    spec: RunSpec, folder: Path, on_epoch: OnEpoch = lambda epoch: None, rule: str = ""
) -> tuple[Task, Run]:
    """Return the task of a run, and the `Run` for its training.

    Args:
        spec: The run.
        folder: Its folder.
        on_epoch: Called after each epoch.
        rule: The least gain at which a search trial continues, by epoch, as JSON; empty to train to the end.
    """
    for path in reversed(spec.import_paths):
        if path not in sys.path:
            sys.path.insert(0, path)
    registry = Registry(spec.modules, spec.task)
    task = task_of(spec, registry)
    metrics = dict(task.metrics)
    if spec.metric_name not in metrics and "metric" in task.kinds:
        primary = registry.metric(spec.metric)
        metrics[primary.name] = primary
    run_class: type[Run] = getattr(task, "run_class", Run)
    run = run_class(
        spec,
        folder,
        metrics,
        on_epoch,
        json.loads(rule) if rule else {},
        task.select,
        task.resumes,
        task.weights_name,
        task.checkpoint_name,
    )
    return task, run


def train(spec: RunSpec, folder: Path, on_epoch: OnEpoch, rule: str = "") -> None:
    """Train a run, and write its result, or the record of its pruning, to `folder`.

    The worker of a conductor that was killed may have ended the training after the next conductor found it
    unfinished: it is not repeated then.

    Raises:
        StudyError: The training is impossible on this machine, or reported an impossible value.
    """
    task, run = open_run(spec, folder, on_epoch, rule)
    if is_trained(spec, folder, json.loads(rule or "{}")):
        remove(run.checkpoint)
        return
    try:
        with seeded(run.seed_for(seeds.JOB, "train")):
            task.train(run)
    except RunStopped as stopped:
        _log.info("%s", stopped)
    run.close()


def verify(spec: RunSpec, folder: Path) -> None:
    """Load the network of a trained run and compare it with its training, where the task can.

    Raises:
        StudyError: The network does not predict as in training.
    """
    task, run = open_run(spec, folder)
    if hasattr(task, "verify") and run.weights.exists():
        cast(CanVerify, task).verify(run)


def evaluate(spec: RunSpec, folder: Path, on_epoch: OnEpoch) -> None:
    """Evaluate the weights in `folder` on the test split, and write the test result there.

    Raises:
        StudyError: The test is impossible on this machine, or reported an impossible value.
    """
    began = time.perf_counter()
    task, run = open_run(spec, folder)
    _check_weights(run)
    with seeded(run.seed_for(seeds.JOB, "evaluate")):
        metrics = task.evaluate(run)
    run.write_test(metrics, time.perf_counter() - began)


def _check_weights(run: Run) -> None:
    """Remove weights if they, or the predictions that go with them, are not those that the training of this run saved.

    Raises:
        DamagedWeightsError: There were such files.
    """
    result = Reader().record(RunResult, run.folder / RESULT)
    if result is not None and (file := differing_file(run.folder, result.files, TEST_INPUTS)):
        for name in TEST_INPUTS:
            remove(run.folder / name)
        raise DamagedWeightsError(
            f"{file} was damaged: it is not what the training saved; it has been removed"
        )


def measure(spec: RunSpec, folder: Path, on_epoch: OnEpoch, key: str) -> None:
    """Take a measure of a tested run, and write it to `folder`; `key` is the measure's name@digest of its code."""
    task, run = open_run(spec, folder)
    _check_weights(run)
    with seeded(run.seed_for(seeds.JOB, "measure")):
        record = cast(CanMeasure, task).measure(run, key.partition("@")[0])
    write_record(folder / MEASURED.format(key), record)


def profile(spec: RunSpec, folder: Path, on_epoch: OnEpoch) -> None:
    """Profile a run's network, and write the profile to `folder`."""
    task, run = open_run(spec, folder)
    with seeded(run.seed_for(seeds.JOB, "profile")):
        record = task.profile(run)
    if record is None:
        raise StudyError("the task returned no profile of its network.")
    run.keep_profile(record)
