"""The effects of a study's family as findings: interval, verdict, share of variance, and the answer made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from study.analysis.described import Interval
from study.analysis.evidence import Evidence
from study.analysis.findings import ClaimFinding, EffectFinding
from study.analysis.sentences import wording
from study.analysis.sentences.units import (
    difference,
    difference_axis,
    difference_with_unit,
    direction_note,
    percent,
    quantity,
    signed_difference,
    with_unit,
)
from study.analysis.values.scores import (
    Contrast,
    described_level,
    difference_interval,
    diverged_runs,
    has_ended,
    judged,
    levels,
    outcomes,
)
from study.ledger.record import ClaimRecord, EffectKind, EffectRecord, claimed
from study.statistics.contrasts import omega_squared
from study.statistics.inference import FEWEST, Estimate
from study.statistics.verdicts import ClaimVerdict, Verdict, claim_verdict, reaches, verdict

CONCLUSIONS: dict[EffectKind, dict[Verdict | None, str]] = {
    EffectKind.DIFFERENCE: {
        "helps": "{that} is better than {against}",
        "hurts": "{that} is worse than {against}",
        "equivalent": "{that} and {against} are practically equivalent",
        "slight": "{that} is slightly {side} than {against}",
        "inconclusive": "undecided whether {that} differs from {against}",
    },
    EffectKind.MAIN: {
        "helps": "{that} helps",
        "hurts": "{that} hurts",
        "equivalent": "{that} and {against} are practically equivalent",
        "slight": "{that} is slightly {side} than {against}",
        "inconclusive": "undecided whether {that} helps",
    },
    EffectKind.TREND: {
        "helps": "raising {factor} from {against} to {that} helps",
        "hurts": "raising {factor} from {against} to {that} hurts",
        "equivalent": "{factor} makes practically no difference from {against} to {that}",
        "slight": "raising {factor} from {against} to {that} makes it slightly {side}",
        "inconclusive": "undecided whether raising {factor} from {against} to {that} helps",
    },
    EffectKind.INTERACTION: {
        "helps": "{parts} reinforce each other",
        "hurts": "{parts} replace each other in part",
        "equivalent": "{parts} act practically independently of each other",
        "slight": "{parts} together are slightly {side} than the sum of both",
        "inconclusive": "undecided whether {parts} need each other",
    },
    EffectKind.SHAPLEY: {
        "helps": "{that} contributes",
        "hurts": "{that} takes away",
        "equivalent": "{that} contributes practically nothing",
        "slight": "{that} contributes slightly {side} results",
        "inconclusive": "undecided whether {that} contributes",
    },
}
"""A conclusion by the kind of effect and its verdict."""
MODERATED: dict[Verdict | None, str] = {
    "helps": "{part} helps more at {factor} {that} than at {against}",
    "hurts": "{part} helps less at {factor} {that} than at {against}",
    "equivalent": "the effect of {part} is practically the same from {factor} {against} to {that}",
    "slight": "the effect of {part} is slightly {side} at {factor} {that} than at {against}",
    "inconclusive": "undecided whether {part} helps more at {factor} {that} than at {against}",
}
"""The conclusion of an interaction of a part with the trend of a numeric factor."""


@dataclass(frozen=True)
class Judged:
    """An effect with its estimate, oriented so that more is better; None where it cannot be judged."""

    effect: EffectRecord
    found: Contrast | None
    gain: Estimate | None
    verdict: Verdict | None


def family(evidence: Evidence) -> list[Judged]:
    """Return every effect of the family with its verdict."""
    return [_judged(evidence, effect) for effect in evidence.family]


def _judged(evidence: Evidence, effect: EffectRecord) -> Judged:
    found = judged(evidence, effect)
    if found is None:
        return Judged(effect, None, None, None)
    gain = _gain(evidence, found)
    level = levels(evidence, effect)
    return Judged(
        effect, found, gain, verdict(gain, evidence.rope, evidence.alpha, evidence.comparisons, level)
    )


def _gain(evidence: Evidence, found: Contrast) -> Estimate:
    decided = found.estimate(evidence)
    return decided if evidence.metric.direction == "maximize" else -decided


def effects(evidence: Evidence, judgements: Sequence[Judged]) -> Iterator[EffectFinding]:
    """Yield a finding for each effect; none where the family is that of every variant with its reference."""
    if is_plain(evidence):
        return
    metric = evidence.metric
    for one in judgements:
        effect, decided = one.effect, None if one.found is None else one.found.estimate(evidence)
        yield EffectFinding(
            name=effect.name,
            kind=effect.kind.value,
            factors=effect.factors,
            interval=None
            if decided is None
            else difference_interval(decided, metric, described_level(evidence, effect)),
            corrected=None
            if decided is None
            else difference_interval(decided, metric, 1 - levels(evidence, effect).difference),
            n=0 if decided is None else decided.n,
            verdict=one.verdict,
            sentence=sentence(evidence, one),
            omega_squared=_omega_squared(evidence, effect),
        )


def is_plain(evidence: Evidence) -> bool:
    """Whether every effect is the difference of a variant from its reference, which the main table shows."""
    return len(evidence.compared) == len(evidence.family)


def _omega_squared(evidence: Evidence, effect: EffectRecord) -> float | None:
    """Return the share of the variance of all scores of its stratum; None where a variant lacks a repetition."""
    named = [variant for variant in evidence.variants if variant.name in effect.weights]
    strata = {variant.reference for variant in named}
    cells = [variant for variant in evidence.variants if variant.reference in strata]
    scores = [[outcome.score for outcome in outcomes(evidence, variant).values()] for variant in cells]
    if len({len(own) for own in scores}) != 1:
        return None
    return omega_squared(scores, [effect.weights.get(variant.name, 0.0) for variant in cells])


def claims(evidence: Evidence, judgements: Sequence[Judged]) -> Iterator[ClaimFinding]:
    """Yield the verdict on each claim of the study."""
    for claim in evidence.claims:
        one, sign = _of_claim(evidence, claim, judgements)
        if one.gain is None:
            nothing: ClaimVerdict = "not judged" if evidence.is_optimistic else "undecided"
            yield ClaimFinding(claim.text, nothing, sentence(evidence, one))
            continue
        gain = one.gain if sign > 0 else -one.gain
        found = claim_verdict(
            gain, evidence.rope, evidence.alpha, evidence.comparisons, levels(evidence, one.effect)
        )
        yield ClaimFinding(claim.text, found, sentence(evidence, one))


def _of_claim(evidence: Evidence, claim: ClaimRecord, judgements: Sequence[Judged]) -> tuple[Judged, int]:
    """Return the effect of a claim, and 1 or -1 as the claim expects it to be an improvement or not."""
    effect, sign = claimed(claim, evidence.family)
    return next(one for one in judgements if one.effect.name == effect.name), sign


def sentence(evidence: Evidence, one: Judged) -> str:
    """Return the conclusion on an effect, with the interval that decided it."""
    if one.found is None or one.gain is None:
        return _no_verdict(evidence, one.effect)
    decided, unit = one.found.estimate(evidence), evidence.metric.unit
    deciding = levels(evidence, one.effect)
    level = 1 - (2 * deciding.equivalence if one.verdict == "equivalent" else deciding.difference)
    bounds = difference_interval(decided, evidence.metric, level)
    ends = _ends(evidence, one, bounds, level)
    size = _size(evidence, one)
    mean = with_unit(signed_difference(decided.mean, unit), unit)
    conclusion = _begun(one.effect, clause(evidence, one))
    better = direction_note(evidence.metric, after="; ")
    if one.verdict is None:
        return f"No verdict on {one.effect.name} below {FEWEST} repetitions: {size} it is {mean}{ends}."
    condition = f"{wording.search_condition(evidence)}{wording.scope_condition(evidence, one.verdict)}"
    return f"{conclusion}: {size} {_quantity(one.effect)} is {better}{mean}{ends}{condition}."


def _ends(evidence: Evidence, one: Judged, bounds: Interval, level: float) -> str:
    if bounds.low is None or bounds.high is None or one.verdict is None:
        return ""
    unit = evidence.metric.unit
    inside = f", within ±{difference(evidence.rope, unit)}" if one.verdict == "equivalent" else ""
    return f" ({percent(level)} interval {difference(bounds.low, unit)} to {difference(bounds.high, unit)}{inside})"


def _quantity(effect: EffectRecord) -> str:
    """Return what the number of an effect is."""
    kinds = {
        EffectKind.DIFFERENCE: "the difference",
        EffectKind.MAIN: f"the difference from {effect.against[0]}",
        EffectKind.TREND: "the linear change",
        EffectKind.INTERACTION: "the difference of the differences",
        EffectKind.SHAPLEY: "the mean gain over all orders",
    }
    return "the change of its effect" if _is_moderated(effect) else kinds[effect.kind]


def _size(evidence: Evidence, one: Judged) -> str:
    n = 0 if one.gain is None else one.gain.n
    return f"over {quantity(n, 'fold')}" if evidence.folds else f"with {quantity(n, 'repetition')}"


def clause(evidence: Evidence, one: Judged) -> str:
    """Return the conclusion on an effect as a clause without figures."""
    effect = one.effect
    better = one.gain is not None and one.gain.mean > 0
    side = "better" if better else "worse"
    if _is_moderated(effect):
        moderator = effect.factors.index(effect.trends[0])
        words = {
            "part": effect.that[1 - moderator],
            "factor": effect.factors[moderator],
            "that": effect.that[moderator],
            "against": effect.against[moderator],
        }
        conclusion = MODERATED.get(one.verdict, "")
    else:
        words = {
            "that": effect.that[0],
            "against": effect.against[0],
            "factor": effect.factors[0] if effect.factors else "",
            "parts": wording.join_words(effect.that),
        }
        conclusion = CONCLUSIONS[effect.kind].get(one.verdict, "")
    text = conclusion.format(**words, side=side) or f"no verdict on {effect.name}"
    family = (evidence.rope, evidence.alpha, evidence.comparisons, levels(evidence, effect))
    if one.gain is not None and reaches(one.gain, *family):
        text += f" by at least {difference_with_unit(evidence.rope, evidence.metric.unit)}"
    return f"{text}, in stratum {effect.stratum}" if effect.stratum else text


def _is_moderated(effect: EffectRecord) -> bool:
    """Whether an effect is how a part's effect changes along a numeric factor."""
    return effect.kind == EffectKind.INTERACTION and len(effect.factors) == 2 and len(effect.trends) == 1


def _begun(effect: EffectRecord, text: str) -> str:
    """Return a text with a capital letter, unless it begins with a name."""
    names = (*effect.that, *effect.against, *effect.factors)
    return text if text.startswith(names) else text[0].upper() + text[1:]


def _no_verdict(evidence: Evidence, effect: EffectRecord) -> str:
    """Return why an effect could not be judged, by the first of its variants that cannot be compared."""
    arms = [variant for variant in evidence.variants if variant.name in effect.weights]
    arms.sort(key=lambda arm: (has_ended(arm), not diverged_runs(arm), arm.is_reference))
    reason = wording.no_verdict_sentence(evidence, arms[0]).partition(": ")[2]
    return f"No verdict on {effect.name}: {reason}"


def answer(evidence: Evidence, judgements: Sequence[Judged], found: Sequence[ClaimFinding]) -> str | None:
    """Return the study's answer from the effects that it names; None where the comparisons of variants answer it.

    The first sentence is about the claimed effects, in the order of the claims, or about all effects without a claim.
    """
    if is_plain(evidence) or evidence.is_optimistic:
        return None
    expected = [_of_claim(evidence, claim, judgements)[0] for claim in evidence.claims]
    others = [one for one in judgements if one not in expected]
    if len(expected) == 1:
        prefix = wording.ANSWER_PREFIXES[found[0].verdict].format(rope=wording.rope_with_unit(evidence))
        text, begun = sentence(evidence, expected[0]), clause(evidence, expected[0])
        first = prefix + (text[0].lower() if prefix and text[0] != begun[0] else text[0]) + text[1:]
    else:
        first = _summary(evidence, expected or others)
        others = others if expected else []
    return f"{first} Beside this: {_clauses(evidence, others)}." if others else first


def _summary(evidence: Evidence, judgements: Sequence[Judged]) -> str:
    """Return the conclusions on several effects in one sentence."""
    axis = f"in {difference_axis(evidence.metric)}{direction_note(evidence.metric, ' (', ')')}"
    sizes = list(dict.fromkeys(_size(evidence, one) for one in judgements if one.gain is not None))
    condition = f"{wording.search_condition(evidence)}{wording.scope_condition(evidence, 'inconclusive')}"
    text = f"{_clauses(evidence, judgements)} ({', '.join([axis, *sizes])}){condition}."
    return _begun(judgements[0].effect, text)


def _clauses(evidence: Evidence, judgements: Sequence[Judged]) -> str:
    unit = evidence.metric.unit
    clauses = []
    for one in judgements:
        mean = "" if one.found is None else signed_difference(one.found.estimate(evidence).mean, unit)
        clauses.append(clause(evidence, one) + (f" ({mean})" if mean else ""))
    return "; ".join(clauses)
