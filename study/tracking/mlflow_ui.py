"""Serve MLflow's pages of this machine's studies."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from study.errors import InputError
from study.tracking.mlflow import OFF
from study.tracking.mlflow_store import database_of

SERVER_STOP_SECONDS = 10.0


def serve(uri: str, artifacts: Path, host: str = "127.0.0.1", port: int = 5000) -> int:
    """Serve MLflow's pages until Ctrl-C, on loopback by default; return the server's exit code.

    Raises:
        InputError: Mirroring is off, nothing has been mirrored yet, or the port is taken.
    """
    if uri == OFF:
        raise InputError("mlflow is 'off' in study.toml: there are no pages to show.")
    if (file := database_of(uri)) and not file.exists():
        raise InputError(f"{file}: nothing has been mirrored into MLflow yet; run a study first.")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = f"port {port} on {host} cannot be used ({error.strerror}); name another one."
            raise InputError(reason) from None
    if not _is_loopback(host):
        print(
            f"Warning: MLflow has no login: anyone who reaches port {port} of this machine can read, change and delete "
            "what is mirrored. Without --host, only this machine can.",
            file=sys.stderr,
        )
    # without the last part of the address the pages open on language models, whatever the experiment's kind
    address = f"[{host}]" if ":" in host else host
    print(
        f"In about ten seconds: http://{address}:{port}/#/experiments?workflowType=machine_learning\n"
        "Ctrl-C ends it.",
        flush=True,
    )
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--artifacts-destination", str(artifacts.absolute()), "--host", host, "--port", str(port)]
    command += ["--uvicorn-opts", "--log-level warning"]
    quiet = {
        "MLFLOW_BACKEND_STORE_URI": uri,  # in a command line, every user of the machine could read its password
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    # in a session of its own, since Ctrl-C would otherwise reach each of the server's processes, which print tracebacks
    server = subprocess.Popen(command, env={**os.environ, **quiet}, start_new_session=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            server.wait(timeout=SERVER_STOP_SECONDS)
        server.kill()


def _is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
