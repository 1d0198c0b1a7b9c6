"""Recorded data sets, built from their parameters as a study names them."""

from __future__ import annotations

from typing import Any

from study.config.registry import Registry
from study.tasks.clips.data.sets.recorded import Recorded

REGISTRY = Registry()


def _built(name: str, parameters: dict[str, Any]) -> Recorded:
    config = REGISTRY.resolve("dataset", {"name": name, **parameters}, name)
    data: Recorded = REGISTRY.build("dataset", config)
    return data


def dfew(**parameters: Any) -> Recorded:
    return _built("dfew", parameters)


def ferv39k(**parameters: Any) -> Recorded:
    return _built("ferv39k", parameters)


def mafw(**parameters: Any) -> Recorded:
    return _built("mafw", parameters)


def clips(**parameters: Any) -> Recorded:
    return _built("clips", parameters)
