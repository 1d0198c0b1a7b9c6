"""Power of a planned study, and the designs that fit a budget, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from study.analysis.sentences.units import difference_with_unit, with_unit

if TYPE_CHECKING:
    from study.analysis.planning import Offers
    from study.ledger.record import StudyRecord
    from study.statistics.spread import Spread

MOST_OFFERS = 15


def format_power(study: StudyRecord, spread: Spread | None) -> str:
    """Return the probability of *helps* at true effects of r, 1.5 r and 2 r by number of repetitions."""
    return "\n".join(_power_lines(study, spread))


def _power_lines(study: StudyRecord, spread: Spread | None) -> Iterator[str]:
    unit, k = study.primary.unit, len(study.folds)
    if spread is None:
        yield (
            "Power: not known, as neither [analysis] sd nor an earlier study in the ledger gives the standard "
            "deviation of paired differences; name one with --sd."
        )
        return
    from study.analysis.planning import own_design, planned_power  # slow: scipy
    from study.statistics.power import TABULATED_EFFECTS, tabulated_designs

    yield f"Power: the probability that a true difference is called helps, for {describe_spread(spread, unit)}:"
    heads = [with_unit(f"{times * study.rope:g}", unit) for times in TABULATED_EFFECTS]
    yield f"  {'folds' if k > 1 else 'repetitions':<12}" + "".join(f"{head:>14}" for head in heads)
    designs = tabulated_designs(k, study.looks, study.repetitions)
    for design, row in planned_power(study, spread, designs).items():
        mark = "  this study" if design == own_design(study) else ""
        yield f"  {', '.join(map(str, design)):<12}" + "".join(f"{share:>14.2f}" for share in row) + mark


def power_of_study(study: StudyRecord, spread: Spread) -> float:
    """Return the probability that a true difference of twice the least one of interest is called *helps*."""
    from study.analysis.planning import own_design, planned_power

    design = own_design(study)
    return planned_power(study, spread, [design])[design][-1]


def describe_spread(spread: Spread, unit: str) -> str:
    """Return a standard deviation with its interval and where it is from."""
    bounds = spread.interval()
    interval = (
        "" if bounds is None else f" (95 % interval {bounds[0]:.2g} to {with_unit(f'{bounds[1]:.2g}', unit)})"
    )
    origin = f", found by the study {spread.origin}" if spread.origin else ", as given"
    examples = (
        f", and {difference_with_unit(spread.examples**0.5, unit)} from the choice of test examples"
        if spread.examples
        else ""
    )
    return f"differences with a standard deviation of {with_unit(f'{spread.sd:.3g}', unit)}{interval}{examples}{origin}"


def format_offers(study: StudyRecord, offers: Offers) -> str:
    """Return the designs that fit a budget, one a line."""
    unit, budget, time = study.primary.unit, offers.budget, offers.time
    origin = f"as in the study {time.origin}" if time.origin else "as given"
    whose = {"gpu": "of a GPU", "cpu": "of a processor core", "machine": "of this machine"}[budget.of]
    lines = [
        f"Designs of {len(study.variants)} variants that fit {budget.seconds / 3600:.3g} h {whose}, "
        f"at {time.seconds:.3g} s a training ({origin}):"
    ]
    if not offers.designs:
        return "\n".join([*lines, "  none: three repetitions take longer."])
    heads = [with_unit(f"{times * study.rope:g}", unit) for times in (1, 1.5, 2)]
    lines.append(
        f"  {'repetitions':>11}{'trials':>8}{'folds':>7}{'halving':>9}{'trainings':>11}{'hours':>8}"
        + "".join(f"{'power ' + head:>18}" for head in heads)
    )
    for offer in offers.designs[:MOST_OFFERS]:
        shares = ["–"] * 3 if offer.power is None else [f"{share:.2f}" for share in offer.power]
        lines.append(
            f"  {offer.repetitions:>11}{offer.trials:>8}{offer.folds:>7}"
            f"{'yes' if offer.pruner == 'halving' else 'no':>9}{offer.trainings:>11}"
            f"{offer.seconds / offers.workers / 3600:>8.3g}" + "".join(f"{share:>18}" for share in shares)
        )
    if any(offer.pruner == "halving" for offer in offers.designs):
        lines.append("  With halving the time is what is expected: some trials stop early.")
    return "\n".join(lines)
