"""Evaluation of a trained run on the test split, the only split that it reads."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import safetensors
import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from study.config.registry import Registry
from study.errors import DamagedWeightsError, StudyError
from study.ledger.layout import RESULT
from study.ledger.reading import Reader
from study.records import RunResult
from study.run import Run
from study.tasks.clips.data.contract import Dataset
from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.training.batches import predict
from study.tasks.clips.training.determinism import nondeterministic_operators, set_up
from study.tasks.clips.training.memory import explain_out_of_memory
from study.tasks.clips.training.scores import LOSS, absent, breakdowns, cross_entropy, metrics_of, scores
from study.tasks.clips.training.settings import TrainSettings

_log = logging.getLogger(__name__)


def evaluate(run: Run) -> Mapping[str, float]:
    """Return the metrics of a run's weights on the test split; write predictions and breakdowns.

    Raises:
        StudyError: The weights or the device are missing, memory runs out, or an operator without a deterministic
            form is used although the run must be deterministic.
        InputError: The data set cannot be read.
    """
    spec = run.spec
    device = set_up(spec)
    dataset, network = load_trained(run)
    clips = dataset.split("test", spec.fold)
    if missing := absent(clips.labels, dataset.classes):
        _log.warning("the test split has no clip of %s: UAR leaves it out", ", ".join(missing))
    settings = TrainSettings.of(spec)
    with (
        explain_out_of_memory(f"testing in batches of {settings.batch_size} clips"),
        nondeterministic_operators(spec),
    ):
        predictions = predict(
            network.to(device),
            clips,
            settings.batch_size,
            device,
            spec.loader_workers,
            settings.precision,
        )
    run.keep_predictions(predictions)
    for breakdown in breakdowns(predictions, dataset.classes):
        run.breakdown(breakdown)
    return {
        **scores(metrics_of(run), predictions),
        LOSS: cross_entropy(predictions.labels, predictions.logits),
    }


def load_trained(run: Run) -> tuple[Dataset, nn.Module]:
    """Return the data set of a run, and its network with the trained weights, on the CPU.

    Raises:
        StudyError: The weights are missing, or damaged; then they are removed, and the run is trained again.
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
        with safetensors.safe_open(run.weights, framework="pt") as file:
            owner = (file.metadata() or {}).get("run")
        weights = safetensors.torch.load_file(run.weights)
    except SafetensorError as error:
        run.weights.unlink()
        raise DamagedWeightsError(f"{run.weights} was damaged ({error}) and has been removed.") from None
    trained = Reader().record(RunResult, run.folder / RESULT)
    if trained is not None and owner not in (None, trained.run):
        run.weights.unlink()
        raise DamagedWeightsError(f"{run.weights} was of the run {owner} and has been removed.")
    network.load_state_dict(weights)
    return dataset, network
