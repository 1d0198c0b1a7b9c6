"""Tensors of a network: parameters and all buffers, those that ``state_dict`` leaves out included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from study.errors import StudyError, code_error


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a network by name: its state dict, and the buffers that are not persistent.

    Raises:
        InputError: The state dict holds something else than tensors.
    """
    state: dict[str, Any] = network.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise code_error(
                "",
                f"the network's state_dict holds {name!r} of type {type(value).__name__}, and only tensors can be "
                "kept. Return a tensor from get_extra_state, or use register_buffer.",
            )
    return {**dict(network.named_buffers()), **state}


def copy_of_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the network's tensors on the CPU, each in memory of its own."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors_of(network).items()
    }


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Restore what `copy_of_weights` returned; files of older versions have only the state dict.

    Raises:
        StudyError: The network has other parameters or persistent buffers.
    """
    load_buffers(
        network, {name: value for name, value in tensors.items() if name not in network.state_dict()}
    )
    state = {name: value for name, value in tensors.items() if name in network.state_dict()}
    try:
        network.load_state_dict(state)
    except (RuntimeError, KeyError) as error:
        lines = " ".join(line.strip() for line in str(error).splitlines())
        raise StudyError(
            f"the network that its configuration builds has other tensors than the trained one: {lines}"
        ) from None


@torch.no_grad()
def load_buffers(network: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    """Restore buffers by name, also those that training registered, or gave another shape.

    Raises:
        StudyError: The network has no module for a buffer, or another attribute of its name.
    """
    present = dict(network.named_buffers())
    for name, value in buffers.items():
        buffer = present.get(name)
        if buffer is not None and (buffer.shape, buffer.dtype) == (value.shape, value.dtype):
            buffer.copy_(value)
            continue
        owner, _, attribute = name.rpartition(".")
        try:
            module = network.get_submodule(owner)
            place = buffer if buffer is not None else next(network.parameters(), value)
            if attribute in module._buffers:
                module._buffers[attribute] = value.to(place.device, copy=True)
            else:
                vars(module).pop(attribute, None)  # a placeholder, such as None
                module.register_buffer(attribute, value.to(place.device, copy=True), persistent=False)
        except (AttributeError, KeyError) as error:
            raise StudyError(
                f"the buffer {name!r} of the trained network cannot be restored: {error}"
            ) from None
