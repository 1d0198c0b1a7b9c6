"""The first job: train one network. It reads the train and selection splits and no other."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import safetensors.torch

from study.tasks.clips.data.contract import Clips, Dataset
from study.files import write
from study.records import Epoch, Machine, RunResult, RunSpec, Stopped, stopped, to_json
from study.config.registry import Registry
from study.tasks.clips.training import checkpoint
from study.tasks.clips.training.batches import predict
from study.tasks.clips.training.checkpoint import CHECKPOINT, Best, Progress
from study.tasks.clips.training.determinism import prepare, watched
from study.tasks.clips.training.state import Learner, TrainConfig, weights_of
from study.machine import machine
from study.tasks.clips.training.memory import in_memory
from study.tasks.clips.metrics import absent, scores, worst
from study.tasks.clips.training.predictions import save

_log = logging.getLogger(__name__)

HISTORY, WEIGHTS, SELECTION, RESULT = "history.json", "weights.safetensors", "selection.npz", "result.json"


def train(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], rule: str = "") -> None:
    """Train the network that `spec` describes; leave weights, predictions and, last, the result in `folder`.

    After every epoch a checkpoint is kept. A training that finds one goes on from there, and ends with the
    numbers that it would have if it had never been away. A training whose loss or gradients stop being finite
    ends with the status ``diverged``, the worst metrics, and neither weights nor predictions.

    Args:
        spec: The run.
        folder: Its folder.
        on_epoch: Called after each epoch, once it is kept.
        rule: The least score that lets a search trial go on, by epoch, as JSON; empty to train to the end. A
            trial that is given up leaves a `study.records.Stopped` and its checkpoint, and no result.

    Raises:
        StudyError: The run asks for a device that is not there, needs more memory than there is, or must be
            deterministic and cannot be.
        InputError: The data set cannot be read.
    """
    began = time.perf_counter()
    device = prepare(spec)
    registry = Registry(spec.modules)
    dataset: Dataset = registry.build("dataset", spec.table("dataset"))
    config, here = TrainConfig(**spec.config["train"]), machine(spec.device)
    with in_memory(f"training in batches of {config.batch_size} clips"), watched(spec) as operators:
        learner, progress = checkpoint.resumed(
            folder, spec, here, lambda: Learner.of(spec, registry, dataset, device)
        )
        selection = _selection(dataset, spec, config)
        earlier_s = progress.seconds
        operators.update(dict.fromkeys(progress.nondeterministic))
        if progress.history:
            write_history(folder, progress)
        while not progress.is_over(config.epochs) and not _given_up(spec, rule, progress):
            progress = next_epoch(learner, selection, dataset.classes, progress)
            spent_s = earlier_s + time.perf_counter() - began
            progress = replace(progress, seconds=spent_s, nondeterministic=tuple(operators))
            if not progress.diverged:
                checkpoint.save(folder, spec, here, learner, progress)
                write_history(folder, progress)
                on_epoch(progress.history[-1])
    if given_up := _given_up(spec, rule, progress):
        write(folder / given_up.file, to_json(given_up))
        return
    if progress.diverged:
        _log.warning("diverged in epoch %d of %d", len(progress.history) + 1, config.epochs)
    parameters = sum(p.numel() for p in learner.network.parameters() if p.requires_grad)
    spent_s = earlier_s + time.perf_counter() - began
    conclude(spec, folder, replace(progress, seconds=spent_s), dataset.classes, parameters, here)


def next_epoch(
    learner: Learner, selection: Clips | None, classes: tuple[str, ...], progress: Progress
) -> Progress:
    """Train one epoch more and judge it; the best epoch is kept, the earliest on ties.

    Without a selection split nothing is judged, and the last epoch is kept.
    """
    config = learner.config
    number = len(progress.history) + 1
    began = time.perf_counter()
    train_loss = learner.epoch(number)
    metrics, best = {}, progress.best
    if selection is not None:
        predictions = predict(
            learner.judged, selection, config.batch_size, learner.device, learner.loader_workers
        )
        metrics = scores(predictions.labels, predictions.logits, classes)
        if best is None or metrics[config.select_by] > best.metrics[config.select_by]:
            best = Best(number, metrics, weights_of(learner.judged), predictions)
    elif number == config.epochs:
        best = Best(number, metrics, weights_of(learner.judged), None)
    if not math.isfinite(train_loss + metrics.get("loss", 0.0)):
        return replace(progress, best=None, diverged=True)
    epoch = Epoch(number, train_loss, learner.rate, metrics, time.perf_counter() - began)
    return replace(progress, history=(*progress.history, epoch), best=best)


def conclude(
    spec: RunSpec,
    folder: Path,
    progress: Progress,
    classes: tuple[str, ...],
    parameters: int,
    here: Machine,
) -> None:
    """Leave weights, predictions and, last, the result of a training that is over; its checkpoint is removed."""
    best = progress.best
    if best is not None:
        write(folder / WEIGHTS, safetensors.torch.save(best.weights, {"run": spec.id}))
    if best is not None and best.predictions is not None:
        save(folder / SELECTION, best.predictions)
    result = RunResult(
        run=spec.id,
        status="diverged" if best is None else "finished",
        best_epoch=0 if best is None else best.epoch,
        selection=worst(classes) if best is None else best.metrics,
        history=progress.history,
        parameters=parameters,
        seconds=progress.seconds,
        machine=here,
        nondeterministic=progress.nondeterministic,
    )
    write(folder / RESULT, to_json(result))
    (folder / CHECKPOINT).unlink(missing_ok=True)


def write_history(folder: Path, progress: Progress) -> None:
    """Leave the epochs so far where a person can read them."""
    history = [asdict(epoch) for epoch in progress.history]
    write(folder / HISTORY, json.dumps(history, indent=1, allow_nan=False))


def _selection(dataset: Dataset, spec: RunSpec, config: TrainConfig) -> Clips | None:
    """Return the split that epochs are judged on, None where it is trained on."""
    if config.fit == "train+val":
        return None
    clips = dataset.split("selection", spec.fold)
    if missing := absent(clips.labels, dataset.classes):
        _log.warning("the selection split has no clip of %s: UAR leaves it out", ", ".join(missing))
    return clips


def _given_up(spec: RunSpec, rule: str, progress: Progress) -> Stopped | None:
    return stopped(spec, json.loads(rule), progress.history) if rule else None
