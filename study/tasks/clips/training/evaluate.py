"""The test of the weights that a training chose. It reads the test split and no other, once."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from study.config.registry import Registry
from study.errors import StudyError
from study.run import Run
from study.tasks.clips.data.contract import Dataset
from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.training.batches import predict
from study.tasks.clips.training.determinism import set_up, watched
from study.tasks.clips.training.memory import in_memory
from study.tasks.clips.training.scores import LOSS, absent, breakdowns, cross_entropy, metrics_of, scores

_log = logging.getLogger(__name__)


def evaluate(run: Run) -> Mapping[str, float]:
    """Return the metrics of a run's weights on the test split; keep predictions and breakdowns.

    Raises:
        StudyError: The folder holds no weights, or the run asks for a device that is not there, for more memory
            than there is, or for determinism where there is none.
        InputError: The data set cannot be read.
    """
    spec = run.spec
    device = set_up(spec)
    dataset, network = trained(run)
    clips = dataset.split("test", spec.fold)
    if missing := absent(clips.labels, dataset.classes):
        _log.warning("the test split has no clip of %s: UAR leaves it out", ", ".join(missing))
    train = spec.config["train"]
    with in_memory(f"testing in batches of {train['batch_size']} clips"), watched(spec):
        predictions = predict(
            network.to(device),
            clips,
            train["batch_size"],
            device,
            spec.loader_workers,
            train.get("precision", "fp32"),
        )
    run.keep_predictions(predictions)
    for breakdown in breakdowns(predictions, dataset.classes):
        run.breakdown(breakdown)
    return {
        **scores(metrics_of(run), predictions),
        LOSS: cross_entropy(predictions.labels, predictions.logits),
    }


def trained(run: Run) -> tuple[Dataset, nn.Module]:
    """Return a run's data set, and its network with the weights that training left, on the CPU.

    Raises:
        StudyError: The folder holds no weights, or damaged ones, which are removed: they are trained again when
            the run is tried again.
        InputError: The data set cannot be read.
    """
    spec = run.spec
    if not run.weights.is_file():
        raise StudyError(
            f"{run.folder}: no {run.weights.name} to evaluate: the run has not finished, or has diverged."
        )
    registry = Registry(spec.modules)
    dataset: Dataset = registry.build("dataset", spec.table("dataset"))
    network = build_network(registry, spec.tables, dataset.shape, len(dataset.classes))
    try:
        weights = safetensors.torch.load_file(run.weights)
    except SafetensorError as error:
        run.weights.unlink()
        raise StudyError(f"{run.weights} was damaged ({error}) and has been removed.") from None
    network.load_state_dict(weights)
    return dataset, network
