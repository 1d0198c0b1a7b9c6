"""What the variants of a study cost, counted and timed on request; nothing is trained."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from study.errors import InputError
from study.files import write
from study.ledger.layout import PROFILE
from study.ledger.record import StudyRecord
from study.machine import machine
from study.records import Profile, RunSpec, to_json
from study.tasks.clips.profiling.counts import Subject, counted
from study.tasks.clips.profiling.latency import REPETITIONS, Candidate, latencies
from study.tasks.clips.profiling.record import Latency, StudyProfile, VariantProfile
from study.tasks.clips.profiling.table import render
from study.tasks.clips.training.determinism import set_up

Item = TypeVar("Item")

LINE_EVERY_S = 10


def profile_study(
    study: StudyRecord, reports: Path, console: Console, repetitions: int = REPETITIONS
) -> StudyProfile:
    """Count and time the network of every variant; print the figures and keep them beside the study's report.

    Written are ``profile.json`` and ``profile.md`` in ``reports/<study>``. Networks are timed as they are
    trained: on the study's device, with its threads and precision. What the study searches for stands at its
    first or least value. The process is set up as for a training, so it should be one of its own.

    Raises:
        InputError: A variant whose parts do not go together, or do not fit the clips.
        StudyError: The study asks for a device that is not there.
    """
    assumed = study.first_point
    runs = {variant.name: variant.run(assumed, study.seed, study.folds[0]) for variant in study.variants}
    spec = study.variants[0].template
    device = set_up(spec)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    counts = {
        name: _counted(f"{study.file}: variant {name!r}", run)
        for name, run in followed(list(runs.items()), "Counting", console)
    }
    times = _timed(runs, device, repetitions, console)
    found = StudyProfile(
        study=study.name,
        variants=tuple(
            VariantProfile(variant.name, variant.is_reference, counts[variant.name], times[variant.name])
            for variant in study.variants
        ),
        assumed=assumed,
        repetitions=repetitions,
        device=spec.device,
        precision=spec.config["train"].get("precision", "fp32"),
        threads=spec.threads,
        load=load,
        machine=machine(spec.device),
    )
    text = render(found)
    write(reports / study.name / PROFILE, to_json(found))
    write(reports / study.name / "profile.md", text)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    return found


def _counted(where: str, run: RunSpec) -> Profile:
    try:
        return counted(run)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _timed(
    runs: dict[str, RunSpec], device: torch.device, repetitions: int, console: Console
) -> dict[str, tuple[Latency, ...]]:
    """Return the latencies of every run's network for one clip, and for a training batch."""

    @cache
    def clips(*shape: int) -> Tensor:
        return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)

    names, candidates = [], []
    for name, run in runs.items():
        subject = Subject.of(run)
        network = subject.network().to(device).eval()
        for batch in sorted({1, run.config["train"]["batch_size"]}):
            names.append(name)
            precision = run.config["train"].get("precision", "fp32")
            candidates.append(Candidate(network, clips(batch, *subject.shape), precision))
    found = latencies(candidates, repetitions, lambda turns: followed(turns, "Timing", console))
    return {
        name: tuple(latency for owner, latency in zip(names, found, strict=True) if owner == name)
        for name in runs
    }


def followed(items: Sequence[Item], what: str, console: Console) -> Iterator[Item]:
    """Yield `items` and show how far they are: a bar on a terminal, elsewhere a line every few seconds."""
    if console.is_terminal:
        yield from track(items, what, console=console, transient=True)
        return
    began = told = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - told >= LINE_EVERY_S:
            told, left = now, (now - began) / done * (len(items) - done)
            console.print(f"{what}: {done} of {len(items)}, about {left:.0f} s left", highlight=False)
