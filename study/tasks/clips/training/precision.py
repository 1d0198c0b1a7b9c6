"""Numeric precision: TF32 settings, and autocast around every forward pass."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from study.errors import StudyError
from study.tasks.clips.nets.contract import Output
from study.tasks.clips.training.outputs import as_output
from study.tasks.clips.training.settings import Precision

REDUCED = (torch.bfloat16, torch.float16)


def set_precision(precision: Precision, device: str) -> None:
    """Apply the process-wide part of `precision`: TF32 in matrix products and convolutions.

    Raises:
        StudyError: The GPU does not compute in this precision.
    """
    if precision == "bf16" and device == "cuda" and not torch.cuda.is_bf16_supported():
        raise StudyError(
            f"train.precision: {torch.cuda.get_device_name()} does not compute in bf16. Set train.precision = 'fp32'."
        )
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def forward_context(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a forward pass: autocast for bf16, else a null context."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def forward(
    network: nn.Module, clips: Tensor, precision: Precision = "fp32", classes: int | None = None
) -> Output:
    """Return the output of a network for clips (B, C, T, H, W), with logits (B, classes) in full precision.

    Raises:
        InputError: The network returned something else than logits or an `Output`.
    """
    with forward_context(precision, clips.device):
        output = as_output(network(clips), len(clips), classes)
    return _in_full_precision(output)  # a network may compute in a reduced precision by itself


def _in_full_precision(output: Output) -> Output:
    residual = output.context_residual
    return output._replace(
        logits=_float32(output.logits), context_residual=None if residual is None else _float32(residual)
    )


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in REDUCED else tensor
