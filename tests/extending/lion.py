"""An optimizer of one's own: Lion (Chen et al. 2023, arXiv 2302.06675)."""

from typing import Annotated

import torch

from study import Range, component


@component("optimizer")
def lion(
    parameters,
    lr,
    weight_decay,
    *,
    beta1: Annotated[float, Range(0, 0.9999), "decay of the update"] = 0.9,
    beta2: Annotated[float, Range(0, 0.9999), "decay of the momentum"] = 0.99,
) -> torch.optim.Optimizer:
    """Lion: steps of the sign of a momentum."""
    return Lion(parameters, {"lr": lr, "weight_decay": weight_decay, "beta1": beta1, "beta2": beta2})


class Lion(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                update = momentum.lerp(p.grad, 1 - group["beta1"]).sign_()
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])
                momentum.lerp_(p.grad, 1 - group["beta2"])
