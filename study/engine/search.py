"""Hyperparameter search with Optuna: each decision replays the earlier trials from the ledger."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from study import seeds
from study.hashing import canonical_json, seed_of

SIGNIFICANT_DIGITS = 6
FEWEST_VALUES = 100
"""A range that has fewer values of that many digits is rounded less."""
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
        Values by dotted key; numbers rounded to six significant digits, in a very narrow range to more.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna").propagate = False
    distributions = {key: _distribution(_by_index(dimension)) for key, dimension in space.items()}
    study = optuna.create_study(direction="maximize", sampler=_sampler(sampler, seed))
    worst = min((tried.score for tried in history if tried.score is not None), default=0.0)
    for tried in history:
        scored = tried if tried.score is not None else replace(tried, score=worst)
        indexed = {key: _index(value, space[key]) for key, value in tried.parameters.items()}
        study.add_trial(as_optuna_trial(replace(scored, parameters=indexed), distributions))
    parameters = study.ask(distributions).params
    return {key: _value(parameters[key], space[key]) for key in space}


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


def _by_index(dimension: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return choices as their indices: Optuna cannot tell 1 from true, and takes no lists."""
    choices = dimension.get("choices")
    return dimension if choices is None else {"choices": list(range(len(choices)))}


def _index(value: Any, dimension: Mapping[str, Any]) -> Any:
    """Return the index of a choice; a number of a range as it is."""
    choices = dimension.get("choices")
    return (
        value
        if choices is None
        else [canonical_json(choice) for choice in choices].index(canonical_json(value))
    )


def _value(suggested: Any, dimension: Mapping[str, Any]) -> Any:
    """Return the choice of an index; a float rounded within its range, so that every machine writes the same text."""
    if dimension.get("choices") is not None:
        return dimension["choices"][suggested]
    if not isinstance(suggested, float):
        return suggested
    low, high = float(dimension["low"]), float(dimension["high"])
    rounded = float(f"{suggested:.{_digits(low, high)}g}")
    return min(max(rounded, low), high)


def _digits(low: float, high: float) -> int:
    """Return the significant digits to round to: six, unless the range then had fewer than `FEWEST_VALUES` values."""
    exponent = math.floor(math.log10(max(abs(low), abs(high))))
    digits = SIGNIFICANT_DIGITS
    while digits < sys.float_info.dig + 2 and (high - low) / 10.0 ** (exponent + 1 - digits) < FEWEST_VALUES:
        digits += 1
    return digits
