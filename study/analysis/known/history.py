"""Compares what a study declares with what it, or another one, declared when results were first shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from study.analysis.described import Interval
from study.analysis.evidence import Evidence, VariantEvidence
from study.analysis.findings import Difference, EffectFinding, Findings, Limit, LimitCode
from study.analysis.known.findings import Campaign, Change, EarlierLook, Known, LaterFigure, Setting
from study.analysis.sentences.units import difference_with_unit
from study.analysis.values.scores import outcomes
from study.ledger import looks
from study.ledger.looks import Declared, Look, Looks, Shown
from study.ledger.record import StudyRecord
from study.statistics.description import false_verdict_chance
from study.statistics.verdicts import Critical

Analyse = Callable[[Evidence], Findings]

NAMES: dict[Setting, str] = {
    Setting.ROPE: "the least difference of interest",
    Setting.ALPHA: "α",
    Setting.METRIC: "the primary metric",
    Setting.SCOPE: "the scope of the intervals",
    Setting.FAMILY: "the family of comparisons",
    Setting.CLAIMS: "the list of claims",
    Setting.REPETITIONS: "the number of repetitions",
    Setting.FOLDS: "the set of folds",
    Setting.SEED: "the study seed",
    Setting.SEARCH: "the search",
}


@dataclass(frozen=True)
class Conclusion:
    """The findings of a report, with its look to record before it is shown."""

    findings: Findings
    look: Look | None
    """None where the report shows no test figures of a comparison."""


def conclude(study: StudyRecord, evidence: Evidence, earlier: Looks, analyse: Analyse) -> Conclusion:
    """Return the findings with what was known when.

    Where repetitions were added after a verdict was shown, other than by the study's own sequential method, verdicts
    and claims are those of the first repetitions, and the figures over all of them stand beside.
    """
    declared = looks.declared(study, evidence.scope)
    compared = tuple(_shown(study, evidence))
    firsts = [
        (shown, look)
        for shown, arms in compared
        if (look := earlier.first(shown, arms, declared)) is not None
    ]
    first_repetitions = _first_repetitions(declared, firsts)
    findings = analyse(evidence if first_repetitions is None else _restricted(evidence, first_repetitions))
    now = Look(
        time=datetime.now(UTC).isoformat(timespec="microseconds"),
        study=study.name,
        file=study.file,
        declared=declared,
        comparisons=tuple(_with_verdict(shown, findings) for shown, _ in compared),
    )
    known = Known(
        changes=tuple(_changes(evidence, declared, firsts)),
        is_certain=not earlier.damaged,
        first_repetitions=first_repetitions,
        later=() if first_repetitions is None else tuple(_later(analyse(evidence))),
        campaigns=tuple(_campaigns(study, now, earlier)),
    )
    limits = (*findings.limits, *_limits(known, earlier))
    return Conclusion(replace(findings, known=known, limits=limits), now if compared else None)


def _shown(study: StudyRecord, evidence: Evidence) -> Iterator[tuple[Shown, list[list[str]]]]:
    """Yield the comparisons and effects of which the report shows test figures of all variants, with these runs."""
    runs = {
        variant.name: [outcome.run.run for outcome in outcomes(evidence, variant).values()]
        for variant in evidence.variants
    }
    for variant in study.variants:
        own, others = runs[variant.name], runs[variant.reference]
        if not variant.is_reference and own and others:
            yield looks.shown(study, variant, [*own, *others]), [own, others]
    compared = [{variant.name, variant.reference} for variant in study.variants if not variant.is_reference]
    for effect in study.family:
        arms = [runs[name] for name in effect.weights]
        if set(effect.weights) not in compared and all(arms):
            yield looks.shown_effect(study, effect, {run for arm in arms for run in arm}), arms


def _with_verdict(shown: Shown, findings: Findings) -> Shown:
    found: Difference | EffectFinding | None
    if shown.reference:
        found = next(v for v in findings.variants if shown.variant == v.name).difference
    else:
        found = next((effect for effect in findings.effects if shown.variant == effect.name), None)
    return shown if found is None else replace(shown, n=found.n, verdict=found.verdict or "")


def _first_repetitions(declared: Declared, firsts: list[tuple[Shown, Look]]) -> int | None:
    """Return the repetitions of the first verdict on runs that this report shows with others; None if it had as many.

    The verdict may be on another comparison or effect of the same runs. A study that was interrupted and goes on has
    the number of repetitions that it declared.
    """
    numbers = [
        look.declared.repetitions[0] if len(look.declared.repetitions) == 1 else first.n
        for shown, look in firsts
        if not look.runs.issuperset(shown.runs) and look.declared.repetitions[-1] < declared.repetitions[-1]
        for first in look.comparisons
        if first.verdict and not set(first.runs).isdisjoint(shown.runs)
    ]
    return min(numbers, default=None)


def _restricted(evidence: Evidence, repetitions: int) -> Evidence:
    """Return the evidence of the first repetitions alone."""
    return replace(evidence, variants=tuple(_first_of(variant, repetitions) for variant in evidence.variants))


def _first_of(variant: VariantEvidence, repetitions: int) -> VariantEvidence:
    folds = len({run.fold for run in variant.repetitions}) or 1
    return replace(
        variant,
        planned=min(variant.planned, repetitions * folds),
        repetitions=tuple(run for run in variant.repetitions if run.repetition <= repetitions),
        chosen=tuple(choice for choice in variant.chosen if (choice.repetition or 1) <= repetitions),
        trials=tuple(trial for trial in variant.trials if (trial.repetition or 1) <= repetitions),
    )


def _later(findings: Findings) -> Iterator[LaterFigure]:
    figures: list[tuple[str, int, Interval | None]] = (
        [(effect.name, effect.n, effect.interval) for effect in findings.effects]
        if findings.effects
        else [(v.name, v.difference.n, v.difference.interval) for v in findings.variants if v.difference]
    )
    for name, n, interval in figures:
        if interval is not None:
            yield LaterFigure(name, n, interval.mean, interval.low, interval.high)


def _changes(evidence: Evidence, now: Declared, firsts: list[tuple[Shown, Look]]) -> Iterator[Change]:
    """Yield each setting that differs from the one under which a comparison was first shown, the earliest alone."""
    yielded: set[Setting] = set()
    for look in sorted({look.id: look for _, look in firsts}.values(), key=lambda look: look.time):
        verdicts = {
            shown.variant: first.verdict
            for shown, of_shown in firsts
            if of_shown is look
            for first in look.comparisons
            if looks.is_same(first, shown)
        }
        if not all(verdicts.values()):
            verdicts = {
                first.variant: first.verdict for first in look.comparisons if first.verdict
            } or verdicts
        earlier = EarlierLook(look.time, look.study, look.declared.repetitions, verdicts)
        for setting, before, after in _differences(evidence, look.declared, now):
            if setting not in yielded:
                yielded.add(setting)
                yield Change(setting, before, after, earlier, _sentence(setting, before, after, earlier))


def _differences(evidence: Evidence, then: Declared, now: Declared) -> Iterator[tuple[Setting, str, str]]:
    """Yield each setting that differs, with both values as text."""
    if then.metric != now.metric:
        yield Setting.METRIC, then.metric, now.metric
    if then.rope != now.rope:
        unit = evidence.metric.unit if then.metric == now.metric else ""
        yield Setting.ROPE, difference_with_unit(then.rope, unit), difference_with_unit(now.rope, unit)
    if then.alpha != now.alpha:
        yield Setting.ALPHA, f"{then.alpha:g}", f"{now.alpha:g}"
    if then.scope != now.scope:
        yield Setting.SCOPE, then.scope, now.scope
    for setting, before, after in (
        (Setting.FAMILY, then.family, now.family),
        (Setting.CLAIMS, then.claims, now.claims),
    ):
        if before.keys() != after.keys():
            yield setting, "; ".join(before.values()) or "none", "; ".join(after.values()) or "none"
    if then.repetitions != now.repetitions:
        yield Setting.REPETITIONS, _span(then.repetitions), _span(now.repetitions)
    if then.folds != now.folds:
        yield Setting.FOLDS, _list(then.folds), _list(now.folds)
    if then.seed != now.seed:
        yield Setting.SEED, str(then.seed), str(now.seed)
    if then.search != now.search:
        yield Setting.SEARCH, then.search or "none", now.search or "none"


def _span(repetitions: tuple[int, ...]) -> str:
    return " to ".join(map(str, repetitions))


def _list(folds: tuple[int, ...]) -> str:
    return ", ".join(map(str, folds)) or "one split"


def _sentence(setting: Setting, before: str, now: str, look: EarlierLook) -> str:
    verdicts = "; ".join(f"{name}: {verdict or 'no verdict'}" for name, verdict in look.verdicts.items())
    return (
        f"Not declared before the results: {NAMES[setting]} was {before} when they were first shown, in the report of "
        f"{look.study} at {look.time[:16].replace('T', ' ')} UTC ({verdicts}), and is {now} here."
    )


def _campaigns(study: StudyRecord, now: Look, earlier: Looks) -> Iterator[Campaign]:
    """Yield the campaign of each reference, where other reports have compared something with it before.

    One comparison under another seed, search, metric or set of folds is another comparison: another draw.
    """
    names = {looks.configuration(variant): variant.name for variant in study.variants if variant.is_reference}
    for reference, name in names.items():
        here = [shown for shown in now.comparisons if shown.reference == reference]
        data = {digest for shown in here for digest in shown.data}
        levels: dict[tuple[object, ...], float] = {}
        before = 0
        for look in (*earlier.looks, now):
            if look is now:
                before = len(levels)
            for shown in look.comparisons:
                if shown.reference == reference and not data.isdisjoint(shown.data):
                    declared = look.declared
                    draw = (shown.key, declared.seed, declared.search, declared.metric, declared.folds)
                    level = Critical.of_family(declared.alpha, max(1, len(declared.family)))
                    levels.setdefault(draw, level.difference)
        own = {
            (shown.key, now.declared.seed, now.declared.search, now.declared.metric, now.declared.folds)
            for shown in here
        }
        if levels.keys() - own:
            yield Campaign(
                reference=name,
                comparisons=len(levels),
                here=len(levels) - before,
                levels=tuple(levels.values()),
                chance=false_verdict_chance(levels.values()),
            )


def _limits(known: Known, earlier: Looks) -> Iterator[Limit]:
    yield from (Limit(LimitCode.CHANGED_AFTER_LOOK, change.sentence) for change in known.changes)
    if known.first_repetitions is not None:
        yield Limit(
            LimitCode.EXPLORATORY,
            "Repetitions were added after a verdict was shown, outside a sequential method: verdicts and claims are "
            f"those of the first {known.first_repetitions} repetitions, and figures over all of them are exploratory.",
        )
    if earlier.damaged:
        files = ", ".join(f"{path.parent.name}/{path.name}" for path in earlier.damaged)
        yield Limit(
            LimitCode.LOOKS_DAMAGED,
            f"Records of what earlier reports showed are damaged ({files}), so whether anything was declared before "
            "the results is not known.",
        )
