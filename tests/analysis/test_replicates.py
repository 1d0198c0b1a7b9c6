"""Leave-one-source-out values of a metric from the predictions that runs keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import recall_score
from support.evidence import UAR, WAR, test_result

from study.analysis.evidence import RepetitionEvidence
from study.analysis.values.replicates import MOST_GROUPS, of_predictions, of_values, with_replicates
from study.ledger.layout import EXAMPLES, TEST_PREDICTIONS
from study.ledger.predictions import Predictions, save, save_examples
from study.statistics.inference import jackknife_variance
from study.tasks.clips.metrics import uar, war

RNG = np.random.default_rng(0)


def predictions(clips: int, sources: int, classes: int = 4) -> Predictions:
    labels = RNG.integers(0, classes, clips)
    scores = RNG.normal(0, 1, (clips, classes)) + 1.5 * np.eye(classes)[labels]
    names = np.array([f"person-{number % sources}" for number in RNG.permutation(clips)])
    return Predictions(np.arange(clips).astype(str), names, labels, scores)


def scored(score: float, metric: str = "war") -> RepetitionEvidence:
    result = test_result("r1", 60.0, WAR)
    return RepetitionEvidence(1, None, "r1", test=replace(result, metrics={**result.metrics, metric: score}))


@pytest.mark.parametrize("metric", [WAR, UAR], ids=["war", "uar"])
def test_each_source_is_left_out_once(tmp_path: Path, metric: object) -> None:
    kept = predictions(90, 12)
    compute = war if metric is WAR else uar
    save(tmp_path / TEST_PREDICTIONS, kept)
    name = "war" if metric is WAR else "uar"
    run = with_replicates(scored(compute(kept.labels, kept.logits), name), tmp_path, metric, compute)  # type: ignore[arg-type]
    people = sorted(set(kept.sources))
    predicted = kept.logits.argmax(axis=1)
    expected = [
        (predicted[kept.sources != person] == kept.labels[kept.sources != person]).mean()
        if metric is WAR
        else recall_score(
            kept.labels[kept.sources != person], predicted[kept.sources != person], average="macro"
        )
        for person in people
    ]
    assert run.replicates == pytest.approx(expected)


def test_values_of_examples_need_no_metric_function(tmp_path: Path) -> None:
    values, people = RNG.normal(3, 1, 20), [f"p{number // 4}" for number in range(20)]
    save_examples(tmp_path / EXAMPLES, [str(number) for number in range(20)], list(values), people)
    run = with_replicates(scored(float(values.mean())), tmp_path, WAR, None)
    assert run.replicates == pytest.approx(
        [np.delete(values, range(4 * p, 4 * p + 4)).mean() for p in range(5)]
    )


def test_predictions_of_another_score_are_not_used(tmp_path: Path) -> None:
    kept = predictions(90, 12)
    save(tmp_path / TEST_PREDICTIONS, kept)
    score = war(kept.labels, kept.logits)
    assert with_replicates(scored(score), tmp_path, WAR, war).replicates is not None
    assert with_replicates(scored(score + 0.011), tmp_path, WAR, war).replicates is None
    assert with_replicates(scored(score), tmp_path, WAR, None).replicates is None
    (tmp_path / TEST_PREDICTIONS).write_bytes(b"damaged")
    assert with_replicates(scored(score), tmp_path, WAR, war).replicates is None


def test_many_sources_are_left_out_in_groups_and_give_the_same_error() -> None:
    labels = np.repeat(np.arange(4), 500)
    kept = replace(predictions(2000, 2000), labels=labels)
    kept = replace(kept, logits=RNG.normal(0, 1, (2000, 4)) + 1.5 * np.eye(4)[labels])
    calls = 0

    def counted(labels: np.ndarray, scores: np.ndarray) -> float:
        nonlocal calls
        calls += 1
        return uar(labels, scores)

    found = of_predictions(kept, counted)
    assert found is not None
    assert (len(found.values), calls) == (MOST_GROUPS, MOST_GROUPS + 1)
    correct = kept.logits.argmax(axis=1) == labels
    recalls = [correct[labels == c].mean() for c in range(4)]
    error = np.sqrt(sum(r * (1 - r) / 500 for r in recalls)) / 4  # independent clips, 500 a class
    assert np.sqrt(jackknife_variance(found.values)) == pytest.approx(error, rel=0.15)
    again = of_predictions(replace(kept, logits=kept.logits + 0.1), uar)
    assert again is not None
    assert again.sources == found.sources, "runs on the same clips are paired"


def test_one_source_gives_no_replicates() -> None:
    assert of_values(np.arange(5.0), np.array(["a"] * 5)) is None
    assert of_predictions(predictions(20, 1), uar) is None
