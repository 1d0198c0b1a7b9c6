"""Runs of earlier code that stand for today's, because its author says that no edit since then changes a number."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from study.engine.cache import FinishedRuns, changed_modules, named_files
from study.errors import InputError
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger


def acceptable(study: StudyRecord, ledger: Ledger) -> dict[str, str]:
    """Return the older code whose runs could stand for this study's, by the digest of today's.

    It has more runs than today's that differ in nothing but code. Of several, the one that the study was
    carried out with last; else the one with the most runs.
    """
    past, last = FinishedRuns(study, ledger), _last_code(study, ledger)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for variant in study.variants:
        found[variant.template.code_digest] += past.runs_by_code(variant)
    kept = {new: old for new, counts in found.items() if (old := _preferred(counts, new, last))}
    for measure in study.measures:
        name, _, new = measure.partition("@")
        if old := _preferred(past.measures_by_code(name, kept), new, last):
            kept[new] = old
    return {new: old for new, old in kept.items() if new not in study.accepted_code.values()}


def _last_code(study: StudyRecord, ledger: Ledger) -> frozenset[str]:
    """Return the digests of code in the study's record as it was last carried out."""
    try:
        earlier = ledger.study(study.name)
    except InputError:  # it never was
        return frozenset()
    measures = {measure.partition("@")[2] for measure in earlier.measures}
    return frozenset({variant.template.code_digest for variant in earlier.variants} | measures)


def _preferred(found: Counter[str], new: str, last: Collection[str]) -> str:
    """Return the older code to stand for `new`; none, ``""``, where `new` itself has no fewer runs."""
    older = sorted(code for code in found if code != new and found[code] > found[new])
    return max(older, key=lambda code: (code in last, found[code]), default="")


def keep(study: StudyRecord, accepted: Mapping[str, str]) -> StudyRecord:
    """Return the study with earlier code in place of today's wherever its author accepted it."""
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


def accepted(study: StudyRecord, ledger: Ledger) -> dict[str, str]:
    """Return the earlier code that the study's code was accepted for before."""
    return {new: old for new, old in ledger.accepted().items() if new in study.code}


def described(study: StudyRecord, ledger: Ledger, code: Mapping[str, str]) -> Iterator[str]:
    """Yield, in sentences, which code stands for which."""
    for new, old in code.items():
        changed = changed_modules(study, ledger, new, old)
        what = (
            f"changes in {named_files(changed)}"
            if changed
            else "changes that are not known, for the runs are old,"
        )
        yield f"Runs of code {old} stand for those of code {new}: {what} are taken to change no number."
