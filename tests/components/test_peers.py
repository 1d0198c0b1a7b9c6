"""Former-DFER, M3DFEL and MAE-DFER against outputs of their authors' releases."""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from study.config.registry import Registry
from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.checkpoints import import_checkpoint
from study.tasks.clips.nets.ifdd.network import build_network, configured
from study.tasks.clips.nets.peers.released import converted

GOLDEN = Path(__file__).parents[1] / "golden" / "peers"
FILES = {"former-dfer": "former", "m3dfel": "m3dfel", "mae-dfer": "mae"}
SHAPES = {
    "former-dfer": ClipShape(3, 16, 112, 112),
    "m3dfel": ClipShape(3, 16, 112, 112),
    "mae-dfer": ClipShape(3, 16, 160, 160),
}
PUBLISHED = {"former-dfer": (18_031_943, 8.30), "m3dfel": (46_823_384, 43.1), "mae-dfer": (84_878_343, 49.7)}
"""Parameters, and MACs of a clip in 10^9."""
SMALL = ClipShape(1, 16, 32, 32)


def filled(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return the value of a released tensor; ``tests/golden/README.md`` has the rules."""
    z = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF).standard_normal(shape)
    if name.endswith("running_var"):
        value = 1 + 0.1 * np.abs(z)
    elif len(shape) >= 2:
        value = z / np.sqrt(np.prod(shape[1:]))
    else:
        value = 0.1 * z + name.endswith("weight")
    return torch.from_numpy(value.astype(np.float32))


@cache
def released(network: str) -> dict[str, Tensor]:
    names = json.loads((GOLDEN / f"{FILES[network]}.json").read_text())
    return {name: filled(name, tuple(shape)) for name, shape in names}


def built(network: str, shape: ClipShape, classes: int = 7, **parameters: Any) -> nn.Module:
    registry = Registry()
    config = configured(registry, {"network": {"name": network, **parameters}})
    return build_network(registry, config, shape, classes)


def golden_clips(network: str) -> Tensor:
    channels, frames, height, width = SHAPES[network]
    random = np.random.RandomState(1234)
    if network == "mae-dfer":
        return torch.from_numpy(random.uniform(0, 1, (2, channels, frames, height, width)).astype(np.float32))
    by_frame = random.uniform(0, 1, (2, frames, channels, height, width)).astype(np.float32)
    return torch.from_numpy(by_frame).transpose(1, 2)


def assert_close(ours: Tensor, theirs: np.ndarray) -> None:
    difference = np.abs(ours.numpy().reshape(theirs.shape) - theirs).max()
    assert difference <= 1e-5 * np.abs(theirs).max()


DETAILS = {
    "former-dfer": {"s": "frame_features", "t": "clip_feature"},
    "m3dfel": {"features": "instance_features", "lstm": "bag"},
    "mae-dfer": {},
}


@pytest.mark.parametrize("network", FILES)
def test_network_computes_what_the_authors_release_does(network: str) -> None:
    model = built(network, SHAPES[network]).eval()
    model.load_state_dict(converted(network, released(network)))
    with torch.no_grad():
        output = model(golden_clips(network), {})
    theirs = np.load(GOLDEN / f"{FILES[network]}.npz")
    assert_close(output.logits, theirs["logits"])
    for name, ours in DETAILS[network].items():
        assert_close(output.details[ours], theirs[name])


@pytest.mark.parametrize("network", FILES)
def test_size_and_cost_are_as_published(network: str) -> None:
    model = built(network, SHAPES[network]).eval()
    parameters, gmacs = PUBLISHED[network]
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    counter = FlopCountAnalysis(model, torch.zeros(1, *SHAPES[network]))
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert counter.total() / 1e9 == pytest.approx(gmacs, rel=0.005)


@pytest.mark.parametrize("network", FILES)
def test_narrow_network_trains_on_small_grey_clips(network: str) -> None:
    model = built(network, SMALL, width=0.125, depth=1, **({"patch": 8} if network == "mae-dfer" else {}))
    clips = torch.rand(2, *SMALL, generator=torch.Generator().manual_seed(0))
    model(clips).logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        ("former-dfer", ClipShape(3, 16, 16, 16)),
        ("m3dfel", ClipShape(3, 10, 112, 112)),
        ("m3dfel", ClipShape(3, 16, 8, 112)),
        ("mae-dfer", ClipShape(3, 15, 160, 160)),
        ("mae-dfer", ClipShape(3, 16, 8, 160)),
    ],
)
def test_clips_that_a_network_cannot_take_are_refused(network: str, shape: ClipShape) -> None:
    with pytest.raises(InputError, match=network):
        built(network, shape)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "module.model._orig_mod."])
@pytest.mark.parametrize("network", ["former-dfer", "m3dfel"])
def test_released_checkpoint_is_imported_whatever_wrapped_it(
    network: str, prefix: str, tmp_path: Path
) -> None:
    wrapped = {prefix + name: tensor for name, tensor in released(network).items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "released.pth")
    import_checkpoint(tmp_path / "released.pth", tmp_path / "ours.safetensors")
    model = built(network, SHAPES[network], weights=str(tmp_path / "ours.safetensors"))
    theirs = converted(network, released(network))
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in theirs.items())


def test_head_is_fresh_for_another_number_of_classes(tmp_path: Path) -> None:
    torch.save(released("former-dfer"), tmp_path / "released.pth")
    import_checkpoint(tmp_path / "released.pth", tmp_path / "ours.safetensors", "fresh")
    model = built("former-dfer", SHAPES["former-dfer"], 11, weights=str(tmp_path / "ours.safetensors"))
    theirs = released("former-dfer")["t_former.cls_token"]
    assert torch.equal(model.state_dict()["temporal.class_token"], theirs)
    assert model.state_dict()["head.1.weight"].shape == (11, 512)


def test_pretrained_encoder_gets_a_fresh_norm_and_head(tmp_path: Path) -> None:
    encoder = {
        f"encoder.{name}": tensor
        for name, tensor in released("mae-dfer").items()
        if not name.startswith(("head.", "fc_norm."))
    }
    torch.save({"model": {**encoder, "decoder.norm.weight": torch.ones(4)}}, tmp_path / "pretrained.pth")
    import_checkpoint(tmp_path / "pretrained.pth", tmp_path / "ours.safetensors", "fresh")
    model = built("mae-dfer", SHAPES["mae-dfer"], 7, weights=str(tmp_path / "ours.safetensors"))
    assert torch.equal(model.state_dict()["messengers"], released("mae-dfer")["lg_region_tokens"])


def test_missing_tensor_of_a_release_is_named(tmp_path: Path) -> None:
    state = dict(released("m3dfel"))
    del state["to_qkv.weight"]
    torch.save(state, tmp_path / "released.pth")
    with pytest.raises(InputError, match=r"qkv\.weight"):
        import_checkpoint(tmp_path / "released.pth", tmp_path / "ours.safetensors")
