"""Counts of predicted classes: confusions, and examples on which two arms differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def confusion_counts(labels: Integers, classes: Integers, size: int) -> Integers:
    """Return the number of examples by true class (row) and predicted class (column), (size, size).

    Args:
        labels: (n,) true classes, from 0.
        classes: (n,) predicted classes.
        size: The number of classes.
    """
    counts = np.bincount(labels * size + classes, minlength=size * size)
    return np.asarray(counts.reshape(size, size))


def times_right(classes: Integers, labels: Integers) -> Integers:
    """Return in how many repetitions each example is classified correctly, (n,).

    Args:
        classes: (repetitions, n) predicted classes.
        labels: (n,) true classes.
    """
    return np.asarray((classes == labels).sum(axis=0))


def differs_in_most(right: Integers, others_right: Integers, repetitions: int) -> NDArray[np.bool_]:
    """Return whether an arm is right, and the other wrong, in more than half of the repetitions, (n,).

    Args:
        right: (n,) repetitions in which the arm is right.
        others_right: (n,) repetitions in which the other is right.
        repetitions: How many there are of each.
    """
    return (2 * right > repetitions) & (2 * others_right < repetitions)


def most_frequent(classes: Integers) -> int:
    """Return the most frequent class, the least of several."""
    return int(np.bincount(classes).argmax())
