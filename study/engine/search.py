"""Hyperparameter search with Optuna: each decision replays the earlier trials from the ledger."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from study import seeds
from study.hashing import seed_of

SIGNIFICANT_DIGITS = 6
Parameters = Mapping[str, Any]

STARTUP_TRIALS = 10
"""Random trials of Optuna's TPE and GP samplers before their first model."""


@dataclass(frozen=True)
class Tried:
    """One trial that has ended, with its parameters and its score."""

    parameters: Parameters
    score: float | None
    """Higher is better; the best so far if the trial was pruned; None ranks it last."""
    pruned_scores: Mapping[int, float] = field(default_factory=dict)
    """The best score so far by epoch if the trial was pruned; empty if it ran to its end."""


def suggest(
    space: Mapping[str, Mapping[str, Any]],
    sampler: str,
    history: Sequence[Tried],
    seed: int,
) -> Parameters:
    """Return the next parameters to try; a pure function of its arguments for one version of Optuna.

    Args:
        space: Dimensions by dotted key, each with ``low``, ``high`` and ``log``, or ``choices``.
        sampler: ``tpe``, ``gp`` or ``random``.
        history: The trials of earlier generations that ended with a score, in order.
        seed: The sampler's seed for this decision.

    Returns:
        Values by dotted key; numbers rounded to six significant digits.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna").propagate = False
    distributions = distributions_of(space)
    study = optuna.create_study(direction="maximize", sampler=_sampler(sampler, seed))
    worst = min((tried.score for tried in history if tried.score is not None), default=0.0)
    for tried in history:
        scored = tried if tried.score is not None else replace(tried, score=worst)
        study.add_trial(as_optuna_trial(scored, distributions))
    parameters = study.ask(distributions).params
    return {key: _rounded(parameters[key], space[key]) for key in space}


def as_optuna_trial(tried: Tried, distributions: Mapping[str, Any], **attributes: Any) -> Any:
    """Return a trial as an Optuna trial, ``PRUNED`` with its intermediate scores if it was pruned."""
    from optuna.trial import TrialState, create_trial

    return create_trial(
        params=dict(tried.parameters),
        distributions=dict(distributions),
        value=tried.score,
        state=TrialState.PRUNED if tried.pruned_scores else TrialState.COMPLETE,
        intermediate_values=dict(tried.pruned_scores),
        user_attrs=attributes,
    )


def decision_seed(study_seed: int, fold: int | None, generation: int, index: int) -> int:
    """Return the sampler's seed for one decision.

    It does not depend on the variant: every variant tries the same first points, so that luck in the search is
    shared, as the seeds of training are.
    """
    return seed_of(seeds.SEARCH, study_seed, -1 if fold is None else fold, generation, index) % 2**32


def _sampler(name: str, seed: int) -> Any:
    import optuna

    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)


def distributions_of(space: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a search space as Optuna distributions."""
    return {key: _distribution(dimension) for key, dimension in space.items()}


def _distribution(dimension: Mapping[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.get("choices") is not None:
        return CategoricalDistribution(dimension["choices"])
    low, high, log = dimension["low"], dimension["high"], dimension.get("log", False)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _rounded(value: Any, dimension: Mapping[str, Any]) -> Any:
    """Return a float rounded within its range, so that every machine writes it as the same text."""
    if not isinstance(value, float) or dimension.get("choices") is not None:
        return value
    rounded = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    return min(max(rounded, float(dimension["low"])), float(dimension["high"]))
