"""The process of a worker: it takes call after call from the executor, as long as each leaves it as it was."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from study.executors.base import Call, Ending, detail_of, ending_of, reason_of
from study.executors.state import ProcessState


@dataclass(frozen=True)
class Ended:
    """How a call ended, as its process reports it."""

    ending: Ending = Ending.RETURNED
    reason: str = ""
    detail: str = ""
    is_clean: bool = False
    """Whether the process is as it was before the call, and waits for another one."""


def serve(env: Mapping[str, str], cores: Sequence[int], pipe: Connection) -> None:
    """Run the calls that arrive in `pipe`, in a new process, which ends when the conductor's process does."""
    end_with_parent()
    # the conductor handles Ctrl-C; programs that the worker starts inherit SIG_IGN, but no handler
    signal.signal(signal.SIGINT, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.environ.update(env)
    gc.freeze()  # what the server imported is never garbage, and collecting would copy its memory
    state = ProcessState()
    while True:
        try:
            call, log = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        _run(call, log, pipe, state)


def _run(call: Call, log: Path, pipe: Connection, state: ProcessState) -> None:
    """Run one call and report its end; end the process unless it is as it was before."""
    try:
        opened = log.open("w", buffering=1, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        _report(error, pipe)
        os._exit(1)
    with opened as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        logging.basicConfig(stream=file, format="%(asctime)s %(levelname)s: %(message)s", force=True)
        logging.getLogger("study").setLevel(logging.INFO)
        module, _, function = call.target.partition(":")
        try:
            job = getattr(importlib.import_module(module), function)
            job(call.run, call.folder, pipe.send, *call.arguments)
        except BrokenPipeError:
            os._exit(1)  # the conductor has ended
        except BaseException as error:
            _report(error, pipe)  # first: on a full disk the log cannot be written
            with contextlib.suppress(OSError):
                print(detail_of(error), file=file, flush=True)
            os._exit(1)
        is_clean = _restore(state)
        with contextlib.suppress(BrokenPipeError):
            pipe.send(Ended(is_clean=is_clean))
        if not is_clean:
            for child in multiprocessing.active_children():
                child.terminate()
            with contextlib.suppress(OSError):
                file.flush()
            os._exit(0)  # threads and processes that the job started must not keep the study waiting


def _report(error: BaseException, pipe: Connection) -> None:
    """Report an error as the end of the call."""
    with contextlib.suppress(BrokenPipeError):
        pipe.send(Ended(ending_of(error), reason_of(error), detail_of(error)))


def _restore(state: ProcessState) -> bool:
    """Return whether the process is as it was before the call."""
    log = logging.getLogger(__name__)
    try:
        leftovers = state.restore()
    except Exception:  # the call has ended well, whatever became of its process
        log.info("the process takes no other call", exc_info=True)
        return False
    if leftovers:
        log.info("the process takes no other call, because of left %s", ", ".join(leftovers))
    return not leftovers


def end_with_parent() -> None:
    """Let this process end at once when the one that started it does: another conductor may take its work over."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    conductor = multiprocessing.parent_process()
    if conductor is not None:
        conductor.join()
        os._exit(1)
