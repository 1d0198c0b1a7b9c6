"""Augments training clips: one random transform for each clip, the same for all of its frames.

A component of the kind ``augmentation`` is a function of float clips (B, C, T, H, W) in [0, 1], on any device,
and of a CPU generator, to clips of the same shape. It uses random numbers of that generator only, on the
CPU, so that they are the same on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from study.config.registry import Range, component
from study.errors import InputError

Transform = Callable[[Tensor, torch.Generator], Tensor]

RANDOM_NUMBERS = ("flip", "area", "aspect", "top", "left", "brightness", "contrast", "saturation", "hue")
"""The random numbers of a clip, in this order whatever the strengths, so that variants share them."""
LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a pixel's grey level (ITU-R BT.601)."""


@component("augmentation")
def none() -> Transform:
    """Training clips unchanged."""
    return unchanged


def unchanged(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Return the clips; use no random number."""
    return clips


@dataclass(frozen=True)
class Standard:
    """Flip and crop in one resampling, then brightness, contrast, saturation and hue, in this order.

    A crop's share of the area is uniform and its aspect ratio log-uniform among those that fit into the image; it is
    resized to the clip's size by bilinear interpolation. Colours are changed as torchvision's
    ``ColorJitter`` does, with one mean grey level for all frames of a clip, so that a pixel's new value does
    not depend on the frame that it is in. A strength of 0 leaves every value as it was, bit for bit.
    """

    flip: Annotated[float, Range(0, 1), "probability of a mirrored clip"] = 0.5
    scale_low: Annotated[float, Range(0.05, 1), "least share of the image's area in a crop"] = 0.5
    scale_high: Annotated[float, Range(0.05, 1), "greatest share of the image's area in a crop"] = 1.0
    ratio: Annotated[
        float, Range(1, 4), "a crop is at most so many times wider or higher than the image's own shape"
    ] = 1.3333333333333333
    brightness: Annotated[float, Range(0, 1), "greatest change of brightness, as a share of it"] = 0.4
    contrast: Annotated[float, Range(0, 1), "greatest change of contrast, as a share of it"] = 0.4
    saturation: Annotated[
        float, Range(0, 1), "greatest change of saturation, as a share of it; needs 3 channels"
    ] = 0.4
    hue: Annotated[
        float, Range(0, 0.5), "greatest turn of the hue, in turns of the colour circle; needs 3 channels"
    ] = 0.4

    def __call__(self, clips: Tensor, generator: torch.Generator) -> Tensor:
        """Return augmented clips of the same shape."""
        shares = torch.rand(len(clips), len(RANDOM_NUMBERS), generator=generator)
        draws = dict(zip(RANDOM_NUMBERS, shares.unbind(1), strict=True))
        clips = self.crop_and_flip(clips, draws)
        coloured = clips.shape[1] == len(LUMA)
        for name, strength, change in (
            ("brightness", self.brightness, brighten),
            ("contrast", self.contrast, change_contrast),
            ("saturation", self.saturation if coloured else 0.0, change_saturation),
        ):
            if strength:
                clips = change(clips, _per_clip(1 + strength * (2 * draws[name] - 1), clips))
        if self.hue and coloured:
            clips = turn_hue(clips, _per_clip(self.hue * (2 * draws["hue"] - 1), clips)[:, 0])
        return clips

    def crop_and_flip(self, clips: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """Return the clips cropped and flipped according to `draws`, uniform in [0, 1)."""
        if self.scale_low == self.scale_high == 1 and not self.flip:
            return clips
        height, width = clips.shape[-2:]
        area = self.scale_low + draws["area"] * (self.scale_high - self.scale_low)
        widest = torch.clamp(-area.log(), max=math.log(self.ratio))
        aspect = torch.exp(widest * (2 * draws["aspect"] - 1))
        rows = (area / aspect).sqrt().clamp(1 / height, 1) * height
        columns = (area * aspect).sqrt().clamp(1 / width, 1) * width
        return resample(
            clips,
            interpolation(draws["top"] * (height - rows), rows, height),
            mirrored(
                interpolation(draws["left"] * (width - columns), columns, width), draws["flip"] < self.flip
            ),
        )


@component("augmentation")
def standard(*, augment: Standard) -> Transform:
    """Random flip, crop and colour, once for each clip; saturation and hue of grey clips do not change."""
    if augment.scale_low > augment.scale_high:
        raise InputError(
            f"augmentation 'standard': scale_low must be at most scale_high, {augment.scale_high:g}. "
            f"Got {augment.scale_low:g}."
        )
    return augment


def _per_clip(values: Tensor, clips: Tensor) -> Tensor:
    """Return one value for each clip, (B, 1, 1, 1, 1), on the device of the clips."""
    return values.to(clips.device).view(-1, 1, 1, 1, 1)


def interpolation(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Return the weights that stretch an interval of an axis over the whole axis, linearly.

    Args:
        start: (B,), the start of the interval, in pixels from the outer edge of the first pixel.
        length: (B,), in pixels, at least 1.
        size: The length of the axis, in pixels.

    Returns:
        (B, size, size): the share of each old pixel (last axis) in each new one. Pixel centres lie at halves,
        and nothing outside the interval is read (``align_corners=False``).
    """
    centres = (torch.arange(size) + 0.5) * (length / size)[:, None] - 0.5
    positions = start[:, None] + torch.minimum(centres.clamp(min=0), length[:, None] - 1)
    return (1 - (positions[..., None] - torch.arange(size)).abs()).clamp(min=0)


def mirrored(weights: Tensor, flipped: Tensor) -> Tensor:
    """Return the weights (B, size, size) with the new pixels in reverse order where `flipped`, (B,)."""
    return torch.where(flipped[:, None, None], weights.flip(1), weights)


def resample(clips: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return clips (B, C, T, H, W) resampled by row weights (B, H, H) and column weights (B, W, W).

    Two matrix products: deterministic on every device.
    """
    batch, channels, frames, height, width = clips.shape
    across = clips.reshape(batch, -1, width) @ columns.to(clips.device).transpose(1, 2)
    by_row = across.view(batch, -1, height, width).transpose(1, 2).reshape(batch, height, -1)
    down = (rows.to(clips.device) @ by_row).view(batch, height, -1, width)
    return down.transpose(1, 2).reshape(batch, channels, frames, height, width)


def brighten(clips: Tensor, factor: Tensor) -> Tensor:
    """Return the clips with every value multiplied by `factor` (B, 1, 1, 1, 1), within [0, 1]."""
    return (clips * factor).clamp_(0, 1)


def change_contrast(clips: Tensor, factor: Tensor) -> Tensor:
    """Return the clips with distances from each clip's mean grey level multiplied by `factor`, within [0, 1]."""
    return torch.lerp(grey(clips).mean((1, 2, 3, 4), keepdim=True), clips, factor).clamp_(0, 1)


def change_saturation(clips: Tensor, factor: Tensor) -> Tensor:
    """Return RGB clips with distances from each pixel's grey level multiplied by `factor`, within [0, 1]."""
    return torch.lerp(grey(clips), clips, factor).clamp_(0, 1)


def grey(clips: Tensor) -> Tensor:
    """Return the grey level of RGB clips, (B, 1, T, H, W); clips of another number of channels as they are."""
    if clips.shape[1] != len(LUMA):
        return clips
    red, green, blue = clips.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(1)


def turn_hue(clips: Tensor, turns: Tensor) -> Tensor:
    """Return RGB clips (B, 3, T, H, W) with the hue (of HSV) turned by `turns` (B, 1, 1, 1) of the circle."""
    red, green, blue = clips.unbind(1)
    value = clips.amax(1)
    chroma = value - clips.amin(1)
    spread = torch.where(chroma > 0, chroma, 1)
    hue = torch.where(
        value == red,
        (green - blue) / spread,
        torch.where(value == green, (blue - red) / spread + 2, (red - green) / spread + 4),
    )
    sextants = hue + 6 * turns
    distances = (torch.remainder(sextants + offset, 6) for offset in (5, 3, 1))
    return torch.stack([value - chroma * torch.minimum(d, 4 - d).clamp_(0, 1) for d in distances], dim=1)
