"""A fake trainer that writes results in milliseconds, to test the conductor, ledgers and schedulers.

Its scores are a smooth function of the learning rate, plus a small effect of the variant and seeded noise, so that a
search has an optimum and paired repetitions correlate. It imports no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from study.files import content_digests, write
from study.hashing import digest, seed_of
from study.ledger.layout import (
    CLIPS_CHECKPOINT,
    CLIPS_WEIGHTS,
    HISTORY,
    MEASURED,
    PROFILE,
    RESULT,
    TEST_INPUTS,
    TEST_RESULT,
    VALIDATION_PREDICTIONS,
    stopped_file,
)
from study.ledger.reading import is_trained, sealed_content, write_record
from study.records import (
    Breakdown,
    Epoch,
    Figure,
    Machine,
    Measurement,
    Profile,
    RunResult,
    RunSpec,
    TestResult,
    stopped,
)

BEST_LR = 3e-3
MACHINE = Machine(versions={"fake": "1"}, hardware="none", platform="none")


def train(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], rule: str = "") -> None:
    """Write a result that depends on the run's specification alone; diverges above a learning rate of 1.

    With a pruning rule, as JSON, it may write a `Stopped` instead. After a kill it continues from the last epoch of
    its checkpoint.
    """
    thresholds = json.loads(rule or "{}")
    settings = spec.config["train"]
    history = _epochs_of_checkpoint(folder)
    if not history and is_trained(spec, folder, thresholds):
        return  # by the worker of a killed conductor, since this one found it unfinished
    while (
        not (pruned := stopped(spec, thresholds, history) if thresholds else None)
        and len(history) < settings["epochs"]
    ):
        share = (len(history) + 1) / settings["epochs"]
        metrics = {} if settings.get("fit") == "train+val" else _metrics(share * score(spec))
        losses = {"loss": 1 - metrics["war"]} if metrics else {}
        history.append(Epoch(len(history) + 1, 2 - share, settings["lr"], metrics, 0.0, losses))
        history_json = json.dumps([asdict(epoch) for epoch in history])
        write(folder / HISTORY, sealed_content([asdict(epoch) for epoch in history], folder / HISTORY))
        on_epoch(history[-1])
        write(folder / CLIPS_CHECKPOINT, history_json)
    if pruned:
        write_record(folder / stopped_file(pruned.rule), pruned)
        return
    diverged = settings["lr"] > 1
    if not diverged:
        write(folder / CLIPS_WEIGHTS, spec.id)
        write(folder / VALIDATION_PREDICTIONS, spec.id)
    result = RunResult(
        run=spec.id,
        status="diverged" if diverged else "finished",
        best_epoch=0 if diverged else settings["epochs"],
        validation={} if diverged else history[-1].validation,
        history=tuple(history),
        parameters=1000,
        seconds=0.0,
        machine=MACHINE,
        has_weights=not diverged,
        files=content_digests(folder, TEST_INPUTS),
    )
    write_record(folder / RESULT, result)
    (folder / CLIPS_CHECKPOINT).unlink(missing_ok=True)


def _epochs_of_checkpoint(folder: Path) -> list[Epoch]:
    """Return the epochs of the checkpoint; none without one."""
    try:
        return [Epoch(**epoch) for epoch in json.loads((folder / CLIPS_CHECKPOINT).read_bytes())]
    except FileNotFoundError:
        return []


def evaluate(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Write a test result a little below the validation score, with a recall of each of two classes."""
    value = score(spec) - 0.02
    recalls = Breakdown("class", "Recall of every class", {"happy": value, "sad": value})
    write_record(folder / TEST_RESULT, TestResult(spec.id, _metrics(value), 100, 0.0, (recalls,)))


def measure(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], key: str) -> None:
    """Write a measurement with one defined and one undefined figure."""
    name = key.partition("@")[0]
    figures = {
        "area": Figure(score(spec), 0.5, "0 to 1", "a made-up share"),
        "depth": Figure(None, None, "%", "nothing at all", "the fake network has no depth"),
    }
    record = Measurement(spec.id, name, f"The made-up {name}.", figures, 100, 0.0)
    write_record(folder / MEASURED.format(key), record)


def profile(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Write a profile that is the same for every network."""
    write_record(folder / PROFILE, Profile(1000, 10_000, (), (1, 1, 16, 32, 32)))


def failing(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Raise an error, as a job with a bug does."""
    raise RuntimeError("the fake trainer fails on purpose")


def score(spec: RunSpec) -> float:
    """Return the fake accuracy in [0, 1]."""
    parts: Mapping[str, Any] = {k: v for k, v in spec.config.items() if k not in ("train", "dataset")}
    effect = int(digest(parts, 4), 16) / 0xFFFF * 0.05
    noise = (seed_of(spec.seed, spec.fold or 0) / 2**63 - 0.5) * 0.1
    run_noise = (seed_of(spec.id) / 2**63 - 0.5) * 0.02
    penalty = -0.05 * math.log10(max(spec.config["train"]["lr"], 1e-12) / BEST_LR) ** 2
    return min(1.0, max(0.0, 0.6 + effect + noise + run_noise + penalty))


def _metrics(value: float) -> dict[str, float]:
    return {"war": value, "uar": value}
