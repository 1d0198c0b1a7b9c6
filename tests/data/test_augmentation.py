from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as oracle

from study.config.registry import Registry
from study.errors import InputError
from study.tasks.clips.data.augmentation import (
    DRAWN,
    Standard,
    brighten,
    contrasted,
    interpolation,
    resample,
    saturated,
    turn_hue,
)

NOTHING = {"flip": 0.0, "scale_low": 1.0, "ratio": 1.0} | dict.fromkeys(
    ("brightness", "contrast", "saturation", "hue"), 0.0
)


def augmentation(name="standard", **parameters):
    registry = Registry()
    return registry.build("augmentation", registry.resolve("augmentation", {"name": name, **parameters}, "x"))


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def clips(batch=6, channels=3, frames=4, height=12, width=10, seed=0):
    return torch.rand(batch, channels, frames, height, width, generator=generator(seed))


def factors(*values):
    return torch.tensor(values).view(-1, 1, 1, 1, 1)


def one_image(clip):
    """Return a clip's frames under one another, for oracles that know images alone."""
    channels, frames, height, width = clip.shape
    return clip.reshape(channels, frames * height, width)


def test_none_returns_the_clips_and_draws_nothing():
    given, chance = clips(), generator()
    before = chance.get_state()
    assert augmentation("none")(given, chance) is given
    assert torch.equal(chance.get_state(), before)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_frame_of_a_clip_is_changed_alike(channels):
    still = clips(channels=channels, frames=1).expand(-1, -1, 5, -1, -1)
    seen = augmentation()(still, generator())
    assert not torch.equal(seen, still)
    torch.testing.assert_close(seen, seen[:, :, :1].expand_as(seen), rtol=0, atol=1e-6)


def test_clips_of_a_batch_are_changed_differently():
    alike = clips(batch=1).expand(5, -1, -1, -1, -1)
    seen = augmentation()(alike, generator())
    assert all(not torch.allclose(seen[i], seen[j]) for i in range(5) for j in range(i))


def test_the_seed_decides_and_the_global_generators_have_no_say():
    given = clips()
    torch.manual_seed(1)
    first = augmentation()(given, generator())
    state = torch.manual_seed(2).get_state()
    assert torch.equal(augmentation()(given, generator()), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(augmentation()(given, generator(2)), first)


def test_the_clips_that_are_given_stay_as_they_are():
    given = clips()
    before = given.clone()
    augmentation()(given, generator())
    assert torch.equal(given, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_without_strength_nothing_changes(channels):
    given = clips(channels=channels)
    assert torch.equal(augmentation(**NOTHING)(given, generator()), given)


def test_a_flip_mirrors_the_clip_and_nothing_else():
    given = clips()
    assert torch.equal(augmentation(**NOTHING | {"flip": 1.0})(given, generator()), given.flip(-1))


def test_about_the_asked_share_of_clips_is_flipped():
    given = clips(batch=1).expand(1000, -1, -1, -1, -1)
    seen = augmentation(**NOTHING | {"flip": 0.2})(given, generator())
    flipped = (seen == given.flip(-1)).flatten(1).all(1)
    assert ((seen == given).flatten(1).all(1) | flipped).all()
    assert flipped.float().mean().item() == pytest.approx(0.2, abs=0.04)  # 3 standard errors


@pytest.mark.parametrize(
    ("top", "left", "height", "width"), [(0, 0, 12, 10), (3, 2, 7, 5), (11, 9, 1, 1), (0, 4, 12, 6)]
)
def test_a_crop_is_what_torch_interpolates_from_that_box(top, left, height, width):
    given = clips(batch=2)
    box = given[..., top : top + height, left : left + width].flatten(1, 2)
    expected = F.interpolate(box, size=(12, 10), mode="bilinear", align_corners=False)
    rows = interpolation(torch.tensor([top, top]), torch.tensor([height, height]), 12)
    columns = interpolation(torch.tensor([left, left]), torch.tensor([width, width]), 10)
    torch.testing.assert_close(resample(given, rows, columns).flatten(1, 2), expected, rtol=0, atol=1e-6)


def boxes(**parameters):
    """Return row numbers and column numbers, each (500, 64, 64), after augmentation."""
    ramp_y, ramp_x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    given = torch.stack([ramp_y, ramp_x])[None, :, None].expand(500, -1, -1, -1, -1)
    return augmentation(**NOTHING | parameters)(given, generator())[:, :, 0]


def test_flip_area_shape_and_place_of_a_crop_are_drawn_apart():
    seen = boxes(flip=0.5, scale_low=0.3, scale_high=0.8, ratio=1.5)
    height, width = 64 * (seen[:, 0, 33, 0] - seen[:, 0, 32, 0]), 64 * (seen[:, 1, 0, 33] - seen[:, 1, 0, 32])
    flipped, width = (width < 0).float(), width.abs()
    top = (seen[:, 0].mean((1, 2)) + 0.5 - height / 2) / (64 - height)
    left = (seen[:, 1].mean((1, 2)) + 0.5 - width / 2) / (64 - width)
    related = torch.corrcoef(torch.stack([flipped, height * width, (width / height).log(), top, left]))
    assert (related - torch.eye(5)).abs().max() < 0.18  # 4 standard errors of no correlation at all
    for place in (top, left):
        assert -0.01 < place.min() < 0.03
        assert 0.97 < place.max() < 1.01


def test_crops_have_the_asked_area_and_shape_and_lie_inside():
    seen = boxes(scale_low=0.3, scale_high=0.8, ratio=1.5)
    assert seen.amin() >= 0
    assert seen.amax() <= 63 + 1e-4
    # between the clamped edges, a ramp stretched from a box of h pixels rises by h / 64 a pixel
    height = 64 * (seen[:, 0, 33, 0] - seen[:, 0, 32, 0])
    width = 64 * (seen[:, 1, 0, 33] - seen[:, 1, 0, 32])
    area, aspect = height * width / 64**2, width / height
    assert 0.3 - 1e-3 < area.min() < 0.33
    assert 0.77 < area.max() < 0.8 + 1e-3
    assert area.mean().item() == pytest.approx(0.55, abs=0.02)
    assert 1 / 1.5 - 1e-3 < aspect.min() < 0.7
    assert 1.43 < aspect.max() < 1.5 + 1e-3


def test_brightness_contrast_saturation_and_hue_are_those_of_torchvision():
    given = clips(batch=2)
    for own, theirs in (
        (brighten, oracle.adjust_brightness),
        (contrasted, oracle.adjust_contrast),
        (saturated, oracle.adjust_saturation),
    ):
        for factor in (0.0, 0.6, 1.0, 1.4):
            found = own(given, factors(factor, factor))
            expected = torch.stack([theirs(one_image(clip), factor) for clip in given])
            # torchvision rounds the share of red to 0.2989
            torch.testing.assert_close(found.flatten(2, 3), expected, rtol=0, atol=3e-4)
    for turn in (-0.5, -0.1, 0.0, 0.25, 0.4):
        found = turn_hue(given, factors(turn, turn)[:, 0])
        expected = torch.stack([oracle.adjust_hue(one_image(clip), turn) for clip in given])
        torch.testing.assert_close(found.flatten(2, 3), expected, rtol=0, atol=1e-5)


def test_a_third_of_a_turn_exchanges_the_colours_and_grey_has_no_hue():
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5], [0, 0, 0]]).T.view(
        1, 3, 1, 1, 5
    )
    expected = torch.tensor([[0, 1.0, 0], [0, 0, 1], [1, 0, 0], [0.5, 0.5, 0.5], [0, 0, 0]]).T.view(
        1, 3, 1, 1, 5
    )
    turned = turn_hue(colours, torch.full((1, 1, 1, 1), 1 / 3))
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colours_stay_within_range(name):
    extremes = clips().round()
    seen = augmentation(**NOTHING | {name: 0.5 if name == "hue" else 1.0})(extremes, generator())
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert not torch.equal(seen, extremes)


def test_grey_clips_have_no_saturation_and_no_hue():
    given = clips(channels=1)
    strong = augmentation(**NOTHING | {"saturation": 1.0, "hue": 0.5})
    assert torch.equal(strong(given, generator()), given)


def test_a_variant_that_changes_one_strength_keeps_all_other_draws():
    given = clips()
    for name in ("brightness", "contrast", "saturation", "hue"):
        with_colour = augmentation(**{**NOTHING, "flip": 0.5, "scale_low": 0.5, name: 0.3})
        shapes_alone = augmentation(**{**NOTHING, "flip": 0.5, "scale_low": 0.5})
        shares = torch.rand(len(given), len(DRAWN), generator=generator())
        draws = dict(zip(DRAWN, shares.unbind(1), strict=True))
        moved = shapes_alone(given, generator())
        assert torch.equal(with_colour.moved(given, draws), moved)
        first, second = generator(), generator()
        with_colour(given, first)
        shapes_alone(given, second)
        assert torch.equal(first.get_state(), second.get_state())


def test_a_crop_larger_than_the_largest_is_refused():
    with pytest.raises(InputError, match=r"scale_low must be at most scale_high, 0\.5\. Got 0\.8\."):
        augmentation(scale_low=0.8, scale_high=0.5)


def test_odd_strengths_are_refused_by_the_registry():
    with pytest.raises(InputError, match=r"x.hue: must be a number from 0 to 0.5"):
        Registry().resolve("augmentation", {"name": "standard", "hue": 0.6}, "x")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU to compare with the CPU")
def test_a_gpu_sees_the_clips_that_a_cpu_sees():
    given = clips(height=64, width=48)
    expected = Standard(0.5, 0.5, 1.0, 4 / 3, 0.4, 0.4, 0.4, 0.4)(given, generator())
    found = augmentation()(given.cuda(), generator())
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)
