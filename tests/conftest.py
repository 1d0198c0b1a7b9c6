from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

# a time limit would test the load of the machine
hypothesis.settings.register_profile("study", deadline=None)
hypothesis.settings.load_profile("study")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest runs one process per core; read when torch is imported

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in a job in the background, and in all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)

import torch  # noqa: E402

if not torch.cuda.is_available():
    os.environ.setdefault(
        "TRITON_INTERPRET", "1"
    )  # kernels for GPUs run on the CPU; read when triton is imported


@pytest.fixture(scope="session", autouse=True)
def no_downloads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prevent downloads of published weights: torch gets an empty folder and a proxy that does not exist."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch_home")))
        patch.setenv("https_proxy", "http://127.0.0.1:9")
        yield


@pytest.fixture(autouse=True)
def log_settings() -> Iterator[None]:
    """A command that a test calls in this process sets up the log of ``study``; the next test finds it as it was."""
    log = logging.getLogger("study")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)
