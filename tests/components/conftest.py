from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from study.config.registry import Registry
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.nets.initial import initialise

SMALL = ClipShape(channels=1, frames=16, height=32, width=32)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry()


@pytest.fixture
def resolved(registry: Registry) -> Callable[..., dict[str, Any]]:
    """A full configuration from a network and some of its parts."""

    def resolve(network: Any = "ifdd", **parts: Any) -> dict[str, Any]:
        table = registry.resolve("network", network, "network")
        defaults = registry.parts(table["name"])
        return {"network": table} | {
            kind: registry.resolve(kind, parts.get(kind, default), kind) for kind, default in defaults.items()
        }

    return resolve


@pytest.fixture
def network(registry: Registry, resolved: Callable[..., dict[str, Any]]) -> Callable[..., nn.Module]:
    """A network with its initial weights, from a network and some of its parts."""

    def build(network: Any = "ifdd", *, shape: ClipShape = SMALL, seed: int = 0, **parts: Any) -> nn.Module:
        config = resolved(network, **parts)
        return initialise(lambda: build_network(registry, config, shape, 7), seed)

    return build
