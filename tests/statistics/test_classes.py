"""Counts of predicted classes, against scikit-learn."""

from __future__ import annotations

import numpy as np
from scipy import stats
from sklearn.metrics import accuracy_score, confusion_matrix

from study.statistics.classes import confusion_counts, differs_in_most, most_frequent, times_right

RNG = np.random.default_rng(5)
LABELS = RNG.integers(0, 4, 200)
CLASSES = RNG.integers(0, 4, (5, 200))


def test_a_confusion_has_a_row_for_each_true_class() -> None:
    expected = confusion_matrix(LABELS, CLASSES[0], labels=range(6))
    assert np.array_equal(confusion_counts(LABELS, CLASSES[0], 6), expected)


def test_examples_are_right_as_often_as_in_all_accuracies_together() -> None:
    accuracies = [accuracy_score(LABELS, classes) for classes in CLASSES]
    assert times_right(CLASSES, LABELS).sum() == round(200 * sum(accuracies))


def test_only_a_majority_of_both_arms_is_a_difference() -> None:
    right, others = np.array([3, 4, 2, 2, 4, 3]), np.array([1, 1, 0, 2, 2, 0])
    assert differs_in_most(right, others, 4).tolist() == [True, True, False, False, False, True]


def test_the_most_frequent_class_is_the_mode() -> None:
    for classes in CLASSES.T[:50]:
        assert most_frequent(classes) == stats.mode(classes).mode
