"""What was measured beside published results on the same benchmark, and how the two were obtained."""

from __future__ import annotations

from collections.abc import Iterator

from study.analysis.described import MeasuredProtocol
from study.analysis.findings import Findings, VariantFinding
from study.analysis.sentences.units import quantity
from study.ledger.record import StudyRecord, VariantRecord
from study.records import DataInfo, PublishedTable


def protocols(study: StudyRecord) -> dict[str, MeasuredProtocol]:
    """Return how the figures of each variant are obtained, by name, for variants on a benchmark."""
    data = {variant.name: variant.data or study.data for variant in study.variants}
    return {
        variant.name: _protocol(study, variant, data[variant.name], published.title)
        for variant in study.variants
        if (published := data[variant.reference].published) is not None
    }


def _protocol(study: StudyRecord, variant: VariantRecord, data: DataInfo, benchmark: str) -> MeasuredProtocol:
    folds = [fold for fold in study.folds_of(variant) if fold is not None]
    if variant.template.config.get("train", {}).get("fit") == "train+val":
        selection = "the last"
    elif data.is_optimistic:
        selection = "best on test"
    else:
        selection = "best on validation"
    return MeasuredProtocol(
        benchmark=benchmark,
        splits=f"{quantity(len(folds), 'fold')} ({', '.join(map(str, folds))})"
        if folds
        else "official split",
        selection=selection,
        input=data.description,
        views=data.facts.get("test views", ""),
    )


def measured(findings: Findings, published: PublishedTable) -> list[VariantFinding]:
    """Return the tested variants on a benchmark."""
    return [
        variant
        for variant in findings.variants
        if variant.score is not None
        and variant.name in findings.protocols
        and findings.protocols[variant.name].benchmark == published.title
    ]


def what_differs(findings: Findings, published: PublishedTable) -> str:
    """Return a sentence on what differs between measured and published figures; empty if nothing is measured."""
    own = [findings.protocols[variant.name] for variant in measured(findings, published)]
    if not own:
        return ""
    return f"What differs between measured and published rows: {'; '.join(_differences(findings, published, own))}."


def _differences(findings: Findings, published: PublishedTable, own: list[MeasuredProtocol]) -> Iterator[str]:
    def here(name: str) -> str:
        return " or ".join(dict.fromkeys(getattr(protocol, name) for protocol in own))

    theirs = sorted({result.protocol for result in published.results if result.protocol})
    yield f"the splits (here {here('splits')}; published {' or '.join(theirs)})"
    yield (
        f"the epoch that is tested (here {here('selection')}; published mostly the best on the test split, which is "
        "optimistic)"
    )
    if published.examples_here != published.examples:
        yield f"the {findings.noun}s used (here {published.examples_here}; published {published.examples})"
    if any(result.pretraining for result in published.results):
        yield "the first weights (published rows with a pretraining start from other data)"
    if any("audio" in result.modality for result in published.results):
        yield "the modality (some published rows hear the sound)"
    yield f"the input (here {here('input')}; published mostly 16 frames of 112 x 112 to 224 x 224 pixels)"
