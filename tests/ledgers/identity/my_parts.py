"""A component of the user's own."""

from __future__ import annotations

from typing import Annotated

from my_helper import STEPS

from study.config.registry import component


@component("splitter")
def mine(features, *, strength: Annotated[float, "of the frames"] = 1.0):
    """Scale the frames."""
    return (features, strength * STEPS)
