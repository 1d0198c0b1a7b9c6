"""Builds evidence from scores in points, for tests of the analysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from study.analysis.described import Choice
from study.analysis.evidence import Evidence, FoldSize, RepetitionEvidence, TrialEvidence, VariantEvidence
from study.ledger.record import ClaimRecord as Claim
from study.metrics import Metric
from study.records import Breakdown, Epoch, Failure, Machine, Profile, RunResult, TestResult

CLASSES = ("happy", "sad", "neutral", "angry")
WAR = Metric(
    "war", "WAR", chance=0.25, is_proportion=True, about="the share of clips that are classified correctly"
)
UAR = Metric("uar", "UAR", chance=0.25, about="the mean of the classes' recalls")
RMSE = Metric("rmse", "RMSE", unit="K", scale=1.0, direction="minimize", high=None)
"""A metric of another kind: lower is better, without a worst value, in kelvin."""
MACHINE = Machine({"python": "3.12.1", "torch": "2.11.0"}, "a processor", "Linux")


def run_result(
    run: str,
    validation: float = 70.0,
    best_epoch: int = 2,
    metric: Metric = WAR,
    status: str = "finished",
    machine: Machine = MACHINE,
    seconds: float = 10.0,
) -> RunResult:
    curve = [validation - 5 * metric.sign, validation - metric.sign, validation - metric.sign]
    curve[best_epoch - 1] = validation
    metrics = (WAR, UAR) if metric in (WAR, UAR) else (metric,)
    history = tuple(
        Epoch(number, 1.5 / number, 1e-3, {m.name: value / m.scale for m in metrics}, 3.0)
        for number, value in enumerate(curve, start=1)
    )
    best = {m.name: validation / m.scale for m in metrics}
    return RunResult(run, status, best_epoch, best, history, 1000, seconds, machine)  # type: ignore[arg-type]


def test_result(run: str, score: float, metric: Metric) -> TestResult:
    if metric not in (WAR, UAR):
        return TestResult(run, {metric.name: score / metric.scale}, 500, 1.0)
    recalls = Breakdown("class", "Recall of every class", dict.fromkeys(CLASSES[:-1], score / 100))
    metrics = {"loss": 0.9, "war": score / 100, "uar": (score - 4) / 100}
    return TestResult(run, metrics, 500, 1.0, (recalls,))


test_result.__test__ = False  # type: ignore[attr-defined]


def variant(
    name: str,
    scores: Sequence[float | None],
    *,
    reference: bool = False,
    trials: Sequence[float | str] = (),
    folds: int = 0,
    parameters: int = 1000,
    macs: int = 5000,
    uncounted: tuple[str, ...] = (),
    metric: Metric = WAR,
    **run: Any,
) -> VariantEvidence:
    """Return a variant with test scores in points, None for a failed run; with folds, one fold after the other."""
    repetitions = len(scores) // folds if folds else len(scores)
    runs = []
    for index, score in enumerate(scores):
        fold, repetition = (index // repetitions + 1, index % repetitions) if folds else (None, index)
        label = f"r1-{name}-{index}"
        runs.append(
            RepetitionEvidence(repetition, fold, label, failure=Failure(label, "train", "out of memory", ""))
            if score is None
            else RepetitionEvidence(
                repetition,
                fold,
                label,
                run_result(label, metric=metric, **run),
                test_result(label, score, metric),
            )
        )
    return VariantEvidence(
        name=name,
        reference=name if reference else "even-odd",
        levels={"splitter": name},
        planned=len(scores),
        repetitions=tuple(runs),
        chosen=(Choice({"train.lr": 0.001}),),
        trials=tuple(TrialEvidence({"train.lr": 0.001}, _outcome(trial, metric)) for trial in trials),
        profile=Profile(parameters, macs, uncounted, (1, 1, 16, 32, 32)),
    )


def _outcome(trial: float | str, metric: Metric) -> RunResult | Failure:
    if trial == "failed":
        return Failure("r1-trial", "train", "out of memory", "")
    if trial == "diverged":
        return replace(
            run_result("r1-trial", 0.0, status="diverged", metric=metric), validation={}, history=()
        )
    return run_result("r1-trial", float(trial), metric=metric)


def evidence(*variants: VariantEvidence, **fields: Any) -> Evidence:
    defaults: dict[str, Any] = {
        "name": "issm",
        "title": "ISSM on and off",
        "question": "Does it help?",
        "metric": WAR,
        "metrics": (WAR, UAR),
        "rope": 1.0,
        "alpha": 0.05,
        "examples_in_test": 500,
        "noun": "clip",
        "chance": 0.25,
    }
    if fields.get("folds"):
        defaults["scope"] = "population"
    reference = next(arm.name for arm in variants if arm.is_reference)
    arms = tuple(arm if arm.is_reference else replace(arm, reference=reference) for arm in variants)
    return Evidence(variants=arms, **{**defaults, **fields})


REFERENCE = (60.0, 61.5, 58.5, 60.5, 59.5)


def two(
    scores: Sequence[float | None], reference: Sequence[float | None] = REFERENCE, **fields: Any
) -> Evidence:
    """Return a study of one comparison, with its claim."""
    claims = (Claim("issm", "even-odd"),)
    metric = fields.get("metric", WAR)
    arms = (
        variant("even-odd", reference, reference=True, metric=metric),
        variant("issm", scores, metric=metric),
    )
    return evidence(*arms, **{"claims": claims, **fields})


def shifted(*differences: float) -> list[float]:
    return [score + difference for score, difference in zip(REFERENCE, differences, strict=True)]


FOLDS = (FoldSize(400, 100),) * 5
