"""Names of the tensors of released checkpoints of Former-DFER, M3DFEL and MAE-DFER, as ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor

Rules = tuple[tuple[str, str], ...]
_TRANSFORMER: Rules = (
    (r"\.spatial_transformer\.layers\.", ".transformer."),
    (r"\.0\.fn\.norm\.", ".attention_norm."),
    (r"\.1\.fn\.norm\.", ".mlp_norm."),
    (r"\.0\.fn\.fn\.to_qkv\.", ".qkv."),
    (r"\.0\.fn\.fn\.to_out\.0\.", ".output."),
    (r"\.1\.fn\.fn\.net\.0\.", ".hidden."),
    (r"\.1\.fn\.fn\.net\.3\.", ".narrow."),
)
RULES: Mapping[str, Rules] = MappingProxyType(
    {
        "former-dfer": (
            (r"^s_former\.pos_embedding$", "spatial.positions"),
            (r"^s_former\.(conv1|bn1|layer[123])\.", r"spatial.early.\1."),
            (r"^s_former\.layer4\.", "spatial.late.layer4."),
            (r"^s_former\.", "spatial."),
            (r"^t_former\.cls_token$", "temporal.class_token"),
            (r"^t_former\.pos_embedding$", "temporal.positions"),
            (r"^t_former\.", "temporal."),
            *_TRANSFORMER,
            (r"^fc\.", "head.1."),
        ),
        "m3dfel": (
            (r"^features\.0\.", "backbone.layers.stem."),
            (r"^features\.([1-4])\.", r"backbone.layers.layer\1."),
            (r"^to_qkv\.", "qkv."),
            (r"^norm\.weight$", "norm.scale"),
            (r"^norm\.bias$", "norm.shift"),
            (r"^norm\.mean_weight$", "norm.mean_weights"),
            (r"^norm\.var_weight$", "norm.variance_weights"),
            (r"^pwconv\.", "aggregate."),
            (r"^fc\.", "head.1."),
        ),
        "mae-dfer": (
            (r"^lg_region_tokens$", "messengers"),
            (r"^patch_embed\.proj\.", "embed."),
            (r"\.first_attn_norm0\.", ".local_norm."),
            (r"\.second_attn_norm0\.", ".global_norm."),
            (r"\.third_attn_norm0\.", ".token_norm."),
            (r"\.third_attn_norm1\.", ".messenger_norm."),
            (r"\.first_attn\.", ".local."),
            (r"\.second_attn\.", ".across."),
            (r"\.third_attn\.", ".back."),
            (r"\.q_bias$", ".query.bias"),
            (r"\.v_bias$", ".value.bias"),
            (r"\.q\.weight$", ".query.weight"),
            (r"\.(local|across|back)\.proj\.", r".\1.output."),
            (r"\.norm2\.", ".mlp_norm."),
            (r"\.mlp\.fc1\.", ".hidden."),
            (r"\.mlp\.fc2\.", ".narrow."),
            (r"^fc_norm\.", "norm."),
            (r"^head\.", "head.1."),
        ),
    }
)
"""Patterns of the released names and what replaces them, in order, by network."""
JOINED = re.compile(r"^(?P<attention>.*)\.kv\.weight$")
"""A tensor of MAE-DFER that holds the weights of keys, then of values."""


def our_name(network: str, name: str) -> str:
    """Return our name of a released tensor; the name itself where no rule changes it."""
    for pattern, replacement in RULES[network]:
        name = re.sub(pattern, replacement, name)
    return name


def converted(network: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return released tensors under our names, with the joined weights of keys and values split."""
    tensors = {}
    for name, tensor in state.items():
        if joined := JOINED.match(name):
            attention = our_name(network, joined["attention"] + ".")
            tensors[attention + "key.weight"], tensors[attention + "value.weight"] = tensor.chunk(2)
        else:
            tensors[our_name(network, name)] = tensor
    for name in ("norm.scale", "norm.shift"):
        if network == "m3dfel" and name in tensors:
            tensors[name] = tensors[name].flatten()
    return tensors
