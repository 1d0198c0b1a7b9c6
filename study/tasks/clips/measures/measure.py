"""The third job: measure what the parts of a tested network do. It trains nothing and changes no result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from study.tasks.clips.nets.contract import Details
from study.tasks.clips.data.contract import Clips
from study.files import write
from study.records import Epoch, Measurement, RunSpec, to_json
from study.config.registry import Registry
from study.tasks.clips.training.batches import on_device
from study.tasks.clips.training.determinism import prepare, watched
from study.tasks.clips.training.evaluate import trained
from study.tasks.clips.training.memory import in_memory
from study.tasks.clips.measures.contract import Observed
from study.tasks.clips.training.pace import Pace


def measure(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], key: str) -> None:
    """Measure the run's network on the test split; leave ``measure-<key>.json`` in the run's folder.

    Args:
        spec: The run.
        folder: Its folder, with the weights.
        on_epoch: Never called.
        key: The measure's name and, behind an @, the digest of its code.

    Raises:
        StudyError: The folder holds no weights, or the run asks for a device that is not there.
        InputError: There is no such measure, or the data set cannot be read.
    """
    started = time.perf_counter()
    name = key.partition("@")[0]
    registry = Registry(spec.modules)
    about = registry.get("measure", name).help
    device = prepare(spec)
    dataset, network = trained(spec, folder)
    clips = dataset.split("test", spec.fold)
    batch_size = spec.config["train"]["batch_size"]
    with in_memory(f"measuring in batches of {batch_size} clips"), watched(spec):
        seen = observe(network.to(device), clips, batch_size, device)
    with threadpool_limits(spec.threads):
        figures = registry.build("measure", {"name": name}, seen)
    spent = time.perf_counter() - started
    found = Measurement(spec.id, name, about, figures, len(clips.labels), spent)
    write(folder / f"measure-{key}.json", to_json(found))


def observe(network: nn.Module, clips: Clips, batch_size: int, device: torch.device) -> Observed:
    """Return what the parts of the network did with every clip of a split.

    The network is put in evaluation mode and left there.
    """
    network.eval()
    everything = np.arange(len(clips.labels))
    batches: list[dict[str, Tensor]] = []
    pace = Pace("measuring", steps=math.ceil(len(everything) / batch_size))
    with torch.inference_mode():
        for start in range(0, len(everything), batch_size):
            details: Details = {}
            network(on_device(clips.read(everything[start : start + batch_size], None), device), details)
            batches.append({name: detail.float().cpu() for name, detail in details.items()})
            pace(len(batches))
    return Observed(
        labels=clips.labels,
        sources=np.array(clips.sources),
        truth=clips.truth,
        details={name: torch.cat([batch[name] for batch in batches]).numpy() for name in batches[0]},
    )
