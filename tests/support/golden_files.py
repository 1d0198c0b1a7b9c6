"""Reproducible weights and inputs, and the paths of the outputs of the authors' network.

``tests/golden/README.md`` says how those outputs were made; ``STUDY_GOLDEN`` names another folder of the same files.
Run as a script to rewrite `golden_tiny.npz`, only after `test_golden.py` has passed at full size.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from study.config.recipes import recipe
from study.config.registry import Registry
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.ifdd.network import build_network, configured
from study.tasks.clips.nets.ifdd.released import released_name

FULL_FOLDER = Path(os.environ.get("STUDY_GOLDEN", Path(__file__).parents[1] / "golden"))
TINY_FILE = Path(__file__).with_name("golden_tiny.npz")
TINY = ClipShape(channels=3, frames=8, height=64, width=64)
TINY_WIDTH = 16


def filled(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return the values of the tensor with the authors' name `name`."""
    z = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF).standard_normal(shape)
    if len(shape) >= 2:
        return torch.from_numpy((z / np.sqrt(np.prod(shape[1:]))).astype(np.float32))
    centre = 1.0 if name.endswith("weight") else 0.0
    return torch.from_numpy((centre + 0.1 * z).astype(np.float32))


def fill(network: nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(filled(released_name(name), tuple(parameter.shape)))


def clips(shape: ClipShape) -> Tensor:
    values = np.random.RandomState(1234).uniform(0, 1, (2, *shape))
    return torch.from_numpy(values.astype(np.float32))


def released_tensors() -> dict[str, list[int]]:
    return dict(json.loads((FULL_FOLDER / "parameters.json").read_text()))


def released(registry: Registry, **parts: Any) -> dict[str, Any]:
    """Return the configuration of the authors' network by its recipe, with other components in `parts`."""
    return configured(registry, {**recipe("ifdd-released", "").values["base"], **parts})


def tiny_network(registry: Registry) -> nn.Module:
    backbone = {"name": "mfvit-xs", "width": TINY_WIDTH}
    network = build_network(registry, released(registry, backbone=backbone), TINY, 7)
    fill(network)
    return network.eval()


def tiny_outputs(registry: Registry) -> dict[str, Tensor]:
    with torch.no_grad():
        output = tiny_network(registry)(clips(TINY), {})
    assert output.context_residual is not None
    kept = ("stem", "stage3", "similarity", "static_index", "dynamic_index", "lifted_static", "clip_feature")
    return {
        "logits": output.logits,
        "context_residual": output.context_residual.mean((1, 2)),
        **{name: output.details[name] for name in kept},
    }


if __name__ == "__main__":
    np.savez(TINY_FILE, **{name: tensor.numpy() for name, tensor in tiny_outputs(Registry()).items()})  # type: ignore[arg-type]
