"""Training of one network: epochs of optimizer steps, validation, checkpoints.

Training reads the train and validation splits and no other.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import safetensors.torch
import torch
from torch import Tensor, nn

from study import seeds
from study.config.registry import Registry
from study.files import write
from study.generators import seeded
from study.hashing import seed_of
from study.ledger.layout import TRAIN_PREDICTIONS, VALIDATION_PREDICTIONS
from study.metrics import Metric
from study.records import Epoch, RunSpec
from study.run import Run
from study.tasks.clips.data.contract import Clips, Dataset
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
from study.tasks.clips.training.memory import explain_out_of_memory
from study.tasks.clips.training.precision import forward
from study.tasks.clips.training.settings import TrainSettings
from study.tasks.clips.training.state import TrainState, trained_parameters
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
    ):
        validation = _validation_clips(dataset, spec, settings)
        state, progress = _begin(run, registry, dataset, validation, device)
        operators.update(dict.fromkeys(progress.nondeterministic))
        run.resume(progress.history, progress.seconds)
        while not progress.is_over(settings.epochs):
            progress = run_epoch(state, validation, metrics, spec, progress)
            progress = replace(progress, seconds=run.seconds, nondeterministic=tuple(operators))
            if not progress.diverged:
                checkpoint.save(run.checkpoint, spec, run.machine, state, progress)
                run.add(progress.history[-1])
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
    train_loss = train_epoch(state, number)
    values, diagnostics, best = {}, {}, progress.best
    batch_size, precision = state.settings.batch_size, state.settings.precision
    if validation is not None:
        predictions = predict(
            state.eval_model,
            validation,
            batch_size,
            state.device,
            state.loader_workers,
            precision,
            state.seed,
        )
        diagnostics = {LOSS: cross_entropy(predictions.labels, predictions.logits)}
    if not math.isfinite(train_loss + diagnostics.get(LOSS, 0.0)):
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
    seconds = time.perf_counter() - began
    epoch = Epoch(number, train_loss, state.learning_rate, values, seconds, diagnostics=diagnostics)
    return replace(progress, history=(*progress.history, epoch), best=best, probe=probe_of(state, validation))


def train_epoch(state: TrainState, number: int) -> float:
    """Train for one epoch and return the mean loss of its steps; NaN as soon as a step is not finite."""
    settings = state.settings
    state.network.train()
    order, sampling, augmentation, mixing = (
        seed_of(state.seed, name, settings.stream, number)
        for name in (seeds.ORDER, seeds.SAMPLING, seeds.AUGMENTATION, seeds.MIXING)
    )
    generator = torch.Generator().manual_seed(augmentation)
    batches = training_batches(
        state.clips, state.labels, settings.batch_size, (order, sampling), state.loader_workers
    )
    steps = steps_per_epoch(len(state.labels), settings.batch_size)
    log_step = StepLogger(f"epoch {number} of {settings.epochs}", steps)
    losses: list[float] = []
    for pixels, batch_labels in batches:
        with seeded(seed_of(augmentation, len(losses))):  # for augmentations that ignore their generator
            clips = state.augment(on_device(pixels, state.device), generator)
        labels = torch.from_numpy(batch_labels).to(state.device)
        clips, targets = state.mixup(clips, labels, state.classes, seed_of(mixing, len(losses)))
        losses.append(train_step(state, clips, targets))
        if state.on_step is not None:
            state.on_step(clips, targets, losses[-1])
        if not math.isfinite(losses[-1]):
            return math.nan
        log_step(len(losses), f", loss {losses[-1]:.4f}")
    return sum(losses) / len(losses)


def train_step(state: TrainState, clips: Tensor, targets: Tensor) -> float:
    """Take one optimizer step and return its loss; NaN, and no step, if the loss or a gradient is not finite.

    Args:
        state: The network, its optimizer and its schedule.
        clips: (B, C, T, H, W) in [0, 1].
        targets: Labels (B,), or class shares (B, classes).
    """
    state.optimizer.zero_grad()
    loss = accumulate_gradients(state, clips, targets)
    parameters = [p for p in trained_parameters(state.network, state.loss) if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not math.isfinite(loss + norm.item()):
        return math.nan
    if state.settings.clip_norm:
        nn.utils.clip_grads_with_norm_(parameters, state.settings.clip_norm, norm)
    for group, share in zip(state.optimizer.param_groups, state.lr_shares, strict=True):
        group["lr"] = share * state.schedule.rate(state.steps_done)
    state.optimizer.step()
    state.steps_done += 1
    if state.ema:
        state.ema.update(state.network)
    return loss


def accumulate_gradients(state: TrainState, clips: Tensor, targets: Tensor) -> float:
    """Run forward and backward passes on the micro-batches of a batch and return the batch's mean loss.

    A micro-batch counts by its share of the clips.
    """
    total = 0.0
    count = state.settings.accumulate
    for micro_clips, micro_targets in zip(
        clips.tensor_split(count), targets.tensor_split(count), strict=True
    ):
        if len(micro_clips):
            output = forward(state.network, micro_clips, state.settings.precision, state.classes)
            loss = state.loss(output, micro_targets)
            if len(micro_clips) < len(clips):
                loss = loss * (len(micro_clips) / len(clips))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
    return total


def _finish(run: Run, progress: TrainingProgress, state: TrainState) -> None:
    """Write weights and predictions of the best epoch, and record the result."""
    best = progress.best
    if progress.diverged or best is None:
        _log.warning("diverged in epoch %d of %d", len(progress.history) + 1, state.settings.epochs)
        run.diverge()
        return
    write(run.weights, safetensors.torch.save(best.weights, {"run": run.spec.id}))
    if best.predictions is not None:
        fits_validation = state.settings.fit == "train+val"
        run.keep_predictions(
            best.predictions, TRAIN_PREDICTIONS if fits_validation else VALIDATION_PREDICTIONS
        )
    parameters = sum(p.numel() for p in state.network.parameters() if p.requires_grad)
    run.finish(best.epoch, best.metrics, parameters, progress.nondeterministic)


def _validation_clips(dataset: Dataset, spec: RunSpec, settings: TrainSettings) -> Clips | None:
    """Return the validation split, None if it is trained on."""
    if settings.fit == "train+val":
        return None
    clips = dataset.split("validation", spec.fold)
    if missing := absent(clips.labels, dataset.classes):
        _log.warning("the validation split has no clip of %s: UAR leaves it out", ", ".join(missing))
    return clips
