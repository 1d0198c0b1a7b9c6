"""Measurement of what the parts of a tested network do. It trains nothing and changes no result."""

from __future__ import annotations

import inspect
import math
import time

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from study.config.registry import Registry
from study.records import Measurement
from study.task import Run
from study.tasks.clips.data.contract import Clips
from study.tasks.clips.measures.contract import Observed
from study.tasks.clips.nets.contract import Details
from study.tasks.clips.training.batches import on_device
from study.tasks.clips.training.determinism import set_up, watched
from study.tasks.clips.training.evaluate import trained
from study.tasks.clips.training.memory import in_memory
from study.tasks.clips.training.outputs import as_output
from study.tasks.clips.training.step_logger import StepLogger


def measure(run: Run, name: str) -> Measurement:
    """Return what the measure `name` finds in a run's network on the test split.

    Raises:
        StudyError: The folder holds no weights, or the run asks for a device that is not there.
        InputError: There is no such measure, or the data set cannot be read.
    """
    started = time.perf_counter()
    spec = run.spec
    registry = Registry(spec.modules)
    about = registry.get("measure", name).help
    device = set_up(spec)
    dataset, network = trained(run)
    clips = dataset.split("test", spec.fold)
    batch_size = spec.config["train"]["batch_size"]
    with in_memory(f"measuring in batches of {batch_size} clips"), watched(spec):
        seen = observe(network.to(device), clips, batch_size, device)
    with threadpool_limits(spec.threads):
        figures = registry.build("measure", {"name": name}, seen)
    spent = time.perf_counter() - started
    return Measurement(spec.id, name, about, figures, len(clips.labels), spent)


def observe(network: nn.Module, clips: Clips, batch_size: int, device: torch.device) -> Observed:
    """Return what the parts of the network did with every clip of a split.

    A network whose ``forward`` takes clips alone has no details. It is put in evaluation mode and left there.
    """
    network.eval()
    notes = takes_details(network)
    everything = np.arange(len(clips.labels))
    batches: list[dict[str, Tensor]] = []
    pace = StepLogger("measuring", steps=math.ceil(len(everything) / batch_size))
    with torch.inference_mode():
        for start in range(0, len(everything), batch_size):
            details: Details = {}
            shown = on_device(clips.read(everything[start : start + batch_size], None), device)
            as_output(network(shown, details) if notes else network(shown), len(shown))
            batches.append({name: detail.float().cpu() for name, detail in details.items()})
            pace(len(batches))
    return Observed(
        labels=clips.labels,
        sources=np.array(clips.sources),
        truth=clips.truth,
        details={name: torch.cat([batch[name] for batch in batches]).numpy() for name in batches[0]},
    )


def takes_details(network: nn.Module) -> bool:
    """Whether a network's ``forward`` takes a second argument, the details that it is to note."""
    try:
        inspect.signature(network.forward).bind(None, {})
    except TypeError:
        return False
    return True
