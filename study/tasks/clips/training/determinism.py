"""What a worker sets before it computes, so that the same run gives the same numbers."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from study.errors import StudyError
from study.records import RunSpec
from study.tasks.clips.training.precision import set_precision

_log = logging.getLogger(__name__)

NO_DETERMINISTIC_FORM = re.compile(
    r"(?P<operator>.+?) (?:does not have a deterministic implementation|defaults to a non-deterministic algorithm)"
    r"|.*this operation is not deterministic because it uses (?P<library>CuBLAS)",
    re.DOTALL,
)
"""What torch says of an operator, in its warnings and in its errors."""


def set_up(spec: RunSpec) -> torch.device:
    """Set this process up for `spec` and return the device to compute on.

    Threads, TF32 and deterministic algorithms are settings of the whole process; jobs call it in a process
    of their own. ``train.determinism`` says what happens where an operator has no
    deterministic form: ``strict`` makes it an error and ``warn`` a warning; ``off`` asks for none at all.

    Raises:
        StudyError: The run asks for a GPU and this process sees none.
    """
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise StudyError(
            'The run asks for device "cuda", but torch sees no GPU here. '
            'Set device = "cpu" in study.toml, or install a CUDA build of torch and its driver.'
        )
    asked = spec.config["train"].get("determinism", "warn")
    torch.set_num_threads(spec.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(asked != "off", warn_only=asked == "warn")
    # a debugging aid that fills every new tensor, and costs time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = asked != "off"
    set_precision(spec.config["train"].get("precision", "fp32"), spec.device)
    return torch.device(spec.device)


@contextmanager
def watched(spec: RunSpec) -> Iterator[dict[str, None]]:
    """Collect, in order, the operators without a deterministic form that torch warns of; each is logged once.

    Raises:
        StudyError: torch refused one, as ``train.determinism = "strict"`` asks.
    """
    found: dict[str, None] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=NO_DETERMINISTIC_FORM.pattern)
        tell = warnings.showwarning

        def collect(message: Warning | str, *where: object, **more: object) -> None:
            if (operator := _operator(str(message))) is None:
                tell(message, *where, **more)  # type: ignore[arg-type]
            elif operator not in found:
                found[operator] = None
                _log.warning(
                    "%s has no deterministic form: the numbers may differ a little each time", operator
                )

        warnings.showwarning = collect
        try:
            yield found
        except RuntimeError as error:
            if (operator := _operator(str(error))) is None:
                raise
            raise StudyError(
                f'{operator} has no deterministic form on this device, and train.determinism = "strict" allows no '
                'other. Take a component that does without it, or set train.determinism = "warn": the run is then '
                "trained, and its report names the operator."
            ) from error


def _operator(text: str) -> str | None:
    """Return the operator that torch's message is about, None where it is about something else."""
    found = NO_DETERMINISTIC_FORM.match(text)
    return None if found is None else found["operator"] or found["library"]
