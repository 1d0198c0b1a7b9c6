"""Benchmark of a training step at full size: ``python -m study.bench.step``.

The network is IFDD as its authors released it. The baseline is the same network with torchvision's own blocks, in fp32.
A step is a forward pass, a backward pass and an update by AdamW. Both sides have equal weights and take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console
from torch import Tensor, nn

from study.bench.result import Measured, as_json, as_table, in_turn, on_this_machine
from study.config.recipes import recipe
from study.config.registry import Registry
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.ifdd.network import configured
from study.tasks.clips.nets.video.backbones import MViT, mfvit_xs_trunk
from study.tasks.clips.training.building import as_trained
from study.tasks.clips.training.precision import forward, set_precision
from study.tasks.clips.training.settings import AttentionForm, Precision, TrainSettings
from study.tasks.clips.training.stepping.graph import WARM_UPS, CudaRecorder, NoRecorder, Recorded

Device = Literal["cpu", "cuda"]
CLASSES = 7
BASELINE = "torchvision's blocks, fp32"
FULL_SIZE = ClipShape(channels=3, frames=16, height=224, width=224)
CLIPS: Mapping[Device, int] = {"cpu": 1, "cuda": 16}
"""Clips in a step."""
GIB = 2**30


@dataclass(frozen=True)
class Variant:
    """One way to take a step."""

    name: str
    attention: AttentionForm = "fast"
    precision: Precision = "fp32"
    compile: bool = False
    graph: bool = False
    is_deterministic: bool = False


VARIANTS: Mapping[Device, tuple[Variant, ...]] = {
    "cpu": (Variant("fp32"),),
    "cuda": (
        Variant("fp32"),
        Variant("fp32, deterministic", is_deterministic=True),
        Variant("bf16", precision="bf16"),
        Variant("bf16, graph", precision="bf16", graph=True),
        Variant("bf16, graph, deterministic", precision="bf16", graph=True, is_deterministic=True),
        Variant("bf16, graph, compiled", precision="bf16", graph=True, compile=True),
    ),
}


class PlainMViT(MViT):
    """The backbone with torchvision's own blocks."""

    def adapt(self, block: Any, grid: Any, query_stride: int, key_stride: int) -> None:
        """Keep the block as it is."""


class Trainee:
    """A network with an optimizer, which takes steps on one batch of random clips.

    Args:
        network: The network, with its weights.
        variant: How it takes a step.
        shape: The shape of a clip; height and width a power of two from 32, or 224.
        clips: Clips in the batch.
        device: The device.
    """

    def __init__(
        self, network: nn.Module, variant: Variant, shape: ClipShape, clips: int, device: Device
    ) -> None:
        self.variant = variant
        settings = TrainSettings(attention=variant.attention, compile=variant.compile)
        self.device = torch.device(device)
        before = self._allocated
        self.network = as_trained(network, settings).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=1e-4, fused=True, capturable=variant.graph
        )
        self.clips = torch.rand(clips, *shape, generator=torch.Generator().manual_seed(0)).to(self.device)
        self.labels = (torch.arange(clips) % CLASSES).to(self.device)
        registry = Registry()
        self.loss = registry.build("loss", registry.resolve("loss", "cross-entropy-context", "loss"))
        recorder = CudaRecorder() if variant.graph else NoRecorder()
        self.update, self.compute = Recorded(self._update, recorder), Recorded(self._compute, recorder)
        self.logits = self._logits().clone()
        """Logits of the clips in evaluation, with the initial weights."""
        for _ in range(WARM_UPS + 1 if variant.graph else 1):  # until both are recorded
            self._logits()
            self.step()
        self.own = self._allocated - before
        """Bytes that stay allocated between two steps."""

    @property
    def _allocated(self) -> int:
        return torch.cuda.memory_allocated() if self.device.type == "cuda" else 0

    def step(self) -> float:
        """Take a step and return its milliseconds: of the processor on a CPU, where other load then matters less."""
        self._set_up()
        began = self._now()
        self.network.train()
        self.update(self.clips, self.labels)
        return (self._now() - began) * 1e3

    def evaluation(self) -> float:
        """Return the milliseconds of a forward pass in evaluation."""
        began = self._now()
        self._logits()
        return (self._now() - began) * 1e3

    def peak_gib(self) -> float:
        """Return the largest memory of a step in GiB, other networks on the device left out."""
        others = self._allocated - self.own
        torch.cuda.reset_peak_memory_stats()
        self.step()
        return (torch.cuda.max_memory_allocated() - others) / GIB

    def _logits(self) -> Tensor:
        self._set_up()
        self.network.eval()
        with torch.inference_mode():
            return self.compute(self.clips)

    def _update(self, clips: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss: Tensor = self.loss(forward(self.network, clips, self.variant.precision), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    def _compute(self, clips: Tensor) -> Tensor:
        return forward(self.network, clips, self.variant.precision).logits

    def _set_up(self) -> None:
        torch.use_deterministic_algorithms(self.variant.is_deterministic)
        torch.backends.cudnn.deterministic = self.variant.is_deterministic
        set_precision(self.variant.precision, self.device.type)

    def _now(self) -> float:
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def step(
    device: Device = "cpu",
    repeats: int = 5,
    shape: ClipShape = FULL_SIZE,
    clips: int | None = None,
    variants: tuple[Variant, ...] | None = None,
) -> list[Measured]:
    """Measure a training step and a forward pass of every variant, each in turn with the baseline.

    On a CPU, one thread is used. On a GPU, the largest memory of a step is measured too. A result names by how much
    logits differ from the baseline's at most, as a share of its largest logit.

    Args:
        device: The device.
        repeats: Measurements of each side.
        shape: The shape of a clip.
        clips: Clips in a step; by default `CLIPS`.
        variants: What is measured; by default `VARIANTS`.
    """
    torch.set_num_threads(1)
    count = CLIPS[device] if clips is None else clips
    make = partial(Trainee, shape=shape, clips=count, device=device)
    baseline = make(network_of(shape, PlainMViT), Variant(BASELINE, attention="reference"))
    model, versions = on_this_machine(device)
    results = []
    for variant in VARIANTS[device] if variants is None else variants:
        trainee = make(network_of(shape, MViT), variant)
        difference = (trainee.logits - baseline.logits).abs().max() / baseline.logits.abs().max()
        what = f"{variant.name}, {count} x {' x '.join(map(str, shape))}, logits within {difference:.1e}"
        measured = partial(Measured, baseline=BASELINE, repeats=repeats, device=model, versions=versions)
        sides: dict[str, tuple[Callable[[Trainee], float], str]] = {
            "step": (Trainee.step, "ms"),
            "evaluation": (Trainee.evaluation, "ms"),
        }
        if device == "cuda" and not variant.graph:  # a recording keeps its memory
            sides["memory of a step"] = (Trainee.peak_gib, "GiB")
        for name, (measure, unit) in sides.items():
            figures = in_turn(
                {"before": partial(measure, baseline), "after": partial(measure, trainee)}, repeats
            )
            results.append(measured(f"{name}, {what}", unit, figures["before"], figures["after"]))
    torch.use_deterministic_algorithms(False)
    return results


def network_of(shape: ClipShape, trunk: type[MViT]) -> nn.Module:
    """Return the released IFDD with a backbone of `trunk`; the weights are the same for every trunk."""
    registry = Registry()
    config = configured(registry, recipe("ifdd-released", "step").values["base"])

    def build(kind: str, part: Any, *context: Any) -> Any:
        if kind != "backbone":
            return registry.build(kind, part, *context)
        return mfvit_xs_trunk(shape, part["width"], 0.0, trunk)

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        parts = {**config.pop("network"), **config}
        network: nn.Module = registry.build("network", parts, shape, CLASSES, build)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" not in name:
                deviation = parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation)
    return network


def main(
    device: Annotated[str, typer.Option(help="The device, cpu or cuda.")] = "cpu",
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of each side.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")] = False,
) -> None:
    """Measure a training step of IFDD at full size against the same network with torchvision's blocks."""
    place: Device = "cuda" if device == "cuda" else "cpu"
    if json:
        print(as_json(step(place, repeats)))
        return
    console = Console(width=max(140, Console().width))
    for variant in VARIANTS[place]:  # compiling takes minutes
        console.print(as_table(step(place, repeats, variants=(variant,))))


if __name__ == "__main__":
    typer.run(main)
