"""What predictions are worth: WAR, UAR, the recall of each class, and the cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, recall_score


def scores(
    labels: NDArray[np.int64], logits: NDArray[np.float32], classes: Sequence[str]
) -> dict[str, float]:
    """Return ``loss``, ``war``, ``uar`` and ``recall/<class>``, all but the loss in [0, 1].

    A class without a clip in `labels` has no recall: it is left out here and out of the mean that UAR is
    (`absent` names such classes). Equal logits are decided for the class that stands first.

    Args:
        labels: (n,) true classes, from 0.
        logits: (n, K).
        classes: The K names.
    """
    guesses = logits.argmax(axis=1)
    recalls = recall_score(labels, guesses, labels=range(len(classes)), average=None, zero_division=np.nan)
    measured = {f"recall/{name}": float(r) for name, r in zip(classes, recalls, strict=True) if r == r}
    return {
        "loss": F.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels)).item(),
        "war": float(accuracy_score(labels, guesses)),
        "uar": float(np.mean(list(measured.values()))),
        **measured,
    }


def worst(classes: Sequence[str]) -> dict[str, float]:
    """Return the metrics of a training that broke down: 0 everywhere, and no loss."""
    return {"war": 0.0, "uar": 0.0, **{f"recall/{name}": 0.0 for name in classes}}


def absent(labels: NDArray[np.int64], classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes that no label of a split has."""
    seen = set(labels.tolist())
    return tuple(name for label, name in enumerate(classes) if label not in seen)
