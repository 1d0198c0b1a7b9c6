"""Initial weights: every tensor is sampled from the seed and its own name, so that variants share equal tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from study.hashing import seed_of


def initialise(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return `build()` with each random tensor sampled from ``hash(seed, name of the tensor)``.

    The network is built twice: first to trace which sample becomes which parameter or buffer, then with a seed of its
    own for each sample. Constructors thus keep their distributions, and a tensor that two networks have in common
    starts the same in both. The global random state is unchanged.

    Args:
        build: Builds the network on the CPU; must sample in the same order each time.
        seed: The seed of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        with _SampleTracer() as tracer:
            network = build()
        names = tracer.names(network)
        with _Replay([seed_of(seed, *name) for name in names]):
            return build()


class _SampleTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Traces each random sample through operations, by the storages that hold it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self.samples_of: dict[int, set[int]] = {}
        """Address of a storage to the indexes of its samples."""
        self.alive: list[Tensor] = []
        """Tensors of traced storages, kept so that no address is used twice."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        origins = {
            sample
            for tensor in _tensors((args, kwargs))
            for sample in self.samples_of.get(_address(tensor), ())
        }
        result = func(*args, **kwargs)
        if torch.Tag.nondeterministic_seeded in func.tags:
            origins.add(self.count)
            self.count += 1
        if origins:
            for tensor in _tensors(result):
                self.samples_of.setdefault(_address(tensor), set()).update(origins)
                self.alive.append(tensor)
        return result

    def names(self, network: nn.Module) -> list[tuple[str | int, ...]]:
        """Return a unique name for each sample: the tensors it becomes, and its index among their samples."""
        owners: list[list[str]] = [[] for _ in range(self.count)]
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            for sample in self.samples_of.get(_address(tensor), ()):
                owners[sample].append(name)
        seen: Counter[str] = Counter()
        names: list[tuple[str | int, ...]] = []
        for owner in map("+".join, owners):
            names.append((owner, seen[owner]))
            seen[owner] += 1
        return names


class _Replay(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Seeds torch's generator before each random operation."""

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seeds = iter(seeds)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            torch.default_generator.manual_seed(next(self.seeds))
        return func(*args, **(kwargs or {}))


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
