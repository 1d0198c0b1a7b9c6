"""Pretrained weights: safetensors files with a record of their origin."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn

from study.config.registry import File
from study.errors import InputError, quoted
from study.files import write
from study.hashing import HARNESS, canonical_json, file_digest
from study.records import SCHEMA, from_json
from study.tasks.clips.nets.state_dicts import read, read_state_dict, without_wrappers

SCRATCH = "scratch"
"""Value of ``weights`` for random initialisation."""
WeightsFile = Annotated[str, File(), "weights file to start from, made by 'study weights'"]
NAMES_SHOWN = 20
Module = TypeVar("Module", bound=nn.Module)
Shapes = Mapping[str, tuple[int, ...]]
_FACTS = "study"
_PREFIX = {"network": "", "backbone": "backbone."}
"""Prefix of the tensors of a kind in the weights of a whole network."""
_log = logging.getLogger(__name__)
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

    A backbone also loads from the weights of a whole network. A classifier for another number of classes is left out:
    it keeps its initial values. A network that is not of this project also starts from any file of tensors that fits,
    whatever wrapper's names it has. On the meta device the file is only checked.

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
        loaded, facts = _read(path, kind, module)
    fresh = {name.removeprefix(_PREFIX[kind]) for name in facts.fresh}
    wanted = {name: shape for name, shape in shapes(module.state_dict()).items() if name not in fresh}
    if kind == "network" and (classifier := _other_classes(wanted, shapes(loaded))):
        _warn(
            f"{path}: its classifier, {quoted(classifier)}, is for another number of classes and left out: it starts "
            "from the seed."
        )
        for name in classifier:
            del wanted[name], loaded[name]
    if problem := mismatch(wanted, shapes(loaded)):
        made_for = f", made for {canonical_json(facts.config)}" if facts.config else ""
        raise InputError(
            f"{kind}.weights: {path} does not fit this {kind}. It holds {facts.origin}{made_for}.\n{problem}"
        )
    if not any(parameter.is_meta for parameter in module.parameters()):
        module.load_state_dict(loaded, strict=False)
    if facts.mean:
        module.register_forward_pre_hook(Normalisation(facts.mean, facts.std))
    return module


def _read(
    path: Path, kind: Literal["network", "backbone"], module: nn.Module
) -> tuple[dict[str, Tensor], Facts]:
    """Return the tensors of a file by the names of `module`, and what is known of them."""
    prefix = _PREFIX[kind]
    is_own = type(module).__module__.partition(".")[0] != HARNESS
    metadata = read(path)[1] if path.suffix == ".safetensors" or not is_own else {}
    if _FACTS in metadata:
        tensors = read(path)[0]
        return {
            name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)
        }, from_json(Facts, metadata[_FACTS], str(path))
    if not is_own:
        raise InputError(
            f"{kind}.weights: {path} has no record of its origin; make it with 'study weights import' "
            "or 'study weights kinetics'."
        )
    wanted = shapes(module.state_dict())
    ignored = {name for name, _ in module.named_buffers()} - set(
        wanted
    )  # files of runs hold these buffers too
    candidates = [
        {name: tensor for name, tensor in state.items() if name not in ignored}
        for state in without_wrappers(read_state_dict(path))
    ]
    best = min(candidates, key=lambda state: len(state.keys() ^ wanted.keys()))
    return best, Facts("tensors of unknown origin", {})


def _other_classes(wanted: Shapes, found: Shapes) -> list[str]:
    """Return the tensors of a classifier if a file fits but for its number of classes: those of one layer."""
    if wanted.keys() != found.keys():
        return []
    differing = [name for name, shape in wanted.items() if found[name] != shape]
    layers = {name.rpartition(".")[0] for name in differing}
    rows = {(wanted[name][:1], found[name][:1]) for name in differing}
    is_classifier = all(wanted[name][1:] == found[name][1:] and wanted[name] for name in differing)
    return differing if len(layers) == len(rows) == 1 and is_classifier else []


@cache
def _warn(text: str) -> None:
    """Log a warning once: a network is built several times."""
    _log.warning("%s", text)


def save(path: Path, tensors: Mapping[str, Tensor], facts: Facts) -> str:
    """Write a weights file and return its digest; the same tensors and facts give the same bytes."""
    owned = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    # one key: safetensors does not keep the order of several
    write(path, safetensors.torch.save(owned, {_FACTS: canonical_json(asdict(facts))}))
    return file_digest(path)


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
