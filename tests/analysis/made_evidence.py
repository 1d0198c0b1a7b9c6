"""Evidence made up by hand: scores in points go in, runs as the ledger holds them come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from study.analysis.evidence import Confirmation, Evidence, FoldSize, TrialEvidence, VariantEvidence
from study.ledger.record import ClaimRecord as Claim
from study.records import Epoch, Failure, Machine, Profile, RunResult, TestResult

CLASSES = ("happy", "sad", "neutral", "angry")
MACHINE = Machine({"python": "3.12.1", "torch": "2.11.0"}, "a processor", "Linux")


def run_result(
    run: str,
    selection: float = 70.0,
    best_epoch: int = 2,
    status: str = "finished",
    machine: Machine = MACHINE,
    seconds: float = 10.0,
) -> RunResult:
    curve = [selection - 5, selection, selection - 1]
    history = tuple(
        Epoch(number, 1.5 / number, 1e-3, {"loss": 1.0, "war": value / 100, "uar": value / 100}, 3.0)
        for number, value in enumerate(curve, start=1)
    )
    best = {"loss": 1.0, "war": selection / 100, "uar": selection / 100}
    return RunResult(run, status, best_epoch, best, history, 1000, seconds, machine)  # type: ignore[arg-type]


def test_result(run: str, score: float) -> TestResult:
    recalls = {f"recall/{name}": score / 100 for name in CLASSES[:-1]}
    return TestResult(run, {"loss": 0.9, "war": score / 100, "uar": (score - 4) / 100, **recalls}, 500, 1.0)


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
    **run: Any,
) -> VariantEvidence:
    """Make a variant of test scores in points, None for a run that failed; fold after fold where there are."""
    seeds = len(scores) // folds if folds else len(scores)
    confirmations = []
    for place, score in enumerate(scores):
        fold, seed = (place // seeds + 1, place % seeds) if folds else (None, place)
        label = f"r1-{name}-{place}"
        confirmations.append(
            Confirmation(seed, fold, label, failure=Failure(label, "train", "out of memory", ""))
            if score is None
            else Confirmation(seed, fold, label, run_result(label, **run), test_result(label, score))
        )
    return VariantEvidence(
        name=name,
        reference=name if reference else "even-odd",
        levels={"splitter": name},
        planned=len(scores),
        confirmations=tuple(confirmations),
        chosen={"train.lr": 0.001},
        trials=tuple(TrialEvidence({"train.lr": 0.001}, _outcome(trial)) for trial in trials),
        profile=Profile(parameters, macs, uncounted, (1, 1, 16, 32, 32)),
    )


def _outcome(trial: float | str) -> RunResult | Failure:
    if trial == "failed":
        return Failure("r1-trial", "train", "out of memory", "")
    if trial == "diverged":
        return run_result("r1-trial", 0.0, status="diverged")
    return run_result("r1-trial", float(trial))


def evidence(*variants: VariantEvidence, **given: Any) -> Evidence:
    asked: dict[str, Any] = {
        "name": "issm",
        "title": "ISSM on and off",
        "question": "Does it help?",
        "metric": "war",
        "rope": 1.0,
        "alpha": 0.05,
        "classes": CLASSES,
        "clips_in_test": 500,
    }
    reference = next(arm.name for arm in variants if arm.is_reference)
    arms = tuple(arm if arm.is_reference else replace(arm, reference=reference) for arm in variants)
    return Evidence(variants=arms, **{**asked, **given})


REFERENCE = (60.0, 61.5, 58.5, 60.5, 59.5)


def two(
    scores: Sequence[float | None], reference: Sequence[float | None] = REFERENCE, **given: Any
) -> Evidence:
    """Make a study of one comparison, with its claim."""
    claims = (Claim("issm", "even-odd"),)
    arms = variant("even-odd", reference, reference=True), variant("issm", scores)
    return evidence(*arms, **{"claims": claims, **given})


def shifted(*differences: float) -> list[float]:
    return [score + difference for score, difference in zip(REFERENCE, differences, strict=True)]


FOLDS = (FoldSize(400, 100),) * 5
