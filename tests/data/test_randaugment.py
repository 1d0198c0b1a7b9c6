"""RandAugment, rotation and erasing of clips, compared with torchvision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from study.config.registry import Registry
from study.hashing import seed_of
from study.tasks.clips.data.augmentation import Transform

OFF: dict[str, Any] = {
    **dict.fromkeys(("flip", "brightness", "contrast", "saturation", "hue", "rotation", "erase"), 0.0),
    "scale_low": 1.0,
    "ops": 0,
}


def augmentation(**parameters: Any) -> Transform:
    registry = Registry()
    config = registry.resolve("augmentation", {"name": "randaugment", **OFF, **parameters}, "x")
    built: Transform = registry.build("augmentation", config)
    return built


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(channels: int = 3) -> Tensor:
    return torch.rand(4, channels, 3, 16, 16, generator=generator(0))


def test_nothing_is_changed_where_everything_is_off() -> None:
    assert torch.equal(augmentation()(clips(), generator()), clips())


@pytest.mark.parametrize(
    ("parameters", "oracle"),
    [
        ({"ops": 2, "magnitude": 9}, v2.RandAugment(2, 9, interpolation=InterpolationMode.BILINEAR)),
        ({"rotation": 15.0}, v2.RandomRotation(15, interpolation=InterpolationMode.BILINEAR)),
        ({"erase": 1.0}, v2.RandomErasing(1.0)),
    ],
    ids=["randaugment", "rotation", "erasing"],
)
def test_every_frame_of_a_clip_is_changed_as_torchvision_does(
    parameters: dict[str, Any], oracle: Any
) -> None:
    changed = augmentation(**parameters)(clips(), generator())
    batch_seed = int(torch.randint(2**63 - 1, (), generator=generator()))
    for number, (clip, result) in enumerate(zip(clips(), changed, strict=True)):
        with torch.random.fork_rng():
            torch.manual_seed(seed_of(batch_seed, number))
            torch.testing.assert_close(result.transpose(0, 1), oracle(clip.transpose(0, 1)))


@pytest.mark.parametrize("channels", [1, 3])
def test_random_numbers_come_from_the_generator_alone(channels: int) -> None:
    transform = augmentation(ops=2, erase=0.5, rotation=10.0, flip=0.5)
    torch.manual_seed(3)
    first = transform(clips(channels), generator())
    state = torch.random.get_rng_state()
    torch.manual_seed(4)
    assert torch.equal(first, transform(clips(channels), generator()))
    torch.manual_seed(3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(first, transform(clips(channels), generator(2)))
    assert ((first >= 0) & (first <= 1)).all()
