"""Small components: a data set that checks which splits are read, and networks of two layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from torch import nn

from study.config.registry import Range, component
from study.hashing import seed_of
from study.tasks.clips.data.contract import Clips, ClipShape
from study.tasks.clips.nets.contract import Output

ORDERS: list[list[int]] = []
"""Indexes of every training batch that was read; tests empty it first."""
SEEN: dict[bool, list[Any]] = {True: [], False: []}
"""Input clips of networks of two layers, in training (True) and in evaluation; tests empty both first."""


@dataclass(frozen=True)
class Tiny:
    per_class: int
    noise: float
    forbidden: list[str]
    test_is_validation: bool

    classes = ("joy", "fear", "calm")
    shape = ClipShape(1, 2, 4, 4)
    digest = "tiny"
    folds = ()

    def split(self, name: Any, fold: Any = None) -> Any:
        assert name not in self.forbidden, f"the {name} split was read"
        stream = "validation" if name == "test" and self.test_is_validation else name
        random = np.random.default_rng(seed_of(stream))
        labels = np.repeat(np.arange(3), self.per_class)
        pixels = 128 + self.noise * random.standard_normal((len(labels), *self.shape))
        for label in range(3):
            pixels[labels == label, :, :, label] += 60  # one bright row a class
        clips = pixels.clip(0, 255).astype(np.uint8)

        def read(indexes: Any, generator: Any) -> Any:
            assert (generator is not None) == (name == "train")
            if name == "train":
                ORDERS.append(indexes.tolist())
            return clips[indexes]

        ids = tuple(f"{stream}-{i}" for i in range(len(labels)))
        sources = tuple(f"person-{i % 5}" for i in range(len(labels)))
        return Clips(ids, sources, labels, read)


@component("dataset")
def tiny(
    *,
    per_class: Annotated[int, Range(1), "clips of each class in each split"] = 20,
    noise: Annotated[float, Range(0), "deviation in grey levels"] = 30.0,
    forbidden: Annotated[list[str], "splits that must not be read"] = [],  # noqa: B006
    test_is_validation: Annotated[bool, "return the validation clips as test"] = False,
) -> Any:
    """Clips with one bright row a class."""
    return Tiny(per_class, noise, forbidden, test_is_validation)


class TwoLayers(nn.Module):
    def __init__(self, shape: Any, classes: Any, width: Any, dropout: Any) -> None:
        super().__init__()
        values = shape.channels * shape.frames * shape.height * shape.width
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(values, width), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(width, classes)

    def forward(self, clips: Any, details: Any = None) -> Any:
        SEEN[self.training].append(clips.clone())
        return Output(self.head(self.body(clips)))


@component("network")
def two_layers(
    shape: Any,
    classes: Any,
    build: Any,
    *,
    width: Annotated[int, Range(1), "hidden values"] = 16,
    dropout: Annotated[float, Range(0, 0.9), "share of hidden values set to 0"] = 0.2,
) -> Any:
    """Linear, ReLU, dropout, linear."""
    return TwoLayers(shape, classes, width, dropout)


@component("network")
def one_convolution(
    shape: Any, classes: Any, build: Any, *, width: Annotated[int, Range(1), "channels"] = 4
) -> Any:
    """A 3 x 3 x 3 convolution and a linear layer."""
    return OneConvolution(shape, classes, width)


class OneConvolution(nn.Module):
    def __init__(self, shape: Any, classes: Any, width: Any) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(shape.channels, width, 3, padding=1)
        self.head = nn.Linear(width, classes)

    def forward(self, clips: Any, details: Any = None) -> Any:
        return Output(self.head(self.convolution(clips).relu().mean((2, 3, 4))))
