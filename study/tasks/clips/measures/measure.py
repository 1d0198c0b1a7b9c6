"""Measurement of a trained network on the test split; it trains nothing and changes no result."""

from __future__ import annotations

import inspect
import math
import time

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from study import seeds
from study.config.registry import Registry
from study.generators import seeded
from study.hashing import seed_of
from study.records import Measurement
from study.run import Run
from study.tasks.clips.data.contract import Clips
from study.tasks.clips.measures.contract import Observed
from study.tasks.clips.nets.contract import Details
from study.tasks.clips.training.batches import StepLogger, on_device
from study.tasks.clips.training.determinism import nondeterministic_operators, set_up
from study.tasks.clips.training.evaluation.verification import load_trained
from study.tasks.clips.training.memory import explain_out_of_memory
from study.tasks.clips.training.outputs import as_output


def measure(run: Run, name: str) -> Measurement:
    """Return the figures of the measure `name` for a run's network on the test split.

    Raises:
        StudyError: The weights or the device are missing.
        InputError: The measure is unknown, or the data set cannot be read.
    """
    started = time.perf_counter()
    spec = run.spec
    registry = Registry(spec.modules)
    about = registry.get("measure", name).help
    device = set_up(spec)
    dataset, network = load_trained(run, device)
    clips = dataset.split("test", spec.fold)
    batch_size = spec.config["train"]["batch_size"]
    with (
        explain_out_of_memory(f"measuring in batches of {batch_size} clips"),
        nondeterministic_operators(spec),
    ):
        observed = observe(network, clips, batch_size, device, spec.seed)
    with threadpool_limits(spec.threads), seeded(seed_of(spec.seed, seeds.MEASURE, name)):
        figures = registry.build("measure", {"name": name}, observed)
    spent = time.perf_counter() - started
    return Measurement(spec.id, name, about, figures, len(clips.labels), spent)


def observe(
    network: nn.Module, clips: Clips, batch_size: int, device: torch.device, seed: int = 0
) -> Observed:
    """Return the details that a network records for every clip of a split.

    A network whose ``forward`` takes only clips has none. The network stays in evaluation mode.
    """
    network.eval()
    has_details = takes_details(network)
    indexes = np.arange(len(clips.labels))
    batches: list[dict[str, Tensor]] = []
    log_step = StepLogger("measuring", steps=math.ceil(len(indexes) / batch_size))
    with torch.no_grad():
        for start in range(0, len(indexes), batch_size):
            details: Details = {}
            with seeded(seed_of(seed, seeds.EVALUATION, len(batches))):
                batch = on_device(clips.read(indexes[start : start + batch_size], None), device)
                as_output(network(batch, details) if has_details else network(batch), len(batch))
            batches.append({name: detail.float().cpu() for name, detail in details.items()})
            log_step(len(batches))
    return Observed(
        labels=clips.labels,
        sources=np.array(clips.sources),
        truth=clips.truth,
        details={name: torch.cat([recorded[name] for recorded in batches]).numpy() for name in batches[0]},
    )


def takes_details(network: nn.Module) -> bool:
    """Whether a network's ``forward`` takes ``details``, the dictionary to record in, as its second argument."""
    try:
        return list(inspect.signature(network.forward).parameters)[1:2] == ["details"]
    except ValueError:  # compiled code has no signature
        return False
