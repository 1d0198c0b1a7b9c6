from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.nets.video import torchvision_weights
from study.tasks.clips.nets.video.torchvision_backbones import MVIT_PREFIXES

Build = Callable[..., Any]

GREY = ClipShape(1, 16, 32, 32)
RGB = ClipShape(3, 16, 32, 32)
VIDEO = ("r3d-18", "mc3-18", "r2plus1d-18", "s3d", "swin3d-t", "mvit-v2-s")
FRAMES = ("resnet18-lstm", "resnet18-gru", "resnet18-transformer")
BACKBONES = (*VIDEO, "resnet-18")
KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def random_state_of_its_own() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def built(registry: Any, config: dict[str, Any], shape: ClipShape) -> Any:
    return build_network(registry, config, shape, 7)


def counted(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def entry(name: str) -> Any:
    """torchvision's published weights of a backbone or network."""
    if name.startswith("resnet"):
        return torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    return torchvision.models.get_model_weights(name.replace("-", "_"))["KINETICS400_V1"]


def original(name: str, **options: Any) -> nn.Module:
    """torchvision's own network with random weights and running statistics, and its classifier taken off."""
    model = torchvision.models.get_model(
        "resnet18" if name == "resnet-18" else name.replace("-", "_"), **options
    )
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    for classifier in ("fc", "head"):
        if hasattr(model, classifier):
            setattr(model, classifier, nn.Identity())
    return model.eval()  # type: ignore[no-any-return]


def normalised(clips: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    three = clips.expand(-1, 3, -1, -1, -1)
    return torch.stack([(three[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)


def feature(network: nn.Module, clips: Tensor) -> Tensor:
    with torch.no_grad():
        return network.eval()(clips, {}).details["clip_feature"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("shape", [GREY, RGB], ids=["grey", "colour"])
@pytest.mark.parametrize("name", [*VIDEO, *FRAMES])
def test_narrow_baseline_classifies_and_trains_every_parameter(
    name: str, shape: ClipShape, network: Build
) -> None:
    net = network({"name": name, "width": 0.125}, shape=shape).eval()  # no block is dropped by chance
    logits = net(torch.rand(2, *shape)).logits
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    idle = {key for key, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == set(net.unused)


@pytest.mark.parametrize("name", VIDEO)
def test_baseline_at_width_one_has_the_published_number_of_parameters(
    name: str, resolved: Build, registry: Any
) -> None:
    published_head = {"s3d": 1024, "swin3d-t": 768, "mvit-v2-s": 768}.get(name, 512) * 400 + 400
    with torch.device("meta"):
        net = built(registry, resolved(name), ClipShape(3, 16, 224, 224))
    assert counted(net) - counted(net.head) == entry(name).meta["num_params"] - published_head


@pytest.mark.parametrize(
    ("name", "temporal"),
    [
        ("resnet18-lstm", 4 * (2 * 512 * 512 + 2 * 512)),
        ("resnet18-gru", 3 * (2 * 512 * 512 + 2 * 512)),
        # positions; query, key, value and projection; the hidden layers; three norms
        (
            "resnet18-transformer",
            16 * 512 + 4 * (512 * 512 + 512) + 2 * 4 * 512 * 512 + 5 * 512 + 3 * 2 * 512,
        ),
    ],
)
def test_frame_baseline_is_resnet18_and_one_temporal_layer(
    name: str, temporal: int, resolved: Build, registry: Any
) -> None:
    with torch.device("meta"):
        net = built(registry, resolved(name), RGB)
    resnet = entry(name).meta["num_params"] - (512 * 1000 + 1000)
    assert counted(net) == resnet + temporal + 512 * 7 + 7


@pytest.mark.parametrize(
    ("name", "side", "gigaflops"),
    [("r3d-18", 112, 81.39), ("mvit-v2-s", 224, 128.45), ("swin3d-t", 224, 87.76)],
)
def test_baseline_at_width_one_costs_what_torchvision_s_does(
    name: str, side: int, gigaflops: float, resolved: Build, registry: Any
) -> None:
    shape = ClipShape(3, 16, side, side)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        built(registry, resolved(name), shape).eval()(torch.empty(1, *shape))
    assert counter.get_total_flops() == pytest.approx(gigaflops * 1e9, rel=2e-3)


@pytest.mark.parametrize("name", ["r3d-18", "mc3-18", "r2plus1d-18", "swin3d-t"])
def test_published_weights_give_torchvision_s_features_behind_their_normalisation(
    name: str, network: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = original(name)
    monkeypatch.setattr(torchvision_weights, "download", lambda entry, where: theirs.state_dict())
    ours = network({"name": name, "weights": "kinetics-400"}, shape=GREY)
    clips = torch.rand(2, *GREY)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if name == "swin3d-t" else (KINETICS_MEAN, KINETICS_STD)
    with torch.no_grad():
        expected = theirs(normalised(clips, mean, std))
    torch.testing.assert_close(feature(ours, clips), expected, rtol=1e-4, atol=1e-5)


def test_published_weights_of_a_frame_network_give_torchvision_s_features_in_every_frame(
    registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = original("resnet-18")
    monkeypatch.setattr(torchvision_weights, "download", lambda entry, where: theirs.state_dict())
    config = registry.resolve("backbone", {"name": "resnet-18", "weights": "imagenet-1k"}, "backbone")
    ours = registry.build("backbone", config, RGB).eval()
    clips = torch.rand(2, *RGB)
    with torch.no_grad():
        last = ours(clips)[-1]
        for frame in (0, 15):
            expected = theirs(normalised(clips, IMAGENET_MEAN, IMAGENET_STD)[:, :, frame])
            torch.testing.assert_close(last[:, :, frame].mean((2, 3)), expected, rtol=1e-4, atol=1e-5)


def test_mvit_is_read_from_its_class_token_as_torchvision_s_is(
    network: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = ClipShape(3, 16, 64, 64)
    ours = network("mvit-v2-s", shape=shape)
    # torchvision's builder knows one size alone, its class any
    any_size = torchvision.models.video.mvit.MViT
    monkeypatch.setattr(
        torchvision.models.video.mvit,
        "MViT",
        lambda **options: any_size(**{**options, "spatial_size": (64, 64)}),
    )
    theirs = original("mvit-v2-s")
    ours.backbone.trunk.load_state_dict(torchvision_weights.rename(theirs.state_dict(), MVIT_PREFIXES))
    clips = torch.rand(2, *shape)
    with torch.no_grad():
        expected = theirs(clips)
    torch.testing.assert_close(feature(ours, clips), expected, rtol=1e-4, atol=1e-5)


def test_published_mvit_weights_fit_at_their_own_size(
    resolved: Build, registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        state = torchvision.models.get_model("mvit_v2_s").state_dict()
        monkeypatch.setattr(torchvision_weights, "download", lambda entry, where: state)
        config = resolved({"name": "mvit-v2-s", "weights": "kinetics-400"})
        net = built(registry, config, ClipShape(1, 16, 224, 224))
        assert net(torch.empty(1, 1, 16, 224, 224)).logits.shape == (1, 7)


class Cache:
    """torch's folder of downloaded files, with torchvision's S3D of random weights in it."""

    def __init__(self, root: Path) -> None:
        self.theirs = original("s3d")
        self.file = root / "hub/checkpoints/s3d-d76dad2f.pth"
        self.file.parent.mkdir(parents=True)
        torch.save(self.theirs.state_dict(), self.file)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return Cache(tmp_path)


def test_weights_in_a_local_file_are_loaded_by_the_name_torchvision_gives_it(
    cache: Cache, network: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_weights, "check_hash", lambda file: None)
    ours = network({"name": "s3d", "weights": "kinetics-400"}, shape=RGB)
    clips = torch.rand(2, *RGB)
    with torch.no_grad():
        expected = cache.theirs.features(normalised(clips, KINETICS_MEAN, KINETICS_STD)).mean((2, 3, 4))  # type: ignore[operator]
    torch.testing.assert_close(feature(ours, clips), expected, rtol=1e-4, atol=1e-5)


def test_local_file_with_other_contents_than_torchvision_publishes_is_refused(
    cache: Cache, network: Build
) -> None:
    found = hashlib.sha256(cache.file.read_bytes()).hexdigest()[:8]
    with pytest.raises(InputError, match=rf"s3d-d76dad2f\.pth: is not the file .* {found}, not d76dad2f"):
        network({"name": "s3d", "weights": "kinetics-400"}, shape=RGB)


def test_file_whose_name_ends_in_its_hash_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "net-9f86d081.pth"  # SHA-256 of b"test"
    file.write_bytes(b"test")
    torchvision_weights.check_hash(file)


def test_weights_that_cannot_be_downloaded_are_an_error_with_a_remedy(
    network: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError) as error:
        network({"name": "mc3-18", "weights": "kinetics-400"})
    message = str(error.value)
    assert "https://download.pytorch.org/models/mc3_18-a90a0ba3.pth" in message
    assert str(tmp_path / "hub/checkpoints/mc3_18-a90a0ba3.pth") in message


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (GREY, {"name": "s3d", "width": 0.5}, r"weights 'kinetics-400' need width 1\. Got 0\.5"),
        (ClipShape(2, 16, 32, 32), {"name": "s3d"}, r"take clips of 1 or 3 channels\. Got 2"),
        (GREY, {"name": "mvit-v2-s"}, r"take clips of 16 x 224 x 224 .*\. Got 16 x 32 x 32"),
    ],
)
def test_published_weights_that_do_not_fit_are_refused(
    shape: ClipShape, options: dict[str, Any], message: str, network: Build
) -> None:
    with pytest.raises(InputError, match=message):
        network({**options, "weights": "kinetics-400"}, shape=shape)


SMALLEST = {
    "r3d-18": (8, 16),
    "mc3-18": (2, 16),
    "r2plus1d-18": (8, 16),
    "s3d": (8, 32),
    "swin3d-t": (4, 32),
    "mvit-v2-s": (4, 32),
    "resnet-18": (1, 32),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone_takes_its_smallest_clip_and_refuses_a_smaller_one(name: str, registry: Any) -> None:
    frames, side = SMALLEST[name]
    config = registry.resolve("backbone", {"name": name, "width": 0.125}, "backbone")
    shape = ClipShape(1, frames, side, side)
    backbone = registry.build("backbone", config, shape).eval()
    maps = backbone(torch.rand(2, *shape))
    assert [tuple(stage.shape[1:]) for stage in maps] == [tuple(stage) for stage in backbone.stages]
    with pytest.raises(InputError, match=rf"{name}.* at least {side} x {side} pixels"):
        registry.build("backbone", config, shape._replace(height=side - 1))
    if frames > 1:
        with pytest.raises(InputError, match=rf"{name}.* at least {frames} frames"):
            registry.build("backbone", config, shape._replace(frames=frames - 1))


@pytest.mark.parametrize("name", BACKBONES)
def test_stages_of_a_backbone_have_the_declared_shapes_for_any_clip_size(name: str, registry: Any) -> None:
    config = registry.resolve("backbone", {"name": name, "width": 0.125}, "backbone")
    shape = ClipShape(3, 18, 41, 54)
    with torch.device("meta"):
        backbone = registry.build("backbone", config, shape)
        maps = backbone(torch.empty(2, *shape))
    assert [tuple(stage.shape[1:]) for stage in maps] == [tuple(stage) for stage in backbone.stages]


@pytest.mark.parametrize("name", BACKBONES)
def test_published_backbone_carries_ifdd(name: str, network: Build) -> None:
    frames = 32 if name in ("r3d-18", "r2plus1d-18", "s3d") else 16
    shape = GREY._replace(frames=frames)
    net = network(
        shape=shape, backbone={"name": name, "width": 0.125}, lifting={"name": "attention", "heads": 1}
    )
    assert net(torch.rand(2, *shape)).logits.shape == (2, 7)


def test_plain_network_is_ifdd_without_splitting_and_lifting(network: Build) -> None:
    clips = torch.rand(2, *GREY)
    plain = network("plain").eval()
    bare = network("ifdd", splitter="none", lifting="none", readout="mean").eval()
    assert torch.equal(plain(clips).logits, bare(clips).logits)
