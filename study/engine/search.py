"""Hyperparameter search with Optuna: each decision replays the earlier trials from the ledger."""

from __future__ import annotations

import logging
import math
import random
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from study import seeds
from study.hashing import canonical_json, seed_of
from study.ledger.grid import GRID, active, grid_of
from study.ledger.record import Search, StudyRecord

SIGNIFICANT_DIGITS = 6
FEWEST_VALUES = 100
"""A range that has fewer values of that many digits is rounded less."""
Parameters = Mapping[str, Any]

STARTUP_TRIALS = 10
"""Trials before the first that a model of the earlier ones suggests: random, or quasi-random where `auto`."""


@dataclass(frozen=True)
class Tried:
    """One trial that has ended, with its parameters and its score."""

    parameters: Parameters
    score: float | None
    """Higher is better; the best so far if the trial was pruned; None ranks it last."""
    pruned_scores: Mapping[int, float] = field(default_factory=dict)
    """The best score so far by epoch if the trial was pruned; empty if it ran to its end."""


@dataclass(frozen=True)
class Ask:
    """What a sampler is asked: a trial's hyperparameters, given the trials of all earlier generations."""

    sampler: str
    """``auto``, ``tpe``, ``gp``, ``random``, or ``grid`` where every point is tried."""
    space: Mapping[str, Mapping[str, Any]]
    """The study's dimensions by dotted key, in a fixed order: ``low``, ``high`` and ``log`` each, or ``choices``."""
    keys: tuple[str, ...]
    """The dimensions that the variant has."""
    number: int
    """The number of the trial, from 0."""
    seed: int
    """The seed of the search, the same for every variant: all are asked the same shared values."""
    history: tuple[Tried, ...] = ()
    """The trials of earlier generations, in order."""

    @classmethod
    def of(cls, study: StudyRecord, search: Search, number: int, history: tuple[Tried, ...]) -> Self:
        """Return what is asked for a trial of a search; luck is shared by variants, as the seeds of training are."""
        fold = -1 if search.fold is None else search.fold
        repetition = -1 if search.repetition is None else search.repetition
        seed = seed_of(seeds.POINTS, study.seed, repetition, fold)
        keys = tuple(study.space_of(search.variant))
        return cls(study.sampler, study.space, keys, number, seed, history)


def is_quasi_random(sampler: str, number: int) -> bool:
    """Return whether a sampler's trial `number` (from 0) is a point of a quasi-random sequence."""
    return sampler == "auto" and number < STARTUP_TRIALS


def suggest(ask: Ask) -> Parameters:
    """Return the parameters that a trial tries; a pure function of its argument for one version of Optuna.

    Quasi-random and random values are the same for every variant, whichever further dimensions it has; the others
    follow from a model of the variant's own trials.

    Returns:
        Values by dotted key; numbers rounded to six significant digits, in a very narrow range to more.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna").propagate = False
    distributions = {key: _distribution(_by_index(dimension)) for key, dimension in ask.space.items()}
    if ask.sampler == GRID:
        return _grid_point(ask)
    if is_quasi_random(ask.sampler, ask.number):
        parameters = _quasi_random_point(distributions, ask.seed, ask.number)
    elif ask.sampler == "random":
        parameters = {key: _random_value(distributions[key], key, ask) for key in ask.keys}
    else:
        parameters = _modelled_point({key: distributions[key] for key in ask.keys}, ask)
    return active(ask.space, {key: _value(parameters[key], ask.space[key]) for key in ask.keys})


def _grid_point(ask: Ask) -> Parameters:
    """Return a point of the grid, in an order that the seed shuffles; again from its start where it has no more."""
    points = grid_of({key: ask.space[key] for key in ask.keys})
    assert points is not None
    order = random.Random(ask.seed).sample(range(len(points)), len(points))
    return points[order[ask.number % len(points)]]


def _quasi_random_point(distributions: Mapping[str, Any], seed: int, number: int) -> Parameters:
    """Return a point of a scrambled Sobol sequence, whose dimensions are those of all variants together."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(scramble=True, seed=seed % 2**32)
    study = optuna.create_study(sampler=sampler)
    running = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    points = [sampler.sample_relative(study, running, dict(distributions)) for _ in range(number + 1)]
    return points[number]


def _random_value(distribution: Any, key: str, ask: Ask) -> Any:
    """Return a random value of one dimension, from a generator of its own."""
    import optuna

    seed = seed_of(ask.seed, ask.number, key) % 2**32
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return study.ask({key: distribution}).params[key]


def _modelled_point(distributions: Mapping[str, Any], ask: Ask) -> Parameters:
    """Return the point that TPE or a Gaussian process suggests after the variant's earlier trials."""
    import optuna

    seed = seed_of(ask.seed, ask.number) % 2**32
    study = optuna.create_study(direction="maximize", sampler=_model(ask.sampler, seed))
    worst = min((tried.score for tried in ask.history if tried.score is not None), default=0.0)
    for tried in ask.history:
        scored = tried if tried.score is not None else replace(tried, score=worst)
        indexed = {key: _index(value, ask.space[key]) for key, value in tried.parameters.items()}
        own = {key: distributions[key] for key in indexed}  # a trial lacks what its components do not have
        study.add_trial(as_optuna_trial(replace(scored, parameters=indexed), own))
    return study.ask(dict(distributions)).params


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


def _model(name: str, seed: int) -> Any:
    import optuna

    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    startup = 0 if name == "auto" else STARTUP_TRIALS  # auto has had its quasi-random trials
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)


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
