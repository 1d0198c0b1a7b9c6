"""Pretrained weights: safetensors files with a record of their origin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from study.config.registry import File
from study.errors import InputError
from study.files import write
from study.hashing import canonical_json, file_digest
from study.records import SCHEMA, from_json

SCRATCH = "scratch"
"""Value of ``weights`` for random initialisation."""
WeightsFile = Annotated[str, File(), "weights file to start from, made by 'study weights'"]
NAMES_SHOWN = 20
Module = TypeVar("Module", bound=nn.Module)
Shapes = Mapping[str, tuple[int, ...]]
_FACTS = "study"
_WITH_DIGEST = re.compile(r"(?P<path>.+)#(?P<digest>[0-9a-f]{16})")


@dataclass(frozen=True)
class Facts:
    """Metadata of a weights file, whose tensors have this project's names."""

    origin: str
    """Origin of the tensors, in words."""
    config: Mapping[str, Any]
    """Components of the tensors, as a study writes them; ``classes`` and ``shape`` if the tensors depend on them."""
    fresh: tuple[str, ...] = ()
    """Tensors of these components that are not in the file: they are initialised from the seed."""
    mean: tuple[float, ...] = ()
    """Mean of every channel of clips in [0, 1], subtracted before the backbone; empty for no normalisation."""
    std: tuple[float, ...] = ()
    """Standard deviation of every channel, by which the clips are then divided."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class Normalisation:
    """Forward pre-hook of a backbone: normalises clips (B, C, T, H, W) in [0, 1] as its weights require."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return `inputs`, the first of them normalised."""
        clips, *others = inputs
        mean, std = (clips.new_tensor(values).view(-1, 1, 1, 1) for values in (self.mean, self.std))
        return ((clips - mean) / std, *others)


def start_from(module: Module, kind: Literal["network", "backbone"], weights: str) -> Module:
    """Return `module` with pretrained weights, and with the input normalisation that they require.

    A backbone also loads from the weights of a whole network. On the meta device the file is only checked.

    Args:
        module: A network or a backbone.
        kind: Kind of `module`, its key in the study.
        weights: ``scratch``, a file, or ``FILE#DIGEST`` with the expected digest.

    Raises:
        InputError: The file is missing, has another digest, or its tensors do not fit.
    """
    if weights == SCRATCH:
        return module
    named = _WITH_DIGEST.fullmatch(weights)
    path = Path(named["path"] if named else weights)
    if named and file_digest(path) != named["digest"]:
        raise InputError(f"{kind}.weights: {path} has changed since the study was planned; plan it again.")
    with torch.device("cpu"):
        tensors, metadata = read(path)
    if _FACTS not in metadata:
        raise InputError(
            f"{kind}.weights: {path} has no record of its origin; make it with 'study weights import' "
            "or 'study weights kinetics'."
        )
    facts = from_json(Facts, metadata[_FACTS], str(path))
    prefix = "backbone." if kind == "backbone" else ""
    loaded = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    fresh = {name.removeprefix(prefix) for name in facts.fresh}
    wanted = {name: shape for name, shape in shapes(module.state_dict()).items() if name not in fresh}
    if problem := mismatch(wanted, shapes(loaded)):
        raise InputError(
            f"{kind}.weights: {path} does not fit this {kind}. It holds {facts.origin}, made for "
            f"{canonical_json(facts.config)}.\n{problem}"
        )
    if not any(parameter.is_meta for parameter in module.parameters()):
        module.load_state_dict(loaded, strict=False)
    if facts.mean:
        module.register_forward_pre_hook(Normalisation(facts.mean, facts.std))
    return module


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises:
        InputError: The file is missing, or is not a safetensors file.
    """
    must_exist(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path}: not a readable safetensors file: {error}.") from None


def save(path: Path, tensors: Mapping[str, Tensor], facts: Facts) -> str:
    """Write a weights file and return its digest; the same tensors and facts give the same bytes."""
    owned = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    # one key: safetensors does not keep the order of several
    write(path, safetensors.torch.save(owned, {_FACTS: canonical_json(asdict(facts))}))
    return file_digest(path)


def must_exist(path: Path) -> None:
    """Raise InputError unless `path` is a file."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def mismatch(wanted: Shapes, found: Shapes) -> str:
    """Return the tensors that are missing, unexpected or of another shape, in words; empty if all fit."""
    differing = {
        "missing": [f"{name} {list(shape)}" for name, shape in wanted.items() if name not in found],
        "unexpected": [f"{name} {list(shape)}" for name, shape in found.items() if name not in wanted],
        "of another shape": [
            f"{name} {list(found[name])}, must be {list(shape)}"
            for name, shape in wanted.items()
            if name in found and found[name] != shape
        ],
    }
    return "\n".join(_name_list(label, names) for label, names in differing.items() if names)


def _name_list(label: str, names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = [f"… and {len(ordered) - NAMES_SHOWN} more"] if len(ordered) > NAMES_SHOWN else []
    return "\n    ".join([f"  {label} ({len(ordered)}):", *ordered[:NAMES_SHOWN], *more])
