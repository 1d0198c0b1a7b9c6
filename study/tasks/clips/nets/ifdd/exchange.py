"""Weights from and to other projects: the IFDD authors' checkpoints, and torchvision's Kinetics-400 MViTv2-S."""

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
from torch import Tensor

from study.config.recipes import recipe
from study.config.registry import Registry
from study.errors import InputError
from study.files import write
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.ifdd.network import build_network, configured
from study.tasks.clips.nets.ifdd.released import from_released, is_unused, released_name
from study.tasks.clips.nets.weights import Facts, Shapes, mismatch, must_exist, read, save, shapes

KINETICS_BLOCKS = {**{number: number for number in range(8)}, 14: 8, 15: 9}
"""Blocks of torchvision's MViTv2-S to those of MFViT-XS."""
RELEASED = "ifdd-released"
"""The recipe of the authors' network."""
_FRAMES = 16
"""8 and 32 have the same tensors."""
_PIXELS_A_TOKEN = 4


@dataclass(frozen=True)
class Configuration:
    """What the tensors of a released checkpoint tell about its network; by default the authors' own."""

    classes: int = 7
    stages: tuple[int, ...] = (2, 3)
    norm: bool = True
    splitter: Literal["issm", "even-odd"] = "issm"
    channels: int = 3
    width: int = 96
    """Of the backbone's first stage."""
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
        """Return the shapes of the network's tensors, by our names; InputError where there is no such network."""
        registry = Registry()
        config = configured(registry, {**recipe(RELEASED, "recipe").values["base"], **self.parts})
        with torch.device("meta"):
            shape = ClipShape(self.channels, _FRAMES, *self.image)
            return shapes(build_network(registry, config, shape, self.classes).state_dict())


@dataclass(frozen=True)
class Converted:
    """What an import or export did."""

    source: str
    written: Path
    tensors: int
    values: int
    """In all these tensors."""
    notes: tuple[str, ...]

    def __str__(self) -> str:
        first = f"{self.source}: {self.tensors} tensors, {self.values:,} values, written to {self.written}."
        return "\n".join([first, *self.notes])


def import_released(path: Path, out: Path) -> Converted:
    """Write the weights file `out` from a checkpoint of the authors' network.

    The checkpoint is a state dict, bare or as ``{"model": …}``, with or without the ``module.`` of a parallel
    wrapper, for any number of classes and stages, with norms or without, with ISSM or the even-odd split.
    Tensors that their forward pass never uses are left out. Nothing in the file is run.

    Raises:
        InputError: The file cannot be read as tensors alone, its tensors do not fit, or `out` exists.
    """
    must_be_new(out)
    state = read_checkpoint(path)
    used = {name: tensor for name, tensor in state.items() if not is_unused(name)}
    found, wanted = recognised(shapes(used))
    fits(path, found, {released_name(name): shape for name, shape in wanted.items()}, used)
    tensors = from_released(used)
    config = {**found.parts, "classes": found.classes, "shape": [found.channels, *found.image]}
    digest = save(out, tensors, Facts("a checkpoint of the authors' IFDD", config))
    return Converted(
        str(path),
        out,
        len(tensors),
        values(tensors),
        (
            f"Left out: {len(state) - len(used)} tensors that the authors' network never uses, "
            f"{values(state) - values(used):,} values.",
            f"The network: {found}. The tensors do not tell in which order it updates and predicts.",
            *usage(found.parts, "network", out, digest),
        ),
    )


def export_released(path: Path, out: Path) -> Converted:
    """Write ``{"model": state dict}`` for the authors' code from an imported file or the weights of a run.

    Tensors that their forward pass never uses are made again, as zeros.

    Raises:
        InputError: The file cannot be read, the authors' network has no such tensors, or `out` exists.
    """
    must_be_new(out)
    ours, _ = read(path)
    found, wanted = recognised({_their_name(name): shape for name, shape in shapes(ours).items()})
    fits(path, found, wanted, ours)
    state = {released_name(name): tensor for name, tensor in ours.items()}
    state |= {name: torch.zeros(shape) for name, shape in unused(found, wanted).items()}
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
            f"The network: {found}.",
            "The tensors do not tell where ISSM samples frames, the order of the steps, a skip in the output "
            "block or a normalised input: the authors' code computes its own, as the recipe 'ifdd-released' does here.",
        ),
    )


def import_kinetics(out: Path, path: Path | None = None) -> Converted:
    """Write the weights file `out` for MFViT-XS from torchvision's MViTv2-S, trained on Kinetics-400.

    Stem and blocks are taken; class token and final norm stay as the seed makes them.
    The file carries the input normalisation of these weights.

    Args:
        out: The file to write.
        path: A state dict of torchvision's ``mvit_v2_s``; None loads torchvision's own, from its cache or the net.

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
    fits(source, "torchvision's mvit_v2_s for Kinetics-400", wanted, state)
    tensors = {ours: state[name] for name in wanted if (ours := _from_kinetics(name))}
    backbone = [name for name in Configuration().tensors() if name.startswith("backbone.")]
    fresh = tuple(name for name in backbone if name not in tensors)
    part = {"backbone": {"name": "mfvit-xs", "width": Configuration.width}}
    expects = pretrained.transforms()
    facts = Facts(
        "torchvision's MViTv2-S, trained on Kinetics-400",
        part,
        fresh,
        tuple(expects.mean),
        tuple(expects.std),
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
            f"Not in the file, so from the seed: {', '.join(fresh)}.",
            f"Clips are normalised for these weights: mean {list(expects.mean)}, std {list(expects.std)}.",
            *usage(part, "backbone", out, digest),
        ),
    )


def recognised(found: Shapes) -> tuple[Configuration, dict[str, tuple[int, ...]]]:
    """Return the network that the authors' tensors tell of, and the shapes, by our names, that it must have.

    Tensors of no possible network are compared with the authors' default.
    """
    told = configuration(found)
    try:
        return told, told.tensors()
    except InputError:
        return Configuration(), Configuration().tensors()


def configuration(found: Shapes) -> Configuration:
    """Read the configuration off the authors' tensors; what none of them tells is the authors' default."""

    def size(name: str, axis: int, default: int) -> int:
        shape = found.get(name, ())
        return (axis < len(shape) and shape[axis]) or default

    default = Configuration()
    width = size("embed.conv_proj.weight", 0, default.width)
    relative = "backbone.backbone.blocks.0.attn.rel_pos_"
    # every distance between two of n positions: 2 n - 1
    height, breadth = (
        _PIXELS_A_TOKEN * ((size(relative + axis, 0, 2 * side // _PIXELS_A_TOKEN - 1) + 1) // 2)
        for axis, side in zip("hw", default.image, strict=True)
    )
    joined = [
        size(name, 0, 0)
        for name in (f"backbone.PANLayer.{number}.weight" for number in range(3))
        if name in found
    ]
    stages = tuple(number for number in range(3) if width << number in joined)
    lone = "backbone.CatConv.weight" not in found and not joined
    return Configuration(
        classes=size("head.head.1.weight", 0, default.classes),
        stages=(*stages, 3) if stages or lone else default.stages,
        norm=any(name.startswith(("backbone.WaveLifts.xa_", "backbone.WaveLifts.xd_")) for name in found),
        splitter="issm" if any(".adapt_split." in name for name in found) else "even-odd",
        channels=size("embed.conv_proj.weight", 1, default.channels),
        width=width,
        image=(height, breadth),
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


def fits(source: Path | str, network: object, wanted: Shapes, state: Mapping[str, Tensor]) -> None:
    """Raise InputError, which names every difference, unless `state` is just what `network` has, in float32."""
    if problem := mismatch(wanted, shapes(state)):
        raise InputError(f"{source}: does not fit the network ({network}).\n{problem}")
    other = [f"{name} ({tensor.dtype})" for name, tensor in state.items() if tensor.dtype != torch.float32]
    if other:
        raise InputError(f"{source}: every tensor must be torch.float32. Got {', '.join(other[:5])} instead.")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a torch or safetensors file without running anything in it.

    Raises:
        InputError: No such file, one that holds more than tensors, or none of torch's.
    """
    must_exist(path)
    if path.suffix == ".safetensors":
        return _unwrapped(path, read(path)[0])
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or hostile file can make the reader stumble over anything
        refused = f"{path}: refused, and nothing in it was run:"
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(
                f"{refused} beside tensors it asks for {asked[1]!r}, and such objects can run any program. "
                "If you trust the file, load it with the code that made it and save the tensors alone: "
                'torch.save({"model": network.state_dict()}, FILE).'
            ) from None
        raise InputError(f"{refused} it is no file of tensors that torch can read.") from None
    return _unwrapped(path, loaded)


def _unwrapped(path: Path, loaded: Any) -> dict[str, Tensor]:
    """Return the state dict inside what a file holds, without the name that a parallel wrapper puts in front."""
    state = loaded.get("model", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not state:
        raise InputError(
            f"{path}: must hold a state dict, bare or under 'model'. Got {_kind(state)} instead."
        )
    others = [f"{name!r} ({_kind(value)})" for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(
            f"{path}: must hold a state dict, bare or under 'model'. Beside tensors it has {', '.join(others[:5])}."
        )
    prefix = "module." if all(str(name).startswith("module.") for name in state) else ""
    return {str(name).removeprefix(prefix): value for name, value in state.items()}


def _kind(value: Any) -> str:
    return f"an empty {type(value).__name__}" if value == {} else type(value).__name__


def _loaded(pretrained: Any) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = pretrained.get_state_dict(
            progress=True, check_hash=True, weights_only=True, map_location="cpu"
        )
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{pretrained.url}: cannot be loaded: {error}. Fetch it elsewhere and name the file."
        ) from None
    return state


def _from_kinetics(name: str) -> str | None:
    """Return our name of a tensor of torchvision's MViTv2-S; None where MFViT-XS takes nothing from it."""
    if name.startswith("conv_proj."):
        return "backbone.stem." + name.removeprefix("conv_proj.")
    if block := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        number = KINETICS_BLOCKS.get(int(block[1]))
        return None if number is None else f"backbone.blocks.{number}.{block[2]}"
    return None


def _their_name(name: str) -> str:
    """Return the authors' name of our tensor, or our own where they have none."""
    try:
        return released_name(name)
    except KeyError:
        return name


def must_be_new(out: Path) -> None:
    """Raise InputError where something lies at `out`."""
    if out.exists():
        raise InputError(f"{out}: already exists; name another file, or remove it.")


def values(tensors: Mapping[str, Tensor]) -> int:
    """Return the number of values in all tensors together."""
    return sum(prod(tensor.shape) for tensor in tensors.values())


def usage(parts: Mapping[str, Mapping[str, Any]], key: str, out: Path, digest: str) -> Iterable[str]:
    """Return the lines of a study that starts from the weights file `out`."""
    yield f"Digest: {digest} (it counts towards a run's identity; the place of the file does not)"
    yield "To start from these weights, in a study:"
    yield "[base]"
    for kind, table in parts.items():
        written = {**table, "weights": str(out)} if kind == key else table
        yield f"{kind} = {{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in written.items())} }}"
