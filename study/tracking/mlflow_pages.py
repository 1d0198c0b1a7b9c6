"""The server of `study ui`: MLflow's pages, opened on model training and on each study's table of results."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.hashing import digest
from study.tracking.mlflow_view import VIEW, state_of

if TYPE_CHECKING:
    from fastapi import FastAPI

BACKEND, ARTIFACTS = "MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION"
"""Environment variables with the store and the folder of artifacts: a command line would show the store's password."""
SCRIPT = """
try {
  localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
  localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
  for (const [id, [version, state]] of Object.entries(VIEWS)) {
    if (localStorage.getItem(`study-view-${id}`) === version) continue;
    const key = `MLflowLocalStorage-1.1-ExperimentPage-["${id}"]-ReactComponentState`;
    localStorage.setItem(key, JSON.stringify(state));
    localStorage.setItem(`study-view-${id}`, version);
  }
} catch (error) { console.warn(error); }
"""
"""What the start page sets in the browser before MLflow's own scripts run.

Without it, a click on an experiment opens the pages for language models, and the table of runs lacks scores. A study's
table is set once for each change of its columns, so that the user's own changes stay.
"""


def views(uri: str) -> dict[str, tuple[str, Any]]:
    """Return the version and the state of the table of results of every study in a store, by experiment id."""
    from mlflow import MlflowClient

    found = {}
    for experiment in MlflowClient(tracking_uri=uri).search_experiments(max_results=1000):
        if state := state_of(experiment.tags.get(VIEW, "")):
            found[experiment.experiment_id] = (
                digest([experiment.name, experiment.creation_time, state]),
                state,
            )
    return found


def start_page(page: str, views: dict[str, tuple[str, Any]]) -> str:
    """Return MLflow's start page with `SCRIPT` before its own scripts."""
    data = json.dumps(views).replace("</", "<\\/")
    return page.replace("<head>", f"<head><script>const VIEWS = {data};{SCRIPT}</script>", 1)


def application() -> FastAPI:
    """Return MLflow's server with this start page."""
    from flask import Response, request
    from mlflow.server import app as pages
    from mlflow.server.fastapi_app import app

    uri = os.environ[BACKEND]
    source = Path(str(pages.static_folder), "index.html").read_text(encoding="utf-8")

    @pages.before_request
    def start() -> Response | None:
        if request.path != "/":
            return None
        headers = {"Cache-Control": "no-store"}
        return Response(start_page(source, views(uri)), mimetype="text/html", headers=headers)

    served: FastAPI = app
    return served


def main(host: str, port: str) -> None:
    """Serve the store and the artifacts that the environment names."""
    import uvicorn
    from mlflow.server import constants

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = os.environ[BACKEND]
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = os.environ[ARTIFACTS]
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    uvicorn.run(application(), host=host, port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
