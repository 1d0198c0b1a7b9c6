"""Metrics of clips: functions of true classes and logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from study.config.registry import Range, component

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.int64]
    Logits = NDArray[np.floating[Any]]


@component(
    "metric",
    label="WAR",
    about="weighted average recall, the share of clips that are classified correctly",
    is_proportion=True,
)
def war(labels: Labels, logits: Logits) -> float:
    """Weighted average recall: the share of clips that are classified correctly.

    Args:
        labels: (n,) true classes, from 0.
        logits: (n, K); ties go to the class with the lower index.
    """
    return float((logits.argmax(axis=1) == labels).mean())


@component("metric", label="UAR", about="unweighted average recall, the mean of the classes' recalls")
def uar(labels: Labels, logits: Logits) -> float:
    """Unweighted average recall: the mean recall of the classes that have clips.

    Args:
        labels: (n,) true classes, from 0.
        logits: (n, K); ties go to the class with the lower index.
    """
    import numpy as np

    return float(np.mean(list(recalls(labels, logits).values())))


@component("metric", label="macro-F1", about="the mean of the classes' F1 scores")
def macro_f1(labels: Labels, logits: Logits) -> float:
    """Mean F1 score of the classes that have clips or are predicted.

    Args:
        labels: (n,) true classes, from 0.
        logits: (n, K); ties go to the class with the lower index.
    """
    import numpy as np

    predicted = logits.argmax(axis=1)
    classes = np.union1d(labels, predicted)
    correct = np.array([((labels == c) & (predicted == c)).sum() for c in classes])
    counts = np.array([(labels == c).sum() + (predicted == c).sum() for c in classes])
    return float((2 * correct / counts).mean())


@component(
    "metric",
    label="top-{k} accuracy",
    about="the share of clips whose class is among those with the highest logits",
    is_proportion=True,
)
def top_k(
    labels: Labels,
    logits: Logits,
    *,
    k: Annotated[int, Range(1), "classes that a clip's own may be among"] = 2,
) -> float:
    """Share of clips whose class is among the k with the highest logits.

    Args:
        labels: (n,) true classes, from 0.
        logits: (n, K); ties go to the class with the lower index.
        k: Number of highest logits.
    """
    ranked = (-logits).argsort(axis=1, kind="stable")[:, :k]
    return float((ranked == labels[:, None]).any(axis=1).mean())


def recalls(labels: Labels, logits: Logits) -> dict[int, float]:
    """Return the recall of each class that has clips, in the order of the classes."""
    import numpy as np

    predicted = logits.argmax(axis=1)
    return {int(c): float((predicted[labels == c] == c).mean()) for c in np.unique(labels)}
