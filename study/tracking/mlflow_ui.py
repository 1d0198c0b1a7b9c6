"""Open the pages of mirrored studies: those of this machine's store, which it serves, or a tracking server's."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.errors import StudyError, conflict, missing_value, unavailable, unknown_name, without_passwords
from study.servers import is_server, require_answer
from study.tracking.mirror import first_line
from study.tracking.mlflow import OFF
from study.tracking.mlflow_database import database_of, is_there
from study.tracking.mlflow_pages import ARTIFACTS, BACKEND
from study.tracking.mlflow_view import VIEW, address, runs_address

SERVER_START_SECONDS, SERVER_STOP_SECONDS, POLL_SECONDS = 120.0, 10.0, 0.2
EXPERIMENTS = 1000
"""The most studies that are listed."""


@dataclass(frozen=True)
class Page:
    """The page of one study."""

    study: str
    address: str


def open_pages(
    uri: str,
    artifacts: Path,
    study: str = "",
    *,
    host: str = "127.0.0.1",
    port: int = 5000,
    browse: Callable[[str], object] = webbrowser.open,
) -> int:
    """Print the address of every study's page and browse that of `study`, or of the study mirrored last.

    The pages of a store on this machine are served until Ctrl-C; a tracking server serves its own.

    Args:
        uri: The MLflow store.
        artifacts: The folder of its artifacts.
        study: The study whose page is opened; empty for the one mirrored last.
        host: The address to listen on.
        port: The port to listen on.
        browse: Opens an address in a browser.

    Returns:
        The server's exit code; 0 for a tracking server.

    Raises:
        InputError: Mirroring is off, nothing has been mirrored yet, the study has no page, or the port is taken.
        StudyError: The tracking server does not answer.
    """
    if uri == OFF:
        raise conflict("mlflow", "is 'off' in study.toml: there are no pages to show.")
    if is_server(uri):
        _show(_pages_of_server(uri), study, browse)
        return 0
    if not is_there(uri):
        raise missing_value(
            f"{database_of(uri)}", "nothing has been mirrored into MLflow yet; run a study first."
        )
    _require_free(host, port)
    if not _is_loopback(host):
        print(
            f"Warning: MLflow has no login: anyone who reaches port {port} of this machine can read, change and delete "
            "what is mirrored. Without --host, only this machine can.",
            file=sys.stderr,
        )
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    print("Starting MLflow takes about ten seconds.", flush=True)
    server = _start(uri, artifacts, host, port)
    try:
        base = f"http://{_reached_at(host)}:{port}"
        if _wait_until_up(base, server):
            _show(_pages_of(base), study, browse)
            print(f"All studies: {base}/#/experiments\nCtrl-C ends it.", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            server.wait(timeout=SERVER_STOP_SECONDS)
        server.kill()


def _show(pages: Sequence[Page], study: str, browse: Callable[[str], object]) -> None:
    """Print the pages and open the study's, or the first one."""
    names = [page.study for page in pages]
    if study and study not in names:
        raise unknown_name(
            study, f"MLflow has no page of this study; `study sync {study}` makes it", study, names, ""
        )
    width = max(map(len, names), default=0)
    for page in pages:
        print(f"{page.study:<{width}}  {page.address}", flush=True)
    if pages:
        browse(pages[names.index(study) if study else 0].address)


def _pages_of_server(uri: str) -> list[Page]:
    """Return the studies' pages on a tracking server, the one that was mirrored last first."""
    require_answer(uri)
    from mlflow import MlflowClient

    try:
        found = MlflowClient(tracking_uri=uri).search_experiments(
            max_results=EXPERIMENTS, order_by=["last_update_time DESC"]
        )
    except Exception as error:
        raise StudyError(f"MLflow at {without_passwords(uri)}: {first_line(error)}.") from error
    return [Page(each.name, address(uri, each.experiment_id)) for each in found if VIEW in each.tags]


def _pages_of(base: str) -> list[Page]:
    """Return the studies' pages on a server of this machine, the one that was mirrored last first."""
    query = {"max_results": EXPERIMENTS, "order_by": ["last_update_time DESC"]}
    request = urllib.request.Request(
        f"{base}/api/2.0/mlflow/experiments/search",
        json.dumps(query).encode(),
        {"Content-Type": "application/json"},
    )
    with _opener().open(request) as answer:
        found = json.load(answer).get("experiments", [])
    return [
        Page(each["name"], runs_address(base, each["experiment_id"]))
        for each in found
        if any(tag["key"] == VIEW for tag in each.get("tags", []))
    ]


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens addresses of this machine: never through a proxy."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _require_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = f"port {port} on {host} cannot be used ({error.strerror}); name another one."
            raise unavailable("", reason) from None


def _start(uri: str, artifacts: Path, host: str, port: int) -> subprocess.Popen[bytes]:
    """Start the server in a session of its own: Ctrl-C would print its traceback."""
    command = [sys.executable, "-m", "study.tracking.mlflow_pages", host, str(port)]
    variables = {
        BACKEND: uri,
        ARTIFACTS: str(artifacts.absolute()),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }
    return subprocess.Popen(command, env={**os.environ, **variables}, start_new_session=True)


def _wait_until_up(base: str, server: subprocess.Popen[bytes]) -> bool:
    """Wait until the server answers; return False if it ended."""
    deadline = time.monotonic() + SERVER_START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), _opener().open(f"{base}/health", timeout=5):
            return True
        time.sleep(POLL_SECONDS)
    return False


def _reached_at(host: str) -> str:
    """Return the address at which this machine reaches a server that listens on `host`."""
    own = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{own}]" if ":" in own else own


def _is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
