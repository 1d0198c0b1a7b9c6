"""Hyperparameter search by Optuna's ask and tell, replayed from the ledger for every decision."""

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
"""Trials that Optuna's TPE and GP samplers draw at random before they model anything."""


@dataclass(frozen=True)
class Tried:
    """One trial that has ended: what was tried, and how well it did."""

    parameters: Parameters
    score: float | None
    """Higher is better; of a trial that was stopped, the best up to there. None for the worst of all."""
    stopped: Mapping[int, float] = field(default_factory=dict)
    """Its best score so far by epoch, where it was stopped early; empty where it ran to its end."""


def suggest(
    space: Mapping[str, Mapping[str, Any]],
    sampler: str,
    history: Sequence[Tried],
    seed: int,
) -> Parameters:
    """Return what to try next; a pure function of its arguments for one version of Optuna.

    Args:
        space: Dimensions by dotted key, each with ``low``, ``high`` and ``log``, or ``choices``.
        sampler: ``tpe``, ``gp`` or ``random``.
        history: The trials of earlier generations that ended with a score, in order.
        seed: Of this one decision.

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
        known = tried if tried.score is not None else replace(tried, score=worst)
        study.add_trial(frozen(known, distributions))
    asked = study.ask(distributions).params
    return {key: _rounded(asked[key], space[key]) for key in space}


def frozen(tried: Tried, distributions: Mapping[str, Any], **attributes: Any) -> Any:
    """Return a trial as Optuna keeps it, ``PRUNED`` with what it reported where it was stopped early."""
    from optuna.trial import TrialState, create_trial

    return create_trial(
        params=dict(tried.parameters),
        distributions=dict(distributions),
        value=tried.score,
        state=TrialState.PRUNED if tried.stopped else TrialState.COMPLETE,
        intermediate_values=dict(tried.stopped),
        user_attrs=attributes,
    )


def decision_seed(study_seed: int, fold: int | None, generation: int, place: int) -> int:
    """Return the sampler's seed for one decision.

    The variant is left out: every variant is asked the same first points, so that luck in the search is
    shared, as the seeds of training are.
    """
    return seed_of(seeds.SEARCH, study_seed, -1 if fold is None else fold, generation, place) % 2**32


def _sampler(name: str, seed: int) -> Any:
    import optuna

    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)


def distributions_of(space: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a search space in Optuna's terms."""
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
    """Round a float, kept inside its range, so that its text is its value on every machine."""
    if not isinstance(value, float) or dimension.get("choices") is not None:
        return value
    rounded = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    return min(max(rounded, float(dimension["low"])), float(dimension["high"]))
