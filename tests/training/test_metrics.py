from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    recall_score,
    top_k_accuracy_score,
)

from study.config.registry import Registry
from study.errors import StudyError
from study.ledger.predictions import Predictions
from study.metrics import Metric
from study.tasks.clips.metrics import macro_f1, top_k, uar, war
from study.tasks.clips.training.evaluation.scores import absent, breakdowns, cross_entropy, scores

CLASSES = ("joy", "fear", "calm", "anger")


@pytest.fixture
def sample() -> Any:
    """Return labels and logits of 200 examples."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 200)
    return labels, (random.standard_normal((200, 4)) + np.eye(4)[labels]).astype(np.float32)


def predictions(labels: Any, logits: Any, scenes: Any = ()) -> Any:
    names = np.array([str(i) for i in range(len(labels))])
    return Predictions(names, names, labels, logits, np.array(scenes, dtype=np.str_))


def test_metrics_agree_with_scikit_learn(sample: Any) -> None:
    labels, logits = sample
    guesses = logits.argmax(1)
    assert war(labels, logits) == accuracy_score(labels, guesses)
    assert uar(labels, logits) == pytest.approx(balanced_accuracy_score(labels, guesses), rel=1e-12)
    assert macro_f1(labels, logits) == pytest.approx(f1_score(labels, guesses, average="macro"), rel=1e-12)
    for k in (1, 2, 3):
        assert top_k(labels, logits, k=k) == pytest.approx(top_k_accuracy_score(labels, logits, k=k))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert cross_entropy(labels, logits) == pytest.approx(log_loss(labels, shares), rel=1e-5)


def test_macro_f1_of_a_class_that_is_only_predicted_is_0(sample: Any) -> None:
    labels = np.array([0, 0, 1, 1])
    logits = np.eye(4)[[0, 2, 1, 1]]
    assert macro_f1(labels, logits) == f1_score(labels, logits.argmax(1), average="macro", zero_division=0)


def test_war_weights_clips_and_uar_weights_classes() -> None:
    labels = np.array([0, 0, 0, 1])
    logits = np.eye(3, dtype=np.float32)[[0, 0, 0, 2]]
    assert (war(labels, logits), uar(labels, logits)) == (0.75, 0.5)


def test_equal_logits_are_decided_for_the_class_that_stands_first() -> None:
    labels, logits = np.array([0, 1, 2]), np.zeros((3, 3))
    assert war(labels, logits) == pytest.approx(1 / 3)
    assert top_k(labels, logits, k=2) == pytest.approx(2 / 3)


def test_a_class_without_clips_is_named_and_does_not_pull_uar_down() -> None:
    labels = np.array([0, 0, 2, 2])
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]]
    assert absent(labels, CLASSES[:3]) == ("fear",)
    assert uar(labels, logits) == 0.75
    assert next(breakdowns(predictions(labels, logits), CLASSES[:3])).values == {"joy": 0.5, "calm": 1.0}


def test_breakdowns_hold_the_recall_of_every_class_and_the_share_of_every_scene(sample: Any) -> None:
    labels, logits = sample
    scenes = np.where(np.arange(200) < 50, "school", "hospital")
    by_class, by_scene = breakdowns(predictions(labels, logits, scenes), CLASSES)
    guesses = logits.argmax(1)
    expected = recall_score(labels, guesses, average=None)
    assert list(by_class.values) == list(CLASSES)
    assert list(by_class.values.values()) == pytest.approx(list(expected), rel=1e-12)
    assert by_scene.counts == {"hospital": 150, "school": 50}
    assert by_scene.values["school"] == accuracy_score(labels[:50], guesses[:50])


def test_data_without_scenes_have_no_breakdown_by_scene(sample: Any) -> None:
    assert [found.name for found in breakdowns(predictions(*sample), CLASSES)] == ["class"]


def test_top_k_has_the_number_in_its_label_and_its_key() -> None:
    registry = Registry()
    assert registry.metric({"name": "top-k", "k": 3}).title == "top-3 accuracy"
    assert registry.metric({"name": "top-k", "k": 3}).name == "top-k(k=3)"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_no_finite_number_is_named(sample: Any, value: Any) -> None:
    with pytest.raises(StudyError, match=r"'odd' .*finite number"):
        scores([Metric("odd", compute=lambda labels, logits: value)], predictions(*sample))


def test_a_metric_that_fails_is_named_with_its_reason(sample: Any) -> None:
    with pytest.raises(StudyError, match=r"'odd' .*KeyError: 'x'"):
        scores([Metric("odd", compute=lambda labels, logits: {}["x"])], predictions(*sample))  # type: ignore[index]
