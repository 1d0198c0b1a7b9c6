"""The ``train`` table of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from study.config.registry import Legacy, Range
from study.errors import InputError

Fit = Literal["train", "train+val"]
Precision = Literal["fp32", "tf32", "bf16"]


@dataclass(frozen=True)
class Train:
    """How every run is trained; each key counts towards a run's identity."""

    epochs: Annotated[int, Range(1)] = 6
    """Passes over the training clips."""
    batch_size: Annotated[int, Range(1)] = 32
    """Clips of one optimizer step."""
    lr: Annotated[float, Range(0.0)] = 1e-3
    """The learning rate's peak."""
    weight_decay: Annotated[float, Range(0.0)] = 1e-3
    """The optimizer's weight decay."""
    warmup_epochs: Annotated[float, Range(0.0)] = 1.0
    """Epochs until the learning rate reaches its peak."""
    clip_norm: Annotated[float, Range(0.0)] = 1.0
    """The greatest norm of all gradients together; 0 for no limit."""
    mixup: Annotated[float, Range(0.0)] = 0.0
    """Alpha of mixup's Beta distribution; 0 for none."""
    cutmix: Annotated[float, Range(0.0)] = 0.0
    """Alpha of cutmix's Beta distribution; 0 for none."""
    mix_probability: Annotated[float, Range(0.0, 1.0)] = 1.0
    """With which a batch is mixed, where mixup or cutmix is asked for."""
    ema: Annotated[float, Range(0.0, 0.999999)] = 0.0
    """Decay of the weights' moving average, which then is what is judged and tested; 0 for none."""
    stream: Annotated[int, Range(0)] = 0
    """Shifts the seeds of order, sampling, augmentation, mixing and dropout."""
    labels: Literal["true", "shuffled"] = "true"
    """``shuffled``: a control that leaves nothing to learn."""
    fit: Annotated[Fit, Legacy("train")] = "train"
    """``train+val``: validation clips are trained on too, nothing is selected, and the last epoch is kept."""
    determinism: Annotated[Literal["strict", "warn", "off"], Legacy("warn")] = "warn"
    """What happens where an operator has no deterministic form: an error, a warning, or nothing."""
    precision: Annotated[Precision, Legacy("fp32")] = "fp32"
    """``tf32``: shorter products on a GPU; ``bf16``: forward passes by autocast. Weights stay in fp32."""
    accumulate: Annotated[int, Range(1), Legacy(1)] = 1
    """Equal parts of a batch that pass the network one after another; their gradients are averaged."""


def check_settings(train: Train, device: str) -> None:
    """Raise InputError where settings contradict each other or the device.

    Args:
        train: The settings.
        device: ``cpu`` or ``cuda``.
    """
    if train.batch_size % train.accumulate:
        raise InputError(
            f"train.accumulate: must divide train.batch_size, {train.batch_size}. Got {train.accumulate} instead."
        )
    if train.precision == "tf32" and device == "cpu":
        raise InputError(
            "train.precision: 'tf32' is a format of GPUs, and the run's device is 'cpu'. Set 'fp32' or 'bf16'."
        )
