"""Augmentation, compared with torchvision and closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as oracle

from study.config.registry import Registry
from study.errors import InputError
from study.tasks.clips.data.augmentation import (
    RANDOM_NUMBERS,
    Standard,
    Transform,
    brighten,
    change_contrast,
    change_saturation,
    interpolation,
    resample,
    turn_hue,
)

NOTHING: dict[str, Any] = {"flip": 0.0, "scale_low": 1.0, "ratio": 1.0} | dict.fromkeys(
    ("brightness", "contrast", "saturation", "hue"), 0.0
)


def augmentation(name: str = "standard", **parameters: Any) -> Transform:
    registry = Registry()
    built: Transform = registry.build(
        "augmentation", registry.resolve("augmentation", {"name": name, **parameters}, "x")
    )
    return built


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(
    batch: int = 6, channels: int = 3, frames: int = 4, height: int = 12, width: int = 10, seed: int = 0
) -> Tensor:
    return torch.rand(batch, channels, frames, height, width, generator=generator(seed))


def factors(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1, 1)


def one_image(clip: Tensor) -> Tensor:
    """Return a clip's frames below one another, for oracles that take images only."""
    channels, frames, height, width = clip.shape
    return clip.reshape(channels, frames * height, width)


def test_none_returns_the_clips_and_uses_no_random_number() -> None:
    original, chance = clips(), generator()
    before = chance.get_state()
    assert augmentation("none")(original, chance) is original
    assert torch.equal(chance.get_state(), before)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_frame_of_a_clip_is_changed_alike(channels: int) -> None:
    still = clips(channels=channels, frames=1).expand(-1, -1, 5, -1, -1)
    augmented = augmentation()(still, generator())
    assert not torch.equal(augmented, still)
    torch.testing.assert_close(augmented, augmented[:, :, :1].expand_as(augmented), rtol=0, atol=1e-6)


def test_clips_of_a_batch_are_changed_differently() -> None:
    alike = clips(batch=1).expand(5, -1, -1, -1, -1)
    augmented = augmentation()(alike, generator())
    assert all(not torch.allclose(augmented[i], augmented[j]) for i in range(5) for j in range(i))


def test_the_seed_counts_and_the_global_generators_do_not() -> None:
    original = clips()
    torch.manual_seed(1)
    first = augmentation()(original, generator())
    state = torch.manual_seed(2).get_state()
    assert torch.equal(augmentation()(original, generator()), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(augmentation()(original, generator(2)), first)


def test_the_input_clips_do_not_change() -> None:
    original = clips()
    before = original.clone()
    augmentation()(original, generator())
    assert torch.equal(original, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_without_strength_nothing_changes(channels: int) -> None:
    original = clips(channels=channels)
    assert torch.equal(augmentation(**NOTHING)(original, generator()), original)


def test_a_flip_mirrors_the_clip_and_nothing_else() -> None:
    original = clips()
    assert torch.equal(augmentation(**NOTHING | {"flip": 1.0})(original, generator()), original.flip(-1))


def test_about_the_requested_share_of_clips_is_flipped() -> None:
    original = clips(batch=1).expand(1000, -1, -1, -1, -1)
    augmented = augmentation(**NOTHING | {"flip": 0.2})(original, generator())
    flipped = (augmented == original.flip(-1)).flatten(1).all(1)
    assert ((augmented == original).flatten(1).all(1) | flipped).all()
    assert flipped.float().mean().item() == pytest.approx(0.2, abs=0.04)  # 3 standard errors


@pytest.mark.parametrize(
    ("top", "left", "height", "width"), [(0, 0, 12, 10), (3, 2, 7, 5), (11, 9, 1, 1), (0, 4, 12, 6)]
)
def test_a_crop_is_what_torch_interpolates_from_that_box(
    top: int, left: int, height: int, width: int
) -> None:
    original = clips(batch=2)
    box = original[..., top : top + height, left : left + width].flatten(1, 2)
    expected = F.interpolate(box, size=(12, 10), mode="bilinear", align_corners=False)
    rows = interpolation(torch.tensor([top, top]), torch.tensor([height, height]), 12)
    columns = interpolation(torch.tensor([left, left]), torch.tensor([width, width]), 10)
    torch.testing.assert_close(resample(original, rows, columns).flatten(1, 2), expected, rtol=0, atol=1e-6)


def boxes(**parameters: float) -> Tensor:
    """Return row numbers and column numbers, each (500, 64, 64), after augmentation."""
    ramp_y, ramp_x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    original = torch.stack([ramp_y, ramp_x])[None, :, None].expand(500, -1, -1, -1, -1)
    return augmentation(**NOTHING | parameters)(original, generator())[:, :, 0]


def test_flip_area_shape_and_position_of_a_crop_are_independent() -> None:
    augmented = boxes(flip=0.5, scale_low=0.3, scale_high=0.8, ratio=1.5)
    height, width = (
        64 * (augmented[:, 0, 33, 0] - augmented[:, 0, 32, 0]),
        64 * (augmented[:, 1, 0, 33] - augmented[:, 1, 0, 32]),
    )
    flipped, width = (width < 0).float(), width.abs()
    top = (augmented[:, 0].mean((1, 2)) + 0.5 - height / 2) / (64 - height)
    left = (augmented[:, 1].mean((1, 2)) + 0.5 - width / 2) / (64 - width)
    correlations = torch.corrcoef(torch.stack([flipped, height * width, (width / height).log(), top, left]))
    assert (correlations - torch.eye(5)).abs().max() < 0.18  # 4 standard errors of no correlation at all
    for position in (top, left):
        assert -0.01 < position.min() < 0.03
        assert 0.97 < position.max() < 1.01


def test_crops_have_the_requested_area_and_shape_and_lie_inside() -> None:
    augmented = boxes(scale_low=0.3, scale_high=0.8, ratio=1.5)
    assert augmented.amin() >= 0
    assert augmented.amax() <= 63 + 1e-4
    # between the clamped edges, a ramp stretched from a box of h pixels rises by h / 64 a pixel
    height = 64 * (augmented[:, 0, 33, 0] - augmented[:, 0, 32, 0])
    width = 64 * (augmented[:, 1, 0, 33] - augmented[:, 1, 0, 32])
    area, aspect = height * width / 64**2, width / height
    assert 0.3 - 1e-3 < area.min() < 0.33
    assert 0.77 < area.max() < 0.8 + 1e-3
    assert area.mean().item() == pytest.approx(0.55, abs=0.02)
    assert 1 / 1.5 - 1e-3 < aspect.min() < 0.7
    assert 1.43 < aspect.max() < 1.5 + 1e-3


def test_brightness_contrast_saturation_and_hue_are_those_of_torchvision() -> None:
    original = clips(batch=2)
    for change, oracle_change in (
        (brighten, oracle.adjust_brightness),
        (change_contrast, oracle.adjust_contrast),
        (change_saturation, oracle.adjust_saturation),
    ):
        for factor in (0.0, 0.6, 1.0, 1.4):
            found = change(original, factors(factor, factor))
            expected = torch.stack([oracle_change(one_image(clip), factor) for clip in original])
            # torchvision rounds the share of red to 0.2989
            torch.testing.assert_close(found.flatten(2, 3), expected, rtol=0, atol=3e-4)
    for turn in (-0.5, -0.1, 0.0, 0.25, 0.4):
        found = turn_hue(original, factors(turn, turn)[:, 0])
        expected = torch.stack([oracle.adjust_hue(one_image(clip), turn) for clip in original])
        torch.testing.assert_close(found.flatten(2, 3), expected, rtol=0, atol=1e-5)


def test_a_third_of_a_turn_exchanges_the_colours_and_grey_has_no_hue() -> None:
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5], [0, 0, 0]]).T.view(
        1, 3, 1, 1, 5
    )
    expected = torch.tensor([[0, 1.0, 0], [0, 0, 1], [1, 0, 0], [0.5, 0.5, 0.5], [0, 0, 0]]).T.view(
        1, 3, 1, 1, 5
    )
    turned = turn_hue(colours, torch.full((1, 1, 1, 1), 1 / 3))
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colours_stay_within_range(name: str) -> None:
    extremes = clips().round()
    augmented = augmentation(**NOTHING | {name: 0.5 if name == "hue" else 1.0})(extremes, generator())
    assert augmented.min() >= 0
    assert augmented.max() <= 1
    assert not torch.equal(augmented, extremes)


def test_grey_clips_have_no_saturation_and_no_hue() -> None:
    original = clips(channels=1)
    strong = augmentation(**NOTHING | {"saturation": 1.0, "hue": 0.5})
    assert torch.equal(strong(original, generator()), original)


def test_a_variant_that_changes_one_strength_keeps_all_other_draws() -> None:
    original = clips()
    for name in ("brightness", "contrast", "saturation", "hue"):
        with_colour = augmentation(**{**NOTHING, "flip": 0.5, "scale_low": 0.5, name: 0.3})
        assert isinstance(with_colour, Standard)
        without_colour = augmentation(**{**NOTHING, "flip": 0.5, "scale_low": 0.5})
        shares = torch.rand(len(original), len(RANDOM_NUMBERS), generator=generator())
        draws = dict(zip(RANDOM_NUMBERS, shares.unbind(1), strict=True))
        expected = without_colour(original, generator())
        assert torch.equal(with_colour.crop_and_flip(original, draws), expected)
        first, second = generator(), generator()
        with_colour(original, first)
        without_colour(original, second)
        assert torch.equal(first.get_state(), second.get_state())


def test_a_crop_larger_than_the_largest_is_refused() -> None:
    with pytest.raises(InputError, match=r"scale_low must be at most scale_high, 0\.5\. Got 0\.8\."):
        augmentation(scale_low=0.8, scale_high=0.5)


def test_strengths_out_of_range_are_refused_by_the_registry() -> None:
    with pytest.raises(InputError, match=r"x.hue: must be a number from 0 to 0.5"):
        Registry().resolve("augmentation", {"name": "standard", "hue": 0.6}, "x")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU to compare with the CPU")
def test_a_gpu_sees_the_clips_that_a_cpu_sees() -> None:
    original = clips(height=64, width=48)
    expected = Standard(0.5, 0.5, 1.0, 4 / 3, 0.4, 0.4, 0.4, 0.4)(original, generator())
    found = augmentation()(original.cuda(), generator())
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)
