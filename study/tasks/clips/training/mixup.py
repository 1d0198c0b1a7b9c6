"""Mixup and cutmix: two clips of a batch in one, and a target that is shared between their classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

CUTMIX_SHARE = 0.5
"""Of the mixed batches, where both ways of mixing are asked for."""


@dataclass(frozen=True)
class Mixup:
    """Each clip of a batch is mixed with the one at the mirrored place, all in the same proportion.

    Mixup blends the pixels (Zhang et al. 2018); cutmix puts a box of one clip, the same in every frame, into
    the other (Yun et al. 2019). The proportion is drawn from Beta(alpha, alpha); one coin a batch says whether
    to mix, another one how, where both are asked for.
    """

    mixup: float
    """Alpha of mixup; 0 for none."""
    cutmix: float
    """Alpha of cutmix; 0 for none."""
    probability: float
    """With which a batch is mixed at all."""

    def __call__(self, clips: Tensor, labels: Tensor, classes: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return clips (B, C, T, H, W) and their targets: shares (B, classes), or the labels of an unmixed batch.

        Args:
            clips: (B, C, T, H, W)
            labels: (B,)
            classes: How many there are.
            seed: Of all that is drawn for this batch.
        """
        if not (self.mixup or self.cutmix):
            return clips, labels
        chance = np.random.default_rng(seed)
        # drawn before the proportion, which takes a number of draws that depends on alpha
        coin, way, centre = chance.random(), chance.random(), chance.random(2)
        if coin >= self.probability:
            return clips, labels
        if self.cutmix and (not self.mixup or way < CUTMIX_SHARE):
            kept = chance.beta(self.cutmix, self.cutmix)
            clips, kept = patched(clips, kept, (centre[0], centre[1]))
        else:
            kept = chance.beta(self.mixup, self.mixup)
            clips = blended(clips, kept)
        targets = F.one_hot(labels, classes).to(clips.dtype)
        return clips, blended(targets, kept)


def blended(values: Tensor, kept: float) -> Tensor:
    """Return ``kept * values + (1 - kept) * values.flip(0)``."""
    return values * kept + values.flip(0) * (1 - kept)


def patched(clips: Tensor, kept: float, centre: tuple[float, float]) -> tuple[Tensor, float]:
    """Return the clips with a box of their partners, and the share of each clip that is left of it.

    Args:
        clips: (B, C, T, H, W)
        kept: The share to leave; the box has sides ``sqrt(1 - kept)`` times the image's, in whole pixels.
        centre: Of the box, from the top and from the left, as shares in [0, 1) of the image; what lies outside
            the image is cut off, so that more may be left than asked for.
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
