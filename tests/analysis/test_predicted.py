"""Confusions of classes and examples on which variants differ, from the predictions that runs keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix
from support.evidence import FOLDS, evidence, variant

from study.analysis.analyse import findings
from study.analysis.evidence import Evidence
from study.analysis.rows import TABLES
from study.analysis.values import breakdowns
from study.analysis.values.predicted import MOST_CLASSES, MOST_EXAMPLES, with_predicted
from study.ledger.layout import RUNS, TEST_PREDICTIONS
from study.ledger.predictions import Predictions, save
from study.records import Breakdown

NAMES = ("happy", "sad", "neutral", "angry")
CLIPS = 60


def keep(root: Path, run: str, labels: np.ndarray, predicted: np.ndarray, *, reverse: bool = False) -> None:
    ids = np.array([f"clip-{at:03d}" for at in range(len(labels))])
    order = np.arange(len(labels))[:: -1 if reverse else 1]
    logits = np.eye(len(NAMES), dtype=np.float32)[predicted]
    save(
        root / RUNS / run / TEST_PREDICTIONS,
        Predictions(ids[order], ids[order], labels[order], logits[order]),
    )


def studied(tmp_path: Path, repetitions: int = 5) -> tuple[Evidence, np.ndarray, dict[str, list[np.ndarray]]]:
    """Return evidence with predictions, the labels, and what each repetition of each variant predicts."""
    rng = np.random.default_rng(3)
    labels = np.arange(CLIPS) % len(NAMES)
    arms = [
        variant("even-odd", [60.0] * repetitions, reference=True),
        variant("issm", [70.0] * repetitions),
    ]
    predicted: dict[str, list[np.ndarray]] = {}
    named = []
    for arm, share in zip(arms, (0.6, 0.75), strict=True):
        runs = []
        for number, run in enumerate(arm.repetitions):
            wrong = (labels + rng.integers(1, len(NAMES), CLIPS)) % len(NAMES)
            classes = np.where(rng.random(CLIPS) < share, labels, wrong)
            keep(tmp_path, run.run, labels, classes, reverse=number % 2 == 1)
            predicted.setdefault(arm.name, []).append(classes)
            recalls = {name: float((classes[labels == c] == c).mean()) for c, name in enumerate(NAMES)}
            assert run.test is not None
            part = Breakdown("class", "Recall of every class", recalls)
            runs.append(replace(run, test=replace(run.test, breakdowns=(part,))))
        named.append(replace(arm, repetitions=tuple(runs)))
    return with_predicted(evidence(*named), tmp_path), labels, predicted


def test_confusions_are_those_of_all_repetitions_together(tmp_path: Path) -> None:
    found, labels, predicted = studied(tmp_path)
    for each in findings(found).variants:
        assert each.confusion is not None
        expected = sum(confusion_matrix(labels, classes) for classes in predicted[each.name])
        assert each.confusion.counts == tuple(map(tuple, expected))
        assert each.confusion.classes == NAMES
        assert each.confusion.runs == 5
        shares = sum(confusion_matrix(labels, c, normalize="true") for c in predicted[each.name]) / 5
        assert np.array(each.confusion.shares) == pytest.approx(100 * shares)


def test_an_example_is_gained_if_most_repetitions_agree(tmp_path: Path) -> None:
    found, labels, predicted = studied(tmp_path)
    own, reference = (np.stack(predicted[name]) == labels for name in ("issm", "even-odd"))
    gained = (own.mean(axis=0) > 0.5) & (reference.mean(axis=0) < 0.5)
    lost = (own.mean(axis=0) < 0.5) & (reference.mean(axis=0) > 0.5)
    base, other = findings(found).variants
    assert base.disagreement is None
    shown = other.disagreement
    assert shown is not None
    assert (shown.gained, shown.lost, shown.total) == (gained.sum(), lost.sum(), CLIPS)
    assert 0 < len(shown.examples) <= MOST_EXAMPLES
    for example in shown.examples:
        at = int(example.id.removeprefix("clip-"))
        assert gained[at]
        assert example.label == NAMES[labels[at]] == example.predicted
        assert example.reference_predicted == NAMES[stats.mode(np.stack(predicted["even-odd"])[:, at]).mode]
        assert (example.right, example.reference_right) == (own[:, at].sum(), reference[:, at].sum())
    first = shown.examples[: len({labels[at] for at in np.flatnonzero(gained)})]
    assert len({example.label for example in first}) == len(first)  # classes in turn


def test_a_tie_of_two_repetitions_is_no_gain(tmp_path: Path) -> None:
    found, labels, predicted = studied(tmp_path, repetitions=2)
    shown = findings(found).variants[1].disagreement
    assert shown is not None
    own, reference = (np.stack(predicted[name]) == labels for name in ("issm", "even-odd"))
    assert shown.gained == (own.all(axis=0) & ~reference.any(axis=0)).sum()


@pytest.mark.parametrize(
    "kept",
    [
        Predictions(np.array(["a", "b"]), np.array(["a", "b"]), np.array([0.5, 1.5]), np.array([0.4, 1.2])),
        Predictions(np.array(["a", "b"]), np.array(["a", "b"]), np.array([0, 7]), np.eye(2)),
        Predictions(
            np.array(["a", "b"]), np.array(["a", "b"]), np.array([0, 1]), np.eye(MOST_CLASSES + 1)[:2]
        ),
    ],
    ids=["regression", "label-outside", "too-many-classes"],
)
def test_other_predictions_have_no_confusion(tmp_path: Path, kept: Predictions) -> None:
    arm = variant("even-odd", [60.0], reference=True)
    save(tmp_path / RUNS / arm.repetitions[0].run / TEST_PREDICTIONS, kept)
    assert findings(with_predicted(evidence(arm), tmp_path)).variants[0].confusion is None


def test_damaged_or_missing_predictions_leave_the_report_as_it_is(tmp_path: Path) -> None:
    found, _, _ = studied(tmp_path)
    run = found.variants[1].repetitions[0].run
    (tmp_path / RUNS / run / TEST_PREDICTIONS).write_bytes(b"damaged")
    other = findings(with_predicted(found, tmp_path)).variants[1]
    assert other.confusion is not None
    assert other.confusion.runs == 4


def test_differences_of_recalls_are_paired_by_repetition(tmp_path: Path) -> None:
    found, labels, predicted = studied(tmp_path)
    base, other = findings(found).variants
    assert base.breakdown_differences == {}
    for label, name in enumerate(NAMES):
        own, reference = (
            [100 * float((classes[labels == label] == label).mean()) for classes in predicted[arm]]
            for arm in ("issm", "even-odd")
        )
        expected = stats.ttest_rel(own, reference).confidence_interval(0.95)
        interval = other.breakdown_differences["class"][name]
        assert interval.mean == pytest.approx(np.mean(own) - np.mean(reference))
        assert (interval.low, interval.high) == pytest.approx(tuple(expected))


def test_differences_under_folds_widen_as_the_scores_do() -> None:
    arms = (
        variant("even-odd", [60.0, 61.0, 58.0, 60.5, 59.0], folds=5, reference=True),
        variant("issm", [62.0, 64.0, 61.0, 63.0, 62.5], folds=5),
    )
    found = evidence(*arms, folds=FOLDS)
    parts = breakdowns.breakdowns(found)
    interval = breakdowns.differences(found, found.variants[1], parts)["class"]["happy"]
    differences = np.array([2.0, 3.0, 3.0, 2.5, 3.5])
    spread = np.sqrt(differences.var(ddof=1) * (1 / 5 + 100 / 400))  # Nadeau and Bengio 2003
    half = stats.t.ppf(0.975, 4) * spread
    assert (interval.low, interval.high) == pytest.approx((3 - 0.2 - half, 3 - 0.2 + half))


def test_new_findings_are_rows_too(tmp_path: Path) -> None:
    found = findings(studied(tmp_path)[0])
    other = found.variants[1]
    parts = [row for row in TABLES["parts"](found) if row["variant"] == "issm"]
    assert [row["difference"] for row in parts] == [
        other.breakdown_differences["class"][name].mean for name in NAMES
    ]
    cells = [row for row in TABLES["confusions"](found) if row["variant"] == "issm"]
    assert other.confusion is not None
    assert sum(row["count"] for row in cells) == sum(map(sum, other.confusion.counts)) == 5 * CLIPS
    assert sum(row["difference"] for row in cells) == pytest.approx(0, abs=1e-9)
    assert other.disagreement is not None
    assert [row["id"] for row in TABLES["examples"](found)] == [e.id for e in other.disagreement.examples]
    assert list(found.to_dataframe("parts").columns)[:1] == ["variant"]
