"""Process-wide random generators, seeded for one block of code: ``random``, NumPy's legacy one and torch's."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NUMPY_SEEDS = 2**32
"""Seeds that the legacy global generator of NumPy accepts."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every process-wide generator inside the block, and restore its state afterwards.

    Components that draw from ``random``, ``numpy.random`` or torch's default generators thus draw the same numbers in
    every process, and shift no other source of chance. torch is seeded where it is imported, its generator on the
    current GPU too, even if CUDA is first used inside the block.
    """
    import numpy as np

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_initialized()
    if torch is not None:
        state = torch.get_rng_state()
        gpu_state = torch.cuda.get_rng_state() if on_gpu else None
        torch.default_generator.manual_seed(seed)
        if torch.backends.cuda.is_built():
            torch.cuda.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % NUMPY_SEEDS)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if torch is not None:
            torch.set_rng_state(state)
            if on_gpu:
                torch.cuda.set_rng_state(gpu_state)
