"""Components as a stranger writes them: plain modules, an optimizer, a schedule, metrics; some of them wrong."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import nn
from torch.nn import functional as F

from study.config.registry import Range, component


class Bare(nn.Sequential):
    """Takes clips and returns logits."""

    def __init__(self, shape, classes, width=16):
        values = shape.channels * shape.frames * shape.height * shape.width
        super().__init__(nn.Flatten(), nn.Linear(values, width), nn.ReLU(), nn.Linear(width, classes))


@component("network")
def bare(shape, classes, build, *, width: Annotated[int, Range(1), "hidden values"] = 16):
    """A network that returns plain logits."""
    return Bare(shape, classes, width)


class Odd(Bare):
    def __init__(self, shape, classes, returns):
        super().__init__(shape, classes)
        self.returns = returns

    def forward(self, clips):
        logits = super().forward(clips)
        return {
            "tuple": lambda: (logits, logits),
            "dict": lambda: {"logits": logits},
            "other classes": lambda: logits[:, :-1],
            "one vector": lambda: logits.mean(0),
            "integers": lambda: logits.long(),
            "nothing": lambda: None,
        }[self.returns]()


@component("network")
def odd(
    shape,
    classes,
    build,
    *,
    returns: Annotated[
        Literal["tuple", "dict", "other classes", "one vector", "integers", "nothing"], "what it returns"
    ] = "tuple",
):
    """A network that returns something else than logits."""
    return Odd(shape, classes, returns)


class Broken(nn.Module):
    def __init__(self, shape, classes, when):
        super().__init__()
        self.when = when
        self.body = Bare(shape, classes)
        self.head = nn.Linear(5, classes)

    def forward(self, clips):
        if self.when == "forward":
            return self.head(self.body(clips))
        if self.when == "evaluation" and not self.training:
            raise ZeroDivisionError("no clips")
        if self.when == "backward":
            return self.body(clips).detach()
        return self.body(clips)


@component("network")
def broken(
    shape,
    classes,
    build,
    *,
    when: Annotated[Literal["building", "forward", "evaluation", "backward"], "when it fails"] = "forward",
):
    """A network that fails."""
    if when == "building":
        raise KeyError("width")
    return Broken(shape, classes, when)


@component("loss")
def per_clip():
    """A loss that is no scalar."""
    return lambda output, targets: F.cross_entropy(output.logits, targets, reduction="none")


@component("optimizer")
def signs(parameters, lr, weight_decay, *, shrink: Annotated[float, Range(0, 1), "a share"] = 0.5):
    """Steps by the signs of gradients."""
    return torch.optim.SGD([{"params": [p], "lr": lr * shrink} for p in parameters], lr=lr)


@component("optimizer")
def sleeping(parameters, lr, weight_decay):
    """An optimizer that leaves one parameter alone."""
    return torch.optim.SGD(parameters[:-1], lr=lr)


@component("schedule")
def growing(peak, epochs, warmup_epochs, steps_per_epoch):
    """A rate that falls below 0."""

    class Growing:
        def rate(self, step):
            return peak - step

    return Growing()


@component("metric", label="mean confidence", direction="minimize", unit="nats", scale=1.0, high=None)
def surprise(labels, logits) -> float:
    """Mean negative log-probability of the true class."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[range(len(labels)), labels]
    import numpy as np

    return float((np.log(np.exp(shifted).sum(axis=1)) - chosen).mean())


@component("metric", low=0.0, high=0.1)
def unbounded(labels, logits) -> float:
    """A metric outside its bounds that looks at the first example."""
    return float(labels[0] + 1)
