"""The second job: score the weights that training chose. It reads the test split and no other, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.data.contract import Dataset
from study.errors import StudyError
from study.files import write
from study.records import Epoch, RunSpec, TestResult, to_json
from study.config.registry import Registry
from study.tasks.clips.training.batches import predict
from study.tasks.clips.training.determinism import prepare, watched
from study.tasks.clips.training.memory import in_memory
from study.tasks.clips.metrics import absent, scores
from study.tasks.clips.training.predictions import save
from study.tasks.clips.training.train import WEIGHTS

_log = logging.getLogger(__name__)

TEST, TEST_RESULT = "test.npz", "test.json"


def evaluate(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Score the weights in `folder` on the test split; leave predictions and, last, the result there.

    `on_epoch` is never called: an evaluation has no epochs.

    Raises:
        StudyError: The folder holds no weights, or the run asks for a device that is not there, for more memory
            than there is, or for determinism where there is none.
        InputError: The data set cannot be read.
    """
    started = time.perf_counter()
    device = prepare(spec)
    dataset, network = trained(spec, folder)
    clips = dataset.split("test", spec.fold)
    if missing := absent(clips.labels, dataset.classes):
        _log.warning("the test split has no clip of %s: UAR leaves it out", ", ".join(missing))
    batch_size = spec.config["train"]["batch_size"]
    with in_memory(f"testing in batches of {batch_size} clips"), watched(spec):
        predictions = predict(network.to(device), clips, batch_size, device, spec.loader_workers)
    save(folder / TEST, predictions)
    result = TestResult(
        run=spec.id,
        metrics=scores(predictions.labels, predictions.logits, dataset.classes),
        clips=len(predictions.labels),
        seconds=time.perf_counter() - started,
    )
    write(folder / TEST_RESULT, to_json(result))


def trained(spec: RunSpec, folder: Path) -> tuple[Dataset, nn.Module]:
    """Return the run's data set, and its network with the weights that training left in `folder`, on the CPU.

    Raises:
        StudyError: The folder holds no weights, or damaged ones, which are removed: they are trained again when
            the run is tried again.
        InputError: The data set cannot be read.
    """
    if not (folder / WEIGHTS).is_file():
        raise StudyError(f"{folder}: no {WEIGHTS} to evaluate: the run has not finished, or has diverged.")
    registry = Registry(spec.modules)
    dataset: Dataset = registry.build("dataset", spec.table("dataset"))
    network = build_network(registry, spec.tables, dataset.shape, len(dataset.classes))
    try:
        weights = safetensors.torch.load_file(folder / WEIGHTS)
    except SafetensorError as error:
        (folder / WEIGHTS).unlink()
        raise StudyError(f"{folder / WEIGHTS} was damaged ({error}) and has been removed.") from None
    network.load_state_dict(weights)
    return dataset, network
