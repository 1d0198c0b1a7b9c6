"""The findings of a study from its results. Pure: the same evidence gives the same findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from study.analysis import contrasts
from study.analysis.described import Cost, EpochCurve, Interval, RepetitionScore, TrialCurve
from study.analysis.evidence import Evidence, RepetitionEvidence, VariantEvidence
from study.analysis.findings import ClaimFinding, Difference, Findings, PowerFinding, PowerRow, VariantFinding
from study.analysis.sentences import limits, notes, searches, wording
from study.analysis.sentences.capacity import notes_on_capacity
from study.analysis.sentences.units import quantity
from study.analysis.values import breakdowns, measured, predicted
from study.analysis.values.across import across
from study.analysis.values.breakdowns import Part
from study.analysis.values.front import tradeoff
from study.analysis.values.scores import (
    Contrast,
    against_reference,
    best_validation,
    described_level,
    difference_interval,
    final_validation,
    has_diverged,
    level_of,
    metric_interval,
    outcomes,
    paired_scores,
    parameter_count,
    tested_runs,
    trial_status,
)
from study.metrics import Metric
from study.records import Epoch, Metrics, Profile, RunResult, Stopped, TimePart
from study.statistics.description import median, percentages
from study.statistics.inference import estimate
from study.statistics.power import TABULATED_EFFECTS, power_table, tabulated_designs
from study.statistics.samples import (
    correlation,
    correlation_interval,
    hedges_g,
    hedges_interval,
    p_value,
    posterior,
    wins,
)
from study.statistics.verdicts import holm, reaches, verdict


class MissingCode(StrEnum):
    """Why repetitions have no test result."""

    FAILED = "failed"
    DIVERGED = "diverged"
    NOT_TRAINED = "not-trained"
    NOT_TESTED = "not-tested"
    NOT_STARTED = "not-started"


@dataclass(frozen=True)
class Missing:
    """A repetition without a test result, or all those that were not started."""

    code: MissingCode
    sentence: str
    fold: int | None = None
    repetition: int | None = None


def findings(evidence: Evidence) -> Findings:
    """Return the findings that the reports of a study print."""
    differences = _differences(evidence)
    judged = contrasts.family(evidence)
    claims = tuple(_claims(evidence, differences, judged))
    parts = breakdowns.breakdowns(evidence)
    variants = tuple(_variant(evidence, v, differences.get(v.name), parts) for v in evidence.variants)
    return Findings(
        name=evidence.name,
        title=evidence.title,
        question=evidence.question,
        answer=contrasts.answer(evidence, judged, claims) or wording.answer(evidence, differences, claims),
        metric=evidence.metric.name,
        metrics=tuple(replace(metric, compute=None) for metric in evidence.metrics),
        rope=evidence.rope,
        alpha=evidence.alpha,
        comparisons=evidence.comparisons,
        variants=variants,
        tradeoff=tradeoff(evidence, variants),
        across=across(evidence),
        claims=claims,
        effects=tuple(contrasts.effects(evidence, judged)),
        design=evidence.design,
        limits=tuple(limits.limits(evidence)),
        notes=tuple(note.sentence for note in notes.notes(evidence)),
        capacity=tuple(notes_on_capacity(evidence)),
        facts=evidence.facts,
        configuration=evidence.configuration,
        measures=measured.measures(evidence),
        is_optimistic=evidence.is_optimistic,
        skipped=evidence.skipped,
        breakdowns=tuple(part.finding for part in parts),
        published=evidence.published,
        protocols=evidence.protocols,
        scope=evidence.scope,
        power=_power(evidence),
        noun=evidence.noun,
    )


def _differences(evidence: Evidence) -> dict[str, Difference | None]:
    """Return every variant's difference from its reference, None where they cannot be compared."""
    contrasts = [against_reference(evidence, variant) for variant in evidence.compared]
    adjusted = holm([None if found is None else p_value(found.estimate(evidence)) for found in contrasts])
    return {
        variant.name: None if found is None else _difference(evidence, variant, found, p)
        for variant, found, p in zip(evidence.compared, contrasts, adjusted, strict=True)
    }


def _difference(
    evidence: Evidence, variant: VariantEvidence, found: Contrast, p_holm: float | None
) -> Difference:
    metric, decided = evidence.metric, found.estimate(evidence)
    gain = decided if metric.direction == "maximize" else -decided
    level = level_of(evidence, variant)
    family = (evidence.rope, evidence.alpha, evidence.comparisons, level)
    decision, is_large = verdict(gain, *family), reaches(gain, *family)
    worse, equivalent, better = posterior(gain, evidence.rope) or (None, None, None)
    correlated = correlation(*paired_scores(evidence, variant))
    bounds = None if correlated is None else correlation_interval(correlated, decided.n)
    effect, effect_bounds = hedges_g(decided), hedges_interval(decided)
    described = described_level(evidence, evidence.effect_of({variant.name: 1.0, variant.reference: -1.0}))
    other = _other_interval(evidence, found, described)
    return Difference(
        interval=difference_interval(decided, metric, described),
        corrected=difference_interval(decided, metric, 1 - level.difference),
        n=decided.n,
        wins=wins([metric.gain(value) for value in found.values]),
        p=p_value(decided),
        p_holm=p_holm,
        effect=effect,
        correlation=correlated,
        p_worse=worse,
        p_equivalent=equivalent,
        p_better=better,
        verdict=decision,
        sentence=wording.comparison_sentence(evidence, variant, found, decision, is_large),
        other=other,
        other_sentence=wording.other_scope_sentence(evidence, variant, other),
        values=found.values,
        effect_interval=None if effect is None or effect_bounds is None else Interval(effect, *effect_bounds),
        correlation_interval=None if correlated is None or bounds is None else Interval(correlated, *bounds),
        reaches_rope=is_large,
        diverged=found.diverged,
        missing=found.missing,
    )


def _other_interval(evidence: Evidence, found: Contrast, level: float) -> Interval | None:
    """Return the interval for the scope that does not decide; None where it is not known."""
    if found.replicates is None:
        return None
    whole = estimate(found.values, found.replicates, found.overlap, found.variance)
    other = whole.on_test_set() if evidence.scope == "population" else whole
    return difference_interval(other, evidence.metric, level)


def _claims(
    evidence: Evidence, differences: Mapping[str, Difference | None], judged: list[contrasts.Judged]
) -> Iterator[ClaimFinding]:
    """Yield the verdict on each claim, with the sentence of the comparison that it is about, if there is one."""
    compared = {variant.name: variant for variant in evidence.compared}
    for claim, found in zip(evidence.claims, contrasts.claims(evidence, judged), strict=True):
        name = next((name for name in (claim.that, claim.beats) if name in compared), "")
        is_of_variant = {claim.that, claim.beats} == {name, compared[name].reference} if name else False
        difference = differences.get(name) if is_of_variant else None
        if difference is not None:
            yield replace(found, reason=difference.sentence)
        elif is_of_variant:
            yield replace(found, reason=wording.no_verdict_sentence(evidence, compared[name]))
        else:
            yield found


def _power(evidence: Evidence) -> PowerFinding | None:
    """Return the power of the verdict by number of repetitions; under folds that of the study's own folds."""
    spread = evidence.spread
    if spread is None or evidence.is_optimistic:
        return None
    bounds = spread.interval()
    table = power_table(
        spread,
        evidence.rope,
        evidence.alpha,
        evidence.comparisons,
        tabulated_designs(len(evidence.folds), evidence.looks),
        evidence.overlap,
    )
    return PowerFinding(
        spread=spread,
        interval=None if bounds is None else Interval(spread.sd, *bounds),
        effects=tuple(times * evidence.rope for times in TABULATED_EFFECTS),
        rows=tuple(PowerRow(design, found) for design, found in table.items()),
    )


def _variant(
    evidence: Evidence,
    variant: VariantEvidence,
    difference: Difference | None,
    parts: list[Part],
) -> VariantFinding:
    runs, metric = tested_runs(variant), evidence.metric
    key = metric.name
    secondary = {
        other.name: metric_interval(evidence, variant, other)
        for other in evidence.metrics
        if other.name != key
    }
    return VariantFinding(
        name=variant.name,
        reference=variant.reference,
        levels=variant.levels,
        score=metric_interval(evidence, variant, metric),
        secondary={name: mean for name, mean in secondary.items() if mean is not None},
        repetitions=tuple(_repetition_scores(evidence, variant)),
        planned=variant.planned,
        failures=tuple(run.sentence for run in missing_runs(variant)),
        difference=difference,
        parameters=parameter_count(variant),
        macs=None if variant.profile is None else variant.profile.macs,
        train_seconds=median(result.seconds for _, result, _ in runs) or None if runs else None,
        chosen=variant.chosen,
        trials=tuple(_trial_curves(variant, metric)),
        expected_best=searches.expected_best_scores(evidence, variant),
        curves=tuple(_epoch_curve(run, result, metric) for run, result, _ in runs),
        measures=measured.intervals(evidence, variant),
        chance=measured.chance(variant),
        unmeasured=tuple(measured.unmeasured(variant)),
        cost=None if variant.profile is None else _cost(variant.profile),
        seconds_shares=_seconds_shares([result for _, result, _ in runs]),
        breakdowns=breakdowns.intervals(evidence, variant, parts),
        breakdown_differences=breakdowns.differences(evidence, variant, parts),
        confusion=predicted.confusion(variant),
        disagreement=predicted.disagreement(evidence, variant),
        runs={
            **{name: sum(name in test.metrics for _, _, test in runs) for name in secondary},
            **measured.runs(variant),
            **breakdowns.runs(variant, parts),
        },
    )


def _repetition_scores(evidence: Evidence, variant: VariantEvidence) -> Iterator[RepetitionScore]:
    """Yield the test figures of each run that was tested, or that diverged and scores the worst value."""
    metric = evidence.metric
    for outcome in outcomes(evidence, variant).values():
        run, result, test = outcome.run, outcome.run.result, outcome.run.test
        if result is None:
            continue
        validated = metric.name in result.validation and not outcome.diverged
        yield RepetitionScore(
            repetition=run.repetition,
            fold=run.fold,
            run=run.run,
            score=outcome.score,
            metrics={metric.name: outcome.score}
            if outcome.diverged or test is None
            else _scaled_metrics(test.metrics, evidence.metrics),
            validation=metric.scale * result.validation[metric.name] if validated else None,
            best_epoch=result.best_epoch,
            seconds=result.seconds,
            diverged=outcome.diverged,
            seed=run.seed,
        )


def _seconds_shares(results: Sequence[RunResult]) -> dict[str, float]:
    """Return the share of the training time by part, in %, over the runs that measured it."""
    measured = [result for result in results if result.seconds_in and result.seconds]
    total = sum(result.seconds for result in measured)
    parts = [part for part in TimePart if any(part in result.seconds_in for result in measured)]
    seconds = [sum(result.seconds_in.get(part, 0.0) for result in measured) for part in parts]
    shares = zip(parts, percentages(seconds, total), strict=True)
    return {str(part): share for part, share in shares if share is not None}


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


def _scaled_metrics(values: Metrics, metrics: tuple[Metric, ...]) -> dict[str, float]:
    """Return test metrics scaled; metrics that the study does not declare stay as they are."""
    scales = {metric.name: metric.scale for metric in metrics}
    return {name: scales[name] * value if name in scales else value for name, value in values.items()}


def _epoch_curve(run: RepetitionEvidence, result: RunResult, metric: Metric) -> EpochCurve:
    history = result.history
    losses = tuple(epoch.train_loss for epoch in history)
    scores = tuple(_validation_score(epoch, metric) for epoch in history)
    numbers = tuple(epoch.epoch for epoch in history)
    return EpochCurve(
        repetition=run.repetition,
        fold=run.fold,
        train_loss=losses if any(loss is not None for loss in losses) else (),
        validation=scores if any(score is not None for score in scores) else (),
        best_epoch=result.best_epoch,
        epochs=() if numbers == tuple(range(1, len(history) + 1)) else numbers,
    )


def _validation_score(epoch: Epoch, metric: Metric) -> float | None:
    value = epoch.validation.get(metric.name)
    return None if value is None else metric.scale * value


def missing_runs(variant: VariantEvidence) -> Iterator[Missing]:
    """Yield each repetition without a test result, those that were not started together."""
    succeeded = {(run.fold, run.repetition) for run, _, _ in tested_runs(variant)}
    for run in variant.repetitions:
        if (run.fold, run.repetition) not in succeeded:
            fold = "" if run.fold is None else f"fold {run.fold}, "
            code, reason = _reason(run)
            yield Missing(code, f"{fold}repetition {run.repetition}: {reason}", run.fold, run.repetition)
    not_started = variant.planned - len(variant.repetitions)
    if not_started > 0:
        runs = quantity(not_started, "repetition")
        yield Missing(
            MissingCode.NOT_STARTED,
            f"{runs} not started: a search has not ended, or one of its trials failed",
        )


def _reason(run: RepetitionEvidence) -> tuple[MissingCode, str]:
    if run.failure is not None:
        return MissingCode.FAILED, run.failure.reason
    if run.result is None:
        return MissingCode.NOT_TRAINED, "not trained yet"
    if has_diverged(run):
        return MissingCode.DIVERGED, "training diverged"
    return MissingCode.NOT_TESTED, "not tested yet"


def _trial_curves(variant: VariantEvidence, metric: Metric) -> Iterator[TrialCurve]:
    best: dict[tuple[int, int], float] = {}
    numbers: Counter[tuple[int, int]] = Counter()
    for trial in variant.trials:
        value, search = final_validation(trial, metric), trial.search
        numbers[search] += 1
        if value is not None:
            best[search] = max(value, best.get(search, value), key=metric.gain)
        yield TrialCurve(
            numbers[search],
            trial.parameters,
            trial_status(trial),
            best_validation(trial, metric),
            best.get(search),
            trial.result.epoch if isinstance(trial.result, Stopped) else None,
            trial.repetition,
            trial.fold,
        )
