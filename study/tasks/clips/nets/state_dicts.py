"""State dicts in files of torch and of safetensors, read without running any code, and the names that wrappers add."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from study.errors import InputError, quoted, shown

CONTAINERS = ("model", "state_dict", "model_state_dict", "module", "net", "network")
"""Keys under which checkpoints hold the state dict; under another key it is found if it is the only one."""
INSERTED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_forward_module.")
"""What compiled, sharded and recomputed modules add to the names of what is in them."""


def without_wrappers(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield tensors under the names that they may have without wrappers: as they are first, the shortest names last.

    What compiled, sharded and recomputed modules insert is removed wherever it stands, and then every first part that
    all names share, whatever it is called (``module.``, ``model.``, ``ema.``, ``student.encoder.``).
    """
    state = dict(tensors)
    yield state
    for inserted in INSERTED:
        pattern = re.compile(rf"(^|(?<=\.)){re.escape(inserted)}")
        renamed = {pattern.sub("", name): value for name, value in state.items()}
        if len(renamed) == len(state) and renamed.keys() != state.keys():
            state = renamed
            yield state
    while len({name.partition(".")[0] for name in state}) == 1 and all("." in name for name in state):
        state = {name.partition(".")[2]: value for name, value in state.items()}
        yield state


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


def must_exist(path: Path) -> None:
    """Raise InputError unless `path` is a file."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a torch or safetensors file, without names of wrappers; no code in it is run.

    Raises:
        InputError: As `read_state_dict`.
    """
    *_, shortest = without_wrappers(read_state_dict(path))
    return shortest


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a torch or safetensors file without running any code in it.

    Raises:
        InputError: The file is missing, holds more than tensors, or is no file of torch.
    """
    must_exist(path)
    if path.suffix == ".safetensors":
        return _unwrapped(path, read(path)[0])
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or hostile file can raise anything in the reader
        refused = f"{path}: refused, and nothing in it was run:"
        if requested := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(
                f"{refused} beside tensors it needs {requested[1]!r}, and such objects can run any program. "
                "If you trust the file, load it with the code that made it and save only the tensors: "
                'torch.save({"model": network.state_dict()}, FILE).'
            ) from None
        raise InputError(f"{refused} it is not a file of tensors that torch can read.") from None
    return _unwrapped(path, loaded)


def _unwrapped(path: Path, loaded: Any) -> dict[str, Tensor]:
    """Return the state dict in a file's content, with the names that it has there."""
    state = loaded
    while isinstance(state, Mapping) and (key := _key_of_state_dict(path, state)):
        state = state[key]
    if not isinstance(state, Mapping) or not state:
        raise InputError(
            f"{path}: must hold a state dict, bare or under one of {quoted(CONTAINERS)}. "
            f"Got {_kind(state)} instead."
        )
    others = [f"{name!r} ({_kind(value)})" for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(
            f"{path}: must hold a state dict, bare or under one of {quoted(CONTAINERS)}. "
            f"Beside tensors it has {', '.join(others[:5])}."
        )
    return {str(name): value for name, value in state.items()}


def _key_of_state_dict(path: Path, loaded: Mapping[str, Any]) -> str | None:
    """Return the key under which a checkpoint holds its state dict; None if it is one itself."""
    if known := next((key for key in CONTAINERS if key in loaded), None):
        return known
    held = [key for key, value in loaded.items() if isinstance(value, Mapping) and _holds_tensors(value)]
    if len(held) > 1 and not any(isinstance(value, Tensor) for value in loaded.values()):
        keys = ", ".join(map(shown, held))
        raise InputError(
            f"{path}: holds {len(held)} state dicts, under {keys}. Save the one to use: "
            f'torch.save({{"model": checkpoint[{held[0]!r}]}}, FILE).'
        )
    return held[0] if len(held) == 1 else None


def _holds_tensors(mapping: Mapping[str, Any]) -> bool:
    return bool(mapping) and all(isinstance(value, Tensor) for value in mapping.values())


def _kind(value: Any) -> str:
    return f"an empty {type(value).__name__}" if value == {} else type(value).__name__
