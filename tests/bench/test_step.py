"""Benchmark of a step at full size, on clips that take no time."""

from __future__ import annotations

import torch

from study.bench.step import Variant, step
from study.tasks.clips.data.contract import ClipShape

SMALL = ClipShape(channels=3, frames=16, height=32, width=32)


def test_both_sides_compute_the_same_network_and_are_measured() -> None:
    results = step(repeats=1, shape=SMALL, variants=(Variant("fp32"), Variant("bf16", precision="bf16")))
    assert [result.unit for result in results] == ["ms"] * 4
    assert all(result.before and result.after and result.ratio for result in results)
    exact, _, rounded, _ = (float(result.name.rpartition(" ")[2]) for result in results)
    assert exact < 1e-5 < rounded < 5e-2


def test_deterministic_steps_leave_no_setting_behind() -> None:
    step(repeats=1, shape=SMALL, variants=(Variant("fp32, deterministic", is_deterministic=True),))
    assert not torch.are_deterministic_algorithms_enabled()
