"""Out-of-memory errors as messages with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from study.errors import StudyError

NO_MEMORY = "can't allocate memory"
"""Part of torch's message about host memory, which has no exception class of its own."""


@contextmanager
def explain_out_of_memory(doing: str) -> Iterator[None]:
    """Turn an out-of-memory error into a StudyError with a remedy; `doing` names the work and its batch size.

    Raises:
        StudyError: GPU or host memory ran out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        if not on_gpu and not isinstance(error, MemoryError) and NO_MEMORY not in str(error):
            raise
        owner, where = ("The GPU", "on the GPU") if on_gpu else ("This machine", "at a time")
        raise StudyError(
            f"{owner} ran out of memory {doing}. Set a smaller train.batch_size (it makes other runs), smaller "
            f"clips or a smaller network, or let fewer workers run {where} (workers in study.toml). "
            f"Error: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
