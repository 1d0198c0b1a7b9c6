"""Which test examples a report shows as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from study.analysis.findings import Findings, VariantFinding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Pictures: TypeAlias = "Mapping[tuple[int | None, str], NDArray[np.uint8]]"
"""Frames of test examples, (T, H, W, 3), by fold and name."""
NO_PICTURES: Pictures = MappingProxyType({})


def pictured(findings: Findings) -> VariantFinding | None:
    """Return the variant whose gained examples a report shows: the one with the greatest gain; None without any."""
    candidates = [
        variant
        for variant in findings.variants
        if variant.disagreement is not None and variant.disagreement.examples
    ]
    return max(candidates, key=lambda variant: findings.lead_of(variant) or 0.0, default=None)
