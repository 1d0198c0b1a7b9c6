"""Names of the tensors in the authors' released network and in ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_PREFIXES = {
    "backbone.stem.": "embed.conv_proj.",
    "backbone.class_token": "backbone.backbone.pos_encoding.class_token",
    "backbone.blocks.": "backbone.backbone.blocks.",
    "backbone.norm.": "backbone.backbone.norm.",
    "pyramid.reduce.": "backbone.PANLayer.",
    "pyramid.join.": "backbone.CatConv.",
    "splitter.similarity.embed.": "backbone.WaveLifts.adapt_split.dim_project.0.",
    "splitter.static_offsets.": "backbone.WaveLifts.adapt_split.offset_project_approx.0.",
    "splitter.dynamic_offsets.": "backbone.WaveLifts.adapt_split.offset_project_detail.0.",
    "lifting.static_norm.": "backbone.WaveLifts.xa_norm.",
    "lifting.dynamic_norm.": "backbone.WaveLifts.xd_norm.",
    "lifting.update.layers.0.query.": "backbone.WaveLifts.q_a.",
    "lifting.update.layers.0.key_value.": "backbone.WaveLifts.kv_d.",
    "lifting.update.layers.0.project.": "backbone.WaveLifts.project_a.0.",
    "lifting.predict.layers.0.query.": "backbone.WaveLifts.q_d.",
    "lifting.predict.layers.0.key_value.": "backbone.WaveLifts.kv_a.",
    "lifting.predict.layers.0.project.": "backbone.WaveLifts.project_d.0.",
    "lifting.output.attention_norm.": "backbone.WaveLifts.out_norm1.",
    "lifting.output.query_key_value.": "backbone.WaveLifts.qkv.",
    "lifting.output.project.": "backbone.WaveLifts.project.0.",
    "lifting.output.mlp_norm.": "backbone.WaveLifts.out_norm2.",
    "lifting.output.mlp.0.": "backbone.WaveLifts.mlp.0.",
    "lifting.output.mlp.2.": "backbone.WaveLifts.mlp.3.",
    "readout.summaries.dynamic.weights.": "backbone.WaveLifts.project_compress.",
    "head.1.": "head.head.1.",
}
"""Prefixes of our names to those of the authors' names."""

_UNUSED = (
    "backbone.WaveLifts.spatial_pos",
    "backbone.WaveLifts.temporal_pos",
    "backbone.WaveLifts.class_pos",
    "backbone.WaveLifts.adapt_split.time_project.",
)
"""Prefixes of the authors' tensors that their forward pass never uses."""


def released_name(name: str) -> str:
    """Return the authors' name of our tensor `name`; KeyError if they have none."""
    return _renamed(name, _PREFIXES)


def own_name(name: str) -> str:
    """Return our name of the authors' tensor `name`; KeyError if we have none."""
    return _renamed(name, {theirs: ours for ours, theirs in _PREFIXES.items()})


def is_unused(name: str) -> bool:
    """Whether the authors' forward pass does not use their tensor `name`."""
    return name.startswith(_UNUSED)


def from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the authors' tensors under our names, without the unused ones; KeyError if one is unknown."""
    return {own_name(name): tensor for name, tensor in state.items() if not is_unused(name)}


def to_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our tensors under the authors' names; KeyError if they do not have one."""
    return {released_name(name): tensor for name, tensor in state.items()}


def _renamed(name: str, prefixes: Mapping[str, str]) -> str:
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    raise KeyError(name)
