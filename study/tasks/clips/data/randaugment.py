"""Stronger augmentation of training clips: RandAugment, rotation and random erasing, by torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from study.config.registry import Range, component
from study.hashing import seed_of
from study.tasks.clips.data.augmentation import Standard, Transform

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Strong:
    """Rotation, RandAugment and erasing, in this order; each clip has its own, the same for all of its frames."""

    ops: Annotated[int, Range(0, 8), "operations of RandAugment on each clip; 0 for none"] = 2
    magnitude: Annotated[int, Range(0, 30), "their strength, of 30 (Cubuk et al. 2020)"] = 9
    rotation: Annotated[float, Range(0, 180), "greatest rotation, in degrees"] = 0.0
    erase: Annotated[float, Range(0, 1), "probability of an erased rectangle (Zhong et al. 2020)"] = 0.25

    def transforms(self) -> list[Any]:
        """Return torchvision's transforms of a video (T, C, H, W)."""
        from torchvision.transforms import InterpolationMode, v2  # slow to import

        bilinear = InterpolationMode.BILINEAR
        chosen: list[Any] = []
        if self.rotation:
            chosen.append(v2.RandomRotation(self.rotation, interpolation=bilinear))
        if self.ops:
            chosen.append(v2.RandAugment(self.ops, self.magnitude, interpolation=bilinear))
        if self.erase:
            chosen.append(v2.RandomErasing(self.erase, value=0))
        return chosen


@component("augmentation")
def randaugment(*, basic: Standard, strong: Strong) -> Transform:
    """Random flip, crop and colour, then rotation, RandAugment and erasing, once for each clip."""
    transforms = strong.transforms()

    def transform(clips: Tensor, generator: torch.Generator) -> Tensor:
        batch_seed = int(torch.randint(LARGEST_SEED, (), generator=generator))
        clips = basic(clips, generator)
        frames = [
            _apply(transforms, clip.transpose(0, 1), seed_of(batch_seed, number))
            for number, clip in enumerate(clips)
        ]
        return torch.stack(frames).transpose(1, 2)

    return transform


def _apply(transforms: list[Any], frames: Tensor, seed: int) -> Tensor:
    """Return the frames (T, C, H, W) of a clip, transformed with random numbers that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for transform in transforms:
            frames = transform(frames)
    return frames
