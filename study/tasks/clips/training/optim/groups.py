"""Learning rates of the parts of a network: by depth (layer decay) and by the names of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from study.errors import conflict, quoted, unknown_name
from study.tasks.clips.training.optim.optimizers import Parameters

FEWEST_LAYERS = 2


def parameter_groups(
    network: nn.Module,
    others: Sequence[nn.Parameter],
    lr: float,
    layer_decay: float,
    factors: Mapping[str, float],
) -> Parameters:
    """Return the parameters that an optimizer trains: a list if all have one rate, else a group for each rate.

    Args:
        network: The network.
        others: Parameters of the loss, trained at the full rate.
        lr: Peak learning rate.
        layer_decay: Ratio of the rates of successive layers; see `layer_shares`.
        factors: Factors of the rate by the first names of tensors; the longest that matches counts.

    Raises:
        InputError: A name that no tensor begins with, factors that leave nothing to train, or a layer decay of a
            network without a list of layers.
    """
    named = dict(network.named_parameters())
    if layer_decay == 1 and not factors:
        return list(dict.fromkeys([*named.values(), *others]))
    shares = layer_shares(network, layer_decay)
    by_name = {name: shares[name] * _factor(name, factors) for name in named}
    for prefix in factors:
        if not any(_begins(name, prefix) for name in named):
            known = list(dict.fromkeys(name.partition(".")[0] for name in named))
            raise unknown_name(
                f"train.lr_factors.{prefix}",
                "the network has no tensor of this name",
                prefix,
                known,
                f"Tensors begin with {quoted(known)}.",
            )
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named.items():
        groups.setdefault(by_name[name], []).append(parameter)
    own = {id(parameter) for parameter in named.values()}
    if rest := [parameter for parameter in others if id(parameter) not in own]:
        groups.setdefault(1.0, []).extend(rest)
    if not any(groups):
        raise conflict("train.lr_factors", "are all 0, so nothing would be trained.")
    groups_by_rate: list[dict[str, Any]] = [
        {"params": groups[share], "lr": share * lr} for share in sorted(groups, reverse=True)
    ]
    return groups_by_rate


def layer_shares(network: nn.Module, decay: float) -> dict[str, float]:
    """Return the share of the learning rate that each tensor has, by name.

    The layers of a network are the members of its longest list of modules (the outermost of several). Tensors that
    are registered before it, such as an embedding, belong to layer 0, those of its members to layers 1 … N, and those
    after it, such as a head, to layer N + 1. Layer i has the share ``decay^(N + 1 - i)`` (Bao et al. 2022, BEiT).

    Raises:
        InputError: The network has no such list, and the decay is below 1.
    """
    names = [name for name, _ in network.named_parameters()]
    if decay == 1:
        return dict.fromkeys(names, 1.0)
    prefix, members = max(_lists_of_layers(network), key=lambda item: len(item[1]), default=("", []))
    if len(members) < FEWEST_LAYERS:
        raise conflict(
            "train.layer_decay",
            "the network has no list of layers, such as an nn.Sequential or nn.ModuleList. Set "
            "train.layer_decay = 1.0.",
        )
    layers = {}
    number = 0
    for name in names:
        if _begins(name, prefix):
            number = members.index(name.removeprefix(f"{prefix}.").partition(".")[0]) + 1
        elif number:
            number = len(members) + 1
        layers[name] = number
    return {name: decay ** (len(members) + 1 - layer) for name, layer in layers.items()}


def _lists_of_layers(network: nn.Module) -> list[tuple[str, list[str]]]:
    """Return the names of lists of modules, with those of their members that have parameters."""
    return [
        (
            name,
            [member for member, module in modules.named_children() if any(True for _ in module.parameters())],
        )
        for name, modules in network.named_modules()
        if isinstance(modules, nn.ModuleList | nn.Sequential | nn.ModuleDict)
    ]


def _factor(name: str, factors: Mapping[str, float]) -> float:
    matching = [prefix for prefix in factors if _begins(name, prefix)]
    return factors[max(matching, key=len)] if matching else 1.0


def _begins(name: str, prefix: str) -> bool:
    """Return whether a dotted name begins with the names of `prefix`; every name begins with none."""
    return not prefix or f"{name}.".startswith(f"{prefix}.")
