"""State of a training: the network, its data, loss and optimizer, and what a checkpoint stores of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from study import seeds
from study.config.registry import Registry
from study.errors import conflict
from study.generators import NUMPY_SEEDS
from study.hashing import seed_of
from study.records import RunSpec
from study.tasks.clips.data.contract import Clips, Dataset, Pixels, Split
from study.tasks.clips.data.seeded import build_dataset
from study.tasks.clips.nets.contract import Loss
from study.tasks.clips.training.balance import balanced_weights
from study.tasks.clips.training.batches import Compute, Transform, logits_of, shuffled, steps_per_epoch
from study.tasks.clips.training.building import build_part, new_network
from study.tasks.clips.training.loader import LoaderProcesses, ReadBatches
from study.tasks.clips.training.mixup import Mixup
from study.tasks.clips.training.optim.ema import ModelEma
from study.tasks.clips.training.optim.groups import parameter_groups
from study.tasks.clips.training.optim.schedules import Schedule
from study.tasks.clips.training.settings import Fit, TrainSettings, check_settings
from study.tasks.clips.training.stepping.clock import Clock, NoClock
from study.tasks.clips.training.stepping.graph import CudaRecorder, Recorded, RecordedStep, Recorder
from study.tasks.clips.training.stepping.step import EagerStep, Step
from study.tasks.clips.training.tensors import load_buffers

State = dict[str, Any]
"""Tensors, numbers and strings in dictionaries, lists and tuples: what ``torch.load(weights_only=True)`` reads."""


@dataclass
class TrainState:
    """A network in training with its clips, loss, optimizer and schedule."""

    settings: TrainSettings
    clips: Clips
    labels: NDArray[np.int64]
    classes: int
    augment: Transform
    mixup: Mixup
    network: nn.Module
    ema: ModelEma | None
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    seed: int
    device: torch.device
    readers: Mapping[Split, ReadBatches] = field(default_factory=dict)
    """How the clips of a split are read, where they are not read here at every use."""
    reads_ahead: bool = False
    """Whether loader processes read the clips."""
    steps_done: int = 0
    on_step: Callable[[Tensor, Tensor, float], None] | None = None
    """Callback after each step, with its clips, its targets and its loss."""
    recorder: Recorder | None = None
    """What records steps as graphs; None to take them operator by operator."""
    clock: Clock = field(default_factory=NoClock)
    """Measures what the training spends its time on."""

    def __post_init__(self) -> None:
        peak = self.settings.lr
        self.lr_shares = [group["lr"] / peak if peak else 1.0 for group in self.optimizer.param_groups]
        """Learning rate of each parameter group as a share of the schedule's."""

    @classmethod
    def of(cls, spec: RunSpec, registry: Registry, dataset: Dataset, device: torch.device) -> Self:
        """Build the state of a run before its first step, each source of randomness with a seed of its own.

        Raises:
            InputError: The data set cannot be read, its test clips would be trained on, or settings contradict.
        """
        settings = TrainSettings.of(spec)
        check_settings(settings, spec.device)
        clips = clips_to_train_on(dataset, spec.fold, settings.fit)
        labels = clips.labels
        if settings.labels == "shuffled":
            labels = shuffled(labels, seed_of(spec.seed, seeds.LABELS, settings.stream))

        def built() -> nn.Module:
            return new_network(registry, spec, dataset.shape, len(dataset.classes)).to(device)

        network = built()
        ema = ModelEma(built(), settings.ema) if settings.ema else None
        steps = steps_per_epoch(len(clips.labels), settings.batch_size)
        loss: Loss = build_part(registry, spec, "loss")
        if isinstance(loss, nn.Module):
            loss.to(device)
        dropout = seed_of(spec.seed, seeds.DROPOUT, settings.stream)
        torch.manual_seed(dropout)
        random.seed(dropout)  # this and NumPy's for components of a user
        np.random.seed(dropout % NUMPY_SEEDS)  # noqa: NPY002
        return cls(
            settings=settings,
            clips=clips,
            labels=labels,
            classes=len(dataset.classes),
            augment=build_part(registry, spec, "augmentation"),
            mixup=Mixup(settings.mixup, settings.cutmix, settings.mix_probability),
            network=network,
            ema=ema,
            loss=loss,
            optimizer=optimizer_of(spec, registry, settings, network, loss),
            schedule=schedule_of(spec, registry, settings, steps),
            seed=spec.seed,
            device=device,
            recorder=CudaRecorder() if settings.graph is True else None,
        )

    @cached_property
    def step(self) -> Step:
        """Takes one optimizer step."""
        return EagerStep(self) if self.recorder is None else RecordedStep(self, self.recorder)

    @cached_property
    def compute(self) -> Compute | None:
        """Computes the logits of the evaluated network, recorded as steps are; None for its forward pass."""
        if self.recorder is None:
            return None
        return Recorded(partial(logits_of, self.eval_model, self.settings.precision), self.recorder)

    @cached_property
    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters of the network, followed by those of the loss."""
        return trained_parameters(self.network, self.loss)

    def rates(self) -> list[float]:
        """Return the learning rate of each parameter group for the next step."""
        return [share * self.schedule.rate(self.steps_done) for share in self.lr_shares]

    def weighted(self, targets: Tensor) -> Tensor:
        """Return targets, labels (B,) or class shares (B, classes), with each class's share times its weight.

        Cross-entropy with these is cross-entropy with class weights; the mean weight of the training clips is 1.
        """
        if self.class_weights is None:
            return targets
        shares = F.one_hot(targets, self.classes) if targets.ndim == 1 else targets
        return shares * self.class_weights

    @cached_property
    def class_weights(self) -> Tensor | None:
        """Weight of each class in the loss, (classes,); None if all count the same."""
        if self.settings.class_weights == "none":
            return None
        return balanced_weights(self.labels, self.classes).to(self.device)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the last step, of the parameters that have the greatest."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def eval_model(self) -> nn.Module:
        """Network that is evaluated: the EMA model if there is one, else the trained network."""
        return self.ema.network if self.ema else self.network

    def state_dict(self) -> State:
        """Return all that the next step depends on, the states of random generators included.

        Of a loss or an augmentation, this is what its own ``state_dict`` holds.
        """
        return {
            "network": _component_state(self.network),
            "ema": self.ema and [_component_state(self.ema.network), self.ema.steps],
            "loss": _component_state(self.loss),
            "augment": _component_state(self.augment),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps_done,
            "random": _random_state(self.device),
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: The state is that of another training; this one is then
                partly overwritten and must not be used.
        """
        _load_component_state(self.network, state["network"])
        if self.ema:
            averaged, self.ema.steps = state["ema"]
            _load_component_state(self.ema.network, averaged)
        _load_component_state(self.loss, state["loss"])
        _load_component_state(self.augment, state["augment"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps_done = state["steps"]
        _load_random_state(state["random"], self.device)


def optimizer_of(
    spec: RunSpec, registry: Registry, settings: TrainSettings, network: nn.Module, loss: Loss
) -> torch.optim.Optimizer:
    """Return the optimizer of a run, for the parameters of its network, then those of its loss."""
    own = list(loss.parameters()) if isinstance(loss, nn.Module) else []
    parameters = parameter_groups(network, own, settings.lr, settings.layer_decay, settings.lr_factors)
    built: torch.optim.Optimizer = build_part(
        registry, spec, "optimizer", parameters, settings.lr, settings.weight_decay
    )
    return built


def trained_parameters(network: nn.Module, loss: Loss) -> list[nn.Parameter]:
    """Return the parameters of a network, followed by those of its loss if it is a module; each once."""
    own = list(loss.parameters()) if isinstance(loss, nn.Module) else []
    return list(dict.fromkeys([*network.parameters(), *own]))


def schedule_of(spec: RunSpec, registry: Registry, settings: TrainSettings, steps_per_epoch: int) -> Schedule:
    """Return the schedule of a run."""
    built: Schedule = build_part(
        registry,
        spec,
        "schedule",
        settings.lr,
        settings.epochs,
        settings.warmup_epochs,
        steps_per_epoch,
    )
    return built


@dataclass(frozen=True)
class SplitsOf:
    """Opens the splits of a run in another process."""

    spec: RunSpec

    def __call__(self, split: Split) -> Clips:
        """Return a split; as ``train``, the clips that the run trains on."""
        spec = self.spec
        dataset = build_dataset(Registry(spec.modules), spec.table("dataset"))
        if split == "train":
            return clips_to_train_on(dataset, spec.fold, TrainSettings.of(spec).fit)
        return dataset.split(split, spec.fold)


def loader_of(spec: RunSpec) -> AbstractContextManager[LoaderProcesses | None]:
    """Return the loader processes of a run, which end with the context; None if its own process reads the clips."""
    return LoaderProcesses(SplitsOf(spec), spec.loader_workers) if spec.loader_workers else nullcontext()


def clips_to_train_on(dataset: Dataset, fold: int | None, fit: Fit) -> Clips:
    """Return the train split, followed by the validation split if ``fit`` is ``train+val``.

    Raises:
        InputError: The validation split is the test split, which must not be trained on.
    """
    train = dataset.split("train", fold)
    if fit == "train":
        return train
    refuse_test_clips(dataset, fit)
    return _joined(train, dataset.split("validation", fold))


def refuse_test_clips(dataset: Dataset, fit: Fit) -> None:
    """Raise InputError if training would include the test split as its validation split."""
    if fit == "train+val" and dataset.is_optimistic:
        raise conflict(
            "train.fit",
            "'train+val' would train on the test clips: this data set selects on its test split. "
            "Let it select on a part of train, or set train.fit = 'train'.",
        )


def _joined(first: Clips, second: Clips) -> Clips:
    """Return two splits as one, the clips of the first before those of the second."""
    border = len(first.labels)

    def read(indexes: NDArray[np.int64], generator: np.random.Generator | None) -> Pixels:
        earlier = indexes < border
        parts = [(first, earlier, indexes[earlier]), (second, ~earlier, indexes[~earlier] - border)]
        read = [(rows, clips.read(inside, generator)) for clips, rows, inside in parts if len(inside)]
        pixels = np.empty((len(indexes), *read[0][1].shape[1:]), dtype=np.uint8)
        for rows, part in read:
            pixels[rows] = part
        return pixels

    return Clips(
        ids=first.ids + second.ids,
        sources=first.sources + second.sources,
        labels=np.concatenate([first.labels, second.labels]),
        read=read,
        scenes=first.scenes + second.scenes,
    )


def _component_state(part: object) -> State | None:
    """Return the state of a component, None if it has no ``state_dict``."""
    if isinstance(part, nn.Module):
        return {"state": part.state_dict(), "buffers": dict(part.named_buffers())}
    return {"state": part.state_dict()} if hasattr(part, "state_dict") else None


def _load_component_state(part: Any, state: State | None) -> None:
    if state is None:
        return
    part.load_state_dict(state["state"])
    if isinstance(part, nn.Module):  # a state_dict leaves out the buffers that are not persistent
        load_buffers(part, state["buffers"])


def _random_state(device: torch.device) -> State:
    """Return the states of all global random generators."""
    name, key, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(key), *rest],
    }


def _load_random_state(state: State, device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    random.setstate(state["python"])
    name, key, *rest = state["numpy"]
    np.random.set_state((name, key.numpy(), *rest))  # noqa: NPY002
