"""Find out within seconds whether a tracking server or a database server answers."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from study.environment import environment
from study.errors import StudyError

ANSWER_S = 6.0
"""A server that answers nothing for so long counts as dead."""
_ONE_ATTEMPT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}
"""MLflow's own settings make it wait for minutes."""


def is_server(uri: str) -> bool:
    """Return whether an MLflow store is a tracking server, which speaks HTTP."""
    return urlsplit(uri).scheme in ("http", "https")


def require_answer(uri: str, limit_s: float = ANSWER_S) -> None:
    """Raise StudyError unless the server of an MLflow store answers within some seconds; other stores always do.

    Imports mlflow for a server that speaks HTTP, which takes as long as it takes.
    """
    parts = urlsplit(uri)
    if not parts.hostname:  # a file
        return
    is_http = is_server(uri)
    if is_http:
        import mlflow  # noqa: F401  # its import is no waiting for the server
    problem: list[BaseException] = []

    def ask() -> None:
        try:
            _ask_http(uri) if is_http else _ask_database(uri)
        except Exception as error:
            problem.append(error)

    thread = threading.Thread(target=ask, name="asking the server", daemon=True)
    with environment(_ONE_ATTEMPT if is_http else {}):
        thread.start()
        thread.join(limit_s)
    if thread.is_alive():
        raise StudyError(f"{_place(uri)} does not answer within {limit_s:g} s")
    if problem and isinstance(problem[0], ImportError):
        raise StudyError(f"{_place(uri)} needs a driver that is not installed: {problem[0]}") from problem[0]
    if problem:
        raise StudyError(f"{_place(uri)} does not answer: {_reason(problem[0])}") from problem[0]


def _ask_http(uri: str) -> None:
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=uri).search_experiments(max_results=1)


def _ask_database(uri: str) -> None:
    from sqlalchemy import create_engine

    engine = create_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _place(uri: str) -> str:
    """Return the server of a URI, and the proxy through which it is reached."""
    parts = urlsplit(uri)
    host = str(parts.hostname)
    proxy = getproxies().get(parts.scheme)
    through = f" (through the proxy {urlsplit(proxy).netloc})" if proxy and not proxy_bypass(host) else ""
    return f"the server {host}{f':{parts.port}' if parts.port else ''}{through}"


def _reason(error: BaseException) -> str:
    """Return the innermost cause of an error in one line."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return (str(error).splitlines() or [repr(error)])[0]
