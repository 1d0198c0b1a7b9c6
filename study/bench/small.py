"""Benchmark of the small network: a training step and an evaluation on one thread, with two backbones.

The baseline is the first backbone of this package that learned on a CPU: three convolutions, the first two at half
and a quarter of the size, whose last stage has 16 positions a time step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from study.bench.result import Measured, in_turn, on_this_machine
from study.config.registry import Registry, component
from study.records import RunSpec
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.data.seeded import build_dataset
from study.tasks.clips.nets.contract import Details, Features
from study.tasks.clips.nets.ifdd.network import configured
from study.tasks.clips.nets.resampling import PoolTo
from study.tasks.clips.training.precision import forward
from study.tasks.clips.training.state import TrainState
from study.tasks.clips.training.stepping.step import EagerStep

CLIPS = 32
"""Clips in a batch."""
BASELINE = "three convolutions"
SIDES = {"before": "three-convolutions", "after": "conv-tiny"}
"""The backbone of each side."""
STEPS = 4
"""Steps of one measurement."""


@component("backbone")
def three_convolutions(shape: ClipShape) -> nn.Module:
    """The baseline: three 2-D convolutions on pairs of frames."""
    return ThreeConvolutions(shape)


class ThreeConvolutions(nn.Module):
    """2-D convolutions on pairs of frames, stacked as channels; 64 channels at 4 x 4 for clips of 32 x 32."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2 * shape.channels, 16, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.pool = PoolTo(shape.height // 4, shape.width // 4, 4)
        self.stages = (Features(64, shape.frames // 2, self.pool.height, self.pool.width),)

    def forward(self, clips: Tensor, details: Details | None = None) -> tuple[Tensor, ...]:
        """Return the last stage of clips (B, C, T, H, W)."""
        pairs = clips.transpose(1, 2).reshape(-1, 2 * clips.shape[1], *clips.shape[3:])
        maps = self.pool(self.layers(pairs))
        return (torch.unflatten(maps, 0, (len(clips), -1)).transpose(1, 2),)


def small(repeats: int = 15) -> list[Measured]:
    """Measure a training step and an evaluation of `CLIPS` clips with both backbones, in turn, on one thread.

    The time is that of the processor, so other load on the machine matters less.

    Args:
        repeats: Measurements of each side.
    """
    torch.set_num_threads(1)
    states = {side: _state(backbone) for side, backbone in SIDES.items()}
    steps = in_turn({side: _timed(_step, state) for side, state in states.items()}, repeats)
    evaluations = in_turn({side: _timed(_evaluation, state) for side, state in states.items()}, repeats)
    device, versions = on_this_machine()
    return [
        Measured(
            f"{name} of {CLIPS} clips, small network",
            "ms",
            figures["before"],
            figures["after"],
            BASELINE,
            repeats=repeats,
            device=device,
            versions=versions,
        )
        for name, figures in (("training step", steps), ("evaluation", evaluations))
    ]


def _state(backbone: str) -> TrainState:
    """Return a training of the reference of ``ablations/issm.toml`` with a backbone; no clip is drawn."""
    registry = Registry((__name__,))
    parts = {
        "network": "ifdd",
        "backbone": backbone,
        "splitter": "even-odd",
        "lifting": {"name": "attention", "heads": 4, "drop_path": 0.0},
    }
    defaults = {
        "dataset": {"name": "faces", "train_clips": CLIPS},
        "loss": "cross-entropy-context",
        "augmentation": "none",
        "optimizer": "adamw",
        "schedule": "constant",
    }
    config: Mapping[str, Mapping[str, object]] = {
        **configured(registry, parts),
        **{kind: registry.resolve(kind, part, kind) for kind, part in defaults.items()},
        "train": {"epochs": 1, "batch_size": CLIPS},
    }
    spec = RunSpec(config, seed=0, data_digest="", code_digest="")
    return TrainState.of(spec, registry, build_dataset(registry, spec.table("dataset")), torch.device("cpu"))


def _timed(job: Callable[[TrainState, Tensor, Tensor], None], state: TrainState) -> Callable[[], float]:
    """Return a function that gives the milliseconds of one `job` on random clips, the mean of `STEPS` of them."""
    clips = torch.rand(CLIPS, 1, 16, 32, 32)
    labels = torch.arange(CLIPS) % state.classes

    def measure() -> float:
        began = time.process_time()
        for _ in range(STEPS):
            job(state, clips, labels)
        return (time.process_time() - began) / STEPS * 1e3

    return measure


def _step(state: TrainState, clips: Tensor, labels: Tensor) -> None:
    state.network.train()
    EagerStep(state)(clips, labels).tolist()


def _evaluation(state: TrainState, clips: Tensor, labels: Tensor) -> None:
    state.network.eval()
    with torch.inference_mode():
        forward(state.network, clips)
