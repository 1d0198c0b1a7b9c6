"""Number by number: the released configuration against the authors' own outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from support import golden_files as golden
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from study.config.registry import Registry
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.contract import Features
from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.nets.ifdd.released import (
    from_released,
    is_unused,
    own_name,
    released_name,
    to_released,
)

FULL = ClipShape(channels=3, frames=16, height=224, width=224)
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "predict_first": {"lifting": {"name": "attention", "order": "predict-first"}},
    "even_odd_split": {"splitter": "even-odd"},
}
OURS = {
    "embed_mean": "stem",
    **{f"stage{number}_mean": f"stage{number}" for number in range(4)},
    "issm_similarity": "similarity",
    "issm_index_static": "static_index",
    "issm_index_dynamic": "dynamic_index",
    "lifted_static": "lifted_static",
    "refined_dynamic": "lifted_dynamic",
    "clip_feature": "clip_feature",
}


class Recorded(nn.Module):
    """Stands for the backbone, whose outputs are the same in every variant."""

    def __init__(
        self, stages: tuple[Features, ...], outputs: tuple[Tensor, ...], details: dict[str, Tensor]
    ) -> None:
        super().__init__()
        self.stages, self.outputs, self.details = stages, outputs, details

    def forward(self, clips: Tensor, details: dict[str, Tensor] | None = None) -> tuple[Tensor, ...]:
        if details is not None:
            details |= self.details
        return self.outputs


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)], ids="clips={}".format)
def backbone(request: pytest.FixtureRequest, registry: Registry) -> Recorded:
    trunk = registry.build("backbone", registry.resolve("backbone", "mfvit-xs", ""), FULL).eval()
    golden.fill(nn.ModuleDict({"backbone": trunk}))
    details: dict[str, Tensor] = {}
    with torch.no_grad():
        outputs = trunk(golden.clips(FULL)[: request.param], details)
    return Recorded(trunk.stages, outputs, details)


@pytest.fixture
def on_meta() -> Iterator[None]:
    with torch.device("meta"):
        yield


@pytest.mark.parametrize("variant", VARIANTS)
def test_full_size_agrees_with_the_authors_network(
    registry: Registry, backbone: Recorded, variant: str
) -> None:
    def build(kind: str, config: Any, *context: Any) -> Any:
        return backbone if kind == "backbone" else registry.build(kind, config, *context)

    config = golden.released(registry, **VARIANTS[variant])
    network = registry.build("network", config.pop("network") | config, FULL, 7, build).eval()
    golden.fill(network)
    count = len(backbone.outputs[0])
    with torch.no_grad():
        output = network(golden.clips(FULL)[:count], {})
    expected = {name: array[:count] for name, array in np.load(golden.FULL_FOLDER / f"{variant}.npz").items()}
    close(output.logits, expected.pop("logits"))
    close(output.context_residual.mean((1, 2)), expected.pop("context_residual"))
    for name, values in expected.items():
        close(output.details[OURS[name]], values)


def close(ours: Tensor, theirs: Any) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(theirs), atol=1e-5, rtol=0)


def test_our_tensors_and_the_authors_used_ones_are_the_same(registry: Registry, on_meta: None) -> None:
    network = build_network(registry, golden.released(registry), FULL, 7)
    ours = {name: list(parameter.shape) for name, parameter in network.named_parameters()}
    theirs = golden.released_tensors()
    assert ours == {own_name(name): shape for name, shape in theirs.items() if not is_unused(name)}
    assert all(released_name(own_name(name)) == name for name in theirs if not is_unused(name))
    unused = sum(int(np.prod(shape)) for name, shape in theirs.items() if is_unused(name))
    assert sum(parameter.numel() for parameter in network.parameters()) == 37_532_498 == 37_577_123 - unused


def test_renaming_to_the_authors_names_and_back_loses_nothing(registry: Registry) -> None:
    state = golden.tiny_network(registry).state_dict()
    again = from_released(to_released(state))
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_released_network_costs_what_was_measured_on_the_authors(registry: Registry, on_meta: None) -> None:
    network = build_network(registry, golden.released(registry), FULL, 7).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, *FULL))
    assert counter.get_total_flops() / 1e9 == pytest.approx(95.7, rel=0.005)


@pytest.mark.slow
def test_released_network_has_the_measured_multiply_accumulates(registry: Registry) -> None:
    network = build_network(registry, golden.released(registry), FULL, 7).eval()
    with torch.no_grad():
        count = FlopCountAnalysis(network, torch.zeros(1, *FULL))
        count.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        assert count.total() / 1e9 == pytest.approx(48.0, rel=0.005)


def test_tiny_network_still_computes_what_it_did(registry: Registry) -> None:
    expected = np.load(golden.TINY_FILE)
    outputs = golden.tiny_outputs(registry)
    assert set(outputs) == set(expected.files)
    for name, tensor in outputs.items():
        close(tensor, expected[name])
