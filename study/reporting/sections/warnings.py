"""The limits of the conclusion, in groups of one kind."""

from __future__ import annotations

from collections.abc import Mapping

from study.analysis.findings import Findings, LimitCode
from study.reporting.document import Line, join, strong
from study.reporting.sections.blocks import Blocks, sentence

GROUPS: Mapping[str, tuple[LimitCode, ...]] = {
    "No verdict.": (LimitCode.OPTIMISTIC, LimitCode.UNVERIFIED, LimitCode.TOO_FEW_REPETITIONS),
    "Runs.": (
        LimitCode.MISSING_RUNS,
        LimitCode.DIVERGED_RUNS,
        LimitCode.DAMAGED,
        LimitCode.TRAINING_WARNING,
        LimitCode.UNDERTRAINED,
        LimitCode.NEAR_CHANCE,
        LimitCode.EQUAL_SCORES,
        LimitCode.EQUAL_DIFFERENCES,
    ),
    "Data.": (
        LimitCode.DATA,
        LimitCode.DATA_UNSOUND,
        LimitCode.DATA_UNTRACKED,
        LimitCode.SKIPPED_EXAMPLES,
        LimitCode.FOLD_SIZES_UNKNOWN,
        LimitCode.TEST_SEEN,
        LimitCode.NO_PREDICTIONS,
    ),
    "Fairness.": (LimitCode.UNEQUAL_BUDGETS, LimitCode.SHARED_FOLDS),
    "Search.": (
        LimitCode.ONE_SEARCH,
        LimitCode.DIVERGED_TRIALS,
        LimitCode.FAILED_TRIALS,
        LimitCode.CHOSEN_AT_EDGE,
        LimitCode.SEARCH_RISES,
    ),
    "Declared when.": (LimitCode.CHANGED_AFTER_LOOK, LimitCode.EXPLORATORY, LimitCode.LOOKS_DAMAGED),
    "Code and machine.": (
        LimitCode.ACCEPTED_CODE,
        LimitCode.CODE_UNFOLLOWED,
        LimitCode.MIXED_VERSIONS,
        LimitCode.MIXED_HARDWARE,
        LimitCode.NONDETERMINISTIC,
    ),
}


def add_warnings(report: Blocks, findings: Findings) -> None:
    """Add every limit once, one item for each group that has any."""
    groups = {code: name for name, codes in GROUPS.items() for code in codes}
    sentences: dict[str, list[str]] = {}
    for limit in findings.limits:
        group = sentences.setdefault(groups.get(limit.code, "Other."), [])
        if sentence(limit.sentence) not in group:
            group.append(sentence(limit.sentence))
    items: list[Line] = [join(strong(name), " ", " ".join(lines)) for name, lines in sentences.items()]
    if items:
        report.note("Warnings: what limits this conclusion", items)
