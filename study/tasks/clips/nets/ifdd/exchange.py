"""Import and export of weights: checkpoints of the IFDD authors, and torchvision's MViTv2-S for Kinetics-400."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from study.config.recipes import recipe
from study.config.registry import Registry
from study.errors import InputError
from study.files import write
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.ifdd.network import build_network, configured
from study.tasks.clips.nets.ifdd.released import from_released, is_unused, released_name
from study.tasks.clips.nets.state_dicts import read, read_checkpoint
from study.tasks.clips.nets.weights import Facts, Shapes, mismatch, save, shapes

KINETICS_BLOCKS = {**{number: number for number in range(8)}, 14: 8, 15: 9}
"""Blocks of torchvision's MViTv2-S to those of MFViT-XS."""
RELEASED = "ifdd-released"
"""The recipe of the authors' network."""
_FRAMES = 16
"""Frames of the clip; the tensors are the same for 8 and 32."""
_PIXELS_A_TOKEN = 4
HeadImport = Literal["kept", "fresh"]
HEAD = "head."
"""Prefix of the classifier's tensors."""


@dataclass(frozen=True)
class Configuration:
    """Configuration of a released network, as far as its tensors show it; by default the authors' own."""

    classes: int = 7
    stages: tuple[int, ...] = (2, 3)
    norm: bool = True
    splitter: Literal["issm", "even-odd"] = "issm"
    channels: int = 3
    width: int = 96
    """Channels of the backbone's first stage."""
    image: tuple[int, int] = (224, 224)
    """Height and width in pixels."""

    def __str__(self) -> str:
        height, width = self.image
        return (
            f"{self.classes} classes, stages {list(self.stages)}, norm {'on' if self.norm else 'off'}, "
            f"splitter {self.splitter!r}, backbone width {self.width}, images of {height} x {width} pixels"
        )

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        """The network as a study writes it."""
        issm = {"name": "issm", "positions": "released"}
        return {
            "network": {"name": "ifdd", "stages": list(self.stages)},
            "backbone": {"name": "mfvit-xs", "width": self.width},
            "splitter": issm if self.splitter == "issm" else {"name": "even-odd"},
            "lifting": {"name": "attention", "norm": self.norm},
            "head": {"name": "linear"},
        }

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the network's tensors, by our names; InputError if there is no such network."""
        return shapes(self._network().state_dict())

    def buffers(self) -> set[str]:
        """Return the names of the network's buffers that are not persistent; a run's weights file has them too."""
        network = self._network()
        return {name for name, _ in network.named_buffers()} - set(network.state_dict())

    def _network(self) -> nn.Module:
        """Return the network without memory for its tensors."""
        registry = Registry()
        config = configured(registry, {**recipe(RELEASED, "recipe").values["base"], **self.parts})
        with torch.device("meta"):
            shape = ClipShape(self.channels, _FRAMES, *self.image)
            return build_network(registry, config, shape, self.classes)


@dataclass(frozen=True)
class Converted:
    """Result of an import or export."""

    source: str
    written: Path
    tensors: int
    values: int
    """Number of values in these tensors."""
    notes: tuple[str, ...]

    def __str__(self) -> str:
        first = f"{self.source}: {self.tensors} tensors, {self.values:,} values, written to {self.written}."
        return "\n".join([first, *self.notes])


def import_released(path: Path, out: Path, head: HeadImport = "kept") -> Converted:
    """Write the weights file `out` from a checkpoint of the authors' network.

    The checkpoint is a state dict, bare or under a key such as ``model``, with or without the prefixes of wrappers,
    for any number of classes and stages, with norms or without, with ISSM or the even-odd split.
    Tensors that their forward pass never uses are left out, and with a fresh head those of the classifier.
    No code in the file is run.

    Raises:
        InputError: The file holds more than tensors, its tensors do not fit, or `out` exists.
    """
    must_be_new(out)
    state = read_checkpoint(path)
    used = {name: tensor for name, tensor in state.items() if not is_unused(name)}
    network, wanted = recognise(shapes(used))
    check_fit(path, network, {released_name(name): shape for name, shape in wanted.items()}, used)
    tensors = from_released(used)
    fresh = tuple(name for name in tensors if head == "fresh" and name.startswith(HEAD))
    config = {
        **network.parts,
        **({} if fresh else {"classes": network.classes}),
        "shape": [network.channels, *network.image],
    }
    tensors = {name: tensor for name, tensor in tensors.items() if name not in fresh}
    digest = save(out, tensors, Facts("a checkpoint of the authors' IFDD", config, fresh))
    return Converted(
        str(path),
        out,
        len(tensors),
        values(tensors),
        (
            f"Left out: {len(state) - len(used)} tensors that the authors' network never uses, "
            f"{values(state) - values(used):,} values.",
            f"The network: {network}. The order of update and prediction is not in the tensors.",
            *usage(network.parts, "network", out, digest),
        ),
    )


def export_released(path: Path, out: Path) -> Converted:
    """Write ``{"model": state dict}`` for the authors' code from an imported file or the weights of a run.

    Tensors that their forward pass never uses are filled with zeros.

    Raises:
        InputError: The file cannot be read, the authors' network has no such tensors, or `out` exists.
    """
    must_be_new(out)
    buffers = Configuration(splitter="issm").buffers() | Configuration(splitter="even-odd").buffers()
    ours = {name: tensor for name, tensor in read(path)[0].items() if name not in buffers}
    network, wanted = recognise({_their_name(name): shape for name, shape in shapes(ours).items()})
    check_fit(path, network, wanted, ours)
    state = {released_name(name): tensor for name, tensor in ours.items()}
    state |= {name: torch.zeros(shape) for name, shape in unused(network, wanted).items()}
    buffer = io.BytesIO()
    torch.save({"model": state}, buffer)
    write(out, buffer.getvalue())
    return Converted(
        str(path),
        out,
        len(state),
        values(state),
        (
            f"Of these, {len(state) - len(ours)} tensors ({values(state) - values(ours):,} values) are zeros: "
            "the authors' network has them and never uses them.",
            f"The network: {network}.",
            "The sampling positions of ISSM, the order of the steps, the skip of the output block and the input "
            "normalisation are not in the tensors: the authors' code has its own, as in the recipe 'ifdd-released'.",
        ),
    )


def import_kinetics(out: Path, path: Path | None = None) -> Converted:
    """Write the weights file `out` for MFViT-XS from torchvision's MViTv2-S, trained on Kinetics-400.

    Stem and blocks are copied; class token and final norm are initialised from the seed. The file includes the input
    normalisation of these weights.

    Args:
        out: The file to write.
        path: A state dict of torchvision's ``mvit_v2_s``; None loads torchvision's own, from its cache or the internet.

    Raises:
        InputError: The weights cannot be loaded or read, do not fit, or `out` exists.
    """
    from torchvision.models.video import MViT_V2_S_Weights, mvit_v2_s

    must_be_new(out)
    pretrained = MViT_V2_S_Weights.KINETICS400_V1
    state = read_checkpoint(path) if path else _loaded(pretrained)
    source = str(path) if path else str(pretrained)
    with torch.device("meta"):
        wanted = shapes(mvit_v2_s().state_dict())
    check_fit(source, "torchvision's mvit_v2_s for Kinetics-400", wanted, state)
    tensors = {ours: state[name] for name in wanted if (ours := _from_kinetics(name))}
    backbone = [name for name in Configuration().tensors() if name.startswith("backbone.")]
    fresh = tuple(name for name in backbone if name not in tensors)
    part = {"backbone": {"name": "mfvit-xs", "width": Configuration.width}}
    transforms = pretrained.transforms()
    facts = Facts(
        "torchvision's MViTv2-S, trained on Kinetics-400",
        part,
        fresh,
        tuple(transforms.mean),
        tuple(transforms.std),
    )
    digest = save(out, tensors, facts)
    return Converted(
        source,
        out,
        len(tensors),
        values(tensors),
        (
            f"Left out: {len(state) - len(tensors)} tensors of blocks and layers that MFViT-XS does not have, "
            f"{values(state) - values(tensors):,} values.",
            f"Not in the file, so initialised from the seed: {', '.join(fresh)}.",
            f"Clips are normalised for these weights: mean {list(transforms.mean)}, std {list(transforms.std)}.",
            *usage(part, "backbone", out, digest),
        ),
    )


def recognise(tensors: Shapes) -> tuple[Configuration, dict[str, tuple[int, ...]]]:
    """Return the network of the authors' tensors, and the shapes of its tensors by our names.

    If the tensors fit no network, this is the authors' default.
    """
    network = configuration(tensors)
    try:
        return network, network.tensors()
    except InputError:
        return Configuration(), Configuration().tensors()


def configuration(tensors: Shapes) -> Configuration:
    """Return the configuration from the shapes of the authors' tensors, with their defaults for the rest."""

    def size(name: str, axis: int, default: int) -> int:
        shape = tensors.get(name, ())
        return (axis < len(shape) and shape[axis]) or default

    default = Configuration()
    width = size("embed.conv_proj.weight", 0, default.width)
    relative = "backbone.backbone.blocks.0.attn.rel_pos_"
    # n positions have 2 n - 1 distances
    height, image_width = (
        _PIXELS_A_TOKEN * ((size(relative + axis, 0, 2 * side // _PIXELS_A_TOKEN - 1) + 1) // 2)
        for axis, side in zip("hw", default.image, strict=True)
    )
    joined = [
        size(name, 0, 0)
        for name in (f"backbone.PANLayer.{number}.weight" for number in range(3))
        if name in tensors
    ]
    stages = tuple(number for number in range(3) if width << number in joined)
    is_single = "backbone.CatConv.weight" not in tensors and not joined
    return Configuration(
        classes=size("head.head.1.weight", 0, default.classes),
        stages=(*stages, 3) if stages or is_single else default.stages,
        norm=any(name.startswith(("backbone.WaveLifts.xa_", "backbone.WaveLifts.xd_")) for name in tensors),
        splitter="issm" if any(".adapt_split." in name for name in tensors) else "even-odd",
        channels=size("embed.conv_proj.weight", 1, default.channels),
        width=width,
        image=(height, image_width),
    )


def unused(network: Configuration, used: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors that the authors' network has and never uses, by their names."""
    channels = used["head.1.weight"][1]
    lifting = {
        "backbone.WaveLifts.spatial_pos": (49, channels),
        "backbone.WaveLifts.temporal_pos": (8, channels),
        "backbone.WaveLifts.class_pos": (channels,),
    }
    project = "backbone.WaveLifts.adapt_split.time_project."
    splitter = {
        project + "0.weight": (8, 8),
        project + "0.bias": (8,),
        project + "2.weight": (1, 8),
        project + "2.bias": (1,),
    }
    return lifting | splitter if network.splitter == "issm" else lifting


def check_fit(source: Path | str, network: object, wanted: Shapes, state: Mapping[str, Tensor]) -> None:
    """Raise InputError with every difference unless `state` has the tensors of `network`, in float32."""
    if problem := mismatch(wanted, shapes(state)):
        raise InputError(f"{source}: does not fit the network ({network}).\n{problem}")
    other = [f"{name} ({tensor.dtype})" for name, tensor in state.items() if tensor.dtype != torch.float32]
    if other:
        raise InputError(f"{source}: every tensor must be torch.float32. Got {', '.join(other[:5])} instead.")


def _loaded(pretrained: Any) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = pretrained.get_state_dict(
            progress=True, check_hash=True, weights_only=True, map_location="cpu"
        )
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{pretrained.url}: cannot be loaded: {error}. Download it elsewhere and pass the file."
        ) from None
    return state


def _from_kinetics(name: str) -> str | None:
    """Return our name of a tensor of torchvision's MViTv2-S; None if MFViT-XS does not use it."""
    if name.startswith("conv_proj."):
        return "backbone.stem." + name.removeprefix("conv_proj.")
    if block := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        number = KINETICS_BLOCKS.get(int(block[1]))
        return None if number is None else f"backbone.blocks.{number}.{block[2]}"
    return None


def _their_name(name: str) -> str:
    """Return the authors' name of our tensor, or our own if they have none."""
    try:
        return released_name(name)
    except KeyError:
        return name


def must_be_new(out: Path) -> None:
    """Raise InputError if `out` exists."""
    if out.exists():
        raise InputError(f"{out}: already exists; name another file, or remove it.")


def values(tensors: Mapping[str, Tensor]) -> int:
    """Return the number of values in all tensors together."""
    return sum(prod(tensor.shape) for tensor in tensors.values())


def usage(parts: Mapping[str, Mapping[str, Any]], key: str, out: Path, digest: str) -> Iterable[str]:
    """Return the lines of a study that starts from the weights file `out`."""
    yield f"Digest: {digest} (it counts towards a run's identity; its path does not)"
    yield "To start from these weights, in a study:"
    yield "[base]"
    for kind, table in parts.items():
        written = {**table, "weights": str(out)} if kind == key else table
        yield f"{kind} = {{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in written.items())} }}"
