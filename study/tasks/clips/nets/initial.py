"""Initial weights: every tensor drawn from the seed and its own name, so that variants share what they can."""

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
    """Return `build()` with each random tensor drawn from ``hash(seed, name of the tensor)``.

    The network is built twice: first to learn which draw ends up in which parameter or buffer, then with each
    draw from a generator of its own. Constructors thus keep their distributions, and a tensor that two
    networks have in common starts the same in both. The global random state stays as it was.

    Args:
        build: Builds the network on the CPU; must make the same draws each time.
        seed: The seed of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        with _Draws() as draws:
            network = build()
        names = draws.names(network)
        with _Replay([seed_of(seed, *name) for name in names]):
            return build()


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows what each random draw flows into, by the storages that hold it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self.held: dict[int, set[int]] = {}
        """Address of a storage to the numbers of the draws that flowed into it."""
        self.alive: list[Tensor] = []
        """Keeps followed storages from being freed, so that no address is used twice."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        origins = {
            draw for tensor in _tensors((args, kwargs)) for draw in self.held.get(_address(tensor), ())
        }
        result = func(*args, **kwargs)
        if torch.Tag.nondeterministic_seeded in func.tags:
            origins.add(self.count)
            self.count += 1
        if origins:
            for tensor in _tensors(result):
                self.held.setdefault(_address(tensor), set()).update(origins)
                self.alive.append(tensor)
        return result

    def names(self, network: nn.Module) -> list[tuple[str | int, ...]]:
        """Return for each draw the tensors that it ends up in and which of their draws it is."""
        owners: list[list[str]] = [[] for _ in range(self.count)]
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            for draw in self.held.get(_address(tensor), ()):
                owners[draw].append(name)
        seen: Counter[str] = Counter()
        names: list[tuple[str | int, ...]] = []
        for owner in map("+".join, owners):
            names.append((owner, seen[owner]))
            seen[owner] += 1
        return names


class _Replay(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Seeds torch's generator before each random draw."""

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
