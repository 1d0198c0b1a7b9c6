"""What a worker sets before it computes, so that the same run gives the same numbers."""

from __future__ import annotations

import os

import torch

from study.errors import StudyError
from study.records import RunSpec


def prepare(spec: RunSpec) -> torch.device:
    """Set this process up for `spec` and return the device to compute on.

    Threads, TF32 and deterministic algorithms are settings of the whole process; called by jobs, in the
    process that a job has to itself. Where an operator has no deterministic form, torch warns.

    Raises:
        StudyError: The run asks for a GPU and this process sees none.
    """
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise StudyError(
            'The run asks for device "cuda", but torch sees no GPU here. '
            'Set device = "cpu" in study.toml, or install a CUDA build of torch and its driver.'
        )
    torch.set_num_threads(spec.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # a debugging aid that fills every new tensor, and costs time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = spec.tf32
    torch.backends.cuda.matmul.allow_tf32 = spec.tf32
    return torch.device(spec.device)
