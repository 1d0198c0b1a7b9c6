"""Process-wide settings that make a run deterministic, and a record of operators that are not."""

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
from study.tasks.clips.training.settings import TrainSettings

_log = logging.getLogger(__name__)

NO_DETERMINISTIC_FORM = re.compile(
    r"(?P<operator>.+?) (?:does not have a deterministic implementation|defaults to a non-deterministic algorithm)"
    r"|.*this operation is not deterministic because it uses (?P<library>CuBLAS)",
    re.DOTALL,
)
"""Torch's warnings and errors about operators without a deterministic form."""


def set_up(spec: RunSpec) -> torch.device:
    """Apply the process-wide settings of a run and return its device.

    Threads, TF32 and deterministic algorithms are settings of the whole process; every job sets them at its start.

    Raises:
        StudyError: The run needs a GPU and torch finds none.
    """
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise StudyError(
            'The run needs device "cuda", but torch sees no GPU. '
            'Set device = "cpu" in study.toml, or install a CUDA build of torch and its driver.'
        )
    settings = TrainSettings.of(spec)
    torch.set_num_threads(spec.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(
        settings.determinism != "off", warn_only=settings.determinism == "warn"
    )
    # a debugging aid that fills every new tensor, and costs time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # in evaluation, torch replaces encoder layers by others, whose GELU on a GPU is not the one that was trained
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.cudnn.deterministic = settings.determinism != "off"
    set_precision(settings.precision, spec.device)
    return torch.device(spec.device)


@contextmanager
def nondeterministic_operators(spec: RunSpec) -> Iterator[dict[str, None]]:
    """Collect, in order, the operators without a deterministic form that torch warns about; log each once.

    Raises:
        StudyError: torch refused an operator because of ``train.determinism = "strict"``.
    """
    operators: dict[str, None] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=NO_DETERMINISTIC_FORM.pattern)
        show = warnings.showwarning

        def collect(message: Warning | str, *args: object, **kwargs: object) -> None:
            if (operator := _operator(str(message))) is None:
                show(message, *args, **kwargs)  # type: ignore[arg-type]
            elif operator not in operators:
                operators[operator] = None
                _log.warning(
                    "%s has no deterministic form: the numbers may differ a little each time", operator
                )

        warnings.showwarning = collect
        try:
            yield operators
        except RuntimeError as error:
            if (operator := _operator(str(error))) is None:
                raise
            raise StudyError(
                f'{operator} has no deterministic form on this device, and train.determinism = "strict" forbids '
                'it. Use a component without it, or set train.determinism = "warn": the run is then trained, and its '
                "report names the operator."
            ) from error


def _operator(text: str) -> str | None:
    """Return the operator that a message of torch names, None if it is about something else."""
    match = NO_DETERMINISTIC_FORM.match(text)
    return None if match is None else match["operator"] or match["library"]
