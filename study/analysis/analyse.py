"""From a study's results to its findings. Pure: the same evidence gives the same findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import median
from typing import Literal

from study.analysis import limits, measured, notes, wording
from study.analysis.evidence import Confirmation, Evidence, VariantEvidence
from study.analysis.findings import (
    BreakdownFinding,
    ClaimFinding,
    ClaimVerdict,
    Cost,
    Difference,
    EpochCurve,
    Findings,
    SeedScore,
    TrialCurve,
    VariantFinding,
)
from study.analysis.scores import (
    LEVEL,
    broken_down,
    gains,
    interval,
    of_row,
    paired,
    parameters,
    reached,
    score,
    selected,
    tested,
)
from study.metrics import Metric
from study.records import Epoch, Failure, Metrics, Profile, RunResult, Stopped
from study.statistics.power import seeds_for_rank_test, seeds_to_detect, seeds_to_equate
from study.statistics.samples import Comparison, Sample, hedges_g, p_value, posterior
from study.statistics.verdicts import holm, verdict


def findings(evidence: Evidence) -> Findings:
    """Return everything that the study's reports will say."""
    differences = _differences(evidence)
    claims = tuple(_claims(evidence, differences))
    breakdowns = tuple(_breakdowns(evidence))
    return Findings(
        name=evidence.name,
        title=evidence.title,
        question=evidence.question,
        answer=wording.answer(evidence, differences, claims),
        metric=evidence.metric.name,
        metrics=tuple(replace(metric, compute=None) for metric in evidence.metrics),
        rope=evidence.rope,
        alpha=evidence.alpha,
        comparisons=evidence.comparisons,
        variants=tuple(_variant(evidence, v, differences.get(v.name), breakdowns) for v in evidence.variants),
        claims=claims,
        warnings=tuple(limits.warnings(evidence)),
        notes=tuple(notes.notes(evidence)),
        facts=evidence.facts,
        configuration=evidence.configuration,
        measures=measured.measures(evidence),
        is_optimistic=evidence.is_optimistic,
        skipped=evidence.skipped,
        breakdowns=breakdowns,
        published=evidence.published,
        noun=evidence.noun,
    )


def _differences(evidence: Evidence) -> dict[str, Difference | None]:
    """Return every variant's difference from its reference, None where a run is missing in either arm."""
    others = evidence.compared
    pairs = [paired(evidence, variant) for variant in others]
    adjusted = holm([None if pair is None else p_value(pair.differences) for pair in pairs])
    return {
        variant.name: None if pair is None else _difference(evidence, variant, pair, p)
        for variant, pair, p in zip(others, pairs, adjusted, strict=True)
    }


def _difference(
    evidence: Evidence, variant: VariantEvidence, pair: Comparison, p_holm: float | None
) -> Difference:
    found, alpha = pair.differences, evidence.alpha / evidence.comparisons
    judged = gains(pair, evidence.metric)
    said = verdict(judged.differences, evidence.rope, evidence.alpha, evidence.comparisons)
    seeds_needed = _seeds_needed(evidence, judged.differences, alpha) if said == "inconclusive" else None
    worse, equivalent, better = posterior(judged.differences, evidence.rope) or (None, None, None)
    return Difference(
        interval=interval(found, LEVEL),
        corrected=interval(found, 1 - alpha),
        n=found.n,
        wins=judged.wins,
        p=p_value(found),
        p_holm=p_holm,
        effect=hedges_g(found),
        correlation=pair.correlation,
        p_worse=worse,
        p_equivalent=equivalent,
        p_better=better,
        verdict=said,
        sentence=wording.sentence(evidence, variant, pair, said, seeds_needed),
        seeds_needed=seeds_needed,
    )


def _seeds_needed(evidence: Evidence, found: Sample, alpha: float) -> int | None:
    """Return how many seeds would resolve a difference, one way or the other; None where seeds cannot."""
    if found.sd is None or evidence.folds:
        return None
    if found.sd == 0:  # equal differences decide once there are enough of them
        return max(seeds_for_rank_test(alpha), found.n + 1)
    needed = (
        seeds_to_detect(found.mean, found.sd, alpha),
        seeds_to_equate(found.mean, found.sd, evidence.rope, alpha),
    )
    return max(min((n for n in needed if n is not None), default=0), found.n + 1) if any(needed) else None


def _claims(evidence: Evidence, differences: Mapping[str, Difference | None]) -> Iterator[ClaimFinding]:
    for claim in evidence.claims:
        text = f"{claim.that} beats {claim.beats}"
        variant = next(v for v in evidence.compared if v.name in (claim.that, claim.beats))
        difference = differences[variant.name]
        if difference is None:
            unjudged: ClaimVerdict = "not judged" if evidence.is_optimistic else "undecided"
            yield ClaimFinding(text, unjudged, wording.no_verdict(evidence, variant))
        else:
            verdict = wording.CLAIMED[difference.verdict]
            if variant.name == claim.beats:  # the reference is claimed to be the better one
                verdict = wording.REVERSED[difference.verdict]
            yield ClaimFinding(text, verdict, difference.sentence)


def _breakdowns(evidence: Evidence) -> Iterator[BreakdownFinding]:
    """Yield the breakdowns that any test has, with all their rows and the examples of all folds."""
    runs = [(run, test) for variant in evidence.variants for run, _, test in tested(variant)]
    for name in dict.fromkeys(part.name for _, test in runs for part in test.breakdowns):
        parts = [part for variant in evidence.variants for part in broken_down(variant, name)]
        longest = sorted((part for _, part in parts), key=lambda part: -len(part.values))
        of_folds = {run.fold: part.counts for run, part in reversed(parts)}
        counts: dict[str, int] = {}
        for fold in of_folds.values():
            for row, count in fold.items():
                counts[row] = counts.get(row, 0) + count
        rows = dict.fromkeys(row for part in longest for row in part.values)
        yield BreakdownFinding(name, longest[0].title, longest[0].unit, tuple(rows), counts)


def _variant(
    evidence: Evidence,
    variant: VariantEvidence,
    difference: Difference | None,
    breakdowns: tuple[BreakdownFinding, ...],
) -> VariantFinding:
    runs, metric = tested(variant), evidence.metric
    key = metric.name
    others = [other for other in evidence.metrics if other.name != key]
    secondary = {other.name: score(evidence, variant, other) for other in others}
    rows = [(part.name, row) for part in breakdowns for row in part.rows]
    figures = {part.name: broken_down(variant, part.name) for part in breakdowns}
    return VariantFinding(
        name=variant.name,
        reference=variant.reference,
        levels=variant.levels,
        score=score(evidence, variant, metric),
        secondary={name: found for name, found in secondary.items() if found is not None},
        seeds=tuple(
            SeedScore(
                seed=run.repetition,
                fold=run.fold,
                run=run.run,
                score=metric.scale * test.metrics[key],
                metrics=_scaled(test.metrics, evidence.metrics),
                validation=metric.scale * result.validation[key] if key in result.validation else None,
                best_epoch=result.best_epoch,
                seconds=result.seconds,
            )
            for run, result, test in runs
        ),
        planned=variant.planned,
        failures=tuple(_failures(variant)),
        difference=difference,
        parameters=parameters(variant),
        macs=None if variant.profile is None else variant.profile.macs,
        train_seconds=median(result.seconds for _, result, _ in runs) if runs else None,
        chosen=variant.chosen,
        trials=tuple(_trials(variant, metric)),
        curves=tuple(_curve(run, result, metric) for run, result, _ in runs),
        measures=measured.intervals(evidence, variant),
        chance=measured.chance(variant),
        unmeasured=tuple(measured.unmeasured(variant)),
        cost=None if variant.profile is None else _cost(variant.profile),
        breakdowns={
            part.name: {
                row: found for row in part.rows if (found := of_row(evidence, variant, part.name, row))
            }
            for part in breakdowns
            if figures[part.name]
        },
        runs={
            **{name: sum(name in test.metrics for _, _, test in runs) for name in secondary},
            **measured.runs(variant),
            **{f"{name}/{row}": sum(row in part.values for _, part in figures[name]) for name, row in rows},
        },
    )


def _cost(profile: Profile) -> Cost:
    return Cost(
        input_shape=profile.input_shape,
        unused=profile.unused,
        flops=profile.flops,
        flops_share=None if profile.disagreement is None else 100 * (1 + profile.disagreement),
        activation_bytes=profile.activation_bytes,
        latency_ms=profile.latency_ms,
        parts=profile.parts,
    )


def _scaled(values: Metrics, metrics: tuple[Metric, ...]) -> dict[str, float]:
    """Return test figures scaled, and those that are no metric of the study as they are."""
    scales = {metric.name: metric.scale for metric in metrics}
    return {name: scales[name] * value if name in scales else value for name, value in values.items()}


def _curve(run: Confirmation, result: RunResult, metric: Metric) -> EpochCurve:
    history = result.history
    losses = tuple(epoch.train_loss for epoch in history)
    scores = tuple(_score(epoch, metric) for epoch in history)
    numbers = tuple(epoch.epoch for epoch in history)
    return EpochCurve(
        seed=run.repetition,
        fold=run.fold,
        train_loss=losses if any(loss is not None for loss in losses) else (),
        validation=scores if any(score is not None for score in scores) else (),
        best_epoch=result.best_epoch,
        epochs=() if numbers == tuple(range(1, len(history) + 1)) else numbers,
    )


def _score(epoch: Epoch, metric: Metric) -> float | None:
    value = epoch.validation.get(metric.name)
    return None if value is None else metric.scale * value


def _failures(variant: VariantEvidence) -> Iterator[str]:
    succeeded = {(run.fold, run.repetition) for run, _, _ in tested(variant)}
    for run in variant.confirmations:
        if (run.fold, run.repetition) not in succeeded:
            fold = "" if run.fold is None else f"fold {run.fold}, "
            yield f"{fold}seed {run.repetition}: {_reason(run)}"
    absent = variant.planned - len(variant.confirmations)
    if absent > 0:
        yield f"{wording.counted(absent, 'confirmation run')} never began: the search has chosen nothing"


def _reason(run: Confirmation) -> str:
    if run.failure is not None:
        return run.failure.reason
    if run.result is None:
        return "not trained yet"
    return "training diverged" if run.result.status == "diverged" else "not tested yet"


def _cut_short(outcome: Stopped | Failure) -> Literal["pruned", "failed"]:
    return "pruned" if isinstance(outcome, Stopped) else "failed"


def _trials(variant: VariantEvidence, metric: Metric) -> Iterator[TrialCurve]:
    best: dict[int | None, float] = {}
    for number, trial in enumerate(variant.trials, start=1):
        outcome = trial.outcome
        status = outcome.status if isinstance(outcome, RunResult) else _cut_short(outcome)
        value = selected(trial, metric)
        if value is not None:
            best[trial.fold] = max(value, best.get(trial.fold, value), key=metric.gain)
        yield TrialCurve(
            number,
            trial.parameters,
            status,
            reached(trial, metric),
            best.get(trial.fold),
            outcome.epoch if isinstance(outcome, Stopped) else None,
        )
