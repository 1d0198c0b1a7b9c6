"""Two measures of disentanglement: expressive frames in the dynamic group, and linear probes of both groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from study.config.registry import component
from study.records import Figure
from study.tasks.clips.measures.contract import Observed, needs_truth

Floats = NDArray[np.float64]
Folds = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Indexes of the fitted and the scored clips of a probe, one pair a fold."""

EXPRESSIVE_SHARE = 0.5
"""A frame carries the expression if its intensity is above this share of its clip's peak."""
WEIGHT_DECIMALS = 6
"""Decimals to which frame weights are rounded, so that equal ones tie."""
FOLDS = 5
"""Folds of the probes' cross-validation."""
SPLIT_SEED = 0
"""Seed of the folds, the same for every run, so that variants are scored on the same folds."""
MOST_STEPS = 1000
"""Maximum steps of a probe's optimizer."""
GROUPS = ("static", "dynamic")
NO_WEIGHTS = "the network has no splitter that weighs frames"


@component("measure")
@needs_truth("intensity")
def frames(seen: Observed) -> dict[str, Figure]:
    """How well the dynamic group takes the frames that carry the expression.

    A clip counts if it has an expression (a neutral one has none) and the figure is defined.
    """
    intensity = seen.truth["intensity"].astype(np.float64)
    weights = seen.details.get("dynamic_weights")
    if weights is None:
        areas = correlations = np.full(len(intensity), np.nan)
    else:
        by_frame = frame_weights(weights, intensity.shape[1])
        is_expressive = intensity > EXPRESSIVE_SHARE * intensity.max(axis=1, keepdims=True)
        areas, correlations = area_under_curve(by_frame, is_expressive), rank_correlation(by_frame, intensity)
    return {
        "AUC": _mean(
            areas,
            chance=0.5,
            unit="0 to 1",
            about="probability that a frame which carries the expression (intensity above half of its clip's peak) "
            "weighs more in the dynamic group than a frame of the same clip which does not",
            undefined=NO_WEIGHTS
            if weights is None
            else "no test clip has frames with and without expression",
        ),
        "Rank correlation": _mean(
            correlations,
            chance=0.0,
            unit="−1 to 1",
            about="Spearman's correlation, within a clip, of a frame's weight in the dynamic group with the "
            "expression's intensity",
            undefined=NO_WEIGHTS if weights is None else "in no test clip do weight and intensity both vary",
        ),
    }


def _mean(values: Floats, *, chance: float, unit: str, about: str, undefined: str) -> Figure:
    """Return the mean over the clips in which a figure is defined; `undefined` is the reason if there are none."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return Figure(None, chance, unit, about, undefined)
    return Figure(float(defined.mean()), chance, unit, about)


@component("measure")
def probes(seen: Observed) -> dict[str, Figure]:
    """How much of emotion and of identity can be read from each group after lifting, by linear probes.

    Test persons are in no training clip, so a probe for persons can only be fitted to test clips; both probes
    therefore are, by cross-validation. The folds of the probe for emotions separate persons, because clips of one
    person resemble one another: identity then does not help to predict the emotion.
    """
    figures = {}
    for task in (_emotions(seen), _persons(seen)):
        for group in GROUPS:
            features = seen.details.get(f"lifted_{group}")
            missing = task.missing or (f"the network has no {group} group" if features is None else "")
            figures[f"{task.name} from {group} group"] = Figure(
                value=None
                if features is None or missing
                else 100 * accuracy(features, task.targets, task.folds),
                chance=None if task.missing else 100 * task.chance,
                unit="%",
                about=task.about,
                undefined=missing,
            )
    return figures


@dataclass(frozen=True)
class _Task:
    """Targets and folds of a probe; `missing` is the reason if it cannot be fitted."""

    name: str
    about: str
    targets: NDArray[np.int64]
    folds: Folds = ()
    missing: str = ""

    @property
    def chance(self) -> float:
        """Share of the most frequent target among the scored clips."""
        scored = self.targets[np.concatenate([indexes for _, indexes in self.folds])]
        return float(np.bincount(scored).max() / len(scored))


def _emotions(seen: Observed) -> _Task:
    from sklearn.model_selection import StratifiedGroupKFold

    name = "Emotion"
    about = "share of clips whose emotion a probe on the group's mean fitted to other persons predicts"
    people = len(np.unique(seen.sources))
    if people < FOLDS or np.bincount(seen.labels).max() < FOLDS:
        reason = f"the test split is too small for {FOLDS} folds of persons"
        return _Task(name, about, seen.labels, missing=reason)
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SPLIT_SEED)
    folds = tuple(splitter.split(seen.labels, seen.labels, seen.sources))
    if any(len(np.unique(seen.labels[fitted])) < 2 for fitted, _ in folds):
        return _Task(name, about, seen.labels, missing="a fold of persons leaves clips of only one emotion")
    return _Task(name, about, seen.labels, folds)


def _persons(seen: Observed) -> _Task:
    from sklearn.model_selection import StratifiedKFold

    name = "Person"
    about = "share of clips whose person a probe on the group's mean fitted to other clips of them predicts"
    _, persons, clips = np.unique(seen.sources, return_inverse=True, return_counts=True)
    usable = np.flatnonzero(clips[persons] >= FOLDS)
    if len(np.unique(persons[usable])) < 2:
        reason = f"the test split has no two persons with {FOLDS} clips each"
        return _Task(name, about, persons, missing=reason)
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=SPLIT_SEED)
    folds = tuple(
        (usable[fitted], usable[scored]) for fitted, scored in splitter.split(usable, persons[usable])
    )
    return _Task(name, about, persons, folds)


def frame_weights(weights: NDArray[np.float32], frames: int) -> Floats:
    """Return every input frame's weight in a group, (n, frames).

    Args:
        weights: (n, K, T), the weights of the group's K sampled steps on the backbone's T time steps.
        frames: Of the input clip; frame f belongs to time step ``floor(f T / frames)``.
    """
    by_step = weights.astype(np.float64).sum(axis=1).round(WEIGHT_DECIMALS)
    by_frame: Floats = by_step[:, np.arange(frames) * by_step.shape[1] // frames]
    return by_frame


def area_under_curve(scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """Return each row's area under the ROC curve, (n,), by the Mann-Whitney statistic, ties counted half.

    NaN where a row of `positive`, (n, T) like `scores`, is all of one kind.
    """
    positives = positive.sum(axis=1)
    pairs = positives * (positive.shape[1] - positives)
    above = (rankdata(scores, axis=1) * positive).sum(axis=1) - positives * (positives + 1) / 2
    return _ratio(above, pairs)


def rank_correlation(values: Floats, others: Floats) -> Floats:
    """Return Spearman's rank correlation of each row of two arrays (n, T), (n,); NaN where a row is constant."""
    first, second = (
        ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(a, axis=1) for a in (values, others))
    )
    spread = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return _ratio((first * second).sum(axis=1), spread)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return a quotient, NaN if the denominator is 0."""
    quotient: Floats = np.divide(
        numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0
    )
    return quotient


def accuracy(features: NDArray[np.float32], targets: NDArray[np.int64], folds: Folds) -> float:
    """Return the share of clips whose target is predicted by a logistic regression fitted to the other folds.

    Args:
        features: (n, C), standardised by the training clips of each fold.
        targets: (n,).
        folds: Which clips to fit to and to score.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_STEPS))
    is_correct = [
        probe.fit(features[fitted], targets[fitted]).predict(features[scored]) == targets[scored]
        for fitted, scored in folds
    ]
    return float(np.concatenate(is_correct).mean())
