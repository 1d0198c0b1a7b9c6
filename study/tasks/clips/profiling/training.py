"""``study profile --train``: a few steps of one variant's training, and the time of each of their parts."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from study.config.registry import Registry
from study.errors import unknown_name
from study.ledger.layout import CLIPS_CHECKPOINT
from study.ledger.record import StudyRecord
from study.machine import machine
from study.records import Machine, RunSpec, TimePart
from study.task import Progress
from study.tasks.clips.data.contract import Clips
from study.tasks.clips.data.generate import generate
from study.tasks.clips.data.seeded import build_dataset
from study.tasks.clips.profiling.table import aligned
from study.tasks.clips.training import checkpoint
from study.tasks.clips.training.batches import predict, steps_per_epoch
from study.tasks.clips.training.checkpoint import TrainingProgress
from study.tasks.clips.training.determinism import set_up
from study.tasks.clips.training.memory import explain_out_of_memory
from study.tasks.clips.training.settings import TrainSettings
from study.tasks.clips.training.state import TrainState, loader_of
from study.tasks.clips.training.stepping.clock import NoClock, clock_for
from study.tasks.clips.training.train import readers_of, train_epoch

STEPS = 20
"""Measured steps, after as many for warm-up."""
OUTSIDE_STEPS = (TimePart.VALIDATION, TimePart.CHECKPOINT)
NOTES: Mapping[TimePart, str] = {
    TimePart.DATA: "reading clips in the training process; on a GPU, the time in which it had none",
    TimePart.WAITING: "waiting for loader processes; on a GPU, the time in which it had no clips",
    TimePart.TO_DEVICE: "copies to the device, conversion to floats",
    TimePart.AUGMENTATION: "augmentation and mixing",
    TimePart.FORWARD: "network and loss",
    TimePart.BACKWARD: "gradients",
    TimePart.OPTIMIZER: "clipping, update, averaged weights",
    TimePart.STEP: "forward, backward and optimizer, recorded as one graph",
}


@dataclass(frozen=True)
class TrainingProfile:
    """The time of a training's parts, measured on a few steps."""

    study: str
    variant: str
    steps: int
    batch_size: int
    seconds: Mapping[TimePart, float]
    """Time of all measured steps, of the validation of as many batches, and of one checkpoint."""
    validation_batches: int
    device: str
    loader_workers: int
    threads: int
    machine: Machine

    @property
    def step_seconds(self) -> float:
        """The time of one step with all of its parts."""
        return sum(s for part, s in self.seconds.items() if part not in OUTSIDE_STEPS) / self.steps

    @property
    def waiting_share(self) -> float:
        """The share of a step in which there were no clips to compute on, in [0, 1]."""
        waiting = sum(self.seconds.get(part, 0.0) for part in (TimePart.DATA, TimePart.WAITING))
        return waiting / self.steps / self.step_seconds


def profile_training(
    study: StudyRecord,
    console: Console,
    variant: str = "",
    steps: int = STEPS,
    progress: Progress = lambda done, total: None,
) -> TrainingProfile:
    """Train one variant for a few steps, print the time of each of their parts and return it; keep nothing else.

    The process-wide settings of a training are applied, so the process should be one of its own.

    Args:
        study: The study; searched parameters are at their first or least value.
        console: Where to print.
        variant: The variant's name; empty for the reference.
        steps: Measured steps, after as many for warm-up; fewer if the train split is smaller.
        progress: Called while clips are generated that are not in their cache, as `Task.generate` does.

    Raises:
        InputError: There is no such variant, or its components do not fit together.
        StudyError: The device is missing, or memory runs out.
    """
    names = [one.name for one in study.variants]
    chosen = next(
        (one for one in study.variants if one.name == variant or (not variant and one.is_reference)), None
    )
    if chosen is None:
        raise unknown_name("--variant", f"{variant!r} is no variant of {study.name}", variant, names)
    run = chosen.run(study.first_point(chosen), study.seed, study.folds[0])
    generate(Registry(run.modules), [run.table("dataset")], progress)
    profile = replace(_measured(run, steps), study=study.name, variant=chosen.name)
    console.print(render(profile), markup=False, highlight=False, soft_wrap=True)
    return profile


def _measured(spec: RunSpec, steps: int) -> TrainingProfile:
    device, registry = set_up(spec), Registry(spec.modules)
    dataset = build_dataset(registry, spec.table("dataset"))
    settings = TrainSettings.of(spec)
    this_machine = machine(spec.device)
    with (
        explain_out_of_memory(f"training in batches of {settings.batch_size} clips"),
        loader_of(spec) as loader,
        tempfile.TemporaryDirectory() as folder,
    ):
        state = TrainState.of(spec, registry, dataset, device)
        state.reads_ahead = loader is not None
        most = steps * settings.batch_size
        state.clips, state.labels = _first(state.clips, most), state.labels[:most]
        validation = replace(_first(dataset.split("validation", spec.fold), most), views=None)
        state.readers = readers_of(state, validation, loader)
        for number, clock in ((1, NoClock()), (2, clock_for(device))):
            state.clock = clock
            train_epoch(state, number)
            predict(
                state.eval_model,
                validation,
                settings.batch_size,
                device,
                state.readers["validation"],
                settings.precision,
                spec.seed,
                state.compute,
            )
        state.clock.mark(TimePart.VALIDATION)
        checkpoint.save(Path(folder, CLIPS_CHECKPOINT), spec, this_machine, state, TrainingProgress())
        state.clock.mark(TimePart.CHECKPOINT)
        seconds = state.clock.totals()
    return TrainingProfile(
        study="",
        variant="",
        steps=steps_per_epoch(len(state.labels), settings.batch_size),
        batch_size=min(settings.batch_size, len(state.labels)),
        seconds=seconds,
        validation_batches=-(-len(validation.labels) // settings.batch_size),
        device=spec.device,
        loader_workers=spec.loader_workers,
        threads=spec.threads,
        machine=this_machine,
    )


def _first(clips: Clips, most: int) -> Clips:
    """Return the first clips of a split, by the same indexes."""
    return replace(
        clips,
        ids=clips.ids[:most],
        sources=clips.sources[:most],
        labels=clips.labels[:most],
        scenes=clips.scenes[:most],
    )


def render(profile: TrainingProfile) -> str:
    """Return the time of each part of a training step as Markdown that is readable in a terminal."""
    step = profile.step_seconds
    rows = [
        [part, f"{1000 * s / profile.steps:.2f}", f"{100 * s / profile.steps / step:.1f}", NOTES[part]]
        for part, s in profile.seconds.items()
        if part not in OUTSIDE_STEPS
    ]
    rows.append(["a step", f"{1000 * step:.2f}", "100.0", f"{profile.batch_size / step:.1f} clips/s"])
    validation = 1000 * profile.seconds[TimePart.VALIDATION] / profile.validation_batches
    versions = profile.machine.versions
    return "\n\n".join(
        [
            f"# Time of a training step of {profile.variant}, in {profile.study}",
            aligned(["part", "ms a step", "share (%)", "what"], rows, figures=(1, 2)),
            f"No clips to compute on: {100 * profile.waiting_share:.1f} % of a step. "
            f"Validation: {validation:.2f} ms a batch. "
            f"Checkpoint: {1000 * profile.seconds[TimePart.CHECKPOINT]:.1f} ms an epoch.",
            f"{profile.steps} steps of {profile.batch_size} clips after as many for warm-up. Device {profile.device}, "
            f"{profile.loader_workers} loader processes, {profile.threads} thread(s), {profile.machine.hardware}, "
            f"torch {versions['torch']}.",
        ]
    )
