"""Components of a run, each built with process-wide generators that are seeded from the run's seed."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any, cast

import torch
from torch import nn

from study import seeds
from study.config.registry import Config, Registry
from study.errors import code_error
from study.generators import seeded
from study.hashing import seed_of
from study.records import RunSpec
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.attention import use_attention
from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.nets.initial import initialise
from study.tasks.clips.training.normalisation import normalise
from study.tasks.clips.training.settings import TrainSettings

MOST_BATCH_SIZES = 64
"""Sizes of batches that a network may be compiled for; torch's own limit is 8, after which it compiles no more."""


class SeededRegistry:
    """Registry that seeds the process-wide generators before it builds a component.

    Each component has a seed of its own, of its kind and its number among its kind, so that what one draws does not
    change another, and variants with an equal component start from equal values.

    Args:
        registry: The registered components.
        seed: The run's seed.
    """

    def __init__(self, registry: Registry, seed: int) -> None:
        self.parts = registry.parts
        self._registry, self._seed = registry, seed
        self._built: Counter[str] = Counter()

    def build(self, kind: str, config: Config, *context: Any) -> Any:
        """Build a component, as `Registry.build` does."""
        number = self._built[kind]
        self._built[kind] += 1
        with seeded(seed_of(self._seed, seeds.BUILD, kind, number)):
            return self._registry.build(kind, config, *context)


def new_network(registry: Registry, spec: RunSpec, shape: ClipShape, classes: int) -> nn.Module:
    """Return the network of a run with its initial values, on the CPU: the same in training and in every later job.

    Raises:
        InputError: The components do not fit together or do not fit the clips.
    """
    settings = TrainSettings.of(spec)
    stream = (settings.stream,) if settings.stream else ()
    network = initialise(
        lambda: plain_network(registry, spec, shape, classes),
        seed_of(spec.seed, seeds.INIT, *stream),
    )
    return as_trained(network, settings)


def plain_network(registry: Registry, spec: RunSpec, shape: ClipShape, classes: int) -> nn.Module:
    """Return the network of a run without seeding each tensor by its name, with attention that can be counted.

    Lazy layers get their sizes from one clip of zeros, in evaluation mode.

    Raises:
        InputError: The components do not fit together or do not fit the clips, the builder returns no module, or a
            layer does not learn its size.
    """
    network = build_network(cast(Registry, SeededRegistry(registry, spec.seed)), spec.tables, shape, classes)
    if not isinstance(network, nn.Module):
        raise code_error(
            "",
            f"the network {spec.table('network')['name']!r}: its builder must return a torch.nn.Module. Got "
            f"{'the class' if isinstance(network, type) else 'a'} {_type_of(network)} instead.",
        )
    if _lazy_tensors(network):
        with seeded(seed_of(spec.seed, seeds.LAZY)):
            _infer_sizes(network, shape)
    if TrainSettings.of(spec).normalise == "imagenet":
        normalise(network, shape.channels)
    return network


def _type_of(value: object) -> str:
    return f"{value.__name__}; call it" if isinstance(value, type) else type(value).__name__


def _lazy_tensors(network: nn.Module) -> list[str]:
    tensors = chain(network.named_parameters(), network.named_buffers())
    return [name for name, tensor in tensors if nn.parameter.is_lazy(tensor)]


def _infer_sizes(network: nn.Module, shape: ClipShape) -> None:
    """Initialise lazy layers by a forward pass of one clip, which changes no running statistics."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, *shape))
    finally:
        for module, mode in modes:
            module.training = mode
    if left := _lazy_tensors(network):
        raise code_error(
            "",
            f"the lazy layer of {left[0]!r} takes no part in a forward pass in evaluation mode, so its size is "
            "unknown; write its number of inputs.",
        )


def as_trained(network: nn.Module, settings: TrainSettings) -> nn.Module:
    """Return the network with the attention of the settings, and compiled if they ask for it; its tensors stay.

    A compiled network is compiled for every size of a batch by itself: a network that is compiled for any size computes
    other numbers, and which sizes a training has seen depends on whether it was interrupted.
    """
    use_attention(network, settings.attention)
    if settings.compile:
        torch._dynamo.config.recompile_limit = MOST_BATCH_SIZES
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        network.compile(dynamic=False)
    return network


def build_part(registry: Registry, spec: RunSpec, kind: str, *context: Any) -> Any:
    """Return the component of a kind that a run names, such as its loss."""
    return SeededRegistry(registry, spec.seed).build(kind, spec.table(kind), *context)
