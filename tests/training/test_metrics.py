import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, log_loss

from study.tasks.clips.metrics import absent, scores, worst

CLASSES = ("joy", "fear", "calm")


def test_recalls_are_the_diagonal_of_the_confusion_matrix():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    logits = random.standard_normal((200, 3)).astype(np.float32)
    found = scores(labels, logits, CLASSES)
    table = confusion_matrix(labels, logits.argmax(1))
    for row, name in enumerate(CLASSES):
        assert found[f"recall/{name}"] == pytest.approx(table[row, row] / table[row].sum())
    assert found["war"] == pytest.approx(np.trace(table) / 200)
    assert found["uar"] == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert found["loss"] == pytest.approx(log_loss(labels, shares), rel=1e-5)


def test_war_weights_clips_and_uar_weights_classes():
    labels = np.array([0, 0, 0, 1])
    logits = np.eye(3, dtype=np.float32)[[0, 0, 0, 2]]
    found = scores(labels, logits, CLASSES)
    assert (found["war"], found["uar"]) == (0.75, 0.5)


def test_a_class_without_clips_is_named_and_does_not_pull_uar_down():
    labels = np.array([0, 0, 2, 2])
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]]
    found = scores(labels, logits, CLASSES)
    assert absent(labels, CLASSES) == ("fear",)
    assert "recall/fear" not in found
    assert found["uar"] == 0.75
    assert all(np.isfinite(list(found.values())))


def test_the_worst_metrics_have_a_recall_for_every_class_and_no_loss():
    assert worst(CLASSES) == {"war": 0, "uar": 0, "recall/joy": 0, "recall/fear": 0, "recall/calm": 0}
