"""Verification that a trained network, loaded from its files, predicts as it did in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from study.config.registry import Registry
from study.errors import DamagedWeightsError, StudyError
from study.ledger.layout import RESULT, TRAIN_PREDICTIONS, VALIDATION_PREDICTIONS
from study.ledger.predictions import Predictions, load
from study.ledger.reading import Reader
from study.records import RunResult, RunSpec
from study.run import Run
from study.tasks.clips.data.contract import Clips, Dataset
from study.tasks.clips.data.seeded import build_dataset
from study.tasks.clips.training.batches import predict_first
from study.tasks.clips.training.building import new_network
from study.tasks.clips.training.settings import Precision, TrainSettings
from study.tasks.clips.training.state import TrainState, clips_to_train_on
from study.tasks.clips.training.tensors import copy_of_weights, load_weights

TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 5e-2}
"""Largest difference of a logit, as a share of the batch's largest logit, that other kernels or GPUs may cause."""
CAUSES = (
    "state that its state_dict leaves out, such as plain attributes or lists of tensors that change in training "
    "(use register_buffer, nn.Parameter, nn.ModuleList), or state that changes in evaluation"
)


def load_trained(run: Run, device: torch.device) -> tuple[Dataset, nn.Module]:
    """Return the data set of a run, and its network with the trained weights, verified, on `device`.

    Raises:
        StudyError: The weights are missing; or damaged, then they are removed, and the run is trained again; or
            the network does not predict as in training.
        InputError: The data set cannot be read.
    """
    spec = run.spec
    if not run.weights.is_file():
        raise StudyError(
            f"{run.folder}: no {run.weights.name} to evaluate: the run has not finished, or has diverged."
        )
    registry = Registry(spec.modules)
    dataset = build_dataset(registry, spec.table("dataset"))
    network = new_network(registry, spec, dataset.shape, len(dataset.classes))
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
    load_weights(network, weights)
    network.to(device)
    _verify(run.folder, spec, dataset, network, device)
    return dataset, network


def first_batch(
    network: nn.Module, clips: Clips, batch_size: int, device: torch.device, precision: Precision, seed: int
) -> Predictions:
    """Return the predictions of the first batch of training clips, in evaluation mode."""
    clips = _read_alike(clips)
    rows, logits = predict_first(network, clips, batch_size, device, precision, seed)
    return Predictions(
        ids=np.array(clips.ids)[rows],
        sources=np.array(clips.sources)[rows],
        labels=clips.labels[rows],
        logits=logits,
    )


def probe_of(state: TrainState, validation: Clips | None) -> Tensor:
    """Return the logits (k, K) of one batch by the network in training, in evaluation mode."""
    clips = replace(validation, views=None) if validation else _read_alike(state.clips)
    settings = state.settings
    _, logits = predict_first(
        state.network, clips, settings.batch_size, state.device, settings.precision, state.seed
    )
    return torch.from_numpy(logits)


def check_average(
    spec: RunSpec, registry: Registry, dataset: Dataset, state: TrainState, validation: Clips | None
) -> None:
    """Check that the trained network has no state besides its tensors, which alone are averaged.

    Raises:
        StudyError: A new network with the tensors of the trained one predicts other logits.
    """
    network = new_network(registry, spec, dataset.shape, len(dataset.classes))
    load_weights(network, copy_of_weights(state.network))
    copied = replace(state, network=network.to(state.device))
    expected, logits = (probe_of(one, validation).numpy() for one in (state, copied))
    if not agree(expected, logits, state.settings.precision):
        raise StudyError(
            f"the average of the network's weights lacks state of the network: logits of {len(logits)} clips differ by "
            f"up to {_gap(expected, logits):.3g}, allowed is {_allowed(expected, state.settings.precision):.3g}. "
            f"Likely causes: {CAUSES}."
        )


def agree(recorded: NDArray[np.float32], repeated: NDArray[np.float32], precision: Precision) -> bool:
    """Return whether logits (k, K) differ no more than kernels of other devices and library versions do."""
    return recorded.shape == repeated.shape and _gap(recorded, repeated) <= _allowed(recorded, precision)


def _verify(folder: Path, spec: RunSpec, dataset: Dataset, network: nn.Module, device: torch.device) -> None:
    """Predict the first batch of validation again; of the training clips if validation is trained on.

    Nothing is compared where the ledger no longer has the predictions of the training.

    Raises:
        StudyError: The predictions differ beyond the tolerance of the run's precision.
    """
    settings = TrainSettings.of(spec)
    fits_validation = settings.fit == "train+val"
    path = folder / (TRAIN_PREDICTIONS if fits_validation else VALIDATION_PREDICTIONS)
    if not path.is_file():
        return
    recorded = load(path)
    if fits_validation:
        clips = _read_alike(clips_to_train_on(dataset, spec.fold, settings.fit))
    else:
        clips = dataset.split("validation", spec.fold)
    rows, logits = predict_first(network, clips, settings.batch_size, device, settings.precision, spec.seed)
    expected = recorded.logits[rows] if len(recorded.logits) > rows.max() else recorded.logits[:0]
    if expected.shape != logits.shape or list(np.array(clips.ids)[rows]) != list(recorded.ids[rows]):
        raise StudyError(
            f"{path}: holds other clips than the data set: the data have changed since training."
        )
    if not agree(expected, logits, settings.precision):
        raise StudyError(
            f"the loaded network does not predict what it predicted in training: logits of {len(rows)} clips in "
            f"{path.name} differ by up to {_gap(expected, logits):.3g}, allowed is "
            f"{_allowed(expected, settings.precision):.3g}. Likely causes: {CAUSES}."
        )


def _read_alike(clips: Clips) -> Clips:
    """Return training clips whose random sampling is the same at every reading."""
    return replace(
        clips, views=None, read=lambda indexes, generator: clips.read(indexes, np.random.default_rng(0))
    )


def _gap(recorded: NDArray[np.float32], repeated: NDArray[np.float32]) -> float:
    """Return the largest difference of two arrays; equal infinities do not differ."""
    differing = ~((recorded == repeated) | (np.isnan(recorded) & np.isnan(repeated)))
    gaps = np.abs(recorded[differing].astype(float) - repeated[differing].astype(float))
    return float(np.nan_to_num(gaps, nan=np.inf).max(initial=0.0))


def _allowed(recorded: NDArray[np.float32], precision: Precision) -> float:
    """Return the largest difference that `precision` explains."""
    return TOLERANCE[precision] * float(np.abs(recorded[np.isfinite(recorded)]).max(initial=0.0))
