"""Optimizers: from parameters, learning rate and weight decay to a ``torch.optim.Optimizer``.

The training loop sets the learning rate of every parameter group before each step; groups built with different rates
keep their ratios.
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import torch
from torch import nn
from torch.optim import Optimizer

from study.config.registry import Range, component
from study.errors import conflict, quoted, unknown_name, wrong_value

Parameters = list[nn.Parameter] | list[dict[str, Any]]
"""The parameters of a training: a list, or groups with ``params`` and a learning rate ``lr`` of their own."""


@component("optimizer")
def adamw(parameters: Parameters, lr: float, weight_decay: float) -> Optimizer:
    """AdamW with torch's defaults (Loshchilov and Hutter 2019)."""
    is_real = not any(p.is_complex() for p in _trained(parameters))  # torch fuses real parameters only
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=is_real)


@component("optimizer")
def sgd(
    parameters: Parameters,
    lr: float,
    weight_decay: float,
    *,
    momentum: Annotated[float, Range(0, 1), "share of the last step that is kept"] = 0.9,
    nesterov: Annotated[bool, "look ahead by the momentum"] = False,
) -> Optimizer:
    """Stochastic gradient descent with momentum."""
    if nesterov and not momentum:
        raise wrong_value("", "optimizer 'sgd': nesterov = true needs a momentum above 0.")
    # a recorded step has its learning rate in a tensor, which only the fused update reads on the device
    is_fused = all(p.device.type == "cuda" and not p.is_complex() for p in _trained(parameters))
    return torch.optim.SGD(
        parameters, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, fused=is_fused
    )


@component("optimizer")
def torch_optim(
    parameters: Parameters,
    lr: float,
    weight_decay: float,
    *,
    cls: Annotated[str, "name of a class in torch.optim, such as RMSprop"] = "Adam",
    options: Annotated[
        dict[str, bool | int | float | str | list[float]], "other arguments of the class, by name"
    ] = {},  # noqa: B006
) -> Optimizer:
    """Any optimizer of torch.optim by the name of its class."""
    optimizer = _optimizer_class(cls)
    accepted = inspect.signature(optimizer).parameters
    known = [name for name in accepted if name not in ("params", "lr", "weight_decay")]
    for name in options:
        if name in ("lr", "weight_decay"):
            raise conflict(f"optimizer.options.{name}", f"set train.{name} instead.")
        if name not in known:
            raise unknown_name(f"optimizer.options.{name}", f"{cls} has no argument {name!r}", name, known)
    arguments: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.items()
    }
    arguments["lr"] = lr
    if "weight_decay" in accepted:
        arguments["weight_decay"] = weight_decay
    elif weight_decay:
        raise conflict(
            "optimizer.cls",
            f"{cls} has no weight decay. Set train.weight_decay = 0.0 (it is {weight_decay:g}).",
        )
    try:
        built: Optimizer = optimizer(parameters, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise wrong_value("optimizer.options", f"{cls} refuses them: {str(error).splitlines()[0]}.") from None
    return built


def _trained(parameters: Parameters) -> list[nn.Parameter]:
    return [p for part in parameters for p in (part["params"] if isinstance(part, dict) else [part])]


def _optimizer_class(name: str) -> type[Optimizer]:
    """Return an optimizer class of torch.optim; InputError if there is none or its step needs a closure."""
    classes = {
        key: value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer
    }
    usable = [key for key, value in classes.items() if not _needs_closure(value)]
    if name not in usable:
        reason = (
            "needs a closure, which the training loop does not pass" if name in classes else "does not exist"
        )
        raise unknown_name(
            "optimizer.cls",
            f"torch.optim.{name} {reason}",
            name,
            usable,
            f"Allowed: {quoted(sorted(usable))}.",
        )
    return classes[name]


def _needs_closure(optimizer: type[Optimizer]) -> bool:
    closure = inspect.signature(inspect.unwrap(optimizer.step)).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty
