"""The evidence of scores that were measured elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from study.analysis.evidence import Evidence, FoldSize, RepetitionEvidence, Scope, VariantEvidence
from study.analysis.findings import Limit, LimitCode
from study.analysis.outside.rows import ACCURACY, Row, Scores
from study.analysis.sentences.units import quantity
from study.analysis.values.replicates import of_values
from study.errors import conflict, not_comparable, quoted, unknown_name, wrong_value
from study.ledger.record import ClaimRecord
from study.metrics import Metric
from study.records import Failure, Machine, RunResult, TestResult
from study.statistics.description import mean

UNVERIFIED = Limit(
    LimitCode.UNVERIFIED,
    "Search, pairing and use of test not verified: the scores were measured elsewhere. The verdicts hold if runs of "
    "equal repetition share seed and split, every variant had the same search budget, and nothing was chosen after "
    "test scores were seen, the least difference of interest and the claims included.",
)
MOST_NAMED = 4
"""How many names a message lists."""
NOWHERE = Machine({}, "", "")

Cell = tuple[str, str]
"""Fold and repetition of a run, as the input writes them."""


@dataclass(frozen=True)
class Question:
    """What is asked of the scores."""

    metric: Metric
    rope: float
    """The least difference of interest, scaled."""
    alpha: float = 0.05
    reference: str = ""
    """The variant that the others are compared with; the first of the input if empty."""
    claims: Sequence[str] = ()
    """Variants that are claimed to beat the reference."""
    scope: Scope | None = None
    """For whom intervals speak; None for new examples where the input has a row for each example."""


def evidence_of(scores: Scores, question: Question) -> Evidence:
    """Return the evidence of scores.

    Raises:
        InputError: A run or example is there twice, a variant cannot be paired with the reference, examples differ
            between runs, or a score is not possible.
    """
    metric = replace(question.metric, is_proportion=scores.metric == ACCURACY)
    runs = _runs(scores.rows, metric)
    reference = question.reference or next(iter(runs))
    _check_variants(runs, reference, question.claims)
    cells = sorted({cell for by_cell in runs.values() for cell in by_cell}, key=_ordered)
    folds = _numbers(fold for fold, _ in cells)
    repetitions = _numbers(
        repetition for repetition, _ in sorted(((name, "") for _, name in cells), key=_ordered)
    )
    sizes = _check_examples(runs)
    names = [reference, *(name for name in runs if name != reference)]
    others = quantity(len(names) - 1, "other variant")
    limits = [UNVERIFIED]
    has_folds = len(folds) > 1
    if has_folds:
        limits.append(
            Limit(
                LimitCode.FOLD_SIZES_UNKNOWN,
                "The sizes of the folds' training sets are not known: intervals are widened as for folds of equal "
                "size that split the examples among them.",
            )
        )
    has_sources = len({row.source for row in scores.rows if row.example}) > 1
    return Evidence(
        name=scores.name,
        title=f"Scores of {scores.name}",
        question=f"Does {names[1]} beat {reference}?"
        if len(names) == 2
        else f"Which of {others} beat {reference}?",
        metric=metric,
        metrics=(metric,),
        rope=question.rope,
        alpha=question.alpha,
        variants=tuple(
            VariantEvidence(
                name=name,
                reference=reference,
                levels={},
                planned=len(cells),
                repetitions=tuple(
                    _repetition(
                        runs[name][cell],
                        repetitions[cell[1]],
                        folds[cell[0]] if has_folds else None,
                        metric,
                    )
                    for cell in cells
                    if cell in runs[name]
                ),
            )
            for name in names
        ),
        examples_in_test=sum(sizes.values()),
        scope=_scope(question.scope, has_sources=has_sources, has_folds=has_folds),
        folds=(FoldSize(len(folds) - 1, 1),) * len(folds) if has_folds else (),
        claims=tuple(ClaimRecord(name, reference) for name in question.claims),
        facts={
            **scores.facts,
            "reference": reference,
            "repetitions": ", ".join(f"{number}: {name}" for name, number in repetitions.items()),
            **(
                {"folds": ", ".join(f"{number}: {name}" for name, number in folds.items())}
                if has_folds
                else {}
            ),
        },
        limits=tuple(limits),
    )


def _scope(named: Scope | None, *, has_sources: bool, has_folds: bool) -> Scope:
    """Return for whom intervals speak: as named, else for new examples where that can be computed.

    Raises:
        InputError: The named scope cannot be computed.
    """
    if named == "test-set" and has_folds:
        raise wrong_value(
            "--scope", "must be 'population' where there are folds, whose intervals speak for new data."
        )
    if named == "population" and not (has_sources or has_folds):
        raise conflict(
            "--scope",
            "'population' needs a row for each test example, of two sources or more. Give such rows, or "
            "--scope test-set.",
        )
    return named or ("population" if has_sources or has_folds else "test-set")


def _runs(rows: Iterable[Row], metric: Metric) -> dict[str, dict[Cell, list[Row]]]:
    """Return the rows of every run by variant, fold and repetition."""
    runs: dict[str, dict[Cell, list[Row]]] = {}
    first: dict[tuple[str, Cell, str], Row] = {}
    for row in rows:
        cell = (row.fold, row.repetition)
        earlier = first.setdefault((row.variant, cell, row.example), row)
        if earlier is not row:
            example = f", example {row.example!r}" if row.example else ""
            raise not_comparable(
                row.where,
                f"variant {row.variant!r}, {_named(cell)}{example} is there twice; first: {earlier.where}.",
            )
        _check_possible(row, metric)
        runs.setdefault(row.variant, {}).setdefault(cell, []).append(row)
    if not runs:
        raise not_comparable("", "there are no scores: the input has no rows.")
    return runs


def _check_possible(row: Row, metric: Metric) -> None:
    """Raise InputError for a score that the metric cannot have."""
    if row.score is None or math.isnan(row.score):
        return
    low = -math.inf if metric.low is None else metric.low
    high = math.inf if metric.high is None else metric.high
    if not low <= row.score <= high:
        hint = (
            " If the scores are in per cent, add --scale 1."
            if metric.unit == "%" and metric.scale != 1
            else ""
        )
        raise wrong_value(
            row.where,
            f"the score must be from {low:g} to {high:g}. Got {row.score:g} instead.{hint} "
            "--unit, --scale, --low and --high describe the metric.",
        )


def _check_variants(runs: Mapping[str, Mapping[Cell, object]], reference: str, claims: Iterable[str]) -> None:
    """Raise InputError where the reference, a claim's variant or a pair is missing."""
    for option, name in (("--reference", reference), *(("--claim", claim) for claim in claims)):
        if name not in runs:
            raise unknown_name(
                option, f"there is no variant {name!r}", name, runs, f"Variants: {quoted(runs)}."
            )
    if reference in claims:
        raise conflict("--claim", f"{reference!r} is the reference, which beats itself in no study.")
    if len(runs) == 1:
        raise not_comparable(
            "", f"all scores are of the variant {reference!r}: there is nothing to compare it with."
        )
    for name, cells in runs.items():
        if not cells.keys() & runs[reference].keys():
            own, others = (
                "; ".join(map(_named, list(found)[:MOST_NAMED])) for found in (cells, runs[reference])
            )
            raise not_comparable(
                "",
                f"the variant {name!r} has no pair: none of its repetitions ({own}) is one of the reference "
                f"{reference!r} ({others}). Runs are paired by equal repetition and fold, which share seed and split.",
            )


def _check_examples(runs: Mapping[str, Mapping[Cell, Sequence[Row]]]) -> dict[str, int]:
    """Return the number of test examples by fold; 0 where none are known.

    Raises:
        InputError: Two runs of a fold have different examples, or an example has two sources.
    """
    known: dict[str, tuple[str, dict[str, str]]] = {}
    for name, by_cell in runs.items():
        for cell, rows in by_cell.items():
            where = f"variant {name!r}, {_named(cell)}"
            sources = {row.example: row.source for row in rows if row.example}
            first, expected = known.setdefault(cell[0], (where, sources))
            if differing := sorted(sources.keys() ^ expected.keys()):
                has, lacks = (where, first) if differing[0] in sources else (first, where)
                raise not_comparable(
                    "",
                    f"{lacks} has no example {differing[0]!r}, which {has} has: all runs of a fold must be tested on "
                    "the same examples.",
                )
            if moved := [example for example, source in sources.items() if expected[example] != source]:
                raise not_comparable(
                    where,
                    f"the example {moved[0]!r} is of the source {sources[moved[0]]!r}; in {first} it is of "
                    f"{expected[moved[0]]!r}.",
                )
    return {fold: len(sources) for fold, (_, sources) in known.items()}


def _repetition(rows: Sequence[Row], repetition: int, fold: int | None, metric: Metric) -> RepetitionEvidence:
    """Return one run with its score, the mean over its examples where it has a row for each."""
    run = rows[0].run
    scores = [row.score for row in rows if row.score is not None]
    if len(scores) < len(rows):
        return RepetitionEvidence(
            repetition, fold, run, failure=Failure(run, "train", "the input has no score", "")
        )
    score = mean(scores)
    if math.isnan(score):
        return RepetitionEvidence(
            repetition, fold, run, RunResult(run, "diverged", 0, {}, (), None, 0.0, NOWHERE)
        )
    examples = sum(bool(row.example) for row in rows)
    found = of_values(np.array(scores), np.array([row.source for row in rows])) if examples else None
    return RepetitionEvidence(
        repetition,
        fold,
        run,
        RunResult(run, "finished", 0, {}, (), None, 0.0, NOWHERE),
        TestResult(run, {metric.name: score}, examples, 0.0),
        replicates=None if found is None or fold is not None else found.values,
        sources="" if found is None else found.sources,
    )


def _numbers(names: Iterable[str]) -> dict[str, int]:
    """Return numbers from 1 for names, in the given order."""
    return {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}


def _ordered(cell: Cell) -> tuple[tuple[float, str], ...]:
    """Sort numbers by their value, then other names."""
    return tuple((float(name) if name.isdecimal() else math.inf, name) for name in cell)


def _named(cell: Cell) -> str:
    fold, repetition = cell
    return f"fold {fold}, repetition {repetition}" if fold else f"repetition {repetition}"
