"""What the measures of disentanglement say, against other people's code and planted truths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from study.tasks.clips.measures.contract import Observed
from study.tasks.clips.measures.disentanglement import (
    area_under_curve,
    frame_weights,
    frames,
    probes,
    rank_correlation,
)
from study.tasks.clips.nets.resampling import hat_weights

random = np.random.default_rng(0)

PERSON_STATIC, PERSON_DYNAMIC = "Person from static group", "Person from dynamic group"
EMOTION_STATIC, EMOTION_DYNAMIC = "Emotion from static group", "Emotion from dynamic group"


def observed(**changes: Any) -> Observed:
    """Return 20 clips of each of 12 persons, whose emotions come in turn."""
    people = np.repeat([f"p{person:02d}" for person in range(12)], 20)
    return Observed(
        **{"labels": np.arange(240) % 4, "sources": people, "truth": {}, "details": {}, **changes}
    )


def planted(labels: Any, *others: Any) -> Any:
    """Return features that hold each of `labels` in directions of their own, under noise."""
    columns = np.concatenate([np.eye(labels.max() + 1)[labels], *others], axis=1)
    return (columns + 0.1 * random.standard_normal(columns.shape)).astype(np.float32)


@pytest.mark.parametrize("ties", [False, True])
def test_areas_and_correlations_are_those_of_scikit_learn_and_scipy(ties: Any) -> None:
    weights = random.random((50, 16))
    if ties:
        weights = weights.round(1)
    intensity = np.clip(random.random((50, 16)) - 0.3, 0, 1)
    positive = intensity > 0.4
    positive[:, :2] = True, False  # both kinds in every clip
    expected = [roc_auc_score(p, w) for p, w in zip(positive, weights, strict=True)]
    assert area_under_curve(weights, positive) == pytest.approx(expected)
    expected = [spearmanr(w, i).statistic for w, i in zip(weights, intensity, strict=True)]
    assert rank_correlation(weights, intensity) == pytest.approx(expected)


def test_a_clip_without_an_expression_has_no_figure() -> None:
    weights, still = random.random((3, 8)), np.zeros((3, 8))
    assert np.isnan(area_under_curve(weights, still > 0)).all()
    assert np.isnan(area_under_curve(weights, still == 0)).all()
    assert np.isnan(rank_correlation(weights, still)).all()
    assert np.isnan(rank_correlation(still, weights)).all()


def test_every_frame_of_a_time_step_has_the_step_s_weight() -> None:
    positions = torch.tensor([[1.0, 2.25], [3.0, 2.0]])  # of two samples in two clips of four time steps
    weights = hat_weights(positions, torch.arange(4.0)).numpy()
    assert frame_weights(weights, 8) == pytest.approx(
        np.array([[0, 0, 1, 1, 0.75, 0.75, 0.25, 0.25], [0, 0, 0, 0, 1, 1, 1, 1]])
    )


def test_frames_are_scored_in_expressive_clips_alone() -> None:
    intensity = np.array([[0, 0, 0.2, 0.8], [0.6, 0.3, 0, 0], [0, 0, 0, 0]], np.float32)
    dynamic = np.array([[[0, 0, 0, 1]], [[0, 0, 1, 0]], [[1, 0, 0, 0]]], np.float32)
    figures = frames(
        observed(truth={"intensity": intensity}, details={"dynamic_weights": dynamic}),
    )
    # by hand: clip 1 finds its one frame; clip 2 ranks its one frame with two of the three others; clip 3 is neutral
    assert figures["AUC"].value == pytest.approx((1 + 1 / 3) / 2)
    by_scipy = [spearmanr(w[0], i).statistic for w, i in zip(dynamic[:2], intensity[:2], strict=True)]
    assert figures["Rank correlation"].value == pytest.approx(np.mean(by_scipy))


def test_even_and_odd_frames_are_near_chance() -> None:
    intensity = np.sort(random.random((500, 16)), axis=1)
    intensity = np.array([np.roll(row, random.integers(16)) for row in intensity], np.float32)
    odd_frames = np.zeros((500, 4, 8), np.float32)
    odd_frames[:, range(4), range(1, 8, 2)] = 1
    figures = frames(observed(truth={"intensity": intensity}, details={"dynamic_weights": odd_frames}))
    assert figures["AUC"].value == pytest.approx(figures["AUC"].chance, abs=0.02)
    assert figures["Rank correlation"].value == pytest.approx(0.0, abs=0.03)


def test_a_network_that_weighs_no_frames_has_no_figure() -> None:
    for figure in frames(observed(truth={"intensity": np.eye(4, dtype=np.float32)})).values():
        assert figure.value is None
        assert "no splitter" in figure.undefined


def test_a_probe_finds_what_was_planted_and_nothing_in_noise() -> None:
    world = observed()
    persons = np.unique(world.sources, return_inverse=True)[1]
    found = probes(
        observed(
            details={
                "lifted_static": planted(persons, np.zeros((240, 4))),
                "lifted_dynamic": planted(world.labels, np.zeros((240, 12))),
            }
        )
    )
    assert found[PERSON_STATIC].value > 95  # type: ignore[operator]
    assert found[EMOTION_DYNAMIC].value > 95  # type: ignore[operator]
    assert found[PERSON_DYNAMIC].value < 20  # type: ignore[operator]
    assert found[EMOTION_STATIC].value < 40  # type: ignore[operator]
    assert found[EMOTION_STATIC].chance == pytest.approx(25)
    assert found[PERSON_STATIC].chance == pytest.approx(100 / 12)
    missing = probes(world)[PERSON_STATIC]
    assert missing.value is None
    assert "no static group" in missing.undefined


def test_knowing_the_person_does_not_help_a_probe_of_the_emotion() -> None:
    persons = np.unique(observed().sources, return_inverse=True)[1]
    labels = persons % 4  # every person shows one emotion, and features depend only on the person
    features = planted(persons)
    found = probes(observed(labels=labels, details={"lifted_static": features, "lifted_dynamic": features}))
    assert found[PERSON_DYNAMIC].value > 95  # type: ignore[operator]
    assert found[EMOTION_DYNAMIC].value < 45  # type: ignore[operator]


def test_probes_say_the_same_twice() -> None:
    details = {"lifted_static": planted(observed().labels), "lifted_dynamic": planted(observed().labels)}
    assert probes(observed(details=details)) == probes(observed(details=details))


@pytest.mark.parametrize(
    ("sources", "person", "emotion"),
    [
        (np.repeat("p", 240), "5 clips", "5 folds"),
        (np.arange(240).astype(str), "5 clips", ""),
    ],
)
def test_too_few_persons_or_clips_give_a_reason(sources: Any, person: Any, emotion: Any) -> None:
    features = planted(observed().labels)
    found = probes(observed(sources=sources, details={"lifted_static": features, "lifted_dynamic": features}))
    assert found[PERSON_STATIC].value is None
    assert person in found[PERSON_STATIC].undefined
    assert emotion in found[EMOTION_STATIC].undefined
    assert (found[EMOTION_STATIC].value is None) == bool(emotion)
