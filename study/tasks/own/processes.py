"""Run programs of the user, each in its own session, which is killed when the process that started it ends."""

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

from study.errors import unknown_name
from study.tasks.own.training import LAST_LINES, ProgramError

POLL_S = 0.1
GRACE_S = 4.0
"""Seconds between SIGTERM and SIGKILL; fewer than an executor grants a worker."""
_GUARD = """
import os, signal, sys, time
group = sys.stdin.buffer.readline()
if not group or sys.stdin.buffer.read():
    sys.exit()
for number, grace_s in ((signal.SIGTERM, float(sys.argv[1])), (signal.SIGKILL, 0.0)):
    end = time.monotonic() + grace_s
    try:
        os.killpg(int(group), number)
        while time.monotonic() < end:
            os.killpg(int(group), 0)
            time.sleep(0.05)
    except OSError:
        sys.exit()
"""
"""Waits for the end of its input, then kills the process group in the first line, unless there is a second line."""


class _Terminated(BaseException):
    """Raised on SIGTERM while a program is running."""


class _Sigterm:
    """A handler of SIGTERM that raises an exception, but only while that is enabled."""

    def __init__(self) -> None:
        self.received, self._raises = False, False

    def enable(self) -> None:
        """Raise the exception on the signal from now on, and at once if it was received before."""
        self._raises = True
        if self.received:
            raise _Terminated

    def disable(self) -> None:
        """Only record the signal from now on."""
        self._raises = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        self.received = True
        if self._raises:
            self.disable()
            raise _Terminated


@contextlib.contextmanager
def program(
    arguments: Sequence[str], folder: Path, env: Mapping[str, str], output: int | IO[bytes], key: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program; all processes of its session are killed at the end of the block, or of this process.

    Args:
        arguments: The program and its arguments; no shell is involved.
        folder: The working folder.
        env: The whole environment.
        output: The file of its standard output and standard error.
        key: The key that names the program, for messages.

    Raises:
        ProgramError: The program could not be started.
    """
    path = find_program(arguments[0], env, folder, key)
    with _guard() as guard, _terminable() as sigterm:
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
            sigterm.enable()
            yield process
        finally:
            sigterm.disable()
            terminate_group(process)


def find_program(name: str, env: Mapping[str, str], folder: Path, key: str) -> str:
    """Return the path of a program; the folder of the running Python is searched first.

    Raises:
        InputError: There is no such program.
    """
    if os.sep in name:
        found = str(folder / name) if os.access(folder / name, os.X_OK) else None
    else:
        found = shutil.which(name, path=search_path(env))
    if found is None:
        folders = search_path(env).split(os.pathsep)
        programs = {entry for path in folders for entry in _names(Path(path or "."))}
        problem = "does not exist, or is not executable" if os.sep in name else "not found"
        raise unknown_name(key, f"could not be started: {name!r} {problem}", name, sorted(programs), "")
    return found


def search_path(env: Mapping[str, str]) -> str:
    """Return PATH with the folder of the running Python first, so that ``python`` is this one."""
    return os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])


def _names(folder: Path) -> list[str]:
    """Return the names in a folder; none where it cannot be read."""
    try:
        return [entry.name for entry in os.scandir(folder)]
    except OSError:
        return []


def terminate_group(process: subprocess.Popen[bytes]) -> None:
    """Terminate a program, then kill all processes of its session."""
    if process.poll() is None:
        _signal(process.pid, signal.SIGTERM)
        end = time.monotonic() + GRACE_S
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(
        ProcessLookupError, PermissionError
    ):  # macOS: no permission for a group of zombies
        os.killpg(group, number)


@contextlib.contextmanager
def _guard() -> Iterator[IO[bytes]]:
    """Yield the input of a process that waits for this one to end, and then kills the process group in its input."""
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
def _terminable() -> Iterator[_Sigterm]:
    """Handle SIGTERM inside the block, and terminate this process after it; keep any handler that is installed."""
    sigterm = _Sigterm()
    is_default = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if threading.current_thread() is not threading.main_thread() or not is_default:
        yield sigterm
        return
    signal.signal(signal.SIGTERM, sigterm)
    try:
        yield sigterm
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if sigterm.received:
            os.kill(os.getpid(), signal.SIGTERM)


def check_exit_code(code: int, output: str, what: str = "the command") -> None:
    """Raise ProgramError, with the program's last output, unless its exit code is 0."""
    if code == 0:
        return
    if code < 0:
        number = signal.Signals(-code)
        hint = ", possibly because memory ran out" if number is signal.SIGKILL else ""
        raise ProgramError(f"{what} was killed by {number.name}{hint}", output)
    raise ProgramError(f"{what} exited with code {code}", output)


def run_once(arguments: Sequence[str], key: str, folder: Path, env: Mapping[str, str]) -> None:
    """Run a program to its end, and copy its output to standard error while it runs.

    Raises:
        ProgramError: The program failed; the detail is its last output.
    """
    variables = {**os.environ, **env}
    variables["PATH"] = search_path(variables)
    output = b""
    with tempfile.TemporaryFile() as file:
        with program(arguments, folder, variables, file, key) as process:
            has_ended = False
            while not has_ended:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
                has_ended = process.poll() is not None
                while text := os.pread(file.fileno(), 1 << 16, len(output)):
                    output += text
                    sys.stderr.write(text.decode(errors="replace"))
                    sys.stderr.flush()
        last = output.decode(errors="replace").splitlines()[-LAST_LINES:]
    check_exit_code(process.returncode, "\n".join(last), key)
