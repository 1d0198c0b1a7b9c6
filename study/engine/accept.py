"""Reuse the runs of earlier code that its author accepts as equal: no edit since then changes a number."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from study.engine.cache import FinishedRuns, changed_modules
from study.errors import InputError
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger

MOST_FILES = 3
"""The most files of code that a message names."""


def acceptable_code(study: StudyRecord, ledger: Ledger) -> dict[str, str]:
    """Return the earlier code whose runs could count as this study's, by the digest of today's code.

    Earlier code qualifies if it has more runs than today's that differ in nothing but code. Code that the study
    was last carried out with comes first, then code with more runs.
    """
    past, last = FinishedRuns(study, ledger), _last_code(study, ledger)
    runs: dict[str, Counter[str]] = defaultdict(Counter)
    for variant in study.variants:
        runs[variant.template.code_digest] += past.runs_by_code(variant)
    earlier = {new: old for new, counts in runs.items() if (old := _preferred(counts, new, last))}
    for measure in study.measures:
        name, _, new = measure.partition("@")
        if old := _preferred(past.measures_by_code(name, earlier), new, last):
            earlier[new] = old
    return {new: old for new, old in earlier.items() if new not in study.accepted_code.values()}


def _last_code(study: StudyRecord, ledger: Ledger) -> frozenset[str]:
    """Return the digests of code in the study's record as it was last carried out; none if it never was."""
    try:
        earlier = ledger.study(study.name)
    except InputError:
        return frozenset()
    measures = {measure.partition("@")[2] for measure in earlier.measures}
    return frozenset({variant.template.code_digest for variant in earlier.variants} | measures)


def _preferred(counts: Counter[str], new: str, last: Collection[str]) -> str:
    """Return the earlier code with the preferred runs; ``""`` if none has more runs than `new`."""
    earlier = sorted(code for code in counts if code != new and counts[code] > counts[new])
    return max(earlier, key=lambda code: (code in last, counts[code]), default="")


def with_accepted_code(study: StudyRecord, accepted: Mapping[str, str]) -> StudyRecord:
    """Return the study with accepted earlier code in place of today's."""
    variants = tuple(
        replace(v, template=replace(v.template, code_digest=accepted[v.template.code_digest]))
        if v.template.code_digest in accepted
        else v
        for v in study.variants
    )
    measures = tuple(
        f"{name}@{accepted.get(code, code)}" for name, _, code in (m.partition("@") for m in study.measures)
    )
    return replace(
        study, variants=variants, measures=measures, accepted_code={**study.accepted_code, **accepted}
    )


def accepted_code(study: StudyRecord, ledger: Ledger) -> dict[str, str]:
    """Return the earlier code that the study's code was accepted for in the past."""
    return {new: old for new, old in ledger.accepted_code().items() if new in study.code}


def describe_accepted(study: StudyRecord, ledger: Ledger, accepted: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each accepted code, with the files that changed."""
    for new, old in accepted.items():
        changed = changed_modules(study, ledger, new, old)
        changes = f"changes in {file_names(changed)}" if changed else "unknown changes, for the runs are old,"
        yield f"Runs of code {old} count as runs of code {new}: {changes} are taken to change no number."


def file_names(modules: Collection[str]) -> str:
    """Return the file names of modules as text, the first few of them."""
    names = [f"{module.rpartition('.')[2]}.py" for module in modules]
    if len(names) > MOST_FILES:
        return f"{', '.join(names[:MOST_FILES])} and {len(names) - MOST_FILES} more files"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
