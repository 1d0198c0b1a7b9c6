"""Settings of a training: the ``train`` table of a configuration."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from study.config.registry import InTrials, Legacy, Range, Unsearchable
from study.errors import conflict, wrong_value
from study.records import RunSpec

Fit = Literal["train", "train+val"]
Precision = Literal["fp32", "tf32", "bf16"]
AttentionForm = Literal["fast", "reference"]
Sampling = Literal["every-clip", "balanced"]
ClassWeights = Literal["none", "balanced"]
Normalisation = Literal["none", "imagenet"]


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training; each counts towards a run's identity."""

    epochs: Annotated[int, Range(1, 100_000)] = 6
    """Passes over the training clips."""
    batch_size: Annotated[int, Range(1, 100_000)] = 32
    """Clips in one optimizer step."""
    lr: Annotated[float, Range(0.0)] = 1e-3
    """Peak learning rate."""
    weight_decay: Annotated[float, Range(0.0)] = 1e-3
    """Weight decay of the optimizer."""
    warmup_epochs: Annotated[float, Range(0.0)] = 1.0
    """Epochs until the learning rate reaches its peak."""
    clip_norm: Annotated[float, Range(0.0)] = 1.0
    """Maximum norm of all gradients together; 0 for no limit."""
    mixup: Annotated[float, Range(0.0)] = 0.0
    """Alpha of mixup's Beta distribution; 0 for none."""
    cutmix: Annotated[float, Range(0.0)] = 0.0
    """Alpha of cutmix's Beta distribution; 0 for none."""
    mix_probability: Annotated[float, Range(0.0, 1.0)] = 1.0
    """Probability that a batch is mixed, if mixup or cutmix is on."""
    ema: Annotated[float, Range(0.0, 0.999999)] = 0.0
    """Decay of the exponential moving average of the weights, which is then evaluated; 0 for none."""
    stream: Annotated[int, Range(0), Unsearchable()] = 0
    """Shifts the seeds of initial weights, order, sampling, augmentation, mixing and dropout."""
    labels: Annotated[Literal["true", "shuffled"], Unsearchable()] = "true"
    """``shuffled``: a control whose labels carry no information."""
    fit: Annotated[Fit, Legacy("train"), InTrials("train"), Unsearchable()] = "train"
    """``train+val``: trains on the validation clips too, selects no epoch and keeps the last one.

    A search compares trials on the validation clips, so they are trained without them, and one more training with
    what a search chose follows.
    """
    determinism: Annotated[Literal["strict", "warn", "off"], Legacy("warn"), Unsearchable()] = "warn"
    """What follows if an operator has no deterministic form: an error, a warning, or nothing."""
    precision: Annotated[Precision, Legacy("fp32"), Unsearchable()] = "fp32"
    """``tf32``: TF32 matrix products on a GPU; ``bf16``: autocast in forward passes. Weights stay in fp32."""
    attention: Annotated[AttentionForm, Legacy("fast"), Unsearchable()] = "fast"
    """``fast``: attention by torch's fused kernels; ``reference``: by explicit products, which differ by rounding."""
    compile: Annotated[bool, Legacy(False), Unsearchable()] = False
    """Compile the network by ``torch.compile``, in training and in evaluation, once for each size of a batch."""
    accumulate: Annotated[int, Range(1), Legacy(1)] = 1
    """Micro-batches in a batch; their gradients are averaged."""
    sampling: Annotated[Sampling, Legacy("every-clip")] = "every-clip"
    """``every-clip``: each clip once in an epoch; ``balanced``: as many clips of every class, small ones repeated."""
    class_weights: Annotated[ClassWeights, Legacy("none")] = "none"
    """``balanced``: a clip counts in the loss by n / (K n_c), of n training clips in K classes, n_c in its own."""
    normalise: Annotated[Normalisation, Legacy("none")] = "none"
    """``imagenet``: subtract ImageNet's mean colour from every clip and divide by its standard deviation."""
    layer_decay: Annotated[float, Range(0.01, 1.0), Legacy(1.0)] = 1.0
    """Ratio of the learning rates of successive layers, from the head down; 1 for one rate (Clark et al. 2020)."""
    lr_factors: Annotated[dict[str, Annotated[float, Range(0.0)]], Unsearchable()] = field(
        default_factory=dict
    )
    """Factors of the learning rate by the first names of tensors, such as ``backbone``; 0 leaves them unchanged."""
    graph: Annotated[Literal["auto"] | bool, Legacy(False), Unsearchable()] = "auto"
    """Whether steps are recorded as a CUDA graph; ``auto``: on a GPU, for built-in networks that allow it."""

    @classmethod
    def of(cls, spec: RunSpec) -> Self:
        """Return the settings of a run; keys that an older run does not have are at their legacy defaults."""
        return cls(**spec.config["train"])


def check_settings(train: TrainSettings, device: str) -> None:
    """Raise InputError if settings contradict each other or the device.

    Args:
        train: The settings.
        device: ``cpu`` or ``cuda``.
    """
    if train.batch_size % train.accumulate:
        raise wrong_value(
            "train.accumulate", f"must divide train.batch_size, {train.batch_size}.", train.accumulate
        )
    if train.precision == "tf32" and device == "cpu":
        raise conflict(
            "train.precision",
            "'tf32' is a format of GPUs, and the run's device is 'cpu'. Set 'fp32' or 'bf16'.",
        )
    if train.graph is True and device == "cpu":
        raise conflict(
            "train.graph", "true records steps on a GPU, and the run's device is 'cpu'. Set 'auto' or false."
        )
    if train.compile and (missing := _missing_compiler(device)):
        raise conflict("train.compile", f"torch.compile needs {missing}, or set train.compile = false.")


def _missing_compiler(device: str) -> str:
    """Return what ``torch.compile`` lacks on this machine and where to get it; empty if it has all."""
    names = [name for name in (os.environ.get("CXX"), "g++", "clang++") if name]
    if not any(map(shutil.which, names)):
        return f"a C++ compiler ({', '.join(names)}), and PATH has none: install g++ by the system's package manager"
    if device == "cuda" and importlib.util.find_spec("triton") is None:
        return "Triton, and it is not installed: pip install triton"
    return ""
