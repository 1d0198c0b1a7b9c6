"""Reproduce a study's events from its ledger, to rebuild a mirror."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from study.analysis.findings import Findings
from study.engine import conductor, plan
from study.engine.events import Event, StudyConcluded, TrainingFound
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger


def replay(
    study: StudyRecord,
    ledger: Ledger,
    report: Path,
    computes: Mapping[str, Callable[..., float]],
    write: conductor.Writer | None = None,
) -> Iterator[Event]:
    """Yield every training that was begun, each once, and the conclusion from their present results.

    Args:
        study: The study's record with its suggestions.
        ledger: The ledger with its runs.
        report: An empty folder for its report.
        computes: Functions of metrics by name, as for the study's own report.
        write: Writes the report into a folder; all formats, without authors and pictures, if None.
    """
    seen: set[str] = set()
    for job in plan.trainings(study, ledger.state):
        state = job.state_in(ledger.state)
        if job.key in seen or not (state.final or ledger.is_begun(job.run)):
            continue
        seen.add(job.key)
        has_history = state.result is not None or state.pruned is not None
        yield TrainingFound(job, state, () if has_history else ledger.history(job.run))
    for variant in study.variants:
        for repetition in plan.repetitions(study, variant, ledger.state):
            if repetition.is_trial:  # the best trial of a search, which is a repetition from here on
                job = plan.Job("evaluate", repetition.run, variant.name, "repetition", repetition.number)
                yield TrainingFound(job, ledger.state(repetition.run.id))
    yield _conclusion(study, ledger, report, computes, write)


def _conclusion(
    study: StudyRecord,
    ledger: Ledger,
    report: Path,
    computes: Mapping[str, Callable[..., float]],
    write: conductor.Writer | None,
) -> StudyConcluded:
    from study.reporting.write import write as write_all

    findings = conductor.conclude(study, ledger, computes).findings
    (write or write_all)(findings, report)
    return conclusion(study, ledger, findings, report)


def conclusion(study: StudyRecord, ledger: Ledger, findings: Findings, report: Path) -> StudyConcluded:
    """Return the event of a report that was written from the ledger."""
    step = plan.ready(study, ledger.state, frozenset(variant.name for variant in study.variants))
    return StudyConcluded(findings, report, over=not step.decisions and not step.jobs)
