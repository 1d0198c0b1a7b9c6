"""Simulated trainings whose true scores are known: what a study of them would find in its ledger.

A run's chance to classify a test example correctly is the sum of the example's own difficulty, the quality of the
training, and what the variant does to the example's source. Quality holds what repetitions share across variants, the
noise of one training, and the effect of its hyperparameter; searches see it through the noise of the validation split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from study.analysis.evidence import Evidence, FoldSize, RepetitionEvidence, Scope, VariantEvidence
from study.ledger.record import Interim
from study.metrics import Metric
from study.records import Machine, RunResult, TestResult

Floats = NDArray[np.float64]
SearchKind = Literal["none", "repetition", "study", "shared-folds"]
"""Where a search is made: nowhere, in every repetition, once for all of them, once for all folds of a repetition."""
METRIC = Metric("war", "WAR", chance=0.2)
MACHINE = Machine({}, "simulated", "simulated")
POINT = 0.01
STARTUP_TRIALS = 10


@dataclass(frozen=True)
class World:
    """The benchmark and its trainings; in points of the metric."""

    training_sd: float = 2.0
    """Standard deviation of the quality of trainings of one variant with one configuration."""
    shared: float = 0.5
    """The share of that variance that runs of one repetition share across variants."""
    search_sd: float = 3.0
    """Standard deviation of the quality over the hyperparameter's range, before the search."""
    validation_sd: float = 2.0
    """Standard deviation of a trial's validation figure around its quality."""
    interaction_sd: float = 4.0
    """Standard deviation of a variant's effect on a source of test examples; the mean effect is 0."""
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
    sampler: Literal["random", "model"] = "random"
    """``model``: a stand-in for model-based samplers; after ten trials it proposes points near the best one."""
    halving: bool = False
    noisy_arm: float = 1.0
    """The last variant's own training noise, as a multiple of the others'."""
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
        seed: The seed of all random numbers.
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
    own_sd = np.full((arms, 1, 1), world.training_sd * np.sqrt(1 - world.shared))
    own_sd[-1] *= design.noisy_arm
    if design.search == "none":
        quality: Floats = shared + own_sd * rng.standard_normal(shape)
        return quality
    at_study, once = design.search == "study", design.search == "shared-folds"
    searches = (folds, 1) if at_study else (1, n) if once else (folds, n)
    common = np.zeros((1, *searches)) if at_study or once else shared
    points, trained, judged = _trials(world, design, rng, common, own_sd, (arms, *searches))
    best = judged.argmax(-1)[..., None]
    if design.search == "repetition":
        found: Floats = np.take_along_axis(trained, best, -1)[..., 0]
        return found
    of_best = _of_point(world, np.take_along_axis(points, best, -1)[..., 0])
    again: Floats = of_best + shared + own_sd * rng.standard_normal(shape)
    return again


def _of_point(world: World, points: Floats) -> Floats:
    """Return what hyperparameters in [0, 1] add to the quality: a parabola with the world's sd for uniform points."""
    added: Floats = -world.search_sd * np.sqrt(180) * ((points - 0.5) ** 2 - 1 / 12)
    return added


def _trials(
    world: World,
    design: Design,
    rng: np.random.Generator,
    common: Floats,
    own_sd: Floats,
    searches: tuple[int, ...],
) -> tuple[Floats, Floats, Floats]:
    """Return points, quality and validation figures of all trials, each of shape (*searches, trials)."""
    points, trained, judged = (np.zeros((*searches, design.trials)) for _ in range(3))
    for trial in range(design.trials):
        point = np.broadcast_to(rng.random((1, *searches[1:])), searches)
        if design.sampler == "model" and trial >= STARTUP_TRIALS:
            best = judged[..., :trial].argmax(-1)[..., None]
            near = np.take_along_axis(points, best, -1)[..., 0] + 0.1 * rng.standard_normal(searches)
            point = np.clip(near, 0, 1)
        points[..., trial] = point
        trained[..., trial] = _of_point(world, point) + common + own_sd * rng.standard_normal(searches)
        judged[..., trial] = trained[..., trial] + world.validation_sd * rng.standard_normal(searches)
    return points, trained, _halved(world, judged, rng) if design.halving else judged


def _halved(world: World, judged: Floats, rng: np.random.Generator) -> Floats:
    """Return validation figures in which trials stopped early, on a noisier figure, cannot win."""
    early = judged + world.validation_sd * rng.standard_normal(judged.shape)
    order = np.argsort(np.argsort(-early, axis=-1), axis=-1)
    kept = order < np.maximum(1, judged.shape[-1] // 3)
    return np.where(kept, judged, -np.inf)


def _tested(world: World, design: Design, rng: np.random.Generator, quality: Floats) -> tuple[Floats, Floats]:
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

    Trainings on folds share training examples: their qualities correlate by the share of the examples in one test
    split, the assumption of Nadeau and Bengio (2003).
    """
    arms, folds, _ = quality.shape
    correlation = 1 / folds
    of_data = (
        world.interaction_sd
        / 2
        * (
            np.sqrt(correlation) * rng.standard_normal((arms, 1, 1))
            + np.sqrt(1 - correlation) * rng.standard_normal((arms, folds, 1))
        )
    )
    share = np.clip(np.mean(world.difficulty) + POINT * (quality + of_data), 0.01, 0.99)
    count = world.sources * world.examples_of_a_source
    scores: Floats = rng.binomial(count, share) / count / POINT
    return scores


def evidence(
    design: Design,
    trainings: Trainings,
    granted: Sequence[int],
    interims: Mapping[int, Interim] = MappingProxyType({}),
) -> Evidence:
    """Return what the analysis would gather of a simulated study.

    Args:
        design: The study.
        trainings: Its trainings.
        granted: How many repetitions each arm has so far.
        interims: The looks that were taken.
    """
    names = arm_names(design)
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
                number * max(1, design.folds),
                tuple(_repetitions(trainings, arm, number)),
            )
            for arm, (name, number) in enumerate(zip(names, granted, strict=True))
        ),
        examples_in_test=1,
        folds=folds,
        scope=design.scope,
        looks=design.looks,
        interims=interims,
    )


def arm_names(design: Design) -> list[str]:
    """Return the names of the arms, the reference first."""
    return ["reference", *(f"variant {number}" for number in range(1, 1 + design.comparisons))]


def _repetitions(trainings: Trainings, arm: int, repetitions: int) -> Iterator[RepetitionEvidence]:
    _, folds, _ = trainings.scores.shape
    for fold in range(folds):
        for number in range(repetitions):
            run = f"{arm}-{fold}-{number}"
            score = POINT * float(trainings.scores[arm, fold, number])
            replicates = trainings.replicates
            yield RepetitionEvidence(
                number + 1,
                fold + 1 if folds > 1 else None,
                run,
                result=RunResult(run, "finished", 1, {}, (), None, 0.0, MACHINE),
                test=TestResult(run, {METRIC.name: score}, 1, 0.0),
                replicates=None if replicates is None else tuple(POINT * replicates[arm, number]),
                sources="" if replicates is None else "all",
            )
