"""The command line: presets, plans, listings, exit codes and imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import study.api as study_api
from study.cli.app import app
from study.errors import InputError
from study.statistics.power import power

ROOT = Path(__file__).parents[2]
STUDY = """
title = "t"
question = "Does attention help?"
repetitions = 2
[task]
function = "mine:train"
metric = "acc"
data_version = "1"
[base]
attention = false
[design]
kind = "one-factor"
reference = { attention = false }
[factors]
attention = [false, { value = true, label = "+ attention" }]
[preset.more]
repetitions = 4
"""
TRAINING = """
def train(config, run):
    if config.get("broken") and config["attention"]:
        raise ValueError("out of luck")
    run.report(1, acc=0.5 + 0.1 * config["attention"] + (run.seed % 5) / 100)
    run.test(acc=0.5)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with a study of a Python function."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "study.toml").write_text('mlflow = "off"\nworkers = 1\n')
    (tmp_path / "mine.py").write_text(TRAINING)
    (tmp_path / "s.toml").write_text(STUDY)
    return tmp_path


def invoke(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def command(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return python("-m", "study", *words, folder=folder)


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, check=False, env=environment
    )


def test_plan_lists_variants_by_their_labels_and_trains_nothing(project: Path) -> None:
    output = invoke("plan", "s.toml")
    assert "attention=false" in output
    assert "+ attention" in output
    assert "4 new" in output
    assert not (project / ".study" / "ledger").exists()


def test_plan_shows_the_power_before_anything_is_trained(project: Path) -> None:
    assert "Power: not known" in invoke("plan", "s.toml")
    (row,) = [
        line.split()
        for line in invoke("plan", "s.toml", "--sd", "1.2").splitlines()
        if line.startswith("  5 ")
    ]
    expected = [power(effect, 5, 1.2, 0.5, 0.05) for effect in (0.5, 0.75, 1.0)]
    assert [float(share) for share in row[1:]] == pytest.approx(expected, abs=0.006)
    assert not (project / ".study" / "ledger").exists()


def test_plan_lists_the_designs_that_fit_a_budget(project: Path) -> None:
    output = invoke("plan", "s.toml", "--budget", "1cpu-h", "--seconds", "300", "--sd", "0.4")
    (row,) = [line.split() for line in output.splitlines() if line.startswith("            6 ")]
    assert row[:6] == ["6", "0", "1", "no", "12", "1"], "6 repetitions of 2 variants of 5 minutes"
    for words in (["--budget", "1cpu-h"], ["--budget", "much", "--seconds", "3"]):
        assert CliRunner().invoke(app, ["plan", "s.toml", *words]).exit_code != 0


def test_a_preset_changes_the_plan(project: Path) -> None:
    output = invoke("plan", "s.toml", "--preset", "more")
    assert "8 new" in output
    with pytest.raises(InputError, match=r"no preset 'mroe'\. Did you mean 'more'\?"):
        CliRunner().invoke(app, ["plan", "s.toml", "--preset", "mroe"], catch_exceptions=False)


def test_a_verbose_plan_lists_the_code_that_counts(project: Path) -> None:
    (project / "helper.py").write_text("GAIN = 1\n")
    (project / "mine.py").write_text("import helper\n" + TRAINING)
    quiet, verbose = invoke("plan", "s.toml"), invoke("plan", "s.toml", "--verbose")
    assert "helper" not in quiet
    counted = {line.split()[0] for line in verbose.split("Code that counts")[1].splitlines()[1:] if line}
    assert {"mine", "helper"} <= {Path(name).stem for name in counted}
    assert not any(name.startswith("study.") for name in counted), "the harness itself never counts"


def test_what_cannot_be_followed_is_in_the_verbose_plan_and_the_report_unless_sources_are_listed(
    project: Path,
) -> None:
    (project / "mine.py").write_text(
        "import importlib, os\nimportlib.import_module(os.environ['LAB'])\n" + TRAINING
    )
    (project / "extra.py").write_text("A = 1\n")
    call = "mine.py:2  importlib.import_module(os.environ['LAB'])"
    assert call in invoke("plan", "s.toml", "--verbose")
    assert call not in invoke("plan", "s.toml")
    os.environ["LAB"] = "extra"
    try:
        for task in ({}, {"sources": ["extra.py"]}):
            done = command(
                "run", "s.toml", *(["--set", 'task.sources=["extra.py"]'] if task else []), folder=project
            )
            assert done.returncode == 0, done.stderr
            limits = [limit["code"] for limit in json.loads(findings_of(project).read_text())["limits"]]
            assert ("code-unfollowed" in limits) == (not task)
    finally:
        del os.environ["LAB"]


def findings_of(project: Path) -> Path:
    """Return the newest findings below the folder of reports."""
    return max((project / "reports").rglob("findings.json"), key=lambda path: path.stat().st_mtime_ns)


def test_run_trains_and_prints_the_path_of_the_report(project: Path) -> None:
    done = command("run", "s.toml", folder=project)
    assert done.returncode == 0, done.stderr
    assert "Does attention help?" in done.stdout
    assert str(project / "reports" / "s" / "report.md") in done.stdout
    assert (project / "reports" / "s" / "report.md").is_file()
    assert "4 cached" in invoke("plan", "s.toml")
    assert "4 of 4 done" in invoke("status")


def test_a_failed_run_ends_in_exit_code_1_with_its_reason_and_no_traceback(project: Path) -> None:
    done = command("run", "s.toml", "--set", "base.broken=true", folder=project)
    assert done.returncode == 1
    assert "2 of the study's runs failed" in done.stderr
    assert "out of luck" in done.stderr
    assert "--retry-failed" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (("plan", "t.toml"), "no such file. Did you mean 's.toml'?"),
        (("plan", "s.toml", "--set", "repetitions=0"), "repetitions: must be an integer from 1"),
        (("run", "s.toml", "--preset", "mroe"), "Did you mean 'more'?"),
        (("list", "splittr"), "nothing is called 'splittr'. Did you mean 'splitter'?"),
        (("list", "--task", "functoin"), "unknown task 'functoin'. Did you mean 'function'?"),
        (("profile", "s.toml"), "run.profile(model, example_input)"),
        (("check", "determinism", "s.toml"), "study reproduce"),
        (("run", "s.toml", "--skip-bad"), "has no data sets"),
    ],
)
def test_an_input_error_is_one_message_and_exit_code_2(
    project: Path, words: tuple[str, ...], phrase: str
) -> None:
    done = command(*words, folder=project)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert phrase in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / ".study" / "ledger").exists()


def test_list_names_components_of_every_kind_with_their_parameters(project: Path) -> None:
    output = invoke("list")
    for kind, name in (
        ("optimizer", "adamw"),
        ("schedule", "cosine"),
        ("metric", "macro-f1"),
        ("splitter", "issm"),
        ("task", "command"),
        ("recipe", "ifdd-fixed"),
    ):
        section = output.split(f"\n{kind}\n")[1].split("\n\n")[0]
        assert f"  {name} " in section, kind
    assert "momentum" in invoke("list", "sgd")
    assert "issm" not in invoke("list", "optimizer")


@pytest.mark.parametrize("words", [("--help",), ("list",), ("plan", "s.toml"), ("run", "--help")])
def test_commands_that_train_nothing_import_no_heavy_packages(project: Path, words: tuple[str, ...]) -> None:
    code = (
        "import sys; from study.cli.app import app;"
        f"app({list(words)!r}, standalone_mode=False);"
        "print(sorted({'torch', 'mlflow', 'optuna', 'matplotlib', 'scipy', 'mine'} & set(sys.modules)))"
    )
    done = python("-c", code, folder=project)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the target of the output is read from /proc")
def test_a_log_of_the_output_is_not_reported_as_a_file_that_runs_write(project: Path) -> None:
    (project / "mine.py").write_text(TRAINING + '    open("shared.txt", "a").write("x")\n')
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (project / "log.txt").open("w") as log:
        words = [sys.executable, "-m", "study", "run", "s.toml"]
        subprocess.run(words, stdout=log, stderr=log, cwd=project, check=True, env=environment)
    printed = (project / "log.txt").read_text()
    assert "shared.txt was written by several runs" in printed
    assert "log.txt was written" not in printed


def test_a_plan_begins_with_trainings_time_disk_and_power(project: Path) -> None:
    def lead() -> dict[str, str]:
        lines = invoke("plan", "s.toml").split("\n\n")[1].splitlines()
        return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}

    fresh = lead()
    assert list(fresh) == ["Trainings", "Time", "Disk", "Power"]
    assert fresh["Trainings"] == "4: 4 new"
    assert fresh["Time"].startswith("not known")
    assert command("run", "s.toml", folder=project).returncode == 0
    done = lead()
    assert done["Trainings"] == "4: 4 cached"
    assert done["Time"].startswith("none")
    more = study_api.load("s.toml", "more").plan()
    assert (more.trainings, more.cached) == (8, 4)
    assert more.time is not None
    assert more.seconds == pytest.approx(4 * more.time.seconds, rel=1e-9), "four trainings, one worker"
    assert more.bytes is not None
    assert 4 * 200 < more.bytes < 4 * 100_000, "four folders of a result and a history"


def test_set_takes_the_keys_of_a_verbose_plan(project: Path) -> None:
    (project / "t.toml").write_text(
        'factors.splitter = ["even-odd", "issm"]\nbase.lifting = { name = "attention", heads = 4 }\n'
        'base.dataset = { name = "faces", train_clips = 70, validation_clips = 14, test_clips = 14 }\n'
    )
    plan = study_api.load("t.toml").plan()
    settable = [
        each for each in plan.values if each.origin in ("study", "default") and each.value is not None
    ]
    assert {"train.epochs", "base.lifting.heads", "base.dataset.train_clips"} <= {
        each.key for each in settable
    }
    names = {each.key: each.value for each in plan.values if each.key.endswith(".name")}
    for each in settable:
        name = f"{each.key.rpartition('.')[0]}.name"
        change = ({name: names[name]} if name in names else {}) | {each.key: each.value}
        now = {
            value.key: (value.value, value.origin)
            for value in study_api.load("t.toml", None, change).plan().values
        }
        assert now[each.key] == (each.value, "--set")


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_scripts_read_plan_run_status_and_report_as_json_alone(project: Path) -> None:
    (plan,) = records(command("plan", "s.toml", "--json", folder=project).stdout)
    assert (plan["trainings"], plan["cached"], [each["status"] for each in plan["states"]]) == (
        4,
        0,
        ["new"] * 4,
    )
    assert [variant["is_reference"] for variant in plan["variants"]] == [True, False]

    ran = command("run", "s.toml", "--json", folder=project)
    assert ran.returncode == 0, ran.stderr
    events = records(ran.stdout)
    kinds = [event["event"] for event in events]
    assert kinds.count("JobStarted") == kinds.count("JobEnded") >= 4
    assert kinds[-1] == "Findings"
    written = json.loads(findings_of(project).read_text())
    assert events[-1] == {"event": "Findings", **written}
    assert {event["run"] for event in events if "run" in event} == {each["run"] for each in plan["states"]}

    (status,) = records(command("status", "--json", folder=project).stdout)
    assert status["counts"] == {"running": 0, "done": 4, "failed": 0, "pruned": 0, "waiting": 0}
    (report,) = records(command("report", "s.toml", "--json", folder=project).stdout)
    assert report["answer"] == written["answer"]


def test_an_error_is_json_for_a_script_and_a_sentence_for_its_user(project: Path) -> None:
    done = command("plan", "t.toml", "--json", folder=project)
    (record,) = records(done.stdout)
    assert done.returncode == record["error"]["exit_code"] == 2
    assert "t.toml" in record["error"]["message"]
    assert done.stderr.startswith("Error: ")


def test_a_quiet_run_prints_results_and_no_progress(project: Path) -> None:
    done = command("run", "s.toml", "-q", folder=project)
    assert done.returncode == 0, done.stderr
    assert "Verdict" in done.stdout
    assert not any(
        line.startswith(("start", "done", "epoch", "Starting")) for line in done.stdout.splitlines()
    )
