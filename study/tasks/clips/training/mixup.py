"""Mixup and cutmix: pairs of clips combined into one, with soft targets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

CUTMIX_SHARE = 0.5
"""Share of mixed batches that use cutmix if mixup is on too."""


@dataclass(frozen=True)
class Mixup:
    """Mixes each clip of a batch with the clip at the mirrored index, all in the same proportion.

    Mixup blends the pixels (Zhang et al. 2018); cutmix pastes a box of one clip, the same in every frame, into
    the other (Yun et al. 2019). The proportion is sampled from Beta(alpha, alpha), once a batch, as is whether to mix
    and, if both are on, which way.
    """

    mixup: float
    """Alpha of mixup's Beta distribution; 0 for none."""
    cutmix: float
    """Alpha of cutmix's Beta distribution; 0 for none."""
    probability: float
    """Probability that a batch is mixed."""

    def __call__(self, clips: Tensor, labels: Tensor, classes: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return clips (B, C, T, H, W) and targets: class shares (B, classes), or the labels of an unmixed batch.

        Args:
            clips: (B, C, T, H, W)
            labels: (B,)
            classes: Number of classes.
            seed: Seed of all random numbers of this batch.
        """
        if not (self.mixup or self.cutmix):
            return clips, labels
        random = np.random.default_rng(seed)
        # sampled before the proportion, which uses up a number of samples that depends on alpha
        coin, way, centre = random.random(), random.random(), random.random(2)
        if coin >= self.probability:
            return clips, labels
        if self.cutmix and (not self.mixup or way < CUTMIX_SHARE):
            kept = random.beta(self.cutmix, self.cutmix)
            clips, kept = patched(clips, kept, (centre[0], centre[1]))
        else:
            kept = random.beta(self.mixup, self.mixup)
            clips = blended(clips, kept)
        targets = F.one_hot(labels, classes).to(clips.dtype)
        return clips, blended(targets, kept)


def blended(values: Tensor, kept: float) -> Tensor:
    """Return ``kept * values + (1 - kept) * values.flip(0)``."""
    return values * kept + values.flip(0) * (1 - kept)


def patched(clips: Tensor, kept: float, centre: tuple[float, float]) -> tuple[Tensor, float]:
    """Return clips with a box of their partners pasted in, and the share of each clip that remains.

    Args:
        clips: (B, C, T, H, W)
        kept: Share of each clip to keep; the box has sides ``sqrt(1 - kept)`` times the image's, in whole pixels.
        centre: Centre of the box from the top and the left, in [0, 1) of the image; the box is clipped to the image,
            so more than `kept` may remain.
    """
    height, width = clips.shape[-2:]
    (top, bottom), (left, right) = (
        _interval(size, math.sqrt(1 - kept), middle)
        for size, middle in zip((height, width), centre, strict=True)
    )
    mixed = clips.clone()
    mixed[..., top:bottom, left:right] = clips.flip(0)[..., top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _interval(size: int, share: float, centre: float) -> tuple[int, int]:
    length, middle = int(size * share), int(size * centre)
    start = middle - length // 2
    return max(start, 0), min(start + length, size)
