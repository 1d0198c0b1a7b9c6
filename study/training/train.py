"""The first job: train one network. It reads the train and selection splits and no other."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from study.components.contract import Loss
from study.components.initial import initialise
from study.components.network import build_network
from study.data.clips import Clips, Dataset
from study.hashing import seed_of
from study.ledger.files import write
from study.records import Epoch, Metrics, RunResult, RunSpec, to_json
from study.registry import Registry
from study.training.averaging import Average
from study.training.batches import Augment, on_device, predict, shuffled, steps_per_epoch, training_batches
from study.training.determinism import prepare
from study.training.machine import machine
from study.training.metrics import absent, scores, worst
from study.training.mixing import Mixing
from study.training.predictions import Predictions, save
from study.training.schedule import Schedule, ScheduleName, schedule

_log = logging.getLogger(__name__)

HISTORY, WEIGHTS, SELECTION, RESULT = "history.json", "weights.safetensors", "selection.npz", "result.json"


@dataclass(frozen=True)
class TrainConfig:
    """The ``train`` table of a configuration."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup_epochs: float
    clip_norm: float
    """The greatest norm of all gradients together; 0 for no limit."""
    schedule: ScheduleName
    mixup: float
    """Alpha of mixup's Beta distribution; 0 for none."""
    cutmix: float
    """Alpha of cutmix's Beta distribution; 0 for none."""
    mix_probability: float
    """With which a batch is mixed, where mixup or cutmix is asked for."""
    ema: float
    """Decay of the weights' moving average, which then is what is selected and tested; 0 for none."""
    stream: int
    """Shifts the seeds of order, sampling, augmentation, mixing and dropout."""
    labels: Literal["true", "shuffled"]
    select_by: Literal["war", "uar"]
    fit: Literal["train", "train+val"] = "train"
    determinism: Literal["strict", "warn", "off"] = "warn"


@dataclass(frozen=True)
class Best:
    """The best epoch so far: what it scores and all that is kept of it."""

    epoch: int
    metrics: Metrics
    weights: dict[str, Tensor]
    predictions: Predictions


def train(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Train the network that `spec` describes; leave weights, predictions and, last, the result in `folder`.

    A training whose loss or gradients stop being finite ends with the status ``diverged``, the worst
    metrics, and neither weights nor predictions.

    Raises:
        StudyError: The run asks for a device that is not there.
        InputError: The data set cannot be read.
    """
    started = time.perf_counter()
    device = prepare(spec)
    registry = Registry(spec.modules)
    dataset: Dataset = registry.build("dataset", spec.table("dataset"))
    learner = Learner.of(spec, registry, dataset, device)
    selection = dataset.split("selection", spec.fold)
    if missing := absent(selection.labels, dataset.classes):
        _log.warning("the selection split has no clip of %s: UAR leaves it out", ", ".join(missing))

    history: list[Epoch] = []

    def record(epoch: Epoch) -> None:
        history.append(epoch)
        write(folder / HISTORY, json.dumps([asdict(entry) for entry in history], indent=1, allow_nan=False))
        on_epoch(epoch)

    best = loop(learner, selection, dataset.classes, record)
    if best is None:
        _log.warning("diverged in epoch %d of %d", len(history) + 1, learner.config.epochs)
    else:
        write(folder / WEIGHTS, safetensors.torch.save(best.weights, {"run": spec.id}))
        save(folder / SELECTION, best.predictions)
    result = RunResult(
        run=spec.id,
        status="diverged" if best is None else "finished",
        best_epoch=0 if best is None else best.epoch,
        selection=worst(dataset.classes) if best is None else best.metrics,
        history=tuple(history),
        parameters=sum(p.numel() for p in learner.network.parameters() if p.requires_grad),
        seconds=time.perf_counter() - started,
        machine=machine(spec.device),
    )
    write(folder / RESULT, to_json(result))


def loop(
    learner: Learner, selection: Clips, classes: tuple[str, ...], record: Callable[[Epoch], None]
) -> Best | None:
    """Train epoch by epoch and return the best epoch, the earliest on ties; None where training diverged."""
    config = learner.config
    best: Best | None = None
    for number in range(1, config.epochs + 1):
        began = time.perf_counter()
        train_loss = learner.epoch(number)
        predictions = predict(learner.judged, selection, config.batch_size, learner.device)
        metrics = scores(predictions.labels, predictions.logits, classes)
        if not math.isfinite(train_loss + metrics["loss"]):
            return None
        if best is None or metrics[config.select_by] > best.metrics[config.select_by]:
            best = Best(number, metrics, weights_of(learner.judged), predictions)
        record(Epoch(number, train_loss, learner.rate, metrics, time.perf_counter() - began))
    return best


@dataclass
class Learner:
    """A network in training, with its examples, its loss and its optimiser."""

    config: TrainConfig
    clips: Clips
    labels: NDArray[np.int64]
    classes: int
    augment: Augment
    mix: Mixing
    network: nn.Module
    average: Average | None
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    seed: int
    device: torch.device
    steps_done: int = 0

    @classmethod
    def of(cls, spec: RunSpec, registry: Registry, dataset: Dataset, device: torch.device) -> Learner:
        """Build all that training needs, every source of chance seeded by itself."""
        config = TrainConfig(**spec.config["train"])
        clips = dataset.split("train", spec.fold)
        labels = clips.labels
        if config.labels == "shuffled":
            labels = shuffled(labels, seed_of(spec.seed, "labels", config.stream))
        network = initialise(
            lambda: build_network(registry, spec.tables, dataset.shape, len(dataset.classes)),
            seed_of(spec.seed, "init"),
        ).to(device)
        steps = steps_per_epoch(len(clips.labels), config.batch_size)
        loss: Loss = registry.build("loss", spec.table("loss"))
        if isinstance(loss, nn.Module):
            loss.to(device)
        torch.manual_seed(seed_of(spec.seed, "dropout", config.stream))
        return cls(
            config=config,
            clips=clips,
            labels=labels,
            classes=len(dataset.classes),
            augment=registry.build("augmentation", spec.table("augmentation")),
            mix=Mixing(config.mixup, config.cutmix, config.mix_probability),
            network=network,
            average=Average(network, config.ema) if config.ema else None,
            loss=loss,
            optimizer=torch.optim.AdamW(
                network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
            ),
            schedule=schedule(config.schedule, config.lr, config.epochs, config.warmup_epochs, steps),
            seed=spec.seed,
            device=device,
        )

    @property
    def rate(self) -> float:
        """The learning rate of the step that was taken last."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def judged(self) -> nn.Module:
        """What is selected and tested: the averaged network where an average is kept."""
        return self.average.network if self.average else self.network

    def epoch(self, number: int) -> float:
        """Train for one epoch and return the mean loss of its steps; NaN, at once, where a step broke down."""
        self.network.train()
        order, sampling, augmentation, mixing = (
            seed_of(self.seed, name, self.config.stream, number)
            for name in ("order", "sampling", "augmentation", "mixing")
        )
        augmenting = torch.Generator().manual_seed(augmentation)
        batches = training_batches(self.clips, self.labels, self.config.batch_size, (order, sampling))
        losses: list[float] = []
        for pixels, numbers in batches:
            clips = self.augment(on_device(pixels, self.device), augmenting)
            labels = torch.from_numpy(numbers).to(self.device)
            clips, targets = self.mix(clips, labels, self.classes, seed_of(mixing, len(losses)))
            losses.append(self.step(clips, targets))
            if not math.isfinite(losses[-1]):
                return math.nan
        return sum(losses) / len(losses)

    def step(self, clips: Tensor, targets: Tensor) -> float:
        """Take one step and return its loss; NaN, and no step, where the loss or a gradient is not finite.

        Args:
            clips: (B, C, T, H, W) in [0, 1].
            targets: Labels (B,), or shares of the classes (B, classes).
        """
        loss = self.loss(self.network(clips), targets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not math.isfinite(loss.item() + norm.item()):
            return math.nan
        if self.config.clip_norm:
            nn.utils.clip_grads_with_norm_(parameters, self.config.clip_norm, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.steps_done)
        self.optimizer.step()
        self.steps_done += 1
        if self.average:
            self.average.update(self.network)
        return loss.item()


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the network's state on the CPU, each tensor with memory of its own."""
    state = network.state_dict()
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}
