"""What limits a study's conclusion: each a whole sentence, printed in every report."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from math import inf

from study.analysis.evidence import Evidence, VariantEvidence
from study.analysis.scores import is_complete, paired, parameters, score, selected, tested, values
from study.analysis.units import amount, difference, number, unit_of
from study.analysis.wording import OPTIMISTIC, counted, joined, percent, sampled
from study.engine.search import STARTUP_TRIALS
from study.metrics import Metric
from study.records import Failure, RunResult, Stopped

SKIPPED_FILE = "skipped.txt"
"""Beside the report."""
MOST_NAMED = 3
"""How many examples that were left out a warning names."""
CAPACITY_SHARE = 0.05
"""Variants that differ by more in parameters or multiply-accumulates get a note."""


def warnings(evidence: Evidence) -> Iterator[str]:
    """Yield every warning, those that take a verdict away first."""
    yield from _optimistic(evidence)
    yield from _missing_runs(evidence)
    yield from _skipped(evidence)
    yield from evidence.warnings
    yield from _seen(evidence)
    yield from _of_runs(evidence)
    for check in CHECKS:
        yield from check(evidence)


def _of_runs(evidence: Evidence) -> Iterator[str]:
    """Yield the warnings of trainings, each once with how many of them it holds for."""
    trials = (trial.outcome for variant in evidence.variants for trial in variant.trials)
    confirmed = (run.result for variant in evidence.variants for run in variant.confirmations)
    results = [outcome for outcome in (*trials, *confirmed) if isinstance(outcome, RunResult)]
    counts = Counter(text for result in results for text in result.warnings)
    for text, times in counts.items():
        yield (
            text if times == len(results) else f"In {times} of {counted(len(results), 'training')}: {text}"
        )


def _optimistic(evidence: Evidence) -> Iterator[str]:
    if evidence.is_optimistic:
        yield (
            f"Every figure of this report is optimistic: {OPTIMISTIC}. So no variant gets a verdict, and no claim "
            "is judged."
        )


def _skipped(evidence: Evidence) -> Iterator[str]:
    left_out = len(evidence.skipped)
    if left_out:
        named = "; ".join(evidence.skipped[:MOST_NAMED])
        rest = f"; and {left_out - MOST_NAMED} more" if left_out > MOST_NAMED else ""
        yield (
            f"{counted(left_out, evidence.noun)} of the data set's lists {'was' if left_out == 1 else 'were'} left out "
            f"because {'it' if left_out == 1 else 'they'} could not be used, so the results are not of the whole data "
            f"set: {named}{rest}. All of them are listed in {SKIPPED_FILE}."
        )


def _missing_runs(evidence: Evidence) -> Iterator[str]:
    for reference in evidence.references:
        if not is_complete(reference):
            yield (
                f"The reference {reference.name} has results for {len(tested(reference))} of its "
                f"{counted(reference.planned, 'confirmation run')}, so no variant can be compared with it."
            )
    for variant in evidence.compared:
        if not is_complete(variant):
            yield (
                f"{variant.name} has results for {len(tested(variant))} of its "
                f"{counted(variant.planned, 'confirmation run')}, so it gets no verdict; "
                "its mean, where there is one, is of those runs alone."
            )


def _one_seed(evidence: Evidence) -> Iterator[str]:
    pairs = [paired(evidence, variant) for variant in evidence.compared]
    if any(pair is not None and pair.differences.n == 1 for pair in pairs):
        yield "One seed tells nothing about the spread over seeds: no interval can be given, nothing decided."


def _no_spread(evidence: Evidence) -> Iterator[str]:
    unit = evidence.metric.unit
    for variant in evidence.variants:
        pair = None if variant.is_reference else paired(evidence, variant)
        if pair is not None and pair.differences.sd == 0:
            yield (
                f"{variant.name} differs from {variant.reference} by the same "
                f"{amount(difference(pair.differences.mean, unit), unit)} {sampled(evidence, pair.differences.n)}: "
                "the interval has no width and tells nothing about the spread."
            )
        scores = values(evidence, variant, evidence.metric)
        if len(scores) > 1 and len(set(scores)) == 1:
            yield f"{variant.name} scores the same {sampled(evidence, len(scores))}: does the seed reach its training?"


def _near_chance(evidence: Evidence) -> Iterator[str]:
    metric = evidence.metric
    if evidence.chance is None:
        return
    chance, side = metric.scale * evidence.chance, "above" if metric.direction == "maximize" else "below"
    for variant in evidence.variants:
        found = score(evidence, variant, metric)
        if found is None:
            continue
        end = found.low if metric.direction == "maximize" else found.high
        if metric.gain(found.mean if end is None else end) <= metric.gain(chance):
            yield (
                f"{variant.name} scores {number(found.mean, metric.unit)}{unit_of(metric)} {metric.title}, not "
                f"clearly {side} the {number(chance, metric.unit)}{unit_of(metric)} of guessing: it may have "
                "learned nothing."
            )


def _short_training(evidence: Evidence) -> Iterator[str]:
    found = []
    for variant in evidence.variants:
        runs = [result for _, result, _ in tested(variant) if len(result.history) > 1 and result.validation]
        last = sum(_ends_best(result, evidence.metric) for result in runs)
        if 2 * last > len(runs):
            found.append(f"{last} of {counted(len(runs), 'run')} of {variant.name}")
    if found:
        yield f"Training may be too short: the best epoch is the last one in {joined(found)}."


def _ends_best(result: RunResult, metric: Metric) -> bool:
    """Whether the last epoch was tested and is the best: where the last one is always tested it need not be."""
    values = [epoch.validation.get(metric.name) for epoch in result.history]
    curve = [metric.gain(value) for value in values if value is not None]
    rises = len(curve) > 1 and curve[-1] > max(curve[:-1])
    return rises and result.best_epoch == result.history[-1].epoch


def _seen(evidence: Evidence) -> Iterator[str]:
    if any(test.seen_in_training for variant in evidence.variants for _, _, test in tested(variant)):
        yield (
            "The training code itself reported the test figures, so it has seen the test split: nothing keeps it "
            "from having chosen on them."
        )


def _capacity(evidence: Evidence) -> Iterator[str]:
    for variant in evidence.compared:
        ratios = [
            f"{percent(abs(ratio - 1))} {'more' if ratio > 1 else 'fewer'} {what}"
            for what, ratio in _cost_ratios(evidence.reference_of(variant), variant)
            if abs(ratio - 1) > CAPACITY_SHARE
        ]
        if ratios:
            yield (
                f"{variant.name} has {joined(ratios)} than {variant.reference}: "
                "part of their difference may be capacity."
            )


def _cost_ratios(reference: VariantEvidence, variant: VariantEvidence) -> Iterator[tuple[str, float]]:
    here, there = parameters(reference), parameters(variant)
    if here and there is not None:
        yield "parameters", there / here
    if reference.profile is not None and reference.profile.macs and variant.profile is not None:
        yield "multiply-accumulates", variant.profile.macs / reference.profile.macs


def _search_budget(evidence: Evidence) -> Iterator[str]:
    folds = max(1, len(evidence.folds))
    budgets = {variant.name: len(variant.trials) // folds for variant in evidence.variants}
    fewest, most = min(budgets.values()), max(budgets.values())
    if fewest != most:
        unequal = joined([f"{counted(trials, 'trial')} for {name}" for name, trials in budgets.items()])
        yield f"The searches had unequal budgets: {unequal}."
    if 0 < most < STARTUP_TRIALS:
        yield (
            f"With {counted(most, 'trial')} each, the searches are random searches: "
            f"a sampler draws its first {STARTUP_TRIALS} trials at random."
        )


def _broken_trials(evidence: Evidence) -> Iterator[str]:
    for words, is_broken in BROKEN.items():
        found = []
        for variant in evidence.variants:
            broken = sum(is_broken(trial.outcome) for trial in variant.trials)
            if broken:
                found.append(f"{broken} of {counted(len(variant.trials), 'trial')} of {variant.name}")
        if found:
            yield f"{words}: {joined(found)}."


def _rising_search(evidence: Evidence) -> Iterator[str]:
    """Name the searches whose best trial is their last; of several folds, where it is so in most."""
    found = []
    for variant in evidence.variants:
        searches = defaultdict(list)
        for trial in variant.trials:
            searches[trial.fold].append(selected(trial, evidence.metric))
        gain = evidence.metric.gain
        scores = [
            [-inf if value is None else gain(value) for value in search] for search in searches.values()
        ]
        rising = sum(len(search) > 1 and search[-1] > max(search[:-1]) for search in scores)
        if 2 * rising > len(scores):
            found.append(variant.name)
    if found:
        yield f"The best trial was the last one in the search of {joined(found)}: more trials may find a better one."


def _mixed_machines(evidence: Evidence) -> Iterator[str]:
    outcomes = [trial.outcome for variant in evidence.variants for trial in variant.trials]
    machines = [outcome.machine for outcome in outcomes if isinstance(outcome, RunResult)]
    machines += [result.machine for variant in evidence.variants for _, result, _ in tested(variant)]
    packages = sorted({package for machine in machines for package in machine.versions})
    for package in packages:
        versions = sorted({machine.versions.get(package, "none") for machine in machines})
        if len(versions) > 1:
            yield f"The runs were computed with different versions of {package} ({joined(versions)})."
    hardware = sorted({machine.hardware for machine in machines})
    if len(hardware) > 1:
        yield f"The runs were computed on different hardware ({joined(hardware)})."


def _nondeterministic(evidence: Evidence) -> Iterator[str]:
    trials = (trial.outcome for variant in evidence.variants for trial in variant.trials)
    confirmed = (run.result for variant in evidence.variants for run in variant.confirmations)
    results = [outcome for outcome in (*trials, *confirmed) if isinstance(outcome, RunResult)]
    operators = {name for result in results for name in result.nondeterministic}
    if operators:
        yield (
            f"The runs used operators that have no deterministic form on their device ({joined(sorted(operators))}): "
            "the same run may give other numbers when it is repeated."
        )


def _diverged(outcome: RunResult | Stopped | Failure) -> bool:
    return isinstance(outcome, RunResult) and outcome.status == "diverged"


def _failed(outcome: RunResult | Stopped | Failure) -> bool:
    return isinstance(outcome, Failure)


BROKEN: dict[str, Callable[[RunResult | Stopped | Failure], bool]] = {
    "Search trials diverged and count as the worst": _diverged,
    "Search trials failed and count for nothing": _failed,
}

CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    _one_seed,
    _no_spread,
    _near_chance,
    _short_training,
    _capacity,
    _search_budget,
    _broken_trials,
    _rising_search,
    _mixed_machines,
    _nondeterministic,
)
