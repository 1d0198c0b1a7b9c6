"""What is said where memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from study.errors import StudyError

NO_MEMORY = "can't allocate memory"
"""In what torch says of the machine's own memory, for which it has no class of errors."""


@contextmanager
def in_memory(doing: str) -> Iterator[None]:
    """Say what asked for more memory than there is; `doing` names it and its batch size.

    Raises:
        StudyError: The GPU's memory, or the machine's, ran out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        if not on_gpu and not isinstance(error, MemoryError) and NO_MEMORY not in str(error):
            raise
        whose, where = ("The GPU", "on the GPU") if on_gpu else ("This machine", "at a time")
        raise StudyError(
            f"{whose} ran out of memory {doing}. Set a smaller train.batch_size (it makes other runs), smaller "
            f"clips or a smaller network, or let fewer workers run {where} (workers in study.toml). "
            f"It was told: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
