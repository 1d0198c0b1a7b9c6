"""Simulated trainings whose true scores are known: what a study of them would find in its ledger.

A run's chance to be right on a test example is the sum of the example's own difficulty, the quality of the training,
and what the variant does to the example's source. Quality holds what repetitions share across variants, the noise of one
training, and the effect of its hyperparameter; searches see it through the noise of the validation split.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from study.analysis.evidence import Evidence, FoldSize, Confirmation, Scope, VariantEvidence
from study.metrics import Metric
from study.records import Machine, RunResult, TestResult

Floats = NDArray[np.float64]
SearchKind = Literal["none", "repetition", "study", "shared-folds"]
METRIC = Metric("war", "WAR", chance=0.2)
MACHINE = Machine({}, "simulated", "simulated")
POINT = 0.01


@dataclass(frozen=True)
class World:
    """The benchmark and its trainings; in points of the metric."""

    training_sd: float = 2.0
    """Of the quality of trainings of one variant with one configuration."""
    shared: float = 0.5
    """The share of that variance that runs of one repetition share across variants."""
    search_sd: float = 3.0
    """Of the quality over the hyperparameter's range, before the search."""
    validation_sd: float = 2.0
    """Of the luck of the validation examples in a trial's figure."""
    interaction_sd: float = 4.0
    """Of what a variant does to a source of test examples; 0 on average."""
    sources: int = 60
    examples_of_a_source: int = 4
    difficulty: tuple[float, float] = (0.35, 0.85)
    """The range of examples' chances to be classified correctly by a training of average quality."""


@dataclass(frozen=True)
class Design:
    """What a simulated study asks and how it is carried out."""

    comparisons: int = 1
    repetitions: int = 5
    looks: tuple[int, ...] = ()
    """Numbers of repetitions at which comparisons may be closed; empty for a fixed number."""
    folds: int = 0
    search: SearchKind = "none"
    trials: int = 1
    halving: bool = False
    scope: Scope = "population"
    rope: float = 0.0
    alpha: float = 0.05


@dataclass(frozen=True)
class Trainings:
    """Test figures of every repetition of every arm, the reference first, of one simulated study."""

    scores: Floats
    """(arms, folds or 1, repetitions) in points."""
    replicates: Floats | None
    """(arms, repetitions, sources): the score with each source left out; None with folds."""


def simulate(world: World, design: Design, effects: tuple[float, ...], seed: int) -> Trainings:
    """Simulate the trainings of a study.

    Args:
        world: The benchmark and its trainings.
        design: The study.
        effects: The true difference of each variant from the reference, in points.
        seed: Of all random numbers.
    """
    rng = np.random.default_rng(seed)
    arms, n = 1 + design.comparisons, design.looks[-1] if design.looks else design.repetitions
    folds = max(1, design.folds)
    true = np.array([0.0, *effects])[:, None, None]
    quality = true + _chosen(world, design, rng, (arms, folds, n))
    if design.folds:
        return Trainings(_fold_scores(world, design, rng, quality), None)
    scores, replicates = _tested(world, design, rng, quality[:, 0])
    return Trainings(scores[:, None], replicates)


def _chosen(world: World, design: Design, rng: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    """Return the quality (arms, folds, repetitions) of the runs that are tested, without the variants' effects."""
    arms, folds, n = shape
    shared = rng.standard_normal((1, folds, n)) * world.training_sd * np.sqrt(world.shared)
    own_sd = world.training_sd * np.sqrt(1 - world.shared)
    if design.search == "none":
        return shared + own_sd * rng.standard_normal(shape)
    trials = (design.trials,)
    at_study = design.search == "study"
    searches = (folds, 1) if at_study else (1, n) if design.search == "shared-folds" else (folds, n)
    points = rng.random((1, *searches, *trials))
    of_points = -np.sqrt(180) / 2 * world.search_sd * ((points - 0.5) ** 2 - 1 / 12) * 2
    noise = own_sd * rng.standard_normal((arms, *searches, *trials))
    trained = of_points + noise + (0 if at_study or design.search == "shared-folds" else shared[..., None])
    judged = trained + world.validation_sd * rng.standard_normal(trained.shape)
    if design.halving:
        judged = _halved(world, judged, rng)
    best = judged.argmax(-1)[..., None]
    if design.search == "repetition":
        found: Floats = np.take_along_axis(trained, best, -1)[..., 0]
        return found
    of_best = np.take_along_axis(np.broadcast_to(of_points, trained.shape), best, -1)[..., 0]
    return of_best + shared + own_sd * rng.standard_normal(shape)


def _halved(world: World, judged: Floats, rng: np.random.Generator) -> Floats:
    """Return validation figures in which trials stopped early, on a noisier figure, cannot win."""
    early = judged + world.validation_sd * rng.standard_normal(judged.shape)
    order = np.argsort(np.argsort(-early, axis=-1), axis=-1)
    kept = order < np.maximum(1, judged.shape[-1] // 3)
    return np.where(kept, judged, -np.inf)


def _tested(
    world: World, design: Design, rng: np.random.Generator, quality: Floats
) -> tuple[Floats, Floats]:
    """Return scores (arms, repetitions) and replicates (arms, repetitions, sources) on one test set, in points."""
    arms, n = quality.shape
    m, each = world.sources, world.examples_of_a_source
    difficulty = rng.uniform(*world.difficulty, (m, each))
    effects = np.zeros((arms, m))
    if design.scope == "population":
        effects = world.interaction_sd * POINT * rng.standard_normal((arms, m))
    chance = difficulty + POINT * quality[:, :, None, None] + effects[:, None, :, None]
    right = (rng.random((arms, n, m, each), dtype=np.float32) < chance).sum(-1)
    total = right.sum(-1, keepdims=True)
    return total[..., 0] / (m * each) / POINT, (total - right) / ((m - 1) * each) / POINT


def _fold_scores(world: World, design: Design, rng: np.random.Generator, quality: Floats) -> Floats:
    """Return scores (arms, folds, repetitions) on the folds' test splits, in points.

    Trainings on folds share training examples: their qualities correlate by the share of the examples in one test split,
    the assumption of Nadeau and Bengio (2003).
    """
    arms, folds, _ = quality.shape
    correlation = 1 / folds
    of_data = world.interaction_sd / 2 * (
        np.sqrt(correlation) * rng.standard_normal((arms, 1, 1))
        + np.sqrt(1 - correlation) * rng.standard_normal((arms, folds, 1))
    )
    share = np.clip(np.mean(world.difficulty) + POINT * (quality + of_data), 0.01, 0.99)
    count = world.sources * world.examples_of_a_source
    return rng.binomial(count, share) / count / POINT


def evidence(design: Design, trainings: Trainings, repetitions: int) -> Evidence:
    """Return what the analysis would gather of the first `repetitions` repetitions of a simulated study."""
    names = ["reference", *(f"variant {number}" for number in range(1, 1 + design.comparisons))]
    folds = tuple(FoldSize(100 * (design.folds - 1), 100) for _ in range(design.folds))
    return Evidence(
        name="simulated",
        title="",
        question="",
        metric=METRIC,
        metrics=(METRIC,),
        rope=design.rope,
        alpha=design.alpha,
        variants=tuple(
            VariantEvidence(
                name,
                names[0],
                {},
                repetitions * max(1, design.folds),
                tuple(_repetitions(trainings, arm, repetitions)),
            )
            for arm, name in enumerate(names)
        ),
        examples_in_test=1,
        folds=folds,
        scope=design.scope,
    )


def _repetitions(trainings: Trainings, arm: int, repetitions: int) -> Iterator[Confirmation]:
    _, folds, _ = trainings.scores.shape
    for fold in range(folds):
        for number in range(repetitions):
            run = f"{arm}-{fold}-{number}"
            score = POINT * float(trainings.scores[arm, fold, number])
            replicates = trainings.replicates
            yield Confirmation(
                number + 1,
                fold + 1 if folds > 1 else None,
                run,
                result=RunResult(run, "finished", 1, {}, (), None, 0.0, MACHINE),
                test=TestResult(run, {METRIC.name: score}, 1, 0.0),
                replicates=None if replicates is None else tuple(POINT * replicates[arm, number]),
                sources="" if replicates is None else "all",
            )
