"""What runs predict for each test example: confusions of classes, and examples on which variants differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.analysis.described import Confusion, Disagreement, ExampleFinding
from study.analysis.evidence import Evidence, Predicted, RepetitionEvidence, VariantEvidence
from study.analysis.values.scores import tested_runs
from study.errors import InputError
from study.ledger.layout import RUNS, TEST_PREDICTIONS
from study.ledger.predictions import load
from study.statistics.classes import confusion_counts, differs_in_most, most_frequent, times_right

MOST_CLASSES = 100
"""More classes have no confusion: it grows with their square."""
MOST_EXAMPLES = 8
"""The most examples of a variant that are named."""
BY_CLASS = "class"
"""The breakdown whose rows name the classes that have test examples, in the order of their labels."""


def with_predicted(evidence: Evidence, root: Path) -> Evidence:
    """Return the evidence with the predicted classes of every tested run that keeps its predictions.

    Args:
        evidence: The evidence of a study.
        root: The folder of its ledger.
    """
    shared: dict[bytes, NDArray[Any]] = {}  # runs with the same test split hold its names once
    variants = (
        replace(
            variant,
            repetitions=tuple(
                run if run.test is None else replace(run, predicted=_read(root / RUNS / run.run, shared))
                for run in variant.repetitions
            ),
        )
        for variant in evidence.variants
    )
    return replace(evidence, variants=tuple(variants))


def _read(folder: Path, shared: dict[bytes, NDArray[Any]]) -> Predicted | None:
    """Return what a run predicts; None where its predictions are missing, damaged or not of classes."""
    path = folder / TEST_PREDICTIONS
    if not path.is_file():
        return None
    try:
        kept = load(path)
    except InputError:
        return None
    labels, scores = kept.labels, kept.logits
    is_of_classes = (
        scores.ndim == 2
        and scores.shape[1] > 1
        and len(labels) == len(scores) == len(kept.ids) > 0
        and np.issubdtype(labels.dtype, np.integer)
    )
    if not is_of_classes or labels.min() < 0 or labels.max() >= scores.shape[1]:
        return None
    order = np.argsort(kept.ids, kind="stable")
    ids, labels = (
        shared.setdefault(array.tobytes(), array)
        for array in (kept.ids[order], labels[order].astype(np.int64))
    )
    return Predicted(ids, labels, scores.argmax(axis=1)[order].astype(np.int32), scores.shape[1])


def confusion(variant: VariantEvidence) -> Confusion | None:
    """Return how a variant's runs confuse classes; None without predictions of at most `MOST_CLASSES` classes."""
    found = [predicted for _, predicted in _predicting(variant)]
    size = max((each.size for each in found), default=0)
    if not 0 < size <= MOST_CLASSES:
        return None
    counts = confusion_counts(
        np.concatenate([each.labels for each in found]),
        np.concatenate([each.classes for each in found]),
        size,
    )
    return Confusion(_class_names(variant, size), tuple(map(tuple, counts.tolist())), len(found))


def disagreement(evidence: Evidence, variant: VariantEvidence) -> Disagreement | None:
    """Return the examples on which a variant differs from its reference in most of the repetitions of both."""
    if variant.is_reference:
        return None
    folds = list(_folds(variant, evidence.reference_of(variant)))
    if not folds:
        return None
    size = max(int(max(fold.own.max(), fold.other.max(), fold.labels.max())) for fold in folds) + 1
    names = _class_names(variant, size)
    return Disagreement(
        gained=sum(int(np.count_nonzero(fold.gained)) for fold in folds),
        lost=sum(int(np.count_nonzero(fold.lost)) for fold in folds),
        total=sum(len(fold.labels) for fold in folds),
        examples=tuple(_chosen(folds, names)),
    )


def _predicting(variant: VariantEvidence) -> list[tuple[RepetitionEvidence, Predicted]]:
    """Return the tested runs whose predicted classes are known, with these."""
    return [(run, run.predicted) for run, _, _ in tested_runs(variant) if run.predicted is not None]


def _class_names(variant: VariantEvidence, size: int) -> tuple[str, ...]:
    """Return the names of the classes by label, the label itself where the test results name none."""
    names: dict[int, str] = {}
    for run, predicted in _predicting(variant):
        present = np.unique(predicted.labels).tolist()
        parts = run.test.breakdowns if run.test is not None else ()
        rows = next((list(part.values) for part in parts if part.name == BY_CLASS), [])
        if len(rows) == len(present):
            names |= dict(zip(present, rows, strict=True))
    return tuple(names.get(label, str(label)) for label in range(size))


@dataclass(frozen=True)
class _Fold:
    """The test examples of one fold, as the paired runs of two arms predict them."""

    fold: int | None
    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    own: NDArray[np.int64]
    """(repetitions, n) the classes that the variant predicts."""
    other: NDArray[np.int64]
    """(repetitions, n) the classes that the reference predicts."""

    @property
    def right(self) -> NDArray[np.int64]:
        """(n,) repetitions in which the variant is right."""
        return times_right(self.own, self.labels)

    @property
    def reference_right(self) -> NDArray[np.int64]:
        """(n,) repetitions in which the reference is right."""
        return times_right(self.other, self.labels)

    @property
    def gained(self) -> NDArray[np.bool_]:
        """(n,) whether the variant is right, and the reference wrong, in more than half of the repetitions."""
        return differs_in_most(self.right, self.reference_right, len(self.own))

    @property
    def lost(self) -> NDArray[np.bool_]:
        """(n,) the reverse."""
        return differs_in_most(self.reference_right, self.right, len(self.own))


def _folds(variant: VariantEvidence, reference: VariantEvidence) -> Iterator[_Fold]:
    """Yield the examples of each fold that repetitions of both arms have predicted, if they are the same ones."""
    others = {(run.fold, run.repetition): predicted for run, predicted in _predicting(reference)}
    pairs: dict[int | None, list[tuple[Predicted, Predicted]]] = defaultdict(list)
    for run, predicted in _predicting(variant):
        if (other := others.get((run.fold, run.repetition))) is not None:
            pairs[run.fold].append((predicted, other))
    for fold, of_fold in pairs.items():
        first = of_fold[0][0]
        arms = [arm for pair in of_fold for arm in pair]
        if all(_same_examples(first, arm) for arm in arms):
            yield _Fold(
                fold,
                first.ids,
                first.labels,
                np.stack([own.classes for own, _ in of_fold]),
                np.stack([other.classes for _, other in of_fold]),
            )


def _same_examples(one: Predicted, other: Predicted) -> bool:
    same_ids = one.ids is other.ids or np.array_equal(one.ids, other.ids)
    return same_ids and (one.labels is other.labels or np.array_equal(one.labels, other.labels))


def _chosen(folds: Sequence[_Fold], names: Sequence[str]) -> Iterator[ExampleFinding]:
    """Yield at most `MOST_EXAMPLES` gained examples: the classes in turn, in each class the clearest first."""
    by_label: dict[int, list[tuple[int, int, str, int]]] = defaultdict(list)
    for number, fold in enumerate(folds):
        right, reference_right = fold.right, fold.reference_right
        for at in np.flatnonzero(fold.gained).tolist():
            clearness = int(right[at] - reference_right[at])
            by_label[int(fold.labels[at])].append((-clearness, number, str(fold.ids[at]), at))
    turns = sorted(
        (turn, label, number, at)
        for label, of_label in by_label.items()
        for turn, (_, number, _, at) in enumerate(sorted(of_label))
    )
    for _, label, number, at in turns[:MOST_EXAMPLES]:
        fold = folds[number]
        yield ExampleFinding(
            id=str(fold.ids[at]),
            fold=fold.fold,
            label=names[label],
            predicted=names[most_frequent(fold.own[:, at])],
            reference_predicted=names[most_frequent(fold.other[:, at])],
            right=int(fold.right[at]),
            reference_right=int(fold.reference_right[at]),
            repetitions=len(fold.own),
        )
