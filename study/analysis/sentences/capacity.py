"""Variants whose size differs from their reference's, so that capacity may explain part of the difference."""

from __future__ import annotations

from collections.abc import Iterator

from study.analysis.evidence import Evidence, VariantEvidence
from study.analysis.sentences.units import percent
from study.analysis.sentences.wording import join_words
from study.analysis.values.scores import parameter_count

CAPACITY_SHARE = 0.05
"""Variants that differ by more in parameters or multiply-accumulates get a note."""


def notes_on_capacity(evidence: Evidence) -> Iterator[str]:
    """Yield a sentence for each variant that is larger or smaller than its reference by more than `CAPACITY_SHARE`."""
    for variant in (v for v in evidence.variants if not v.is_reference):
        ratios = [
            f"{percent(abs(ratio - 1))} {'more' if ratio > 1 else 'fewer'} {noun}"
            for noun, ratio in _cost_ratios(evidence.reference_of(variant), variant)
            if abs(ratio - 1) > CAPACITY_SHARE
        ]
        if ratios:
            yield (
                f"{variant.name} has {join_words(ratios)} than {variant.reference}: "
                "part of their difference may be capacity."
            )


def _cost_ratios(reference: VariantEvidence, variant: VariantEvidence) -> Iterator[tuple[str, float]]:
    of_reference, of_variant = _size(reference), _size(variant)
    if of_reference and of_variant is not None:
        yield "parameters", of_variant / of_reference
    if reference.profile is not None and reference.profile.macs and variant.profile is not None:
        yield "multiply-accumulates", variant.profile.macs / reference.profile.macs


def _size(variant: VariantEvidence) -> int | None:
    """Return the number of parameters; those that are not trained add to what a network can express."""
    trained = parameter_count(variant)
    return trained if trained is None or variant.profile is None else trained + variant.profile.frozen
