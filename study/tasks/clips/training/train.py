"""The training of one network. It reads the train and validation splits and no other."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import safetensors.torch

from study.config.registry import Registry
from study.files import write
from study.ledger.layout import VALIDATION_PREDICTIONS
from study.metrics import Metric
from study.records import Epoch, RunSpec
from study.task import Run
from study.tasks.clips.data.contract import Clips, Dataset
from study.tasks.clips.training import checkpoint
from study.tasks.clips.training.batches import predict
from study.tasks.clips.training.checkpoint import Best, TrainingProgress
from study.tasks.clips.training.determinism import set_up, watched
from study.tasks.clips.training.memory import in_memory
from study.tasks.clips.training.scores import LOSS, absent, cross_entropy, metrics_of, scores
from study.tasks.clips.training.settings import Train
from study.tasks.clips.training.state import TrainState, weights_of

_log = logging.getLogger(__name__)


def train(run: Run) -> None:
    """Train the network that a run describes; leave weights and validation predictions in its folder.

    After every epoch a checkpoint is kept. A training that finds one goes on from there and ends with the
    numbers of an undisturbed one. Where the loss or gradients stop being finite, the run diverges: it has
    neither metrics nor weights nor predictions.

    Raises:
        Pruned: The search gives the trial up; its checkpoint stays.
        StudyError: The run asks for a device that is not there, needs more memory than there is, or must be
            deterministic and cannot be.
        InputError: The data set cannot be read, or the network returns something else than logits.
    """
    spec = run.spec
    device = set_up(spec)
    registry = Registry(spec.modules)
    dataset: Dataset = registry.build("dataset", spec.table("dataset"))
    config, metrics = Train(**spec.config["train"]), metrics_of(run)
    with in_memory(f"training in batches of {config.batch_size} clips"), watched(spec) as operators:
        learner, progress = checkpoint.resumed(
            run.checkpoint, spec, run.machine, lambda: TrainState.of(spec, registry, dataset, device)
        )
        validation = _validation(dataset, spec, config)
        operators.update(dict.fromkeys(progress.nondeterministic))
        run.resume(progress.history, progress.seconds)
        while not progress.is_over(config.epochs):
            progress = next_epoch(learner, validation, metrics, spec, progress)
            progress = replace(progress, seconds=run.seconds, nondeterministic=tuple(operators))
            if not progress.diverged:
                checkpoint.save(run.checkpoint, spec, run.machine, learner, progress)
                run.add(progress.history[-1])
    conclude(run, progress, learner)


def next_epoch(
    learner: TrainState,
    validation: Clips | None,
    metrics: Sequence[Metric],
    spec: RunSpec,
    progress: TrainingProgress,
) -> TrainingProgress:
    """Train one epoch more and judge it; the best epoch is kept, the earliest on ties.

    Without a validation split nothing is judged, and the last epoch is kept.
    """
    config = learner.config
    number = len(progress.history) + 1
    began = time.perf_counter()
    train_loss = learner.epoch(number)
    judged, loss, best = {}, {}, progress.best
    if validation is not None:
        predictions = predict(
            learner.judged,
            validation,
            config.batch_size,
            learner.device,
            learner.loader_workers,
            config.precision,
        )
        loss = {LOSS: cross_entropy(predictions.labels, predictions.logits)}
    if not math.isfinite(train_loss + loss.get(LOSS, 0.0)):
        return replace(progress, best=None, diverged=True)
    if validation is not None:
        judged, name = scores(metrics, predictions), spec.metric_name
        if best is None or spec.gain(judged[name]) > spec.gain(best.metrics[name]):
            best = Best(number, judged, weights_of(learner.judged), predictions)
    elif number == config.epochs:
        best = Best(number, judged, weights_of(learner.judged), None)
    seconds = time.perf_counter() - began
    epoch = Epoch(number, train_loss, learner.rate, judged, seconds, diagnostics=loss)
    return replace(progress, history=(*progress.history, epoch), best=best)


def conclude(run: Run, progress: TrainingProgress, learner: TrainState) -> None:
    """Leave weights and predictions of a training that is over, and note its result."""
    best = progress.best
    if progress.diverged or best is None:
        _log.warning("diverged in epoch %d of %d", len(progress.history) + 1, learner.config.epochs)
        run.diverge()
        return
    write(run.weights, safetensors.torch.save(best.weights, {"run": run.spec.id}))
    if best.predictions is not None:
        run.keep_predictions(best.predictions, VALIDATION_PREDICTIONS)
    parameters = sum(p.numel() for p in learner.network.parameters() if p.requires_grad)
    run.finish(best.epoch, best.metrics, parameters, progress.nondeterministic)


def _validation(dataset: Dataset, spec: RunSpec, config: Train) -> Clips | None:
    """Return the split that epochs are judged on, None where it is trained on."""
    if config.fit == "train+val":
        return None
    clips = dataset.split("validation", spec.fold)
    if missing := absent(clips.labels, dataset.classes):
        _log.warning("the validation split has no clip of %s: UAR leaves it out", ", ".join(missing))
    return clips
