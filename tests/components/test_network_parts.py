"""Components of networks: their values, and the errors of components that do not fit together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from study.config.registry import Registry
from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.contract import Features, Groups, GroupShapes, Output
from study.tasks.clips.nets.resampling import hat_weights, pooling_matrix, sample_frames
from study.tasks.clips.nets.video.multiscale import TokenMaxPool

Network = Callable[..., nn.Module]
FEATURES = Features(channels=16, frames=8, height=3, width=5)


def clip(features: Features = FEATURES, batch: int = 2) -> Tensor:
    return torch.randn(batch, *features, generator=torch.Generator().manual_seed(0))


def part(registry: Registry, kind: str, value: Any, *context: Any) -> Any:
    return registry.build(kind, registry.resolve(kind, value, kind), *context)


# the network as a whole


@pytest.mark.parametrize("splitter", ["none", "even-odd", "issm"])
@pytest.mark.parametrize("lifting", ["none", "haar", "attention"])
def test_every_pair_of_splitter_and_lifting_runs_or_is_refused(
    network: Network, splitter: str, lifting: str
) -> None:
    if splitter == "none" and lifting != "none":
        with pytest.raises(InputError, match="use lifting 'none'"):
            network(splitter=splitter, lifting=lifting)
        return
    output = network(splitter=splitter, lifting=lifting)(torch.rand(3, 1, 16, 32, 32))
    assert output.logits.shape == (3, 7)
    assert (output.context_residual is None) == (lifting == "none")


@pytest.mark.parametrize(
    ("shape", "backbone"),
    [
        (ClipShape(3, 8, 32, 32), "conv-tiny"),
        (ClipShape(1, 32, 57, 40), "conv-tiny"),
        (ClipShape(3, 16, 224, 224), "conv-tiny"),
        (ClipShape(1, 16, 32, 32), "mvit-tiny"),
        (ClipShape(3, 8, 64, 64), "mfvit-xs"),
        (ClipShape(3, 16, 48, 33), "mfvit-xs"),
        (ClipShape(1, 32, 32, 96), "mfvit-xs"),
        (ClipShape(3, 12, 48, 56), "mvit-tiny"),
    ],
)
def test_backbones_return_the_stages_that_they_declare(
    registry: Registry, shape: ClipShape, backbone: str
) -> None:
    table = {"name": backbone} | ({} if backbone == "conv-tiny" else {"width": 8})
    built = part(registry, "backbone", table, shape)
    stages = built(torch.rand(2, *shape))
    assert [tuple(stage.shape[1:]) for stage in stages] == [tuple(stage) for stage in built.stages]


def test_conv_tiny_sees_every_frame_and_its_difference_from_the_mean_frame(registry: Registry) -> None:
    built = part(registry, "backbone", "conv-tiny", ClipShape(1, 16, 32, 32)).eval()
    clips = clip(Features(1, 16, 32, 32))
    differences = clips - clips.mean(2, keepdim=True)
    convolution, norm, _ = built.layers[0]
    for pair, maps in enumerate(built(clips)[0].unbind(2)):
        both = slice(2 * pair, 2 * pair + 2)
        seen = torch.cat([clips[:, 0, both], differences[:, 0, both]], dim=1)
        torch.testing.assert_close(
            maps, F.relu(norm(F.conv2d(seen, convolution.weight, stride=4, padding=1)))
        )


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 12), (1, 5)])
def test_skip_pool_is_torchs_max_pooling_with_its_gradient(height: int, width: int) -> None:
    maps = clip(Features(3, 2, height, width)).requires_grad_()
    grid = (2, height, width)
    tokens = torch.cat([torch.zeros(len(maps), 1, 3), maps.flatten(2).transpose(1, 2)], dim=1)
    pooled, halved = TokenMaxPool()(tokens, grid)
    ours = pooled[:, 1:].unflatten(1, halved).permute(0, 4, 1, 2, 3)
    theirs = F.max_pool3d(maps, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    assert torch.equal(ours, theirs)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((weights * pooled).sum(), maps)[0] for pooled in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("shape", [ClipShape(3, 16, 112, 112), ClipShape(1, 8, 40, 72)])
def test_relative_positions_fit_any_image_without_interpolation(registry: Registry, shape: ClipShape) -> None:
    built = part(registry, "backbone", {"name": "mfvit-xs", "width": 8}, shape)
    for block in built.blocks:
        attention = block.attn
        for axis in "thw":
            rows, table = getattr(attention, f"distance_{axis}"), getattr(attention, f"rel_pos_{axis}")
            assert len(table) == 2 * max(rows.shape) - 1
            assert rows.min() == 0
            assert rows.max() < len(table)


@pytest.mark.parametrize("stages", [[0, 1], [1]])
def test_pyramid_joins_stages_into_the_shape_of_the_last(network: Network, stages: list[int]) -> None:
    built = network({"name": "ifdd", "stages": stages})
    assert built(torch.rand(2, 1, 16, 32, 32)).logits.shape == (2, 7)
    assert built.pyramid.features == (32, 8, 3, 3)  # type: ignore[union-attr]


@pytest.mark.parametrize("stages", [[], [0], [1, 1], [-1], [0, 1, 2]])
def test_impossible_stages_are_refused_with_what_is_allowed(network: Network, stages: list[int]) -> None:
    with pytest.raises(InputError, match=r"stages.* 0 to 1, 1 "):
        network({"name": "ifdd", "stages": stages})


@pytest.mark.parametrize(
    ("shape", "parts", "message"),
    [
        (ClipShape(1, 7, 32, 32), {}, "even number of frames"),
        (ClipShape(1, 4, 32, 32), {}, "even number of time steps, at least 4"),
        (ClipShape(1, 10, 32, 32), {"splitter": "even-odd"}, "even number of time steps, at least 4"),
        (ClipShape(1, 16, 8, 32), {}, "at least 16 x 16 pixels"),
        (ClipShape(3, 24, 64, 64), {"backbone": "mfvit-xs"}, "8, 16 or 32 frames"),
        (
            ClipShape(1, 16, 32, 32),
            {"lifting": {"name": "attention", "heads": 7}},
            "must divide the 32 channels",
        ),
        (
            ClipShape(1, 16, 32, 32),
            {"splitter": "none", "lifting": "none", "readout": {"name": "mean", "group": "both"}},
            "must be 'dynamic'",
        ),
        (
            ClipShape(1, 16, 32, 32),
            {"lifting": {"name": "attention", "shared": True, "updater_depth": 2}},
            "to be equal",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_words(
    network: Network, shape: ClipShape, parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        network(shape=shape, **parts)


def test_details_are_recorded_on_request_and_change_no_output(network: Network) -> None:
    built = network().eval()
    clips = torch.rand(2, 1, 16, 32, 32)
    assert built(clips).details == {}
    output = built(clips, {})
    assert torch.equal(output.logits, built(clips).logits)
    shapes = {name: tuple(tensor.shape) for name, tensor in output.details.items()}
    assert shapes["similarity"] == (2, 8, 8)
    assert shapes["static_index"] == shapes["dynamic_index"] == (2, 4)
    assert shapes["static_weights"] == shapes["dynamic_weights"] == (2, 4, 8)
    assert shapes["lifted_static"] == shapes["lifted_dynamic"] == shapes["clip_feature"] == (2, 32)
    assert shapes["split_dynamic_norm"] == (2, 4)


# resampling


def test_hat_weights_interpolate_like_grid_sample() -> None:
    frames = clip(Features(3, 8, 1, 1))
    positions = torch.tensor([[0.0, 0.25, 3.9, 7.0], [1.0, 2.5, 6.99, 0.001]])
    grid = torch.stack([positions * 2 / 7 - 1, torch.zeros_like(positions)], dim=-1)[:, None]
    expected = F.grid_sample(frames[..., 0].transpose(2, 3), grid, align_corners=True, padding_mode="border")
    sampled = sample_frames(frames, hat_weights(positions, torch.arange(8.0)))
    torch.testing.assert_close(sampled[..., 0, 0], expected[:, :, 0])


def test_released_positions_are_grid_sample_with_mixed_corner_conventions(registry: Registry) -> None:
    built = part(registry, "splitter", {"name": "issm", "positions": "released", "frozen": True}, FEATURES)
    frames = clip()
    groups = built(frames)
    for group, index in ((groups.static, [0.0, 2, 4, 6]), (groups.dynamic, [1.0, 3, 5, 7])):
        along_time = frames.flatten(3)  # (B, C, T, HW): time as the height of an image
        normalised = torch.tensor(index) * 2 / 7 - 1
        across = torch.linspace(-1, 1, 2 * 15 + 1)[1::2]
        grid = torch.stack(torch.meshgrid(normalised, across, indexing="ij")[::-1], dim=-1)
        expected = F.grid_sample(
            along_time, grid.expand(2, -1, -1, -1), align_corners=False, padding_mode="border"
        )
        torch.testing.assert_close(group.flatten(3), expected)


@pytest.mark.parametrize(("size", "pooled"), [(8, 4), (7, 4), (56, 7), (9, 7), (7, 7)])
def test_pooling_matrix_is_adaptive_average_pooling(size: int, pooled: int) -> None:
    row = torch.randn(3, size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(row @ pooling_matrix(size, pooled).T, F.adaptive_avg_pool1d(row, pooled))


# splitters


def test_frozen_corrected_issm_is_the_even_odd_split(registry: Registry) -> None:
    frames = clip()
    for splitter in ("even-odd", {"name": "issm", "frozen": True}, {"name": "issm", "receptive_field": 0}):
        built = part(registry, "splitter", splitter, FEATURES)
        groups = built(frames)
        assert torch.equal(groups.static, frames[:, :, 0::2])
        assert torch.equal(groups.dynamic, frames[:, :, 1::2])
        assert not list(built.parameters())


@pytest.mark.parametrize("receptive_field", [0.5, 2.0, 4.0])
def test_offsets_stay_within_the_receptive_field(registry: Registry, receptive_field: float) -> None:
    built = part(registry, "splitter", {"name": "issm", "receptive_field": receptive_field}, FEATURES)
    nn.init.normal_(built.static_offsets.weight, std=100)
    details: dict[str, Tensor] = {}
    built(clip(), details)
    offsets = details["static_index"] - torch.tensor([0.0, 2, 4, 6])
    assert offsets.abs().max() <= receptive_field
    assert offsets.abs().max() > 0.9 * receptive_field


def test_issm_of_the_released_size_has_5976_parameters(registry: Registry) -> None:
    built = part(registry, "splitter", "issm", Features(768, 8, 7, 7))
    used = sum(parameter.numel() for parameter in built.parameters())
    assert used == 5976 - (8 * 8 + 8 + 8 + 1)  # the release's time projection is never used


@pytest.mark.parametrize("splitter", ["even-odd", "top-k", "random", "halves"])
def test_hard_splits_hand_every_frame_to_exactly_one_group(registry: Registry, splitter: str) -> None:
    details: dict[str, Tensor] = {}
    frames = clip()
    groups = part(registry, "splitter", splitter, FEATURES)(frames, details)
    weights = torch.cat([details["static_weights"], details["dynamic_weights"]], dim=1)
    assert torch.equal(weights.sum(1), torch.ones(2, 8))
    assert set(weights.unique().tolist()) == {0.0, 1.0}  # type: ignore[no-untyped-call]
    order = weights.argmax(2)
    assert (order[:, :4].diff() > 0).all()  # each group in the order of time
    assert (order[:, 4:].diff() > 0).all()
    both = torch.cat([groups.static, groups.dynamic], dim=2)
    for number in range(2):
        assert torch.equal(both[number], frames[number][:, order[number]])


def test_top_k_takes_the_frames_most_like_the_rest(registry: Registry) -> None:
    frames = clip()
    alike = [1, 2, 5, 6]
    frames[:, :, alike] = frames[:, :, 1:2] + 0.1 * frames[:, :, alike]
    groups = part(registry, "splitter", "top-k", FEATURES)(frames)
    assert torch.equal(groups.static, frames[:, :, alike])


def test_random_split_belongs_to_the_seed_and_to_the_weights(network: Network) -> None:
    one, again, other = (network(splitter="random", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.splitter.draw, again.splitter.draw)  # type: ignore[arg-type, union-attr]
    assert not torch.equal(one.splitter.draw, other.splitter.draw)  # type: ignore[arg-type, union-attr]
    assert "splitter.draw" in one.state_dict()


def test_weighting_averages_all_frames_where_they_are_alike(registry: Registry) -> None:
    built = part(registry, "splitter", "weighting", FEATURES)
    nn.init.zeros_(built.similarity.embed.weight)
    frames = clip()
    groups = built(frames)
    for group in groups:
        torch.testing.assert_close(group, frames.mean(2, keepdim=True).expand(-1, -1, 4, -1, -1))


# liftings


def test_haar_is_the_difference_and_the_mean_of_neighbouring_frames(registry: Registry) -> None:
    frames = clip()
    even, odd = frames[:, :, 0::2], frames[:, :, 1::2]
    built = part(registry, "lifting", {"name": "haar", "output": "none"}, GroupShapes(FEATURES, FEATURES))
    (static, dynamic), residual = built(Groups(even, odd), frames)
    torch.testing.assert_close(dynamic, odd - even)
    torch.testing.assert_close(static, (even + odd) / 2)
    torch.testing.assert_close(residual, torch.zeros_like(residual), atol=1e-6, rtol=0)


def wavelet(registry: Registry, name: str, even: Tensor, odd: Tensor) -> Groups:
    shape = Features(*even.shape[1:])
    built = part(registry, "lifting", {"name": name, "output": "none", "heads": 1}, GroupShapes(shape, shape))
    return built(Groups(even, odd), torch.cat([even, odd], dim=2)).groups  # type: ignore[no-any-return]


def haar_inverse(s: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    even = s - d / 2
    return even, even + d


def cdf53_inverse(s: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    steps = s.shape[2]
    even = torch.stack([s[:, :, n] - (d[:, :, max(n - 1, 0)] + d[:, :, n]) / 4 for n in range(steps)], dim=2)
    following = [even[:, :, min(n + 1, steps - 1)] for n in range(steps)]
    return even, torch.stack([d[:, :, n] + (even[:, :, n] + following[n]) / 2 for n in range(steps)], dim=2)


@given(
    st.sampled_from([("haar", haar_inverse), ("cdf53", cdf53_inverse)]),
    st.integers(2, 8),
    st.integers(1, 3),
    st.floats(0.01, 1e4),
    st.integers(0, 2**31),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_fixed_wavelets_can_be_undone_for_any_permutation_of_the_frames(
    registry: Registry, pair: Any, half: int, side: int, scale: float, seed: int, permuted: bool
) -> None:
    name, inverse = pair
    generator = torch.Generator().manual_seed(seed)
    frames = scale * torch.randn(2, 3, 2 * half, side, side, generator=generator)
    order = (
        torch.randperm(2 * half, generator=generator)
        if permuted
        else torch.arange(2 * half).view(-1, 2).T.flatten()
    )
    even, odd = frames[:, :, order].tensor_split(2, dim=2)
    lifted = wavelet(registry, name, even, odd)
    for found, expected in zip(inverse(lifted.static, lifted.dynamic), (even, odd), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * scale)


def test_cdf53_predicts_a_steady_change_and_haar_a_still_frame(registry: Registry) -> None:
    ramp = torch.arange(8.0).view(1, 1, 8, 1, 1)
    even, odd = ramp[:, :, 0::2], ramp[:, :, 1::2]
    detail = wavelet(registry, "cdf53", even, odd).dynamic.flatten()
    assert detail.tolist() == [0, 0, 0, 1]  # at the end, the last even frame is repeated
    assert wavelet(registry, "haar", even, even).dynamic.abs().max() == 0
    # a constant clip keeps its mean and has no detail
    still = wavelet(registry, "cdf53", torch.full((1, 1, 4, 1, 1), 3.0), torch.full((1, 1, 4, 1, 1), 3.0))
    assert still.static.flatten().tolist() == [3, 3, 3, 3]  # type: ignore[union-attr]
    assert still.dynamic.abs().max() == 0


@pytest.mark.parametrize("lifting", ["attention", "conv"])
def test_updater_or_predictor_can_be_left_out_alone(registry: Registry, lifting: str) -> None:
    def lifted(**depths: int) -> Groups:
        table = {"name": lifting, "norm": False, "output": "none", "heads": 4} | depths
        built = part(registry, "lifting", table, GroupShapes(FEATURES, FEATURES))
        return built(groups, torch.cat([groups.static, groups.dynamic], dim=2)).groups  # type: ignore[list-item, no-any-return]

    groups = Groups(clip(), clip().flip(0))
    updated, predicted = lifted(predictor_depth=0), lifted(updater_depth=0)
    assert torch.equal(updated.dynamic, groups.dynamic)
    assert not torch.equal(updated.static, groups.static)  # type: ignore[arg-type]
    assert torch.equal(predicted.static, groups.static)  # type: ignore[arg-type]
    assert not torch.equal(predicted.dynamic, groups.dynamic)


@pytest.mark.parametrize("lifting", ["attention", "conv"])
def test_shared_weights_halve_the_steps_parameters(registry: Registry, lifting: str) -> None:
    def size(**parameters: Any) -> int:
        table = {"name": lifting, "norm": False, "output": "none", "heads": 4} | parameters
        built = part(registry, "lifting", table, GroupShapes(FEATURES, FEATURES))
        return sum(p.numel() for p in built.parameters())

    assert 2 * size(shared=True) == size()


def test_without_a_skip_a_dropped_path_drops_the_clip(registry: Registry) -> None:
    """What the release does to about a fifth of the clips in training."""
    zero = {}
    for output in ("released", "residual"):
        table = {"name": "attention", "heads": 4, "output": output, "drop_path": 0.5}
        built = part(registry, "lifting", table, GroupShapes(FEATURES, FEATURES)).train()
        torch.manual_seed(0)
        groups = Groups(clip(batch=40), clip(batch=40).flip(0))
        dynamic = built(groups, torch.cat([groups.static, groups.dynamic], dim=2)).groups.dynamic  # type: ignore[list-item]
        zero[output] = int((dynamic.flatten(1).abs().amax(1) == 0).sum())
    assert 10 <= zero["released"] <= 30
    assert zero["residual"] == 0


def attention(registry: Registry, **parameters: Any) -> Any:
    table = {"name": "attention", "heads": 4, "norm": False, "output": "none"} | parameters
    return part(registry, "lifting", table, GroupShapes(FEATURES, FEATURES))


def test_depth_zero_of_both_leaves_the_groups_alone(registry: Registry) -> None:
    groups = Groups(clip(), clip() + 1)
    built = attention(registry, predictor_depth=0, updater_depth=0)
    (static, dynamic), _ = built(groups, torch.cat([clip(), clip()], dim=2))
    assert torch.equal(static, groups.static)  # type: ignore[arg-type]
    assert torch.equal(dynamic, groups.dynamic)


def torch_attention(layer: Any, target: Tensor, source: Tensor) -> Tensor:
    """One layer by torch's fused attention."""

    def by_head(tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (layer.heads, -1)).transpose(1, 2)  # type: ignore[no-any-return, no-untyped-call]

    key, value = layer.key_value(source).chunk(2, dim=2)
    mixed = F.scaled_dot_product_attention(by_head(layer.query(target)), by_head(key), by_head(value))
    return layer.project(mixed.transpose(1, 2).flatten(2) + value)  # type: ignore[no-any-return]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("order", ["update-first", "predict-first"])
def test_attention_of_any_depth_and_order_follows_its_definition(
    registry: Registry, depth: int, order: str
) -> None:
    def attend_once(steps: Any, target: Tensor, source: Tensor) -> Tensor:
        h = target
        for layer in steps.layers[:-1]:
            h = h + torch_attention(layer, h, source)
        return torch_attention(steps.layers[-1], h, source)

    built = attention(registry, predictor_depth=depth, updater_depth=depth, order=order)
    static, dynamic = clip(), clip().flip(0) * 0.5
    s, d = (group.flatten(2).transpose(1, 2) for group in (static, dynamic))
    if order == "update-first":
        s = s + attend_once(built.update, s, d)
        d = d - attend_once(built.predict, d, s)
    else:
        d = d - attend_once(built.predict, d, s)
        s = s + attend_once(built.update, s, d)
    lifted, _ = built(Groups(static, dynamic), torch.cat([static, static], dim=2))
    torch.testing.assert_close(lifted.static.flatten(2).transpose(1, 2), s)
    torch.testing.assert_close(lifted.dynamic.flatten(2).transpose(1, 2), d)


@pytest.mark.parametrize("depth", [2, 3])
def test_sharing_one_layers_heads_matches_its_parameters_within_a_percent(
    network: Network, depth: int
) -> None:
    def size(**parameters: Any) -> int:
        return sum(p.numel() for p in network(lifting={"name": "attention"} | parameters).parameters())

    matched = size(predictor_depth=depth, depth_budget="shared")
    assert matched == pytest.approx(size(), rel=0.01)
    assert size(predictor_depth=depth) > 1.1 * size()


# read-outs


def test_read_outs_of_both_groups_are_those_of_each_side_by_side(registry: Registry) -> None:
    shapes = GroupShapes(FEATURES, FEATURES)
    groups = Groups(clip(), clip() + 1)
    both = part(registry, "readout", {"name": "mean", "group": "both"}, shapes)
    assert both.features == 32
    means = [group.mean((2, 3, 4)) for group in groups]  # type: ignore[union-attr]
    torch.testing.assert_close(both(groups), torch.cat(means, dim=1))


def test_equal_token_weights_are_the_mean(registry: Registry) -> None:
    built = part(registry, "readout", "token-weights", GroupShapes(FEATURES, FEATURES))
    nn.init.constant_(built.summaries["dynamic"].weights.weight, 1 / FEATURES.tokens)
    torch.testing.assert_close(built(Groups(clip(), clip())), clip().mean((2, 3, 4)))


# loss


@pytest.mark.parametrize(("batch", "expected"), [(16, 0.20), (1, 0.0125)])
def test_released_context_loss_of_a_constant_half(registry: Registry, batch: int, expected: float) -> None:
    loss = part(registry, "loss", {"name": "cross-entropy-context", "reduction": "sum"})
    logits = torch.tensor([[50.0, 0.0]]).expand(batch, 2)  # a cross-entropy of zero
    output = Output(logits, torch.full((batch, 3, 4, 7, 7), 0.5))
    assert loss(output, torch.zeros(batch, dtype=torch.int64)).item() == pytest.approx(expected)


def test_relaxed_context_loss_sees_the_mean_and_the_full_one_every_value(registry: Registry) -> None:
    signs = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1, 1)
    output = Output(torch.tensor([[50.0, 0.0]]), signs.expand(1, 2, 4, 3, 3))
    label = torch.zeros(1, dtype=torch.int64)
    for form, expected in (("relaxed", 0.0), ("full", 0.05)):
        loss = part(registry, "loss", {"name": "cross-entropy-context", "context": form})
        assert loss(output, label).item() == pytest.approx(expected, abs=1e-7)


def test_loss_takes_mixed_targets(registry: Registry) -> None:
    loss = part(registry, "loss", {"name": "cross-entropy-context", "label_smoothing": 0.1})
    output = Output(torch.tensor([[1.0, 2.0, 0.5]]))
    hard = loss(output, torch.tensor([1]))
    soft = loss(output, torch.tensor([[0.0, 1.0, 0.0]]))
    assert soft.item() == pytest.approx(hard.item())
