"""Weights from elsewhere: the authors' checkpoints, torchvision's, and what a study may start from."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import torch
from support import golden_files as golden
from torch import Tensor, nn
from torchvision.models.video import mvit_v2_s

from study.config.registry import Registry
from study.errors import InputError
from study.hashing import file_digest
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.ifdd.exchange import (
    Configuration,
    export_released,
    import_kinetics,
    import_released,
)
from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.nets.ifdd.released import released_name, to_released
from study.tasks.clips.nets.initial import initialise
from study.tasks.clips.nets.state_dicts import read
from study.tasks.clips.nets.weights import Facts, save, start_from
from study.tasks.clips.training.tensors import copy_of_weights

NARROWER = 6
IMAGE_224 = ClipShape(channels=3, frames=16, height=224, width=224)
UNUSED = ("spatial_pos", "temporal_pos", "class_pos", "time_project")
WAVELETS = "backbone.WaveLifts."
State = dict[str, Tensor]


def narrow_shapes() -> dict[str, list[int]]:
    """The authors' tensors at a sixth of their width, which is a multiple of 96 everywhere."""
    return {
        name: [size // NARROWER if size % 96 == 0 else size for size in shape]
        for name, shape in golden.released_tensors().items()
    }


def made(shapes: dict[str, list[int]]) -> State:
    return {name: golden.filled(name, tuple(shape)) for name, shape in shapes.items()}


def without(shapes: dict[str, list[int]], *parts: str) -> dict[str, list[int]]:
    return {name: shape for name, shape in shapes.items() if not any(part in name for part in parts)}


def as_released(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    return shapes


def with_eleven_classes(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    return shapes | {"head.head.1.weight": [11, 128], "head.head.1.bias": [11]}


def without_norm(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    return without(shapes, "xa_norm", "xd_norm")


def without_issm(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    return without(shapes, "adapt_split")


def with_the_last_stage_alone(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    return without(shapes, "PANLayer", "CatConv")


def with_three_stages(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    return shapes | {
        "backbone.PANLayer.0.weight": [32, 32, 3, 3],
        "backbone.PANLayer.1.weight": [64, 64, 3, 3],
        "backbone.CatConv.weight": [128, 32 + 64 + 128, 1, 1],
    }


ISSM = {"name": "issm", "positions": "released"}
CONFIGURATIONS: list[tuple[Callable[..., dict[str, list[int]]], int, dict[str, Any]]] = [
    (as_released, 7, {}),
    (as_released, 7, {"lifting": {"name": "attention", "order": "predict-first"}}),
    (with_eleven_classes, 11, {}),
    (without_norm, 7, {"lifting": {"name": "attention", "norm": False}}),
    (without_issm, 7, {"splitter": {"name": "even-odd"}}),
    (with_the_last_stage_alone, 7, {"network": {"name": "ifdd", "stages": [3]}}),
    (with_three_stages, 7, {"network": {"name": "ifdd", "stages": [1, 2, 3]}}),
]


WRITTEN = {
    as_released: 'network = { name = "ifdd", stages = [2, 3], weights = ',
    with_eleven_classes: 'splitter = { name = "issm", positions = "released" }',
    without_norm: 'lifting = { name = "attention", norm = false }',
    without_issm: 'splitter = { name = "even-odd" }',
    with_the_last_stage_alone: 'network = { name = "ifdd", stages = [3], weights = ',
    with_three_stages: 'network = { name = "ifdd", stages = [1, 2, 3], weights = ',
}


def write_torch(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def build(registry: Registry, shape: ClipShape, classes: int = 7, **parts: Any) -> nn.Module:
    return build_network(registry, golden.released(registry, **parts), shape, classes)


def same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def network(registry: Registry) -> nn.Module:
    return golden.tiny_network(registry)


@pytest.fixture
def checkpoint(network: nn.Module, tmp_path: Path) -> Path:
    return write_torch(tmp_path / "released.pth", {"model": to_released(network.state_dict())})


# the authors' checkpoints


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("full")
    path = write_torch(folder / "released.pth", {"model": made(golden.released_tensors())})
    done = import_released(path, folder / "ours.safetensors")
    path.unlink()
    return str(done), done.written


def test_every_released_tensor_arrives_unchanged(full_size: tuple[str, Path]) -> None:
    report, path = full_size
    tensors, _ = read(path)
    assert len(tensors) == 288
    assert sum(tensor.numel() for tensor in tensors.values()) == 37_532_498
    for name, tensor in tensors.items():
        assert torch.equal(tensor, golden.filled(released_name(name), tuple(tensor.shape))), name
    assert re.search(r"\b288 tensors, 37,532,498 ", report)
    assert re.search(r"\b7 tensors .*\b44,625 ", report), "those that the authors' network never uses"
    assert file_digest(path) in report


@pytest.mark.slow
def test_imported_weights_give_the_authors_logits(registry: Registry, full_size: tuple[str, Path]) -> None:
    network = start_from(build(registry, IMAGE_224), "network", str(full_size[1])).eval()
    with torch.no_grad():
        logits = network(golden.clips(IMAGE_224)).logits
    expected = torch.from_numpy(np.load(golden.FULL_FOLDER / "paper.npz")["logits"])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("change", "classes", "parts"), CONFIGURATIONS)
def test_every_configuration_of_the_authors_goes_in_and_out(
    registry: Registry,
    tmp_path: Path,
    change: Callable[..., dict[str, list[int]]],
    classes: int,
    parts: dict[str, Any],
) -> None:
    theirs = made(change(narrow_shapes()))
    ours, back, again = (tmp_path / name for name in ("ours.safetensors", "back.pth", "again.safetensors"))
    report = str(import_released(write_torch(tmp_path / "released.pth", {"model": theirs}), ours))
    assert f"{classes} classes" in report
    assert WRITTEN[change] in report
    network = build(registry, IMAGE_224, classes, backbone={"name": "mfvit-xs", "width": 16}, **parts)
    start_from(network, "network", str(ours))
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, theirs[released_name(name)]), name
    export_released(ours, back)
    returned = torch.load(back, weights_only=True)["model"]
    zeroed = {name: t * (not any(part in name for part in UNUSED)) for name, t in theirs.items()}
    assert same(returned, zeroed)
    import_released(back, again)
    assert again.read_bytes() == ours.read_bytes()


def test_without_the_authors_list_a_checkpoint_still_goes_in_and_out(
    network: nn.Module, checkpoint: Path, tmp_path: Path
) -> None:
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    import_released(checkpoint, ours)
    assert same(read(ours)[0], network.state_dict())
    export_released(ours, back)
    returned = torch.load(back, weights_only=True)["model"]
    assert same({name: returned[name] for name in to_released(read(ours)[0])}, to_released(read(ours)[0]))
    assert len(returned) == 295


@pytest.mark.parametrize("splitter", ["issm", "even-odd"])
def test_the_weights_of_a_run_are_exported_without_their_buffers(
    registry: Registry, tmp_path: Path, splitter: Any
) -> None:
    parts = Configuration(splitter=splitter, width=16).parts
    network = build(registry, IMAGE_224, 7, **parts)
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(copy_of_weights(network), path)
    assert len(read(path)[0]) > len(network.state_dict())
    export_released(path, tmp_path / "out.pth")
    returned = torch.load(tmp_path / "out.pth", weights_only=True)["model"]
    for name, value in network.state_dict().items():
        assert torch.equal(returned[released_name(name)], value), name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 99, "optimizer": {"state": {}}},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    ],
    ids=["bare", "model", "parallel in model", "parallel"],
)
def test_every_way_of_saving_a_checkpoint_is_read(
    network: nn.Module, tmp_path: Path, wrap: Callable[[State], Any]
) -> None:
    path = write_torch(tmp_path / "released.pth", wrap(to_released(network.state_dict())))
    import_released(path, tmp_path / "ours.safetensors")
    assert same(read(tmp_path / "ours.safetensors")[0], network.state_dict())


def test_a_checkpoint_may_be_safetensors(network: nn.Module, tmp_path: Path) -> None:
    safetensors.torch.save_file(to_released(network.state_dict()), tmp_path / "released.safetensors")
    import_released(tmp_path / "released.safetensors", tmp_path / "ours.safetensors")
    assert same(read(tmp_path / "ours.safetensors")[0], network.state_dict())


def test_what_does_not_fit_is_named_with_its_shape(network: nn.Module, tmp_path: Path) -> None:
    state = to_released(network.state_dict())
    del state[WAVELETS + "q_a.bias"]
    state["head.second.weight"] = torch.zeros(5, 2)
    state[WAVELETS + "q_d.weight"] = torch.zeros(128, 64)
    path = write_torch(tmp_path / "released.pth", {"model": state})
    with pytest.raises(InputError) as refused:
        import_released(path, tmp_path / "ours.safetensors")
    lines = str(refused.value).splitlines()
    assert str(path) in lines[0]
    assert [line.strip() for line in lines[1:]] == [
        "missing (1):",
        WAVELETS + "q_a.bias [128]",
        "unexpected (1):",
        "head.second.weight [5, 2]",
        "of another shape (1):",
        WAVELETS + "q_d.weight [128, 64], must be [128, 128]",
    ]
    assert not (tmp_path / "ours.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("embed.conv_proj.weight", (5000, 3, 3, 7, 7)),
        ("embed.conv_proj.weight", ()),
        ("head.head.1.weight", (0,)),
        ("backbone.backbone.blocks.0.attn.rel_pos_h", (3, 96)),
        ("backbone.PANLayer.0.weight", (7,)),
    ],
)
def test_one_impossible_tensor_is_the_one_that_is_named(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    right = golden.released_tensors()
    state = {n: torch.zeros(()).expand(shape if n == name else s) for n, s in right.items()}
    with pytest.raises(InputError) as refused:
        import_released(write_torch(tmp_path / "released.pth", state), tmp_path / "ours.safetensors")
    assert str(refused.value).splitlines()[1:] == [
        "  of another shape (1):",
        f"    {name} {list(shape)}, must be {right[name]}",
    ]


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = write_torch(tmp_path / "other.pth", nn.Linear(2, 3).state_dict())
    with pytest.raises(InputError, match=r"(?s)missing \(\d+\).*unexpected \(2\):\n +bias \[3\]"):
        import_released(path, tmp_path / "ours.safetensors")


def test_half_precision_is_refused_rather_than_rounded(network: nn.Module, tmp_path: Path) -> None:
    state = {name: tensor.half() for name, tensor in to_released(network.state_dict()).items()}
    with pytest.raises(InputError, match=r"torch\.float32.*torch\.float16"):
        import_released(write_torch(tmp_path / "half.pth", state), tmp_path / "ours.safetensors")


def test_networks_that_the_authors_do_not_have_are_not_exported(registry: Registry, tmp_path: Path) -> None:
    shape = ClipShape(channels=3, frames=8, height=64, width=64)
    network = build(
        registry,
        shape,
        backbone={"name": "mfvit-xs", "width": 16},
        lifting={"name": "attention", "predictor_depth": 2},
    )
    path, extra = tmp_path / "weights.safetensors", "lifting.predict.layers.1.key_value.bias"
    safetensors.torch.save_file(network.state_dict(), path)
    with pytest.raises(InputError, match=rf"unexpected \(6\):\n +{re.escape(extra)}"):
        export_released(path, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


class Hostile:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.mark}",))


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_code_inside_a_checkpoint_is_refused_and_never_run(tmp_path: Path, form: str) -> None:
    path, mark = tmp_path / "hostile.pth", tmp_path / "mark"
    content = {"model": {"a": torch.zeros(2)}, "hook": Hostile(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(InputError, match=r"hostile\.pth: refused.*system'"):
        import_released(path, tmp_path / "ours.safetensors")
    assert not mark.exists()


def test_a_plain_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "hostile.pth", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Hostile(mark), protocol=2))
    with pytest.raises(InputError, match=r"hostile\.pth: refused"):
        import_released(path, tmp_path / "ours.safetensors")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["text.pth", "text.safetensors", "empty.pth", "empty.safetensors"])
def test_files_without_tensors_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"hello" if "text" in name else b"")
    with pytest.raises(InputError, match=r"can read|readable"):
        import_released(tmp_path / name, tmp_path / "ours.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "Got list instead"),
        ({}, "Got an empty dict instead"),
        ({"model": {"a": 1}}, r"Beside tensors it has 'a' \(int\)"),
        ({"weights": {"a": torch.zeros(1), "b": 1}}, r"Beside tensors it has 'weights' \(dict\)"),
    ],
)
def test_files_without_a_state_dict_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        import_released(write_torch(tmp_path / "a.pth", content), tmp_path / "ours.safetensors")


def test_nothing_is_written_over(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "ours.safetensors"
    out.write_bytes(b"mine")
    for convert in (import_released, export_released, lambda path, out: import_kinetics(out, path)):
        with pytest.raises(InputError, match="already exists"):
            convert(checkpoint, out)
    assert out.read_bytes() == b"mine"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for convert in (import_released, export_released, lambda path, out: import_kinetics(out, path)):
        with pytest.raises(InputError, match=r"gone\.pth: "):
            convert(tmp_path / "gone.pth", tmp_path / "out")


# torchvision's Kinetics-400 weights


@pytest.fixture(scope="module")
def kinetics(tmp_path_factory: pytest.TempPathFactory) -> tuple[State, Path, str]:
    folder = tmp_path_factory.mktemp("kinetics")
    state = mvit_v2_s(weights=None).state_dict()
    done = import_kinetics(folder / "ours.safetensors", write_torch(folder / "theirs.pth", state))
    return state, done.written, str(done)


def test_kinetics_stem_and_blocks_land_in_mfvit_xs(
    registry: Registry, kinetics: tuple[State, Path, str]
) -> None:
    theirs, path, report = kinetics
    backbone = registry.build("backbone", registry.resolve("backbone", "mfvit-xs", ""), IMAGE_224)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    ours = start_from(backbone, "backbone", str(path)).state_dict()
    taken = [0, 1, 2, 3, 4, 5, 6, 7, 14, 15]
    for number, block in enumerate(taken):
        found = {name: t for name, t in ours.items() if name.startswith(f"blocks.{number}.")}
        wanted = {name: t for name, t in theirs.items() if name.startswith(f"blocks.{block}.")}
        assert same(
            {name.split(".", 2)[2]: t for name, t in found.items()},
            {name.split(".", 2)[2]: t for name, t in wanted.items()},
        )
    assert torch.equal(ours["stem.weight"], theirs["conv_proj.weight"])
    assert torch.equal(ours["stem.bias"], theirs["conv_proj.bias"])
    fresh = {name for name in ours if not name.startswith(("blocks.", "stem."))}
    assert fresh == {"class_token", "norm.weight", "norm.bias"}
    assert all(torch.equal(ours[name], before[name]) for name in fresh)
    assert all(f"backbone.{name}" in report for name in fresh)
    for part in ("[0.45, 0.45, 0.45]", "[0.225, 0.225, 0.225]"):
        assert part in report


def test_kinetics_weights_do_not_fit_another_image_size_or_a_whole_network(
    registry: Registry, kinetics: tuple[State, Path, str]
) -> None:
    _, path, _ = kinetics
    with torch.device("meta"):
        network = build(registry, IMAGE_224._replace(height=64, width=64))
    with pytest.raises(InputError, match=r"rel_pos_h \[111, 96\].*\[31, 96\]"):
        start_from(network.backbone, "backbone", str(path))  # type: ignore[type-var]
    with pytest.raises(InputError, match=r"(?s)network\.weights: .*torchvision.*missing \(\d+\)"):
        start_from(network, "network", str(path))


def test_kinetics_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    with torch.device("meta"):
        names = mvit_v2_s().state_dict()
    state = {name: torch.zeros(1).expand(tensor.shape) for name, tensor in names.items()}
    state["blocks.3.norm1.weight"] = torch.zeros(5)
    path = write_torch(tmp_path / "theirs.pth", state)
    with pytest.raises(InputError, match=r"blocks\.3\.norm1\.weight \[5\].*\[192\]"):
        import_kinetics(tmp_path / "ours.safetensors", path)


def test_kinetics_weights_come_from_torchvision_with_their_hash_checked(
    kinetics: tuple[State, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, path, _ = kinetics
    arguments: dict[str, Any] = {}

    def load(url: str, **options: Any) -> State:
        arguments.update(options, url=url)
        return theirs

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", load)
    import_kinetics(tmp_path / "ours.safetensors")
    assert arguments["url"].endswith("/mvit_v2_s-ae3be167.pth")
    assert arguments["check_hash"] is True
    assert arguments["weights_only"] is True
    assert (tmp_path / "ours.safetensors").read_bytes() == path.read_bytes()


def test_without_a_network_the_message_names_the_url_and_the_file_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "no net here"

    def load(url: str, **options: Any) -> State:
        raise URLError(reason)

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", load)
    with pytest.raises(InputError, match=rf"mvit_v2_s-ae3be167\.pth: .*{reason}.*the file"):
        import_kinetics(tmp_path / "ours.safetensors")


# starting from weights


def test_a_network_that_starts_from_weights_computes_what_they_did(
    registry: Registry, network: nn.Module, checkpoint: Path, tmp_path: Path
) -> None:
    import_released(checkpoint, tmp_path / "ours.safetensors")
    fresh = build(registry, golden.TINY, backbone={"name": "mfvit-xs", "width": golden.TINY_WIDTH}).eval()
    start_from(fresh, "network", str(tmp_path / "ours.safetensors"))
    with torch.no_grad():
        clips = golden.clips(golden.TINY)
        assert torch.equal(fresh(clips).logits, network(clips).logits)


def test_a_backbone_takes_its_own_tensors_from_a_whole_network(
    registry: Registry, network: nn.Module, checkpoint: Path, tmp_path: Path
) -> None:
    import_released(checkpoint, tmp_path / "ours.safetensors")
    config = registry.resolve("backbone", {"name": "mfvit-xs", "width": golden.TINY_WIDTH}, "")
    backbone = start_from(
        registry.build("backbone", config, golden.TINY), "backbone", str(tmp_path / "ours.safetensors")
    )
    assert same(backbone.state_dict(), network.backbone.state_dict())  # type: ignore[union-attr]


def test_weights_leave_every_other_tensor_to_the_seed(
    registry: Registry, network: nn.Module, checkpoint: Path, tmp_path: Path
) -> None:
    import_released(checkpoint, tmp_path / "ours.safetensors")

    def scratch() -> nn.Module:
        return build(registry, golden.TINY, backbone={"name": "mfvit-xs", "width": golden.TINY_WIDTH})

    def started() -> nn.Module:
        built = scratch()
        start_from(built.backbone, "backbone", str(tmp_path / "ours.safetensors"))  # type: ignore[type-var]
        return built

    one, two = initialise(scratch, 3).state_dict(), initialise(started, 3).state_dict()
    loaded = {name: network.state_dict()[name] for name in one if name.startswith("backbone.")}
    assert same(two, one | loaded)


def test_clips_are_normalised_as_the_weights_need_it(tmp_path: Path) -> None:
    stem = nn.Conv3d(3, 2, 1)
    facts = Facts("a test", {}, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    save(tmp_path / "w.safetensors", {f"backbone.{name}": t for name, t in stem.state_dict().items()}, facts)
    clips = torch.rand(2, 3, 4, 5, 6)
    by_hand = torch.stack(
        [(clips[:, 0] - 0.1) / 0.5, (clips[:, 1] - 0.2) / 0.25, (clips[:, 2] - 0.3) / 2.0], dim=1
    )
    plain = stem(by_hand)
    torch.testing.assert_close(start_from(stem, "backbone", str(tmp_path / "w.safetensors"))(clips), plain)


def test_a_file_that_changed_after_planning_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w#1.safetensors"
    digest = save(path, nn.Linear(2, 3).state_dict(), Facts("a test", {}))
    started = start_from(nn.Linear(2, 3), "network", f"{path}#{digest}")
    assert same(started.state_dict(), read(path)[0])
    save(path, nn.Linear(2, 3).state_dict(), Facts("a test", {}))
    with pytest.raises(InputError, match=r"network\.weights: .*changed"):
        start_from(nn.Linear(2, 3), "network", f"{path}#{digest}")


def test_the_same_weights_have_the_same_digest_wherever_they_lie(checkpoint: Path, tmp_path: Path) -> None:
    import_released(checkpoint, tmp_path / "one.safetensors")
    import_released(checkpoint.rename(tmp_path / "renamed.pth"), tmp_path / "two.safetensors")
    assert file_digest(tmp_path / "one.safetensors") == file_digest(tmp_path / "two.safetensors")


def test_a_file_of_unknown_origin_is_refused(network: nn.Module, tmp_path: Path) -> None:
    safetensors.torch.save_file(network.state_dict(), tmp_path / "weights.safetensors", {"run": "r1-0"})
    with pytest.raises(InputError, match=r"network\.weights: .*origin"):
        start_from(network, "network", str(tmp_path / "weights.safetensors"))


def test_weights_are_compared_before_anything_has_memory(
    registry: Registry, checkpoint: Path, tmp_path: Path
) -> None:
    import_released(checkpoint, tmp_path / "ours.safetensors")
    with torch.device("meta"):
        network = build(registry, golden.TINY, backbone={"name": "mfvit-xs", "width": golden.TINY_WIDTH})
        start_from(network, "network", str(tmp_path / "ours.safetensors"))
        other = build(registry, golden.TINY, backbone={"name": "mfvit-xs", "width": 2 * golden.TINY_WIDTH})
        with pytest.raises(InputError, match=r"does not fit this network[^$]*of another shape"):
            start_from(other, "network", str(tmp_path / "ours.safetensors"))
    assert all(parameter.is_meta for parameter in network.parameters())


def test_scratch_starts_from_the_seed() -> None:
    module = nn.Linear(2, 3)
    assert start_from(module, "backbone", "scratch") is module
