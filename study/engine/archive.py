"""The part of a ledger that the report of one study reads, without weights: what an archive for a reviewer holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from study.engine import plan
from study.files import PARTIAL_SUFFIX
from study.hashing import canonical_json
from study.ledger import layout, looks
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger, Snapshot
from study.records import RunSpec

_KEPT = (
    layout.REQUEST,
    layout.HISTORY,
    layout.RESULT,
    layout.TEST_RESULT,
    layout.FAILURE,
    layout.PROFILE,
    layout.VALIDATION_PREDICTIONS,
    layout.TRAIN_PREDICTIONS,
    *layout.TEST_OUTPUTS,
    layout.OWN_METRICS,
    layout.OWN_CONFIG,
    layout.OWN_OUTSIDE,
)
"""Files of the folder of a run or profile that are archived, besides those of measures and stopped trials."""
_PATTERNS = tuple(pattern.format("*") for pattern in (layout.MEASURED, layout.UNMEASURED, layout.STOPPED))


def files_of_study(study: StudyRecord, ledger: Ledger) -> Iterator[Path]:
    """Yield the files of the ledger that a report of the study reads, relative to the ledger, without weights."""
    runs = _runs(study, ledger)
    folders = {ledger.run_folder(run) for run in runs} | {ledger.profile_folder(run) for run in runs}
    found = {folder / name for folder in folders for name in _KEPT}
    found |= {path for folder in folders for pattern in _PATTERNS for path in folder.glob(pattern)}
    found |= {ledger.root / layout.CODE / f"{run.code_digest}.json" for run in runs}
    found |= set(_study_files(ledger.root / layout.STUDIES / study.name))
    found |= set(_look_files(study, ledger))
    if study.accepted_code:
        found.add(ledger.root / layout.ACCEPTED)
    yield from sorted(path.relative_to(ledger.root) for path in found if path.is_file())


def environments(study: StudyRecord, ledger: Ledger) -> str:
    """Return the library versions and the hardware of the study's trainings as JSON, each with its number of runs."""
    states = Snapshot(ledger)
    results = [states(run.id).result for run in _runs(study, ledger)]
    counts = Counter(canonical_json(asdict(result.machine)) for result in results if result is not None)
    return json.dumps(
        [{**json.loads(machine), "runs": number} for machine, number in counts.most_common()], indent=1
    )


def code_digests(study: StudyRecord, ledger: Ledger) -> str:
    """Return the digest of each variant's code with those of its modules, as JSON."""
    return json.dumps(
        {
            variant.name: {
                "code": variant.template.code_digest,
                "modules": ledger.code_modules(variant.template.code_digest) or {},
            }
            for variant in study.variants
        },
        indent=1,
        ensure_ascii=False,
    )


def _runs(study: StudyRecord, ledger: Ledger) -> list[RunSpec]:
    """Return every run of the study that is decided so far, each once."""
    return list({job.run.id: job.run for job in plan.trainings(study, Snapshot(ledger))}.values())


def _study_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        is_lock = path.name.startswith((layout.LOCK, layout.STOP))
        if path.is_file() and not is_lock and not path.name.endswith(PARTIAL_SUFFIX):
            yield path


def _look_files(study: StudyRecord, ledger: Ledger) -> Iterator[Path]:
    """Yield the looks at comparisons of the study, those of other studies included."""
    known = looks.read(ledger.root).looks
    own = {shown.key for look in known if look.study == study.name for shown in look.comparisons}
    for look in known:
        if own & {shown.key for shown in look.comparisons}:
            yield ledger.root / layout.LOOKS / f"{look.id}.json"
