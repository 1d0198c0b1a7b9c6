"""Components as people write them: state outside the state dict, chance of NumPy and ``random``, a loss that learns."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from study.config.registry import Range, component
from study.tasks.clips.data.contract import Clips, ClipShape

MODULE_DRAW = float(np.random.rand())  # noqa: NPY002


class Centred(nn.Module):
    """Subtracts a mean of the clips that it has seen in training, kept in one of several ways."""

    def __init__(self, shape: Any, classes: int, keep: str) -> None:
        super().__init__()
        self.keep = keep
        self.head = nn.Linear(shape.channels * shape.frames * shape.height * shape.width, classes)
        self.mean: Any = None
        self.means: list[Any] = []
        if keep in ("persistent", "buffer"):
            del self.mean
            self.register_buffer("mean", torch.zeros(()), persistent=keep == "persistent")
        if keep == "late":
            del self.mean
            self.register_buffer("mean", None, persistent=False)

    def forward(self, clips: Any) -> Any:
        x = clips.flatten(1)
        if self.training:
            seen = x.mean().detach()
            if self.keep == "list":
                self.means = [*self.means[-3:], seen]
            elif self.keep == "grown":
                if hasattr(self, "mean"):
                    del self.mean
                self.register_buffer("mean", seen.repeat(3), persistent=False)
            elif self.keep in ("attribute", "late") or self.mean is None:
                self.mean = seen
            else:
                self.mean.lerp_(seen, 0.5)
        mean = sum(self.means) / max(1, len(self.means)) if self.keep == "list" else self.mean
        if mean is None:
            mean = torch.zeros(())
        return self.head(x - (mean.mean() if torch.is_tensor(mean) else mean))


@component("network")
def centred(shape: Any, classes: Any, build: Any, *, keep: Annotated[str, "where"] = "buffer") -> nn.Module:
    """Linear classifier of centred clips."""
    return Centred(shape, classes, keep)


class Drawn(nn.Module):
    def __init__(self, shape: Any, classes: int, noisy: bool) -> None:
        super().__init__()
        values = shape.channels * shape.frames * shape.height * shape.width
        self.noisy = noisy
        self.by_torch = nn.Parameter(torch.randn(3))
        self.by_numpy = nn.Parameter(torch.from_numpy(np.random.randn(values, classes)).float())  # noqa: NPY002
        self.by_random = nn.Parameter(torch.tensor([random.random() for _ in range(classes)]))
        self.fixed = [torch.from_numpy(np.random.rand(values)).float(), torch.rand(values)]  # noqa: NPY002

    def forward(self, clips: Any) -> Any:
        x = clips.flatten(1) * self.fixed[0] + self.fixed[1]
        if self.noisy:
            x = F.dropout(x, 0.5) + random.random()
        return x @ self.by_numpy + self.by_random


@component("network")
def drawn(shape: Any, classes: Any, build: Any, *, noisy: Annotated[bool, "in evaluation"] = False) -> Any:
    """First values by NumPy, random and torch, some of them in a list."""
    return Drawn(shape, classes, noisy)


class Centres(nn.Module):
    """Cross-entropy and the distance to a learnt centre of each class (Wen et al. 2016)."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.centres = nn.Parameter(torch.randn(3, 3))

    def forward(self, output: Any, targets: Any) -> Any:
        distance = (output.logits - self.centres[targets]).square().sum(1).mean()
        return F.cross_entropy(output.logits, targets) + self.weight * distance


@component("loss")
def centre_loss(*, weight: Annotated[float, Range(0, 10), "of the distance"] = 0.5) -> nn.Module:
    """Cross-entropy with learnt centres."""
    return Centres(weight)


class Listed(nn.Module):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__()
        values = shape.channels * shape.frames * shape.height * shape.width
        self.blocks = [nn.Linear(values, values)]
        self.head = nn.Linear(values, classes)

    def forward(self, clips: Any) -> Any:
        return self.head(self.blocks[0](clips.flatten(1)).relu())


@component("network")
def listed(shape: Any, classes: Any, build: Any) -> nn.Module:
    """A layer in a plain list."""
    return Listed(shape, classes)


@component("augmentation")
def jitter() -> Any:
    """Noise by global generators, not by the one that is passed."""

    def augment(clips: Any, generator: Any) -> Any:
        return clips + random.random() + float(np.random.rand()) + torch.rand(())  # noqa: NPY002

    return augment


@dataclass(frozen=True)
class Shuffled:
    """A data set that splits and reads by global generators."""

    classes = ("joy", "fear", "calm")
    shape = ClipShape(1, 2, 4, 4)
    digest = "shuffled"
    folds = ()
    is_optimistic = False
    labels = np.repeat(np.arange(3), 20)

    def split(self, name: Any, fold: Any = None) -> Any:
        order = list(range(60))
        random.shuffle(order)
        chosen = np.array({"train": order[:30], "validation": order[30:45], "test": order[45:]}[name])

        def read(indexes: Any, generator: Any) -> Any:
            size = (len(indexes), *self.shape)
            noise = np.random.randint(0, 100, size) if generator is not None else np.zeros(size)  # noqa: NPY002
            return (noise + 50 * self.labels[chosen[indexes]].reshape(-1, 1, 1, 1, 1)).astype(np.uint8)

        ids = tuple(f"clip-{i}" for i in chosen)
        return Clips(ids, ids, self.labels[chosen], read)


@component("dataset")
def shuffled() -> Any:
    """Clips whose splits are drawn at random."""
    return Shuffled()


@component("network")
def entropy(shape: Any, classes: Any, build: Any) -> Any:
    """First weights from the entropy of the system."""
    network = Drawn(shape, classes, False)
    network.by_torch.data += float(np.random.default_rng().random())
    return network


class Entropy(Shuffled):
    def split(self, name: Any, fold: Any = None) -> Any:
        random.seed(random.Random().random())
        return super().split(name, fold)


@component("dataset")
def entropy_splits() -> Any:
    """Clips whose splits are drawn from the entropy of the system."""
    return Entropy()
