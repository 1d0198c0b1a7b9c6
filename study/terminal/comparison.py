"""Comparisons of trainings in words, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from study.ledger.compare import Comparison, OtherItems, OtherValues, Stage
    from study.tasks.clips.training.probes.determinism_probe import ProbeDifference


def comparison_line(comparison: Comparison) -> str:
    """Return the verdict on one part of two trainings, and the details."""
    if not comparison.is_compared:
        return "not compared: none were kept"
    if comparison.difference is not None:
        return f"DIFFERENT: {_difference(comparison)}"
    return "identical" if comparison.unit is None else f"identical: {_size(comparison)}"


def values_line(difference: OtherValues) -> str:
    """Return the values that differ, each with the recorded one first."""
    return ", ".join(
        f"{value.name.replace('_', ' ')} {value.recorded!r}, now {value.repeated!r}"
        for value in difference.values
    )


def probe_line(difference: ProbeDifference | None) -> str:
    """Return the verdict on two probes, and where they first differ."""
    if difference is None:
        return "bit-exact"
    first = difference.first
    where = f"first in step {first.step}: {_stage(first.stage, first.tensor)}"
    gaps = f"predictions by at most {difference.predictions:.2g}, weights by at most {difference.weights:.2g}"
    return f"{'within tolerance' if difference.is_rounding else 'DIVERGED'}, {where}; {gaps}"


def _size(comparison: Comparison) -> str:
    unit = comparison.unit or ""
    return f"{comparison.size} {unit if comparison.size != 1 else unit.removesuffix('s')}"


def _difference(comparison: Comparison) -> str:
    from study.ledger.compare import Missing, OtherItems, OtherLayout, OtherLength, OtherValues, Part

    match comparison.difference:
        case Missing(status):
            return f"recorded, but missing from the repeated training, which ended as {status}"
        case OtherValues(epoch=None) as values:
            return values_line(values)
        case OtherValues(epoch=epoch) as values:
            return f"differs first in epoch {epoch}: {values_line(values)}"
        case OtherLength(recorded, repeated):
            return f"{recorded} epochs were recorded, {repeated} were trained now"
        case OtherLayout(name) if comparison.part is Part.WEIGHTS:
            return f"another network: {name}"
        case OtherLayout(name):
            return f"the {name} of the examples differ: other data"
        case OtherItems() as items:
            return _items(comparison, items)
        case None:
            return ""
        case _ as unexpected:
            assert_never(unexpected)


def _items(comparison: Comparison, items: OtherItems) -> str:
    from study.ledger.compare import Unit

    differing = f"{items.count} of {_size(comparison)}"
    match comparison.unit:
        case Unit.TENSORS:
            return f"{differing} differ, first {items.first}; by at most {items.largest_gap:.3g}, in {items.largest_in}"
        case Unit.EXAMPLES:
            return (
                f"{differing} differ, first {items.first}; logits by at most {items.largest_gap:.3g}, "
                f"and the predicted class of {items.reclassified}"
            )
        case _:
            return f"{differing} differ in their bytes, first {items.first}"


def _stage(stage: Stage, tensor: str) -> str:
    from study.ledger.compare import Stage

    match stage:
        case Stage.GRADIENT:
            return f"the gradient of {tensor}"
        case Stage.WEIGHTS:
            return tensor
        case _:
            return f"the {stage}"
