"""Error rates and power of the verdicts, in simulated families of comparisons."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from support.estimates import of

from study.statistics.inference import Estimate, estimate
from study.statistics.verdicts import verdict

ALPHA = 0.05
WRONG_UNDER_THE_NULL = {"helps", "hurts", "slight"}


def margin(rate: float, simulations: int) -> float:
    """Four Monte-Carlo standard errors of a rate."""
    return 4 * sqrt(rate * (1 - rate) / simulations)


def samples(differences: np.ndarray, overlap: float = 0.0) -> list[Estimate]:
    """Return the estimates of simulated differences of shape (simulations, n)."""
    means, sds = differences.mean(axis=1), differences.std(axis=1, ddof=1)
    n = differences.shape[1]
    return [of(float(mean), float(sd), n, overlap) for mean, sd in zip(means, sds, strict=True)]


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_t_interval_covers_95_percent(n: int) -> None:
    simulations = 20_000
    simulated = samples(np.random.default_rng(n).normal(0.7, 1.3, (simulations, n)))
    intervals = np.array([found.interval() for found in simulated])
    covered = np.mean((intervals[:, 0] <= 0.7) & (intervals[:, 1] >= 0.7))
    assert covered == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(("variants", "n"), [(1, 3), (1, 10), (4, 5)])
def test_identical_variants_differ_no_more_often_than_alpha(variants: int, n: int) -> None:
    studies = 5_000
    rng = np.random.default_rng(17)
    reference = rng.normal(60, 1, (studies, 1, n))
    differences = rng.normal(60, 1, (studies, variants, n)) - reference
    simulated = samples(differences.reshape(studies * variants, n))
    wrong = np.array([verdict(found, 0.0, ALPHA, variants) in WRONG_UNDER_THE_NULL for found in simulated])
    assert wrong.reshape(studies, variants).any(axis=1).mean() <= ALPHA + margin(ALPHA, studies)


def test_identical_variants_in_overlapping_folds_differ_no_more_often_than_alpha() -> None:
    # differences of folds share training clips: correlation n_test / (n_test + n_train) between any two
    studies, folds, rho = 8_000, 5, 0.2
    rng = np.random.default_rng(5)
    shared = rng.normal(0, sqrt(rho), (studies, 1))
    simulated = samples(shared + rng.normal(0, sqrt(1 - rho), (studies, folds)), overlap=rho / (1 - rho))
    wrong = np.mean([verdict(found, 0.0, ALPHA) in WRONG_UNDER_THE_NULL for found in simulated])
    assert wrong == pytest.approx(ALPHA, abs=margin(ALPHA, studies))


def test_true_differences_at_the_margin_are_called_equivalent_no_more_often_than_alpha() -> None:
    simulations = 8_000
    simulated = samples(np.random.default_rng(8).normal(0.5, 0.3, (simulations, 6)))
    wrong = np.mean([verdict(found, 0.5, ALPHA) == "equivalent" for found in simulated])
    assert wrong <= ALPHA + margin(ALPHA, simulations)


@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("sds", [(1.0, 4.0, 4.0), (2.0, 4.0, 4.0), (0.3, 8.0, 8.0)])
def test_with_few_repetitions_the_interval_for_new_examples_covers_and_is_never_the_narrower_one(
    n: int, sds: tuple[float, float, float]
) -> None:
    """Score of repetition s on source c: training + source + noise; the truth is 0."""
    studies, m, rng = 3000, 60, np.random.default_rng(n)
    training, source, noise = sds
    covered = 0
    for _ in range(studies):
        scores = rng.normal(0, training, (n, 1)) + rng.normal(0, source, m) + rng.normal(0, noise, (n, m))
        left_out = (scores.sum(axis=1, keepdims=True) - scores) / (m - 1)
        found = estimate(scores.mean(axis=1), left_out)
        low, high = found.interval() or (0.0, 0.0)
        bounds = found.on_test_set().interval() or (0.0, 0.0)
        assert high - low >= bounds[1] - bounds[0] - 1e-9
        covered += low <= 0 <= high
    assert covered / studies >= 0.94 - 3.3 * sqrt(0.94 * 0.06 / studies)
