"""Heads: a clip's feature vector to logits."""

from __future__ import annotations

from typing import Annotated

from torch import nn

from study.config.registry import Range, component


@component("head")
def linear(
    features: int,
    classes: int,
    *,
    dropout: Annotated[float, Range(0, 0.9), "probability with which a feature is zeroed in training"] = 0.5,
) -> nn.Module:
    """Dropout and one linear layer."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(features, classes))
