"""A network in training: its steps, and the state that a resumed training needs."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from study import seeds
from study.config.registry import Registry
from study.errors import InputError
from study.hashing import seed_of
from study.records import RunSpec
from study.tasks.clips.data.contract import Clips, Dataset, Pixels
from study.tasks.clips.nets.contract import Loss
from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.nets.initial import initialise
from study.tasks.clips.training.batches import (
    Transform,
    on_device,
    shuffled,
    steps_per_epoch,
    training_batches,
)
from study.tasks.clips.training.ema import ModelEma
from study.tasks.clips.training.mixup import Mixup
from study.tasks.clips.training.precision import forward
from study.tasks.clips.training.schedules import Schedule
from study.tasks.clips.training.settings import Fit, Train, check_settings
from study.tasks.clips.training.step_logger import StepLogger

NUMPY_SEEDS = 2**32
"""How many the old global generator of NumPy takes."""

State = dict[str, Any]
"""Tensors, numbers and strings in dictionaries, lists and tuples: what torch reads back without running code."""


@dataclass
class TrainState:
    """A network in training, with its examples, its loss and its optimizer."""

    config: Train
    clips: Clips
    labels: NDArray[np.int64]
    classes: int
    augment: Transform
    mix: Mixup
    network: nn.Module
    average: ModelEma | None
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    seed: int
    device: torch.device
    loader_workers: int = 0
    """Processes that read its clips; 0 reads them here."""
    steps_done: int = 0

    def __post_init__(self) -> None:
        peak = self.config.lr
        self.shares = [group["lr"] / peak if peak else 1.0 for group in self.optimizer.param_groups]
        """Each parameter group's learning rate as a share of the schedule's."""

    @classmethod
    def of(cls, spec: RunSpec, registry: Registry, dataset: Dataset, device: torch.device) -> Self:
        """Build all that training needs, every source of chance seeded by itself.

        Raises:
            InputError: The data set cannot be read, its test clips would be trained on, or settings contradict.
        """
        config = Train(**spec.config["train"])
        check_settings(config, spec.device)
        clips = learned(dataset, spec.fold, config.fit)
        labels = clips.labels
        if config.labels == "shuffled":
            labels = shuffled(labels, seed_of(spec.seed, seeds.LABELS, config.stream))
        network = initialise(
            lambda: build_network(registry, spec.tables, dataset.shape, len(dataset.classes)),
            seed_of(spec.seed, seeds.INIT),
        ).to(device)
        steps = steps_per_epoch(len(clips.labels), config.batch_size)
        loss: Loss = registry.build("loss", spec.table("loss"))
        if isinstance(loss, nn.Module):
            loss.to(device)
        dropout = seed_of(spec.seed, seeds.DROPOUT, config.stream)
        torch.manual_seed(dropout)
        random.seed(dropout)  # this and the next for parts of a user's own
        np.random.seed(dropout % NUMPY_SEEDS)  # noqa: NPY002
        return cls(
            config=config,
            clips=clips,
            labels=labels,
            classes=len(dataset.classes),
            augment=registry.build("augmentation", spec.table("augmentation")),
            mix=Mixup(config.mixup, config.cutmix, config.mix_probability),
            network=network,
            average=ModelEma(network, config.ema) if config.ema else None,
            loss=loss,
            optimizer=optimizer_of(spec, registry, config, network),
            schedule=schedule_of(spec, registry, config, steps),
            seed=spec.seed,
            device=device,
            loader_workers=spec.loader_workers,
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
            for name in (seeds.ORDER, seeds.SAMPLING, seeds.AUGMENTATION, seeds.MIXING)
        )
        augmenting = torch.Generator().manual_seed(augmentation)
        batches = training_batches(
            self.clips, self.labels, self.config.batch_size, (order, sampling), self.loader_workers
        )
        losses: list[float] = []
        pace = StepLogger(
            f"epoch {number} of {self.config.epochs}",
            steps_per_epoch(len(self.labels), self.config.batch_size),
        )
        for pixels, numbers in batches:
            clips = self.augment(on_device(pixels, self.device), augmenting)
            labels = torch.from_numpy(numbers).to(self.device)
            clips, targets = self.mix(clips, labels, self.classes, seed_of(mixing, len(losses)))
            losses.append(self.step(clips, targets))
            if not math.isfinite(losses[-1]):
                return math.nan
            pace(len(losses), f", loss {losses[-1]:.4f}")
        return sum(losses) / len(losses)

    def step(self, clips: Tensor, targets: Tensor) -> float:
        """Take one step and return its loss; NaN, and no step, where the loss or a gradient is not finite.

        Args:
            clips: (B, C, T, H, W) in [0, 1].
            targets: Labels (B,), or shares of the classes (B, classes).
        """
        self.optimizer.zero_grad()
        loss = self.backward(clips, targets)
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not math.isfinite(loss + norm.item()):
            return math.nan
        if self.config.clip_norm:
            nn.utils.clip_grads_with_norm_(parameters, self.config.clip_norm, norm)
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = share * self.schedule.rate(self.steps_done)
        self.optimizer.step()
        self.steps_done += 1
        if self.average:
            self.average.update(self.network)
        return loss

    def backward(self, clips: Tensor, targets: Tensor) -> float:
        """Add a batch's gradients, part by part where they are accumulated, and return its mean loss.

        Each part counts by its share of the clips, so that equal parts average.
        """
        total = 0.0
        parts = self.config.accumulate
        for some, goals in zip(clips.tensor_split(parts), targets.tensor_split(parts), strict=True):
            if len(some):
                output = forward(self.network, some, self.config.precision, self.classes)
                loss = self.loss(output, goals)
                if len(some) < len(clips):
                    loss = loss * (len(some) / len(clips))
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
        return total

    def state(self) -> State:
        """Return all that the next step depends on, every generator of chance included.

        A part keeps what it remembers from step to step in its ``state_dict``; what it keeps elsewhere is lost.
        """
        return {
            "network": _state_of(self.network),
            "average": self.average and [_state_of(self.average.network), self.average.steps],
            "loss": _state_of(self.loss),
            "augment": _state_of(self.augment),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps_done,
            "chance": _chance(self.device),
        }

    def restore(self, state: State) -> None:
        """Go back to what `state` returned.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: The state is that of another kind of learner; this one
                then is in no state to be used.
        """
        _restore(self.network, state["network"])
        if self.average:
            averaged, self.average.steps = state["average"]
            _restore(self.average.network, averaged)
        _restore(self.loss, state["loss"])
        _restore(self.augment, state["augment"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps_done = state["steps"]
        _restore_chance(state["chance"], self.device)


def optimizer_of(
    spec: RunSpec, registry: Registry, config: Train, network: nn.Module
) -> torch.optim.Optimizer:
    """Return the optimizer of a network's parameters that a run's configuration names."""
    built: torch.optim.Optimizer = registry.build(
        "optimizer", spec.table("optimizer"), list(network.parameters()), config.lr, config.weight_decay
    )
    return built


def schedule_of(spec: RunSpec, registry: Registry, config: Train, steps_per_epoch: int) -> Schedule:
    """Return the schedule that a run's configuration names."""
    built: Schedule = registry.build(
        "schedule", spec.table("schedule"), config.lr, config.epochs, config.warmup_epochs, steps_per_epoch
    )
    return built


def learned(dataset: Dataset, fold: int | None, fit: Fit) -> Clips:
    """Return the clips that are trained on: the train split and, for ``train+val``, then the validation split.

    Raises:
        InputError: The validation split is the test split, which nothing may be trained on.
    """
    train = dataset.split("train", fold)
    if fit == "train":
        return train
    refuse_test_clips(dataset, fit)
    return _joined(train, dataset.split("validation", fold))


def refuse_test_clips(dataset: Dataset, fit: Fit) -> None:
    """Raise InputError where the validation split that would be trained on is the test split."""
    if fit == "train+val" and dataset.is_optimistic:
        raise InputError(
            "train.fit: 'train+val' would train on the test clips: this data set selects on its test split. "
            "Let it select on a part of train, or set train.fit = 'train'."
        )


def _joined(first: Clips, second: Clips) -> Clips:
    """Return two splits as one, the clips of the first before those of the second."""
    border = len(first.labels)

    def read(indexes: NDArray[np.int64], generator: np.random.Generator | None) -> Pixels:
        earlier = indexes < border
        parts = [(first, earlier, indexes[earlier]), (second, ~earlier, indexes[~earlier] - border)]
        read = [(place, clips.read(inside, generator)) for clips, place, inside in parts if len(inside)]
        pixels = np.empty((len(indexes), *read[0][1].shape[1:]), dtype=np.uint8)
        for place, found in read:
            pixels[place] = found
        return pixels

    return Clips(
        ids=first.ids + second.ids,
        sources=first.sources + second.sources,
        labels=np.concatenate([first.labels, second.labels]),
        read=read,
        scenes=first.scenes + second.scenes,
    )


def _state_of(part: object) -> State | None:
    """Return what a part remembers, None where it remembers nothing."""
    if isinstance(part, nn.Module):
        return {"state": part.state_dict(), "buffers": dict(part.named_buffers())}
    return {"state": part.state_dict()} if hasattr(part, "state_dict") else None


def _restore(part: Any, state: State | None) -> None:
    if state is None:
        return
    part.load_state_dict(state["state"])
    if isinstance(part, nn.Module):  # a state_dict leaves out the buffers that are not persistent
        with torch.no_grad():
            for name, buffer in part.named_buffers():
                buffer.copy_(state["buffers"][name])


def _chance(device: torch.device) -> State:
    """Return the states of every process-wide generator."""
    name, key, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(key), *rest],
    }


def _restore_chance(state: State, device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    random.setstate(state["python"])
    name, key, *rest = state["numpy"]
    np.random.set_state((name, key.numpy(), *rest))  # noqa: NPY002


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the network's state on the CPU, each tensor with memory of its own."""
    state = network.state_dict()
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}
