"""The pages of a study that was run: `study ui` in a browser, `study report`, and a tracking server with a token."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.browser import BROWSER
from support.mirror_store import study_record

from study.engine.events import StudyStarted
from study.errors import StudyError
from study.tracking import mlflow as tracking
from study.tracking.mlflow import MlflowMirror
from study.tracking.mlflow_database import prepare_database
from study.tracking.mlflow_view import VIEW, state_of

try:
    from playwright.sync_api import Page, sync_playwright
except ImportError:
    HAS_PLAYWRIGHT = False
else:
    HAS_PLAYWRIGHT = True

TOKEN = "t0ken"
STUDY = """
title = "Width"
question = "Is two wider?"
repetitions = 4
base = { width = 1, rate = 0.5 }
factors.width = [{ value = 1, label = "narrow" }, { value = 2, label = "wide" }]
design = { kind = "one-factor", reference = { width = "narrow" } }
task = { function = "toy:train", metric = "acc", data_version = "3", version = 1 }
search = { trials = 2, space = { rate = { low = 0.1, high = 0.9 } } }
"""
TOY = """
import random

def train(config, run):
    noise = random.Random(run.seed + config["width"]).random() / 100
    for epoch in (1, 2):
        run.report(epoch, acc=0.5 + config["width"] / 10 + noise + config["rate"] / 1000)
    run.test(acc=0.5 + config["width"] / 10 + noise)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Project:
    """A project with one study, which was run."""

    folder: Path

    def study(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "study", *words],
            cwd=self.folder,
            env={**environment(), **variables},
            capture_output=True,
            text=True,
        )

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/.study/mlflow/mlflow.db"

    def pages(self, uri: str = "") -> dict[str, dict[str, Any]]:
        """Parameters, tags, metrics, data sets and files of every run, by its name."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri or self.uri)
        experiment = client.get_experiment_by_name("width")
        return {
            run.info.run_name: {
                "parameters": run.data.params,
                "metrics": {key: value for key, value in run.data.metrics.items() if "seconds" not in key},
                "verdict": run.data.tags.get("verdict"),
                "data": [each.dataset.digest for each in run.inputs.dataset_inputs],
                "files": sorted(
                    file.path
                    for folder in ("", "figures")
                    for file in client.list_artifacts(run.info.run_id, folder)
                    if not file.is_dir and (folder or not file.path.startswith("report"))
                ),
            }
            for run in client.search_runs([experiment.experiment_id], max_results=1000)
        }


def environment() -> dict[str, str]:
    tests = Path(__file__).parents[1]
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(tests.parent), str(tests)))}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("width")
    (folder / "study.toml").write_text('device = "cpu"\nworkers = 1\n')
    (folder / "width.toml").write_text(STUDY)
    (folder / "toy.py").write_text(TOY)
    project = Project(folder)
    ended = project.study("run", "width.toml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return project


def test_a_study_that_was_run_can_be_compared(project: Project) -> None:
    pages = project.pages()
    assert {"narrow", "wide", "report", "wide · repetition 1", "wide · repetition 4"} <= set(pages)
    variant, training = pages["wide"], pages["wide · repetition 1"]
    assert variant["parameters"] == {"width": "wide"}
    assert training["parameters"]["width"] == "wide"
    assert 0.1 <= float(training["parameters"]["rate"]) <= 0.9
    means = [pages[f"wide · repetition {number}"]["metrics"]["test/acc"] for number in (1, 2, 3, 4)]
    assert variant["metrics"]["test/acc"] == pytest.approx(sum(means) / 4, abs=0.01)
    assert 70 < training["metrics"]["test/acc"] < 71, "per cent, as in the report"
    assert 70 < training["metrics"]["validation/acc"] < 72
    assert variant["metrics"]["difference/acc"] == pytest.approx(10.0, abs=1.0)
    assert (pages["narrow"]["verdict"], variant["verdict"]) == ("reference", "helps")
    assert len(training["data"]) == 1
    assert training["data"] == variant["data"] == pages["narrow"]["data"]
    assert "figures/repetitions.png" in variant["files"]


def test_the_pages_are_the_same_by_run_sync_and_report(project: Project) -> None:
    from mlflow import MlflowClient

    live = project.pages()
    client = MlflowClient(tracking_uri=project.uri)
    experiment = client.get_experiment_by_name("width").experiment_id
    for run in client.search_runs([experiment]):
        if "verdict" in run.data.tags:
            client.delete_tag(run.info.run_id, "verdict")
    assert project.study("report", "width.toml").returncode == 0
    assert project.pages() == live
    for run in client.search_runs([experiment]):
        client.delete_run(run.info.run_id)
    assert project.study("sync", "width").returncode == 0
    assert project.pages() == live


def answers(address: str) -> bool:
    """Return whether a server answers."""
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def served(command: list[str], folder: Path, port: int, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run a server until the end of the block; it is up inside."""
    log = folder / f"{port}.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env={**environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **variables},
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            deadline = time.monotonic() + 120
            while not answers(f"http://127.0.0.1:{port}/health"):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield server
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="module")
def ui(project: Project) -> Iterator[tuple[str, Path]]:
    """The address of `study ui`, and the file with what it printed."""
    port = free_port()
    command = ["study", "ui", "--port", str(port), "--browser"]
    with served(command, project.folder, port, BROWSER="echo opened %s"):
        yield f"http://127.0.0.1:{port}", project.folder / f"{port}.log"


def test_ui_prints_and_opens_the_runs_of_each_study(ui: tuple[str, Path]) -> None:
    base, log = ui
    page = f"{base}/#/experiments/1/runs?workflowType=machine_learning"
    deadline = time.monotonic() + 60
    while "Ctrl-C" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.2)
    lines = log.read_text().splitlines()
    assert f"width  {page}" in lines
    assert f"opened {page}" in lines


@pytest.mark.skipif(
    BROWSER is None or not HAS_PLAYWRIGHT,
    reason="needs a Chromium browser, and playwright: pip install 'ablation-study[browser]'",
)
@pytest.mark.parametrize("width", [1280, 1600])
def test_clicks_lead_from_the_list_to_the_comparison_of_two_variants(
    ui: tuple[str, Path], width: int
) -> None:
    base, _ = ui
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(60_000)
        page.goto(f"{base}/#/experiments")
        page.get_by_role("link", name="width", exact=True).first.click()
        page.get_by_role("link", name="wide", exact=True).wait_for()
        assert "/runs?workflowType=machine_learning" in page.url
        assert page.get_by_text("Traces 0").count() == 0
        columns = ("test/acc", "difference/acc", "verdict", "width")
        assert [shown(page, name, width) for name in columns] == [True] * 4
        for name in ("narrow", "wide"):
            row = page.locator(".ag-row").filter(has=page.get_by_role("link", name=name, exact=True)).first
            index = row.get_attribute("row-index")
            page.locator(f'.ag-row[row-index="{index}"] input[type=checkbox]').first.check()
        page.get_by_role("button", name="Compare").click()
        page.get_by_role("tab", name="Parallel Coordinates Plot").click()
        page.locator(".js-plotly-plot .parcoords").first.wait_for(state="attached")
        axes = page.evaluate(
            "document.querySelector('.js-plotly-plot').data[0].dimensions.map(axis => axis.label)"
        )
        assert axes == ["width", "test/acc"]
        browser.close()


def shown(page: Page, column: str, width: int) -> bool:
    """Return whether a column's heading lies whole within the window."""
    box = page.locator(".ag-header-cell").filter(has_text=column).first.bounding_box()
    return box is not None and box["x"] + box["width"] <= width


def test_a_server_that_wants_a_token_has_it_and_gets_the_figures_too(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    stores = {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{project.folder}/server.db",
        "ARTIFACTS": str(project.folder / "server"),
    }
    settings = project.folder / "study.toml"
    before = settings.read_text()
    live = project.pages()
    prepare_database(project.folder / "server.db")  # a server that creates it answers late
    with served(["support.token_server", str(port), TOKEN], project.folder, port, **stores):
        try:
            settings.write_text(f'{before}mlflow = "{uri}"\n')
            refused = project.study("sync", "width")
            assert refused.returncode == 1
            assert "Traceback" not in refused.stderr
            done = project.study("sync", "width", MLFLOW_TRACKING_TOKEN=TOKEN)
            assert done.returncode == 0, done.stderr
            listed = project.study("ui", "width", "--no-browser", MLFLOW_TRACKING_TOKEN=TOKEN)
        finally:
            settings.write_text(before)
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
        assert project.pages(uri) == live
        address = f"{uri}/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=results"
        assert listed.stdout.splitlines() == [f"width  {address}"], "the server serves its own pages"
        assert not list(project.folder.glob("mlflow-artifacts*"))


def test_leaving_does_not_wait_for_a_server_that_no_longer_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import threading

    never = threading.Event()

    class Stuck:
        def __init__(self, *_: object) -> None:
            never.wait()

    def dead(uri: str) -> None:
        raise StudyError("no answer")

    monkeypatch.setattr(tracking, "ExperimentStore", Stuck)
    monkeypatch.setattr(tracking, "require_answer", dead)
    with MlflowMirror("http://127.0.0.1:9", tmp_path, study_record(), drain_seconds=3600) as tracker:
        tracker(StudyStarted(study_record(), 0, 0))
    never.set()
    assert [record.getMessage().startswith("1 of 1 events") for record in caplog.records] == [True]


def test_the_table_of_results_is_a_saved_view_of_the_experiment(project: Project) -> None:
    from mlflow import MlflowClient

    tags = MlflowClient(tracking_uri=project.uri).get_experiment_by_name("width").tags
    state = state_of(tags[VIEW])
    assert state["selectedColumns"][:4] == [
        "metrics.`test/acc`",
        "metrics.`difference/acc`",
        "tags.`verdict`",
        "params.`width`",
    ]
    assert state_of("not JSON") == state_of('{"state": "[]"}') == {}
