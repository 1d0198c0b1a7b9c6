"""Networks as people write them: what a builder's network may keep, return and draw."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from study.config.registry import Range, component
from study.tasks.clips.nets.contract import Output


class Plain(nn.Module):
    """A convolution, a mean over positions and a linear layer."""

    def __init__(self, shape: Any, classes: int, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv3d(shape.channels, width, 3, padding=1)
        self.fc: Any = nn.Linear(width * shape.height, classes)

    def features(self, clips: Tensor) -> Tensor:
        return F.relu(self.conv(clips)).mean((2, 4)).flatten(1)

    def forward(self, clips: Tensor) -> Any:
        return self.fc(self.features(clips))


class ItemInInit(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 4)]


class NumpyInInit(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.register_buffer("positions", torch.from_numpy(np.sin(torch.arange(16).numpy())).float())


class Chosen(Plain):
    """Chooses its layers by a tensor's values, and asserts something of them."""

    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        kernel = torch.eye(3)
        if kernel.sum() != 3 or not torch.linalg.matrix_rank(kernel) == 3:
            raise ValueError("the kernel has no full rank")
        self.register_buffer("kernel", kernel)


class Lazy(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.conv = nn.LazyConv3d(8, 3, padding=1)  # type: ignore[assignment]
        self.norm = nn.LazyBatchNorm1d()
        self.fc = nn.LazyLinear(classes)

    def forward(self, clips: Tensor) -> Any:
        return self.fc(self.norm(self.features(clips)))


class LazyInTraining(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.auxiliary = nn.LazyLinear(classes)

    def forward(self, clips: Tensor) -> Any:
        features = self.features(clips)
        return self.fc(features) + (self.auxiliary(features) if self.training else 0)


class Autocast(Plain):
    def forward(self, clips: Tensor) -> Any:
        with torch.autocast(clips.device.type, dtype=torch.bfloat16):
            return Output(super().forward(clips))


class Half(Plain):
    def forward(self, clips: Tensor) -> Any:
        return super().forward(clips).half()


class Double(Plain):
    def forward(self, clips: Tensor) -> Any:
        return super().forward(clips).double()


class Brain(Plain):
    """Weights in bfloat16."""

    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.to(torch.bfloat16)

    def forward(self, clips: Tensor) -> Any:
        return super().forward(clips.to(torch.bfloat16))


class Complex(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.filter = nn.Parameter(1 + 0.02 * torch.randn(4, 3, dtype=torch.complex64))
        self.register_buffer("phase", torch.ones(1, dtype=torch.complex64))

    def features(self, clips: Tensor) -> Tensor:
        spectrum = torch.fft.rfftn(clips, dim=(3, 4), norm="ortho") * self.filter * self.phase
        return super().features(torch.fft.irfftn(spectrum, s=clips.shape[3:], dim=(3, 4), norm="ortho"))


class OldWeightNorm(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.fc = nn.utils.weight_norm(self.fc)


class OldSpectralNorm(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.fc = nn.utils.spectral_norm(self.fc)


class NewWeightNorm(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.fc = nn.utils.parametrizations.weight_norm(self.fc)


class Assigned(Plain):
    """Keeps its last features, and what a constructor computed from parameters."""

    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.start = self.fc.weight * 2
        self.history = [self.start]

    def forward(self, clips: Tensor) -> Any:
        self.last = self.features(clips)
        self.history = [self.last]
        return self.fc(self.last)


class Hooked(Plain):
    """A hook that is a closure, and a generator that cannot be copied."""

    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.numbers = (number for number in range(3))
        self.fc.register_forward_hook(lambda module, inputs, output: output * 1.0)


class Cached(Plain):
    """Keeps a table for every number of clips that it has seen."""

    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.scale = nn.Parameter(torch.ones(1))
        self.tables: dict[Any, Tensor] = {}

    def features(self, clips: Tensor) -> Tensor:
        key = (len(clips), clips.device)
        if key not in self.tables:
            table = torch.linspace(0, 1, clips.shape[2], device=clips.device)
            self.tables[key] = table.view(1, 1, -1, 1, 1).expand(len(clips), 1, -1, 1, 1).clone()
        return super().features(clips + self.scale * self.tables[key])


class Squeezed(Plain):
    def forward(self, clips: Tensor) -> Any:
        return self.fc(self.features(clips).squeeze())


class BatchNorm(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.norm = nn.BatchNorm1d(self.fc.in_features)

    def forward(self, clips: Tensor) -> Any:
        return self.fc(self.norm(self.features(clips)))


class FrozenTrunk(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.conv.requires_grad_(False)


class Frozen(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.requires_grad_(False)


class NoParameters(nn.Module):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, clips: Tensor) -> Any:
        return clips.flatten(1)[:, : self.classes]


class Shared(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.block = nn.Linear(self.fc.in_features, self.fc.in_features)
        self.again = self.block
        self.weight = self.block.weight

    def forward(self, clips: Tensor) -> Any:
        return self.fc(self.again(self.block(self.features(clips))))


class Returning(Plain):
    """Returns more than logits."""

    def __init__(self, shape: Any, classes: int, form: str) -> None:
        super().__init__(shape, classes)
        self.form = form

    def forward(self, clips: Tensor) -> Any:
        features = self.features(clips)
        logits = self.fc(features)
        return {"tuple": (logits, features), "list": [logits], "dict": {"logits": logits}}[self.form]


class FixedClasses(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, 7)


class PerFrame(Plain):
    def forward(self, clips: Tensor) -> Any:
        return self.fc(F.relu(self.conv(clips)).mean(4).transpose(1, 2).flatten(2))


class NanInEvaluation(Plain):
    def forward(self, clips: Tensor) -> Any:
        logits = super().forward(clips)
        return logits if self.training else logits / (logits - logits)


class NoReturnFromTrain(Plain):
    """Keeps its convolution in evaluation mode; its ``train`` forgets to return the module."""

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.conv.eval()


class Recomputed(Plain):
    def features(self, clips: Tensor) -> Tensor:
        return checkpoint(super().features, clips, use_reentrant=False)  # type: ignore[no-any-return]


class InPlace(Plain):
    def forward(self, clips: Tensor) -> Any:
        clips.sub_(0.5).div_(0.25)
        return super().forward(clips)


class Listed(Plain):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__(shape, classes)
        self.blocks = [nn.Linear(self.fc.in_features, self.fc.in_features)]

    def forward(self, clips: Tensor) -> Any:
        return self.fc(self.blocks[0](self.features(clips)))


class Verbose(Plain):
    """Fails with its weights in the message."""

    def forward(self, clips: Tensor) -> Any:
        raise ValueError(f"{self.conv.weight}" * 100)


WAYS: dict[str, Any] = {
    "plain": Plain,
    "item in init": ItemInInit,
    "numpy in init": NumpyInInit,
    "chosen by values": Chosen,
    "lazy": Lazy,
    "lazy in training": LazyInTraining,
    "autocast": Autocast,
    "half": Half,
    "double": Double,
    "bfloat16 weights": Brain,
    "complex": Complex,
    "old weight norm": OldWeightNorm,
    "old spectral norm": OldSpectralNorm,
    "new weight norm": NewWeightNorm,
    "assigned": Assigned,
    "hooked": Hooked,
    "cached": Cached,
    "squeezed": Squeezed,
    "batch norm": BatchNorm,
    "frozen trunk": FrozenTrunk,
    "frozen": Frozen,
    "no parameters": NoParameters,
    "shared": Shared,
    "tuple": lambda shape, classes: Returning(shape, classes, "tuple"),
    "list": lambda shape, classes: Returning(shape, classes, "list"),
    "dict": lambda shape, classes: Returning(shape, classes, "dict"),
    "fixed classes": FixedClasses,
    "per frame": PerFrame,
    "nan in evaluation": NanInEvaluation,
    "no return from train": NoReturnFromTrain,
    "recomputed": Recomputed,
    "in place": InPlace,
    "listed": Listed,
    "verbose": Verbose,
    "scripted": lambda shape, classes: torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(32, classes))),
    "compiled": lambda shape, classes: torch.compile(Plain(shape, classes), backend="eager"),
    "parallel": lambda shape, classes: nn.DataParallel(Plain(shape, classes)),
    "function": lambda shape, classes: lambda clips: clips.flatten(1)[:, :classes],
    "class": lambda shape, classes: Plain,
}


@component("network")
def written(
    shape: Any,
    classes: int,
    build: Any,
    *,
    way: Annotated[str, "how it is written"] = "plain",
    width: Annotated[int, Range(1), "not used"] = 1,
) -> Any:
    """A network as people write them."""
    return WAYS[way](shape, classes)
