"""Training of one network: epochs of optimizer steps, validation, checkpoints.

Training reads the train and validation splits and no other.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import safetensors.torch
import torch

from study import seeds
from study.config.registry import Registry
from study.files import write
from study.generators import seeded
from study.hashing import seed_of
from study.ledger.layout import TRAIN_PREDICTIONS, VALIDATION_PREDICTIONS
from study.metrics import Metric
from study.records import Epoch, RunSpec, TimePart
from study.run import Run
from study.tasks.clips.data.contract import Clips, Dataset, Split
from study.tasks.clips.data.seeded import build_dataset
from study.tasks.clips.training import checkpoint
from study.tasks.clips.training.batches import (
    StepLogger,
    on_device,
    predict,
    steps_per_epoch,
    training_batches,
)
from study.tasks.clips.training.checkpoint import Best, TrainingProgress
from study.tasks.clips.training.determinism import nondeterministic_operators, set_up
from study.tasks.clips.training.evaluation.scores import LOSS, absent, cross_entropy, metrics_of, scores
from study.tasks.clips.training.evaluation.verification import agree, check_average, first_batch, probe_of
from study.tasks.clips.training.loader import LoaderProcesses, ReadBatches, moved
from study.tasks.clips.training.memory import explain_out_of_memory
from study.tasks.clips.training.resident import reader_of
from study.tasks.clips.training.settings import TrainSettings
from study.tasks.clips.training.state import TrainState, loader_of
from study.tasks.clips.training.stepping.clock import clock_for
from study.tasks.clips.training.stepping.figures import StepFigures
from study.tasks.clips.training.tensors import copy_of_weights

_log = logging.getLogger(__name__)


def train(run: Run) -> None:
    """Train the network of a run; write weights and validation predictions into its folder.

    A checkpoint is written after every epoch. A training that finds one resumes from it and ends with the numbers
    of an uninterrupted one. If the loss or a gradient is not finite, the run diverges: it has no metrics, weights or
    predictions.

    Raises:
        Pruned: The search stops the trial; its checkpoint stays.
        StudyError: The device is missing, memory runs out, an averaged network lacks state of the trained one, or an
            operator without a deterministic form is used although the run must be deterministic.
        InputError: The data set cannot be read, or the network returns something else than logits.
    """
    spec = run.spec
    device = set_up(spec)
    registry = Registry(spec.modules)
    dataset = build_dataset(registry, spec.table("dataset"))
    settings, metrics = TrainSettings.of(spec), metrics_of(run)
    with (
        explain_out_of_memory(f"training in batches of {settings.batch_size} clips"),
        nondeterministic_operators(spec) as operators,
        loader_of(spec) as loader,
    ):
        validation = _validation_clips(dataset, spec, settings)
        state, progress = _begin(run, registry, dataset, validation, device)
        operators.update(dict.fromkeys(progress.nondeterministic))
        run.resume(progress.history, progress.seconds)
        state.readers = readers_of(state, validation, loader)
        state.reads_ahead = loader is not None
        state.clock, earlier = clock_for(device), progress.seconds_in
        while not progress.is_over(settings.epochs):
            progress = run_epoch(state, validation, metrics, spec, progress)
            run.seconds_in = _added(earlier, state.clock.totals())
            progress = replace(
                progress,
                seconds=run.seconds,
                seconds_in=run.seconds_in,
                nondeterministic=tuple(operators),
            )
            if not progress.diverged:
                checkpoint.save(run.checkpoint, spec, run.machine, state, progress)
                run.add(progress.history[-1])
                state.clock.mark(TimePart.CHECKPOINT)
        run.seconds_in = _added(earlier, state.clock.totals())
        if state.ema and progress.best is not None:
            check_average(spec, registry, dataset, state, validation)
    _finish(run, progress, state)


def _begin(
    run: Run, registry: Registry, dataset: Dataset, validation: Clips | None, device: torch.device
) -> tuple[TrainState, TrainingProgress]:
    """Return state and progress from the run's checkpoint, new ones if there is none or it restores another network."""

    def build() -> TrainState:
        return TrainState.of(run.spec, registry, dataset, device)

    state, progress = checkpoint.resume(run.checkpoint, run.spec, run.machine, build)
    if progress.probe is None or agree(
        progress.probe.numpy(), probe_of(state, validation).numpy(), state.settings.precision
    ):
        return state, progress
    _log.warning(
        "%s is ignored, the training starts from the beginning: the network that it restores predicts other logits. "
        "The network keeps state that its state_dict leaves out.",
        run.checkpoint,
    )
    return build(), TrainingProgress()


def run_epoch(
    state: TrainState,
    validation: Clips | None,
    metrics: Sequence[Metric],
    spec: RunSpec,
    progress: TrainingProgress,
) -> TrainingProgress:
    """Train one more epoch, evaluate it on validation and keep the best epoch, the earliest on ties.

    Without a validation split, the last epoch is kept.
    """
    number = len(progress.history) + 1
    began = time.perf_counter()
    trained = train_epoch(state, number)
    if trained.diverged_step is not None:
        return replace(progress, best=None, diverged=True, diverged_step=trained.diverged_step)
    values, diagnostics, best = {}, {}, progress.best
    batch_size, precision = state.settings.batch_size, state.settings.precision
    if validation is not None:
        predictions = predict(
            state.eval_model,
            validation,
            batch_size,
            state.device,
            state.readers.get("validation"),
            precision,
            state.seed,
            state.compute,
        )
        diagnostics = {LOSS: cross_entropy(predictions.labels, predictions.logits)}
    state.clock.mark(TimePart.VALIDATION)
    if not math.isfinite(diagnostics.get(LOSS, 0.0)):
        return replace(progress, best=None, diverged=True)
    if validation is not None:
        values, name = scores(metrics, predictions), spec.metric_name
        if best is None or spec.gain(values[name]) > spec.gain(best.metrics[name]):
            best = Best(number, values, copy_of_weights(state.eval_model), predictions)
    elif number == state.settings.epochs:
        predictions = first_batch(
            state.eval_model, state.clips, batch_size, state.device, precision, state.seed
        )
        best = Best(number, values, copy_of_weights(state.eval_model), predictions)
    state.clock.mark(TimePart.CHECKPOINT)
    seconds = time.perf_counter() - began
    epoch = Epoch(number, trained.loss, state.learning_rate, values, seconds, diagnostics=diagnostics)
    probe = probe_of(state, validation)
    state.clock.mark(TimePart.VALIDATION)
    return replace(progress, history=(*progress.history, epoch), best=best, probe=probe)


@dataclass(frozen=True)
class TrainedEpoch:
    """The losses of one epoch of training."""

    loss: float
    """Mean loss of its steps; NaN where it diverged."""
    diverged_step: int | None = None
    """The optimizer step of the training, from 1, whose loss or gradient is not finite; None where all are."""


def train_epoch(state: TrainState, number: int) -> TrainedEpoch:
    """Train for one epoch, or until a step is known not to be finite.

    On a GPU, losses are read when progress is logged and at the end of the epoch. So steps may follow one that was
    not finite; nothing of such a training is kept.
    """
    settings = state.settings
    state.network.train()
    order, sampling, augmentation, mixing = (
        seed_of(state.seed, name, settings.stream, number)
        for name in (seeds.ORDER, seeds.SAMPLING, seeds.AUGMENTATION, seeds.MIXING)
    )
    generator = torch.Generator().manual_seed(augmentation)
    batches = training_batches(
        state.clips,
        state.labels,
        settings.batch_size,
        (order, sampling),
        state.readers.get("train"),
        settings.sampling,
    )
    steps = steps_per_epoch(len(state.labels), settings.batch_size)
    log_step = StepLogger(f"epoch {number} of {settings.epochs}", steps)
    reads_each_step = state.device.type == "cpu" or state.on_step is not None
    figures = StepFigures()
    for pixels, batch_labels in batches:
        state.clock.mark(TimePart.WAITING if state.reads_ahead else TimePart.DATA)
        clips = on_device(pixels, state.device)
        labels = moved(torch.from_numpy(batch_labels), state.device)
        state.clock.mark(TimePart.TO_DEVICE)
        with seeded(seed_of(augmentation, len(figures))):  # for augmentations that ignore their generator
            clips = state.augment(clips, generator)
        clips, targets = state.mixup(clips, labels, state.classes, seed_of(mixing, len(figures)))
        targets = state.weighted(targets)
        state.clock.mark(TimePart.AUGMENTATION)
        figures.add(state.step(clips, targets))
        if reads_each_step:
            loss = figures.losses()[-1]
            if state.on_step is not None:
                state.on_step(clips, targets, loss)
        log_step(len(figures), lambda: f", loss {figures.losses()[-1]:.4f}")
        if figures.diverged_at is not None:
            break
    losses = figures.losses()
    if figures.diverged_at is not None:
        return TrainedEpoch(math.nan, (number - 1) * steps + figures.diverged_at)
    return TrainedEpoch(sum(losses) / len(losses))


def _finish(run: Run, progress: TrainingProgress, state: TrainState) -> None:
    """Write weights and predictions of the best epoch, and record the result."""
    best = progress.best
    if progress.diverged or best is None:
        number, step = len(progress.history) + 1, progress.diverged_step
        at = "" if step is None else f", at step {step}"
        _log.warning("diverged in epoch %d of %d%s", number, state.settings.epochs, at)
        run.diverge(step)
        return
    write(run.weights, safetensors.torch.save(best.weights, {"run": run.spec.id}))
    if best.predictions is not None:
        fits_validation = state.settings.fit == "train+val"
        run.keep_predictions(
            best.predictions, TRAIN_PREDICTIONS if fits_validation else VALIDATION_PREDICTIONS
        )
    parameters = sum(p.numel() for p in state.network.parameters() if p.requires_grad)
    run.finish(best.epoch, best.metrics, parameters, progress.nondeterministic)


def readers_of(
    state: TrainState, validation: Clips | None, loader: LoaderProcesses | None
) -> dict[Split, ReadBatches]:
    """Return how a training reads the splits that it uses in every epoch."""
    splits: dict[Split, Clips] = {"train": state.clips}
    if validation is not None:
        splits["validation"] = validation
    return {split: reader_of(clips, split, loader, state.device) for split, clips in splits.items()}


def _added(earlier: Mapping[TimePart, float], seconds: Mapping[TimePart, float]) -> dict[TimePart, float]:
    """Return the seconds of each part in two attempts together."""
    return {
        part: earlier.get(part, 0.0) + seconds.get(part, 0.0)
        for part in TimePart
        if part in earlier or part in seconds
    }


def _validation_clips(dataset: Dataset, spec: RunSpec, settings: TrainSettings) -> Clips | None:
    """Return the validation split, None if it is trained on."""
    if settings.fit == "train+val":
        return None
    clips = dataset.split("validation", spec.fold)
    if missing := absent(clips.labels, dataset.classes):
        _log.warning("the validation split has no clip of %s: UAR leaves it out", ", ".join(missing))
    return clips
