"""Programs of the user: each in a session of its own, which ends with the process that started it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from study.errors import InputError, nearest
from study.tasks.own.training import LAST_LINES, ProgramError

POLL_S = 0.1
GRACE_S = 4.0
"""Between the request to end and the kill: less than an executor gives a worker."""
_GUARD = """
import os, signal, sys, time
group = sys.stdin.buffer.readline()
if not group or sys.stdin.buffer.read():
    sys.exit()
for number, patience in ((signal.SIGTERM, float(sys.argv[1])), (signal.SIGKILL, 0.0)):
    end = time.monotonic() + patience
    try:
        os.killpg(int(group), number)
        while time.monotonic() < end:
            os.killpg(int(group), 0)
            time.sleep(0.05)
    except OSError:
        sys.exit()
"""
"""Waits for the end of its input: kills the group that the first line names, unless there is a second one."""


class _Terminated(BaseException):
    """SIGTERM came while a program was running."""


class _Sigterm:
    """Turns SIGTERM into an exception, but only while that is safe."""

    def __init__(self) -> None:
        self.came, self._held = False, True

    def admit(self) -> None:
        """Raise from now on, at once where the signal came before."""
        self._held = False
        if self.came:
            raise _Terminated

    def hold(self) -> None:
        """Take note of the signal, and go on."""
        self._held = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Answer the signal."""
        self.came = True
        if not self._held:
            self.hold()
            raise _Terminated


@contextlib.contextmanager
def program(
    arguments: Sequence[str], folder: Path, env: Mapping[str, str], output: int | IO[bytes], key: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program and end all processes of its session when the block is left, however this process ends.

    Args:
        arguments: What to run, without a shell.
        folder: Where it runs.
        env: Its whole environment.
        output: Takes what it writes to standard output and standard error.
        key: The key that names the program, for messages.

    Raises:
        ProgramError: It could not be started.
    """
    path = find(arguments[0], env, folder, key)
    with _guard() as guard, _ended_by_sigterm() as sigterm:
        try:
            process = subprocess.Popen(
                [path, *arguments[1:]],
                cwd=folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramError(f"{key}: could not be started: {arguments[0]!r}: {error.strerror}") from None
        guard.write(f"{process.pid}\n".encode())
        guard.flush()
        try:
            sigterm.admit()
            yield process
        finally:
            sigterm.hold()
            end_group(process)


def find(name: str, env: Mapping[str, str], folder: Path, key: str) -> str:
    """Return the path of a program; names are looked for beside the running Python first.

    Raises:
        InputError: There is no such program.
    """
    if os.sep in name:
        found = str(folder / name) if os.access(folder / name, os.X_OK) else None
    else:
        found = shutil.which(name, path=search_path(env))
    if found is None:
        known = {
            entry for place in search_path(env).split(os.pathsep) for entry in _names(Path(place or "."))
        }
        what = "is not there, or may not be executed" if os.sep in name else "not found"
        raise InputError(f"{key}: could not be started: {name!r} {what}.{nearest(name, sorted(known))}")
    return found


def search_path(env: Mapping[str, str]) -> str:
    """Return PATH with the folder of the running Python first, so that ``python`` is this one."""
    return os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder)]
    except OSError:
        return []


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a program and whatever it has left running in its session, kindly first."""
    if process.poll() is None:
        _signal(process.pid, signal.SIGTERM)
        end = time.monotonic() + GRACE_S
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses a group of zombies
        os.killpg(group, number)


@contextlib.contextmanager
def _guard() -> Iterator[IO[bytes]]:
    """Yield the input of a process that waits for this one to end, and then ends the group that it was given."""
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARD, str(GRACE_S)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert guard.stdin is not None
    try:
        yield guard.stdin
    finally:
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.write(b"\ndone\n")
            guard.stdin.close()
        guard.wait()


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[_Sigterm]:
    """Turn SIGTERM into an exception inside the block and end the process after it, where no handler is installed."""
    sigterm = _Sigterm()
    is_free = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if threading.current_thread() is not threading.main_thread() or not is_free:
        yield sigterm
        return
    signal.signal(signal.SIGTERM, sigterm)
    try:
        yield sigterm
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if sigterm.came:
            os.kill(os.getpid(), signal.SIGTERM)


def check_end(code: int, output: str, what: str = "the command") -> None:
    """Raise ProgramError, with the program's last output, unless it ended well."""
    if code == 0:
        return
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", which is what running out of memory looks like" if name == "SIGKILL" else ""
        raise ProgramError(f"{what} was killed by {name}{hint}", output)
    raise ProgramError(f"{what} exited with code {code}", output)


def run_once(arguments: Sequence[str], key: str, folder: Path, env: Mapping[str, str]) -> None:
    """Run a program to its end, what it writes shown as it comes.

    Raises:
        ProgramError: It did not end well; the detail is its last output.
    """
    whole = {**os.environ, **env}
    whole["PATH"] = search_path(whole)
    written = b""
    with tempfile.TemporaryFile() as output:
        with program(arguments, folder, whole, output, key) as process:
            is_over = False
            while not is_over:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
                is_over = process.poll() is not None
                while text := os.pread(output.fileno(), 1 << 16, len(written)):
                    written += text
                    sys.stderr.write(text.decode(errors="replace"))
                    sys.stderr.flush()
        last = written.decode(errors="replace").splitlines()[-LAST_LINES:]
    check_end(process.returncode, "\n".join(last), key)
