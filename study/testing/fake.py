"""A trainer that trains nothing: schedulers, ledgers and conductors are tested against it in milliseconds.

Its scores are a smooth function of the learning rate, a small effect of the variant and a seeded scatter, so
that searches have something to find and paired seeds correlate. It imports no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from study.files import write
from study.hashing import digest, seed_of
from study.ledger.layout import (
    CLIPS_CHECKPOINT,
    CLIPS_WEIGHTS,
    HISTORY,
    MEASURED,
    PROFILE,
    RESULT,
    TEST_RESULT,
    VALIDATION_PREDICTIONS,
    stopped_file,
)
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
    to_json,
)

BEST_LR = 3e-3
MACHINE = Machine(versions={"fake": "1"}, hardware="none", platform="none")


def train(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], rule: str = "") -> None:
    """Write a result that depends on the request alone; diverges above a learning rate of 1.

    With a rule of pruning, as JSON, it may end in a `Stopped` instead. Killed, it goes on after the last epoch
    that its checkpoint has.
    """
    least = json.loads(rule or "{}")
    settings = spec.config["train"]
    history = _resumed(folder)
    while (
        not (given_up := stopped(spec, least, history) if least else None)
        and len(history) < settings["epochs"]
    ):
        share = (len(history) + 1) / settings["epochs"]
        metrics = {} if settings.get("fit") == "train+val" else _metrics(share * score(spec))
        losses = {"loss": 1 - metrics["war"]} if metrics else {}
        history.append(Epoch(len(history) + 1, 2 - share, settings["lr"], metrics, 0.0, losses))
        so_far = json.dumps([asdict(epoch) for epoch in history])
        write(folder / HISTORY, so_far)
        on_epoch(history[-1])
        write(folder / CLIPS_CHECKPOINT, so_far)
    if given_up:
        write(folder / stopped_file(given_up.rule), to_json(given_up))
        return
    diverged = settings["lr"] > 1
    if not diverged:
        write(folder / CLIPS_WEIGHTS, spec.id)
        write(folder / VALIDATION_PREDICTIONS, spec.id)
    write(
        folder / RESULT,
        to_json(
            RunResult(
                run=spec.id,
                status="diverged" if diverged else "finished",
                best_epoch=0 if diverged else settings["epochs"],
                validation={} if diverged else history[-1].validation,
                history=tuple(history),
                parameters=1000,
                seconds=0.0,
                machine=MACHINE,
                has_weights=not diverged,
            )
        ),
    )
    (folder / CLIPS_CHECKPOINT).unlink(missing_ok=True)


def _resumed(folder: Path) -> list[Epoch]:
    """Return the epochs after which an attempt that was killed goes on."""
    try:
        return [Epoch(**epoch) for epoch in json.loads((folder / CLIPS_CHECKPOINT).read_bytes())]
    except FileNotFoundError:
        return []


def evaluate(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Write a test result a little below the validation score, with a recall of each of two classes."""
    value = score(spec) - 0.02
    recalls = Breakdown("class", "Recall of every class", {"happy": value, "sad": value})
    write(folder / TEST_RESULT, to_json(TestResult(spec.id, _metrics(value), 100, 0.0, (recalls,))))


def measure(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], key: str) -> None:
    """Write a measurement of one figure that is defined and one that is not."""
    name = key.partition("@")[0]
    figures = {
        "area": Figure(score(spec), 0.5, "0 to 1", "a made-up share"),
        "depth": Figure(None, None, "%", "nothing at all", "the fake network has no depth"),
    }
    found = Measurement(spec.id, name, f"The made-up {name}.", figures, 100, 0.0)
    write(folder / MEASURED.format(key), to_json(found))


def profile(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Write a profile that is the same for every network."""
    write(folder / PROFILE, to_json(Profile(1000, 10_000, (), (1, 1, 16, 32, 32))))


def failing(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Raise, as a job with a mistake in it does."""
    raise RuntimeError("the fake trainer was told to fail")


def score(spec: RunSpec) -> float:
    """Return the fake accuracy in [0, 1]."""
    parts: Mapping[str, Any] = {k: v for k, v in spec.config.items() if k not in ("train", "dataset")}
    effect = int(digest(parts, 4), 16) / 0xFFFF * 0.05
    scatter = (seed_of(spec.seed, spec.fold or 0) / 2**63 - 0.5) * 0.1
    own = (seed_of(spec.id) / 2**63 - 0.5) * 0.02
    searched = -0.05 * math.log10(max(spec.config["train"]["lr"], 1e-12) / BEST_LR) ** 2
    return min(1.0, max(0.0, 0.6 + effect + scatter + own + searched))


def _metrics(value: float) -> dict[str, float]:
    return {"war": value, "uar": value}
