"""Takes a look of a study with adaptive repetitions: which effects are closed, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from study.analysis.contrasts import family
from study.analysis.evidence import Evidence
from study.ledger.record import Closing
from study.statistics.sequential import look_decision


def decide(evidence: Evidence, look: int, names: Collection[str]) -> Mapping[str, Closing]:
    """Return how a look closes effects, by name; those that stay open are left out.

    Args:
        evidence: The results of the repetitions up to the look.
        look: The number of repetitions.
        names: The names of the open effects.
    """
    closed = {}
    for one in family(evidence):
        if one.effect.name in names:
            decided = look_decision(
                one.gain, look, evidence.looks, evidence.rope, evidence.alpha, evidence.comparisons
            )
            if decided is not None:
                closed[one.effect.name] = Closing(decided.reason.value, decided.verdict or "")
    return closed
