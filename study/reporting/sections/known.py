"""The section on what was declared before the results were shown, and what changed after."""

from __future__ import annotations

from collections.abc import Iterator

from study.analysis.described import Interval
from study.analysis.findings import Findings
from study.analysis.known.findings import Campaign
from study.analysis.sentences.units import label_with_unit, percent, quantity
from study.reporting import text
from study.reporting.sections.blocks import Blocks


def add_known(report: Blocks, findings: Findings) -> None:
    """Add what was known when; nothing where no ledger keeps it."""
    known = findings.known
    if known is None:
        return
    report.heading("What was known when", level=3)
    report.bullets(_sentences(findings))
    if known.later:
        metric = findings.primary
        report.table(
            "Exploratory: differences over all repetitions, including those added after the verdict was shown "
            "[95 % t interval, not corrected].",
            {
                "Comparison": "left",
                "n": "right",
                label_with_unit("Difference", metric.points): "right",
            },
            [
                [
                    later.variant,
                    str(later.n),
                    text.difference_with_interval(Interval(later.mean, later.low, later.high), metric.unit),
                ]
                for later in known.later
            ],
        )


def _sentences(findings: Findings) -> Iterator[str]:
    known = findings.known
    assert known is not None
    if known.declared_before:
        yield (
            "Declared before the results were shown: the least difference of interest, α, the primary metric, the "
            "family of comparisons, the claims, the number of repetitions, the folds, the seed and the search."
        )
    yield from (change.sentence for change in known.changes)
    yield from map(_campaign_sentence, known.campaigns)


def _campaign_sentence(campaign: Campaign) -> str:
    last, first = campaign.comparisons, campaign.comparisons - campaign.here + 1
    levels = sorted(set(campaign.levels))
    at = " to ".join(percent(level) for level in dict.fromkeys((levels[0], levels[-1])))
    which = (
        f"{quantity(last, 'comparison')} with {campaign.reference} on this test set so far, all shown before"
        if not campaign.here
        else f"The {_ordinal(last)} comparison with {campaign.reference} on this test set"
        if first == last
        else f"The {_ordinal(first)} to {_ordinal(last)} comparison with {campaign.reference} on this test set"
    )
    return (
        f"{which}, all studies of this ledger together; at {at} each, the chance of at least one false verdict so far "
        f"is {text.probability(campaign.chance)}."
    )


def _ordinal(number: int) -> str:
    teens = 10 <= number % 100 <= 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
