"""Balance of classes: what is drawn in an epoch, and what a clip counts in the loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from support.tiny_parts import ORDERS
from support.training_jobs import MakeSpec, train
from torch.nn import functional as F

from study.config.registry import Registry
from study.records import RunResult, from_json
from study.tasks.clips.data.seeded import build_dataset
from study.tasks.clips.nets.contract import Output
from study.tasks.clips.nets.ifdd.losses import CrossEntropyContext
from study.tasks.clips.training.balance import balanced_order, balanced_weights
from study.tasks.clips.training.state import TrainState

LABELS = np.repeat([0, 1, 3], [50, 10, 4])


def test_a_balanced_epoch_reads_every_class_as_often_and_clips_of_a_class_evenly() -> None:
    order = balanced_order(LABELS, np.random.default_rng(0))
    assert len(order) == len(LABELS)
    counts = np.bincount(LABELS[order], minlength=4)
    assert counts[2] == 0
    assert set(counts[[0, 1, 3]]) == {21, 22}
    for label in (0, 1, 3):
        times = np.bincount(order, minlength=len(LABELS))[label == LABELS]
        assert times.max() - times.min() <= 1
    assert order.tolist() != balanced_order(LABELS, np.random.default_rng(1)).tolist()
    assert order.tolist() == balanced_order(LABELS, np.random.default_rng(0)).tolist()


def test_with_more_classes_than_clips_of_an_epoch_nothing_is_drawn_twice() -> None:
    labels = np.arange(5)
    assert sorted(balanced_order(labels, np.random.default_rng(0)).tolist()) == [0, 1, 2, 3, 4]


def test_balanced_weights_are_those_of_scikit_learn_and_an_absent_class_has_none() -> None:
    found = balanced_weights(LABELS, 4)
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=LABELS)
    np.testing.assert_allclose(found[[0, 1, 3]], expected, rtol=1e-6)
    assert found[2] == 0
    assert found[torch.from_numpy(LABELS)].mean().item() == pytest.approx(1)


def state_of(spec: MakeSpec, **train: object) -> TrainState:
    run, registry = spec(**train), Registry(("support.tiny_parts",))
    return TrainState.of(run, registry, build_dataset(registry, run.table("dataset")), torch.device("cpu"))


def test_weighted_targets_give_torchs_cross_entropy_with_class_weights(spec: MakeSpec) -> None:
    state = state_of(spec, class_weights="balanced")
    state.class_weights = weights = torch.tensor([0.5, 1.0, 4.0])
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    found = CrossEntropyContext()(Output(logits), state.weighted(labels))
    each = F.cross_entropy(logits, labels, weight=weights, reduction="none")
    torch.testing.assert_close(found, each.mean())
    shares = torch.tensor([[0.25, 0.75, 0.0]]).repeat(6, 1)
    mixed = CrossEntropyContext()(Output(logits), state.weighted(shares))
    torch.testing.assert_close(mixed, F.cross_entropy(logits, shares, weight=weights))


def test_without_class_weights_targets_stay_what_they_are(spec: MakeSpec) -> None:
    labels = torch.tensor([0, 2])
    assert state_of(spec).weighted(labels) is labels


def test_a_balanced_and_weighted_training_runs_and_draws_all_classes(spec: MakeSpec, tmp_path: Path) -> None:
    ORDERS.clear()
    train(spec(epochs=1, sampling="balanced", class_weights="balanced"), tmp_path)
    assert from_json(RunResult, (tmp_path / "result.json").read_text()).status == "finished"
    drawn = np.concatenate(ORDERS[-7:]) // 20
    assert set(np.bincount(drawn)) <= {16, 17, 18, 19, 20}
