"""Components as users write them: plain modules, an optimizer, a schedule, metrics; some of them wrong."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from study.config.registry import Range, component


class Bare(nn.Sequential):
    """Takes clips and returns logits."""

    def __init__(self, shape: Any, classes: Any, width: Any = 16) -> None:
        values = shape.channels * shape.frames * shape.height * shape.width
        super().__init__(nn.Flatten(), nn.Linear(values, width), nn.ReLU(), nn.Linear(width, classes))


@component("network")
def bare(
    shape: Any, classes: Any, build: Any, *, width: Annotated[int, Range(1), "hidden values"] = 16
) -> Any:
    """A network that returns plain logits."""
    return Bare(shape, classes, width)


class Odd(Bare):
    def __init__(self, shape: Any, classes: Any, returns: Any) -> None:
        super().__init__(shape, classes)
        self.returns = returns

    def forward(self, clips: Any) -> Any:
        logits = super().forward(clips)  # type: ignore[no-untyped-call]
        return {  # type: ignore[no-untyped-call]
            "tuple": lambda: (logits, logits),
            "dict": lambda: {"logits": logits},
            "other classes": lambda: logits[:, :-1],
            "one vector": lambda: logits.mean(0),
            "integers": lambda: logits.long(),
            "nothing": lambda: None,
        }[self.returns]()


@component("network")
def odd(
    shape: Any,
    classes: Any,
    build: Any,
    *,
    returns: Annotated[
        Literal["tuple", "dict", "other classes", "one vector", "integers", "nothing"], "what it returns"
    ] = "tuple",
) -> Any:
    """A network that returns something else than logits."""
    return Odd(shape, classes, returns)


class Unfit(Bare):
    """Passes what one forward pass shows, but cannot be trained."""

    def __init__(self, shape: Any, classes: Any, how: Any) -> None:
        super().__init__(shape, classes)
        self.how = how
        self.kept: Any = None
        if how == "exit":
            sys.exit(3)
        if how == "meta":
            self.missing = nn.Parameter(torch.empty(3, device="meta"))

    def forward(self, clips: Any) -> Any:
        logits = super().forward(clips)  # type: ignore[no-untyped-call]
        if self.how == "no gradients":
            return logits.detach()
        if self.how in ("memory", "unread"):
            seen = logits.mean(0)
            if self.how == "memory" and self.kept is not None:
                seen = seen + self.kept * 0.9
            self.kept = seen
            return logits + seen
        return logits


@component("network")
def unfit(
    shape: Any,
    classes: Any,
    build: Any,
    *,
    how: Annotated[
        Literal["meta", "exit", "no gradients", "memory", "unread"], "why it cannot be trained"
    ] = "meta",
) -> Any:
    """A network that fails after the first forward pass, or before it."""
    return Unfit(shape, classes, how)


class Broken(nn.Module):
    def __init__(self, shape: Any, classes: Any, when: Any) -> None:
        super().__init__()
        self.when = when
        self.body = Bare(shape, classes)
        self.head = nn.Linear(5, classes)

    def forward(self, clips: Any) -> Any:
        if self.when == "forward":
            return self.head(self.body(clips))
        if self.when == "evaluation" and not self.training:
            raise ZeroDivisionError("no clips")
        if self.when == "backward":
            return self.body(clips).detach()
        return self.body(clips)


@component("network")
def broken(
    shape: Any,
    classes: Any,
    build: Any,
    *,
    when: Annotated[Literal["building", "forward", "evaluation", "backward"], "when it fails"] = "forward",
) -> Any:
    """A network that fails."""
    if when == "building":
        raise KeyError("width")
    return Broken(shape, classes, when)


@component("loss")
def per_clip() -> Any:
    """A loss that is no scalar."""
    return lambda output, targets: F.cross_entropy(output.logits, targets, reduction="none")


@component("optimizer")
def signs(
    parameters: Any, lr: Any, weight_decay: Any, *, shrink: Annotated[float, Range(0, 1), "a share"] = 0.5
) -> Any:
    """Steps by the signs of gradients."""
    return torch.optim.SGD([{"params": [p], "lr": lr * shrink} for p in parameters], lr=lr)


@component("optimizer")
def sleeping(parameters: Any, lr: Any, weight_decay: Any) -> Any:
    """An optimizer that leaves one parameter alone."""
    return torch.optim.SGD(parameters[:-1], lr=lr)


@component("schedule")
def growing(peak: Any, epochs: Any, warmup_epochs: Any, steps_per_epoch: Any) -> Any:
    """A rate that falls below 0."""

    class Growing:
        def rate(self, step: Any) -> Any:
            return peak - step

    return Growing()


@component("metric", label="mean confidence", direction="minimize", unit="nats", scale=1.0, high=None)
def surprise(labels: Any, logits: Any) -> float:
    """Mean negative log-probability of the true class."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[range(len(labels)), labels]
    import numpy as np

    return float((np.log(np.exp(shifted).sum(axis=1)) - chosen).mean())


@component("metric", low=0.0, high=0.1)
def unbounded(labels: Any, logits: Any) -> float:
    """A metric outside its bounds that looks at the first example."""
    return float(labels[0] + 1)
