"""Import of released checkpoints of Former-DFER, M3DFEL and MAE-DFER."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from study.config.registry import Registry
from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.ifdd.exchange import HEAD, Converted, HeadImport, usage, values
from study.tasks.clips.nets.ifdd.network import build_network, configured
from study.tasks.clips.nets.peers.released import converted
from study.tasks.clips.nets.weights import Facts, mismatch, save, shapes

PRETRAINING = "encoder."
"""Prefix of the tensors of a network that was trained without labels, beside its decoder."""


@dataclass(frozen=True)
class Release:
    """A published network, as its checkpoints show it."""

    title: str
    signature: str
    """A tensor that the checkpoints of no other network have."""
    classifier: str
    """Its tensor with a row for each class."""
    shape: ClipShape


RELEASES: Mapping[str, Release] = MappingProxyType(
    {
        "former-dfer": Release(
            "Former-DFER", "s_former.pos_embedding", "fc.weight", ClipShape(3, 16, 112, 112)
        ),
        "m3dfel": Release("M3DFEL", "norm.mean_weight", "fc.weight", ClipShape(3, 16, 112, 112)),
        "mae-dfer": Release("MAE-DFER", "lg_region_tokens", "head.weight", ClipShape(3, 16, 160, 160)),
    }
)


def without_pretraining(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors of a pretrained encoder without their prefix; `state` itself where it has none."""
    encoder = {
        name.removeprefix(PRETRAINING): tensor
        for name, tensor in state.items()
        if name.startswith(PRETRAINING)
    }
    return encoder or state


def network_of(state: Mapping[str, Tensor]) -> str | None:
    """Return the network whose checkpoint this is; None for any other."""
    names = without_pretraining(state)
    return next((network for network, release in RELEASES.items() if release.signature in names), None)


def import_peer(
    path: Path, state: Mapping[str, Tensor], network: str, out: Path, head: HeadImport = "kept"
) -> Converted:
    """Write the weights file `out` from the tensors of a released checkpoint.

    Args:
        path: The checkpoint, for messages.
        state: Its tensors, without prefixes of wrappers.
        network: The network, as `network_of` returns it.
        out: The file to write.
        head: ``fresh`` leaves the classifier out, which is then initialised from the seed for any classes.

    Raises:
        InputError: A tensor is missing, unknown or of another shape.
    """
    release = RELEASES[network]
    given = without_pretraining(state)
    classifier = given.get(release.classifier)
    if classifier is None and head == "kept":
        raise InputError(
            f"{path}: has no classifier {release.classifier!r}. Pass --head fresh to initialise one from the seed."
        )
    classes = 2 if classifier is None else len(classifier)
    registry, parts = Registry(), {"network": {"name": network}}
    with torch.device("meta"):
        built = build_network(registry, configured(registry, parts), release.shape, classes)
    wanted = shapes(built.state_dict())
    tensors = converted(network, given)
    counters = [name for name in wanted if name.endswith(".num_batches_tracked") and name not in tensors]
    tensors |= {name: torch.tensor(0) for name in counters}  # files of before torch 0.4.1 have none
    is_fresh = [name for name in wanted if head == "fresh" and name.startswith(HEAD)]
    if given is not state:  # the norm before the classifier belongs to fine-tuning
        is_fresh += [name for name in wanted if name.startswith("norm.") and name not in tensors]
    for name in is_fresh:
        wanted.pop(name)
        tensors.pop(name, None)
    if problem := mismatch(wanted, shapes(tensors)):
        raise InputError(f"{path}: does not fit {release.title}.\n{problem}")
    config: dict[str, Any] = {
        **parts,
        "shape": [release.shape.channels, release.shape.height, release.shape.width],
    }
    if head == "kept":
        config["classes"] = classes
    digest = save(out, tensors, Facts(f"a checkpoint of {release.title}", config, tuple(is_fresh)))
    fresh = (f"Initialised from the seed: {', '.join(is_fresh)}.",) if is_fresh else ()
    notes = (*fresh, *usage(parts, "network", out, digest))
    return Converted(str(path), out, len(tensors), values(tensors), notes)
