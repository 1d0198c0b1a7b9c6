"""What is known before a study is trained: the spread of earlier studies, time per training, and designs that fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from study.analysis.gather import gather, overlap_of_folds
from study.analysis.values.scores import against_reference
from study.engine.estimate import duration
from study.engine.plan import rungs, total_trainings, trainings
from study.errors import InputError, conflict, missing_value, wrong_value
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger, Snapshot
from study.statistics.curves import halving_share
from study.statistics.description import mean
from study.statistics.inference import FEWEST, estimate
from study.statistics.power import power_table
from study.statistics.spread import Spread, pooled_sd

MOST_STUDIES_READ = 20
"""The most earlier studies whose results are read for their spread."""
MOST_FOLDERS_MEASURED = 20
"""The most folders of runs whose size is measured."""
MOST_REPETITIONS = 20
TRIED_TRIALS = (4, 8, 12, 20, 30)
BUDGET = re.compile(r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<of>gpu-|cpu-)?(?P<unit>h|min)")
SECONDS = {"h": 3600.0, "min": 60.0}

Computes = Mapping[str, Callable[..., float]]


def earlier_spread(ledger: Ledger, study: StudyRecord, computes: Computes) -> Spread | None:
    """Return the spread of paired differences in an earlier study of the same task, metric, data and folds.

    Studies of the same file come before others, and later ones before earlier ones. The variance is the mean over
    the study's comparisons, its degrees of freedom are their sum (comparisons share their reference, so that is the
    larger end). None where the ledger has no such study.
    """
    for record in _earlier(ledger, study):
        evidence = gather(ledger, record, computes)
        contrasts = [against_reference(evidence, variant) for variant in evidence.compared]
        found = [
            estimate(contrast.values, contrast.replicates, contrast.overlap)
            for contrast in contrasts
            if contrast is not None and len(contrast.values) >= FEWEST and not contrast.diverged
        ]
        sds = [each.sd for each in found if each.sd]
        if sds:
            added = [max(0.0, (each.v_c or 0.0) - (each.v_sc or 0.0)) for each in found]
            df = float(sum(each.n - 1 for each in found))
            return Spread(pooled_sd(sds), df, mean(added), record.name)
    return None


def _earlier(ledger: Ledger, study: StudyRecord) -> Iterator[StudyRecord]:
    """Yield the records of earlier studies that resemble a study, the most similar first."""
    found = []
    for name in ledger.studies():
        if name == study.name:
            continue
        try:
            record = ledger.study(name)
        except InputError:  # damaged
            continue
        asked, same = ((r.task, r.metric, r.data.name, len(r.folds)) for r in (study, record))
        if asked == same and not record.data.is_optimistic:
            begun = max((str(session.get("begun", "")) for session in ledger.sessions(name)), default="")
            found.append((record.file == study.file, begun, name, record))
    for *_, record in sorted(found, key=lambda item: item[:3], reverse=True)[:MOST_STUDIES_READ]:
        yield record


@dataclass(frozen=True)
class TrainingTime:
    """How long one whole training takes."""

    seconds: float
    origin: str
    """The study whose trainings were timed; empty where it is given."""
    bytes: float | None = None
    """What a training leaves on the disk, on average; None where the time is given."""


def training_time(ledger: Ledger, study: StudyRecord) -> TrainingTime | None:
    """Return the mean time of the study's own whole trainings, else of the most similar earlier study's.

    Those of another study are scaled by the number of epochs, where both configure it. None where nothing is timed.
    """
    for record in (study, *_earlier(ledger, study)):
        states = Snapshot(ledger)
        timed: list[float] = []
        sizes: list[int] = []
        for job in trainings(record, states):
            state = states(job.run.id)
            seconds = duration(state) if state.is_usable else None
            if seconds is not None:
                timed.append(seconds * _epochs_ratio(study, record))
                if len(sizes) < MOST_FOLDERS_MEASURED:
                    sizes.append(_bytes_below(ledger.run_folder(job.run)))
        if timed:
            return TrainingTime(mean(timed), record.name, mean(sizes))
    return None


def _bytes_below(folder: Path) -> int:
    """Return the size of all files of a folder; those that are removed meanwhile are left out."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _epochs_ratio(study: StudyRecord, other: StudyRecord) -> float:
    own, theirs = (record.variants[0].template.epochs for record in (study, other))
    return own / theirs if own and theirs else 1.0


@dataclass(frozen=True)
class Budget:
    """What may be spent on a study."""

    seconds: float
    of: Literal["gpu", "cpu", "machine"]
    """The device whose time is spent: one GPU, one processor core, or this machine with all its workers."""


def budget(text: str) -> Budget:
    """Return the budget that a text such as ``24gpu-h``, ``8cpu-h`` or ``90min`` names.

    Raises:
        InputError: Another text.
    """
    match = BUDGET.fullmatch(text.strip())
    if match is None or not float(match["amount"]) > 0:
        raise wrong_value(
            "--budget",
            f"must be an amount of time such as 24gpu-h, 8cpu-h, 30cpu-min, 2h or 90min. Got {text!r}.",
        )
    of: Literal["gpu", "cpu", "machine"] = (
        "gpu" if match["of"] == "gpu-" else "cpu" if match["of"] == "cpu-" else "machine"
    )
    return Budget(float(match["amount"]) * SECONDS[match["unit"]], of)


@dataclass(frozen=True)
class Offer:
    """A design that fits a budget, with the most repetitions that do."""

    repetitions: int
    trials: int
    folds: int
    pruner: str
    trainings: int
    seconds: float
    """The time of one worker."""
    power: tuple[float, ...] | None
    """At each of `TABULATED_EFFECTS` times the least difference of interest; None where no spread is known."""


def offers(study: StudyRecord, seconds: float, of_training: float, spread: Spread | None) -> list[Offer]:
    """Return the designs of a study that one worker finishes in `seconds`, those of the most power first.

    Each has the study's variants, and its own or another number of trials and of folds, with and without halving, and
    as many repetitions as fit, at least three, at most `MOST_REPETITIONS`. Under folds more repetitions do not count
    as more data: the power is that of the folds.
    """
    found = []
    for folds in sorted({1, len(study.folds)}):
        for trials in sorted({study.trials, *(TRIED_TRIALS if study.trials else ())}):
            pruners = ("none", "halving") if trials > study.generation else ("none",)
            for pruner in pruners:
                base = replace(study, trials=trials, folds=study.folds[:folds], pruner=pruner, looks=())
                if pruner == "halving" and _whole_trainings(base) == total_trainings(base):
                    continue
                least = 1 if folds > 1 else FEWEST
                fitting = [
                    design
                    for repetitions in range(least, MOST_REPETITIONS + 1)
                    if _whole_trainings(design := replace(base, repetitions=repetitions)) * of_training
                    <= seconds
                ]
                if fitting:
                    found.append(_offer(fitting[-1], of_training, spread))
    return sorted(found, key=lambda offer: (offer.power or (0.0,), offer.trials), reverse=True)


def _offer(design: StudyRecord, of_training: float, spread: Spread | None) -> Offer:
    size = own_design(design)
    return Offer(
        design.repetitions,
        design.trials,
        len(design.folds),
        design.pruner,
        total_trainings(design),
        _whole_trainings(design) * of_training,
        None if spread is None else planned_power(design, spread, [size])[size],
    )


@dataclass(frozen=True)
class Offers:
    """The designs of a study that fit a budget."""

    budget: Budget
    time: TrainingTime
    workers: float
    """Trainings that go on at a time, for each of what the budget is of."""
    designs: list[Offer]


def designs_that_fit(
    ledger: Ledger, study: StudyRecord, amount: str, slots: int, spread: Spread | None, seconds: float | None
) -> Offers:
    """Return the designs of a study that fit a budget.

    Args:
        ledger: Has the trainings that are timed.
        study: The study.
        amount: The budget, as `budget` reads it.
        slots: Trainings that this machine does at a time.
        spread: The spread of paired differences; None where it is not known.
        seconds: The time of one training; None for that of earlier trainings.

    Raises:
        InputError: No training was ever timed, or the budget is of another device than the timed trainings.
    """
    allowed, template = budget(amount), study.variants[0].template
    device = "gpu" if template.device == "cuda" else "cpu"
    time = training_time(ledger, study) if seconds is None else TrainingTime(seconds, origin="")
    if time is None:
        raise missing_value(
            "--budget",
            f"no training of {study.file} or of a similar study has been timed yet; name the time of one "
            "with --seconds.",
        )
    if allowed.of not in (device, "machine") and seconds is None:
        raise conflict(
            "--budget",
            f"the timed trainings ran on the {device}, so it must be in {device}-h. With --seconds it may be "
            "of another device.",
        )
    each = template.options.get("gpus") or 1 if allowed.of == "gpu" else template.threads
    workers = float(slots) if allowed.of == "machine" else 1 / max(1.0, float(each))
    return Offers(allowed, time, workers, offers(study, allowed.seconds * workers, time.seconds, spread))


def planned_power(
    study: StudyRecord, spread: Spread, designs: Sequence[tuple[int, ...]]
) -> dict[tuple[int, ...], tuple[float, ...]]:
    """Return the power of the study's verdicts at the tabulated effects, by design."""
    overlap = overlap_of_folds(study)
    return power_table(spread, study.rope, study.alpha, len(study.family), designs, overlap)


def own_design(study: StudyRecord) -> tuple[int, ...]:
    """Return the study's folds, looks or number of repetitions, by which its power is tabulated."""
    return (len(study.folds),) if len(study.folds) > 1 else study.looks or (study.repetitions,)


def _whole_trainings(study: StudyRecord) -> float:
    """Return the cost of a study in whole trainings.

    Trials of the first generation are never stopped by halving, later ones cost the share `halving_share`.
    """
    count = float(total_trainings(study))
    epochs = study.variants[0].template.epochs
    if study.pruner != "halving" or not epochs:
        return count
    share = halving_share([*rungs(study, epochs - 1), epochs], study.reduction)
    one_less = total_trainings(replace(study, trials=min(study.trials, study.generation)))
    return one_less + (count - one_less) * share
