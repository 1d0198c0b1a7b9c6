"""Takes a look of a study with adaptive repetitions: which comparisons are closed, and why."""

from __future__ import annotations

from collections.abc import Mapping

from study.analysis.evidence import Evidence
from study.ledger.record import Closing


def decide(evidence: Evidence, look: int, names: tuple[str, ...]) -> Mapping[str, Closing]:
    """Return how a look closes comparisons, by name; those that stay open are left out.

    Args:
        evidence: The results of the repetitions up to the look.
        look: The number of repetitions.
        names: The names of the open comparisons.
    """
    return {}
