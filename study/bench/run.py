"""Runs the benchmarks by name; what needs a GPU is named as missing where there is none."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from study.bench.result import Measured
from study.executors.devices import cuda_devices

BENCHMARKS: Mapping[str, str] = {
    "step": "study.bench.step:step",
    "small": "study.bench.small:small",
    "loader": "study.bench.throughput:loader",
    "scale": "study.bench.workers:scale",
    "growth": "study.bench.growth:growth",
}
"""Functions that measure and return results, by the benchmark's name. All take ``repeats``, and ``device`` if they
measure on a GPU too."""

LONG = ("growth",)
"""Benchmarks of many minutes: ``all`` leaves them out."""


def measured(name: str, repeats: int | None = None) -> Iterator[Measured]:
    """Yield the results of a benchmark: on the CPU, and on a GPU where it measures there too.

    Args:
        name: A key of `BENCHMARKS`.
        repeats: Measurements of each side; the benchmark's own number if None.
    """
    module, _, function = BENCHMARKS[name].partition(":")
    measure = getattr(importlib.import_module(module), function)
    given: dict[str, Any] = {} if repeats is None else {"repeats": repeats}
    yield from measure(**given)
    if "device" not in inspect.signature(measure).parameters:
        return
    if cuda_devices():
        yield from measure(device="cuda", **given)
    else:
        yield Measured(f"{name} on a GPU", "ms", None, None, baseline="", repeats=0)
