"""Two trainings of one run, compared bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from study.errors import InputError
from study.hashing import file_digest
from study.ledger.layout import RESULT, TEST_PREDICTIONS, VALIDATION_PREDICTIONS, WEIGHTS
from study.ledger.predictions import load
from study.records import Epoch, RunResult, from_json

if TYPE_CHECKING:
    from torch import Tensor

TENSORS, USER_WEIGHTS = WEIGHTS
PREDICTIONS = (VALIDATION_PREDICTIONS, TEST_PREDICTIONS)


@dataclass(frozen=True)
class Agreement:
    """Whether two trainings left the same of one kind, and what is to be said of it."""

    what: str
    is_identical: bool | None
    """None where the first folder holds none to compare with."""
    told: str
    """How much is the same, or where it first differs and by how much."""


def compared(recorded: Path, again: Path) -> list[Agreement]:
    """Compare what a training left in two folders; only times may differ.

    What the first folder no longer holds is said to be so and is no difference.

    Raises:
        InputError: A file that is damaged.
        FileNotFoundError: A folder without a result.
    """
    one, other = (
        from_json(RunResult, (folder / RESULT).read_bytes(), str(folder / RESULT))
        for folder in (recorded, again)
    )
    agreements = [_histories(one, other)]
    for what, file, compare in (
        ("weights", TENSORS, _weights),
        ("weights", USER_WEIGHTS, _files),
        *(("predictions", name, _predictions) for name in PREDICTIONS),
    ):
        here, there = (recorded / file).exists(), (again / file).exists()
        if here and there:
            agreements.append(compare(recorded / file, again / file))
        elif here and file != PREDICTIONS[1]:  # the test is another job, which is not done again
            agreements.append(
                Agreement(what, False, f"recorded, but none were left this time: {other.status}")
            )
    for what in ("weights", "predictions"):
        if what not in {agreement.what for agreement in agreements}:
            agreements.append(Agreement(what, None, "none were kept"))
    return [*agreements, _results(one, other)]


def _files(recorded: Path, again: Path) -> Agreement:
    """Compare a file, or all files below a folder, byte by byte."""
    one, other = (_digests(path) for path in (recorded, again))
    odd = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    if not odd:
        return Agreement("weights", True, f"{len(one)} file{'s' if len(one) > 1 else ''}")
    return Agreement(
        "weights", False, f"{len(odd)} of {len(one)} files differ in their bytes, first {odd[0]}"
    )


def _digests(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path.parent)): file_digest(file) for file in files}


def epochs_differ(one: Epoch, other: Epoch) -> str:
    """Return what two epochs show differently, the largest difference first; empty where nothing but time does."""
    before, after = _figures(one), _figures(other)
    names = before.keys() | after.keys()
    gaps = {name: abs(before.get(name, np.nan) - after.get(name, np.nan)) for name in names}
    told = [
        f"{name} {before.get(name)!r}, now {after.get(name)!r}"
        for name in sorted(names, key=lambda name: (-gaps[name], name))
        if before.get(name) != after.get(name)
    ]
    return f"epoch {one.epoch}: {', '.join(told)}" if told else ""


def largest_difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> tuple[float, str]:
    """Return the largest absolute difference of any value, and the tensor that it is in."""
    gaps = [
        ((one[name].double() - other[name].double()).abs().max().item(), name)
        for name in one
        if one[name].numel()
    ]
    return max(gaps, key=lambda gap: (np.nan_to_num(gap[0], nan=np.inf), gap[1]))


def _figures(epoch: Epoch) -> dict[str, float]:
    figures = {"train loss": epoch.train_loss, "learning rate": epoch.learning_rate}
    figures |= {
        f"validation {name}": value for name, value in (*epoch.diagnostics.items(), *epoch.validation.items())
    }
    return {name: value for name, value in figures.items() if value is not None}


def _histories(one: RunResult, other: RunResult) -> Agreement:
    for before, after in zip(one.history, other.history, strict=False):
        if told := epochs_differ(before, after):
            return Agreement("history", False, f"differs first in {told}")
    if len(one.history) != len(other.history):
        told = f"{len(one.history)} epochs were recorded, {len(other.history)} were trained now"
        return Agreement("history", False, told)
    return Agreement("history", True, f"{len(one.history)} epochs")


def _weights(recorded: Path, again: Path) -> Agreement:
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        one, other = (safetensors.torch.load_file(path) for path in (recorded, again))
    except SafetensorError as error:
        raise InputError(f"{recorded}: not a file of weights: {error}") from None
    if shapes_differ := sorted(_shapes(one) ^ _shapes(other)):
        return Agreement("weights", False, f"another network: {shapes_differ[0]}")
    odd = [name for name in one if not _same(one[name], other[name])]
    if not odd:
        values = sum(tensor.numel() for tensor in one.values())
        return Agreement("weights", True, f"{len(one)} tensors, {values:,} values")
    gap, worst = largest_difference({name: one[name] for name in odd}, other)
    told = f"{len(odd)} of {len(one)} tensors differ, first {odd[0]}; by at most {gap:.3g}, in {worst}"
    return Agreement("weights", False, told)


def _shapes(weights: Mapping[str, Tensor]) -> set[str]:
    return {f"{name} {tuple(tensor.shape)} {tensor.dtype}" for name, tensor in weights.items()}


def _same(one: Tensor, other: Tensor) -> bool:
    import torch

    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def _predictions(recorded: Path, again: Path) -> Agreement:
    one, other = load(recorded), load(again)
    for field in fields(one):
        if field.name != "logits" and not np.array_equal(
            getattr(one, field.name), getattr(other, field.name)
        ):
            return Agreement("predictions", False, f"the {field.name} of the examples differ: other data")
    odd = np.flatnonzero((one.logits != other.logits).any(axis=1))
    if not len(odd):
        return Agreement("predictions", True, f"{len(one.labels)} examples")
    turned = int((one.logits.argmax(1) != other.logits.argmax(1)).sum())
    gap = float(np.abs(one.logits - other.logits).max())
    told = (
        f"{len(odd)} of {len(one.labels)} examples differ, first {one.ids[odd[0]]}; logits by at most {gap:.3g}, "
        f"and {turned} examples are given another class"
    )
    return Agreement("predictions", False, told)


def _results(one: RunResult, other: RunResult) -> Agreement:
    told = list(_results_differ(one, other))
    if told:
        return Agreement("result", False, "; ".join(told))
    best = f", best epoch {one.best_epoch}" if one.best_epoch else ""
    return Agreement("result", True, f"{one.status}{best}")


def _results_differ(one: RunResult, other: RunResult) -> Iterator[str]:
    """Yield what differs but times, the history, which is compared by itself, and the machine."""
    for name in ("status", "best_epoch", "validation", "parameters", "nondeterministic"):
        before, after = getattr(one, name), getattr(other, name)
        if before != after:
            yield f"{name.replace('_', ' ')} {before!r}, now {after!r}"
