import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.records import RunSpec

TRAIN = {
    "epochs": 3,
    "batch_size": 8,
    "lr": 1e-2,
    "weight_decay": 1e-3,
    "warmup_epochs": 0.5,
    "clip_norm": 1.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "mix_probability": 1.0,
    "ema": 0.0,
    "stream": 0,
    "labels": "true",
}


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the stand-in components on the path, and leave torch's process-wide settings as they were."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    fast = torch.backends.mha.get_fastpath_enabled()
    yield
    torch.backends.mha.set_fastpath_enabled(fast)
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


@pytest.fixture
def spec() -> Any:
    """Return a function that makes the request of one tiny training."""

    def make(
        *,
        seed: Any = 1,
        network: Any = None,
        dataset: Any = None,
        loss: Any = None,
        augmentation: Any = None,
        optimizer: Any = None,
        schedule: Any = None,
        device: Any = "cpu",
        metric: Any = "war",
        **train: Any,
    ) -> Any:
        config = {
            "dataset": {"name": "tiny", **(dataset or {})},
            "network": {"name": "two-layers", **(network or {})},
            "loss": {"name": "cross-entropy-context", **(loss or {})},
            "augmentation": {"name": "none", **(augmentation or {})},
            "optimizer": {"name": "adamw", **(optimizer or {})},
            "schedule": {"name": "cosine", **(schedule or {})},
            "train": {**TRAIN, **train},
        }
        return RunSpec(
            config,
            seed,
            "data",
            "code",
            device=device,
            modules=("support.tiny_parts",),
            metric={"name": metric},
            epochs_key="train.epochs",
        )

    return make


@pytest.fixture(autouse=True)
def _other_chance() -> None:
    """Start every test with global generators that no result may depend on."""
    random.seed(None)
    np.random.seed(None)  # noqa: NPY002
    torch.seed()
