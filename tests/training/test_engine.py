"""The training loop's numbers: two steps in float64 against stored values.

The values were computed by the loop of commit df05289, the last one before `ENGINE` existed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.training_jobs import MakeSpec

from study.config.registry import Registry
from study.tasks.clips.task import ENGINE
from study.tasks.clips.training.state import TrainState
from study.tasks.clips.training.train import train_epoch

STORED = {
    1: {
        "losses": [1.114789, 1.157750],
        "weights": [0.020065, -0.383091, 0.273909],
        "averaged": [0.023219, -0.386174, 0.276980],
        "rate": 0.006667,
    }
}
"""By `ENGINE`."""
TOLERANCE = 1e-6


@pytest.fixture
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def numbers_of(state: TrainState) -> dict[str, Any]:
    """Return what the two steps of an epoch show."""
    losses: list[float] = []
    state.on_step = lambda clips, targets, loss: losses.append(loss)
    train_epoch(state, 1)
    return {
        "losses": losses,
        "weights": state.network.get_parameter("head.bias").tolist(),
        "averaged": state.eval_model.get_parameter("head.bias").tolist(),
        "rate": state.learning_rate,
    }


@pytest.mark.usefixtures("_float64")
def test_two_steps_give_the_numbers_that_this_engine_is_known_by(spec: MakeSpec) -> None:
    request = spec(
        batch_size=30,
        epochs=2,
        warmup_epochs=1.5,
        dataset={"noise": 60.0},
        network={"width": 4, "dropout": 0.3},
        augmentation={"name": "precise"},
        mixup=0.8,
        cutmix=1.0,
        ema=0.9,
        clip_norm=0.5,
    )
    request = replace(request, modules=("support.tiny_parts", "support.frail_parts"))
    registry = Registry(request.modules)
    dataset = registry.build("dataset", request.table("dataset"))
    found = numbers_of(TrainState.of(request, registry, dataset, torch.device("cpu")))
    for name, values in STORED[ENGINE].items():
        assert found[name] == pytest.approx(values, abs=TOLERANCE), (
            f"{name}: the training loop computes other numbers than engine {ENGINE}. If that is intended, raise ENGINE "
            "in study/tasks/clips/task.py, store the new values here, and name the change in CHANGELOG.md under "
            f"'Changes numbers': {found}"
        )
