"""Pretrained weights of torchvision: downloaded, checked against their hash, and loaded into a network.

A level such as ``weights = "kinetics-400"`` always means one published file: torchvision writes the beginning of the
file's SHA-256 into its name, and another content is refused. So only the name counts towards a run's identity.
torchvision keeps the file in ``hub/checkpoints`` under ``TORCH_HOME`` (by default ``~/.cache/torch``), and downloads it
if it is missing; on a machine without internet access, copy it there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape

RGB = 3
HEADS = ("fc.", "head.", "classifier.")
"""Prefixes of torchvision's names of classifier tensors."""


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that torchvision publishes for a network."""

    name: str
    """Name for `torchvision.models.get_weight`."""
    prefixes: Mapping[str, str]
    """Prefixes of torchvision's tensor names to ours; an empty one matches every name."""
    first_layer: str
    """First module of our network; clips are normalised before it."""
    size: tuple[int, int, int] | None = None
    """Frames, height and width that the weights require; None for any."""


class Normalise(nn.Module):
    """Input normalisation of published weights; grey clips get three equal channels."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 3, ...) from images or clips (B, 1 or 3, ...) in [0, 1]."""
        per_channel = (-1, *(1 for _ in images.shape[2:]))
        return (images - self.mean.view(per_channel)) / self.std.view(per_channel)


def with_weights(
    build: Callable[[ClipShape], nn.Module],
    shape: ClipShape,
    name: str,
    weights: str,
    width: float,
    published: PublishedWeights,
) -> nn.Module:
    """Return ``build(shape)`` with random weights, or with published ones behind their own normalisation.

    Args:
        build: Builds the network for a clip's shape.
        shape: The clips' shape.
        name: The component, for messages.
        weights: ``"scratch"`` for random weights, else the name of the published ones.
        width: Multiplier of the network's channels.
        published: The published weights.

    Raises:
        InputError: The weights do not fit the width or the clips, or can be neither found nor downloaded.
    """
    if weights == "scratch":
        return build(shape)
    where = f"backbone {name!r}: weights {weights!r}"
    if width != 1:
        raise InputError(f"{where} need width 1. Got {width:g} instead.")
    if shape.channels not in (1, RGB):
        raise InputError(f"{where} take clips of 1 or {RGB} channels. Got {shape.channels} instead.")
    if published.size is not None and published.size != shape[1:]:
        needed, got = (" x ".join(map(str, size)) for size in (published.size, shape[1:]))
        raise InputError(f"{where} take clips of {needed} (frames, height, width). Got {got} instead.")

    from torchvision.models import get_weight  # slow to import

    entry = get_weight(published.name)
    state = rename(download(entry, where), published.prefixes)
    network = build(shape._replace(channels=RGB))
    network.load_state_dict(state)
    preset = entry.transforms()
    first = network.get_submodule(published.first_layer)
    network.set_submodule(
        published.first_layer, nn.Sequential(Normalise(preset.mean, preset.std), first), strict=True
    )
    return network


def rename(state: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """Return torchvision's tensors under our names, without those of the classifier."""
    tensors = {}
    for name, tensor in state.items():
        if not name.startswith(HEADS):
            theirs = next(prefix for prefix in prefixes if name.startswith(prefix))
            tensors[prefixes[theirs] + name.removeprefix(theirs)] = tensor
    return tensors


def download(entry: Any, where: str) -> dict[str, Tensor]:
    """Return the tensors of torchvision's entry, from its file on this machine or by downloading it.

    Raises:
        InputError: The file can be neither found nor downloaded, or is not the one that torchvision publishes.
    """
    file = Path(torch.hub.get_dir(), "checkpoints", entry.url.rpartition("/")[2])
    try:
        if file.exists():
            check_hash(file)
        state: dict[str, Tensor] = entry.get_state_dict(
            check_hash=True, weights_only=True, map_location="cpu"
        )
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{where} could not be downloaded: {error}. Download {entry.url} elsewhere and copy it "
            f"to {file}, or set TORCH_HOME to the folder that holds hub/checkpoints."
        ) from None
    return state


def check_hash(file: Path) -> None:
    """Raise InputError unless the SHA-256 of `file` begins as its name ends: ``NAME-<8 digits>.pth``."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    published = file.stem.rpartition("-")[2]
    if not digest.startswith(published):
        raise InputError(
            f"{file}: is not the file that torchvision publishes: its SHA-256 begins with "
            f"{digest[: len(published)]}, not {published}. Remove it to have it downloaded again."
        )
