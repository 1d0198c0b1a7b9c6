"""A study's events reproduced from its ledger: what a mirror is rebuilt from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from study.engine import plan
from study.engine.events import Concluded, Event, Found
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger


def replay(study: StudyRecord, ledger: Ledger, report: Path) -> Iterator[Event]:
    """Yield every training that was begun, each once, and what may be concluded from them as they stand.

    Args:
        study: The study's record with its suggestions.
        ledger: Where it was carried out.
        report: An empty folder, to which its report is written.
    """
    seen: set[str] = set()
    for job in plan.trainings(study, ledger.state):
        state = job.seen(ledger.state)
        if job.key in seen or not (state.final or ledger.is_begun(job.run)):
            continue
        seen.add(job.key)
        has_own = state.result is not None or state.pruned is not None
        yield Found(job, state, () if has_own else ledger.history(job.run))
    yield _conclusion(study, ledger, report)


def _conclusion(study: StudyRecord, ledger: Ledger, report: Path) -> Concluded:
    from study.analysis.analyse import findings as analyse
    from study.analysis.gather import gather
    from study.reporting.write import write

    findings = analyse(gather(ledger, study))
    write(findings, report)
    step = plan.ready(study, ledger.state, frozenset(variant.name for variant in study.variants))
    return Concluded(findings, report, over=not step.asks and not step.jobs)
