"""``study profile``: counts and times the networks of a study's variants; nothing is trained."""

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

from study.errors import ErrorCode, InputError
from study.files import write
from study.ledger.layout import PROFILE
from study.ledger.record import StudyRecord
from study.machine import machine
from study.records import Profile, RunSpec, to_json
from study.tasks.clips.profiling.counts import Subject, profile_run
from study.tasks.clips.profiling.latency import REPETITIONS, Candidate, latencies
from study.tasks.clips.profiling.record import Latency, StudyProfile, VariantProfile
from study.tasks.clips.profiling.table import render
from study.tasks.clips.training.building import as_trained
from study.tasks.clips.training.determinism import set_up
from study.tasks.clips.training.settings import TrainSettings

Item = TypeVar("Item")

LINE_EVERY_S = 10


def profile_study(
    study: StudyRecord, reports: Path, console: Console, repetitions: int = REPETITIONS
) -> StudyProfile:
    """Count and time the network of every variant; return the figures and write them beside the study's report.

    Writes ``profile.json`` and ``profile.md`` into ``reports/<study>``. Networks are timed as they are trained: on the
    study's device, with its threads and precision. Searched parameters are at their first or least value. The
    process-wide settings of a training are applied, so the process should be one of its own.

    Raises:
        InputError: The components of a variant do not fit together or do not fit the clips.
        StudyError: The device is missing.
    """
    assumed = {key: value for variant in study.variants for key, value in study.first_point(variant).items()}
    runs = {
        variant.name: variant.run(study.first_point(variant), study.seed, study.folds[0])
        for variant in study.variants
    }
    spec = study.variants[0].template
    device = set_up(spec)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    counts = {
        name: _counts(f"{study.file}: variant {name!r}", run)
        for name, run in with_progress(list(runs.items()), "Counting", console)
    }
    times = _latencies(runs, device, repetitions, console)
    profile = StudyProfile(
        study=study.name,
        variants=tuple(
            VariantProfile(variant.name, variant.is_reference, counts[variant.name], times[variant.name])
            for variant in study.variants
        ),
        assumed=assumed,
        repetitions=repetitions,
        device=spec.device,
        precision=TrainSettings.of(spec).precision,
        threads=spec.threads,
        load=load,
        machine=machine(spec.device),
    )
    write(reports / study.name / PROFILE, to_json(profile))
    write(reports / study.name / "profile.md", render(profile))
    return profile


def _counts(where: str, run: RunSpec) -> Profile:
    try:
        return profile_run(run)
    except InputError as error:
        raise InputError(f"{where}: {error}", error.mistake.or_else(ErrorCode.UNTRAINABLE)) from None


def _latencies(
    runs: dict[str, RunSpec], device: torch.device, repetitions: int, console: Console
) -> dict[str, tuple[Latency, ...]]:
    """Return the latencies of every run's network for one clip, and for a training batch."""

    @cache
    def clips(*shape: int) -> Tensor:
        return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)

    names, candidates = [], []
    for name, run in runs.items():
        subject = Subject.of(run)
        settings = TrainSettings.of(run)
        network = as_trained(subject.network(), settings).to(device)
        network.eval()
        for batch in sorted({1, settings.batch_size}):
            names.append(name)
            candidates.append(Candidate(network, clips(batch, *subject.shape), settings.precision))
    measured = latencies(candidates, repetitions, lambda turns: with_progress(turns, "Timing", console))
    return {
        name: tuple(latency for owner, latency in zip(names, measured, strict=True) if owner == name)
        for name in runs
    }


def with_progress(items: Sequence[Item], doing: str, console: Console) -> Iterator[Item]:
    """Yield `items` and show progress: a bar on a terminal, elsewhere a line every `LINE_EVERY_S` seconds."""
    if console.is_terminal:
        yield from track(items, doing, console=console, transient=True)
        return
    began = last_shown = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last_shown >= LINE_EVERY_S:
            last_shown, left = now, (now - began) / done * (len(items) - done)
            console.print(f"{doing}: {done} of {len(items)}, about {left:.0f} s left", highlight=False)
