"""The mirror of trials for Optuna's dashboard: a mirror shows, and decides nothing."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from support.lab import FAKE, STUDY, Lab

from study.engine import conductor
from study.engine.events import Event
from study.engine.plan import Job
from study.executors.inprocess import InProcess
from study.ledger.record import RunState
from study.ledger.store import Ledger
from study.metrics import Metric
from study.records import Epoch, Machine, RunResult, RunSpec
from study.tracking import optuna as dashboard

TRIALS = STUDY.replace("epochs = 2", "epochs = 9").replace(
    "trials = 3", 'trials = 6\ngeneration = 2\npruner = "halving"'
)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    lab.file.write_text(TRIALS)
    return lab


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'trials.db'}"


def conduct(lab: Lab, url: str, *changes: str, ledger: Ledger | None = None) -> None:
    kept = ledger or lab.ledger
    with dashboard.mirror(url) as trials:

        def tell(event: Event) -> None:
            lab.events.append(event)
            trials(event)

        conductor.carry_out(kept.save(lab.record(*changes)), kept, InProcess(), tell, FAKE)


def mirrored(url: str) -> dict[str, list[optuna.trial.FrozenTrial]]:
    names = optuna.get_all_study_names(url)
    return {name: optuna.load_study(study_name=name, storage=url).trials for name in names}


def files(ledger: Ledger) -> dict[Path, bytes]:
    found = (path for path in ledger.root.rglob("*.json") if path.parent.name != "sessions")
    return {path.relative_to(ledger.root): path.read_bytes() for path in sorted(found)}


def test_every_trial_is_shown_with_its_parameters_its_curve_and_its_end(lab: Lab, url: str) -> None:
    conduct(lab, url)
    shown = mirrored(url)
    assert set(shown) == {f"s/{name}/repetition {n}" for name in ("even-odd", "issm") for n in (1, 2, 3)}
    record = lab.ledger.with_decisions(lab.record())
    for search in (search for variant in record.variants for search in record.searches(variant)):
        name = f"s/{search.variant.name}/repetition {search.repetition + 1}"
        trials = {trial.user_attrs["trial"]: trial for trial in shown[name]}
        assert sorted(trials) == [1, 2, 3, 4, 5, 6]
        for number, trial in trials.items():
            assert trial.params == record.suggestions[record.decision(search, number - 1)]
            state = lab.ledger.state(trial.user_attrs["run"])
            if state.result is not None:
                assert (trial.state, trial.value) == (TrialState.COMPLETE, state.result.validation["war"])
                assert sorted(trial.intermediate_values) == list(range(1, 10))
            else:
                assert trial.state == TrialState.PRUNED
                assert max(trial.intermediate_values) in (1, 3)
    assert {trial.state for trials in shown.values() for trial in trials} == {
        TrialState.COMPLETE,
        TrialState.PRUNED,
    }


def test_a_study_that_is_carried_on_repeats_no_trial(lab: Lab, url: str) -> None:
    conduct(lab, url)
    conduct(lab, url)
    assert [len(trials) for trials in mirrored(url).values()] == [6] * 2 * 3
    lab.file.write_text(TRIALS.replace("trials = 6", "trials = 8"))
    conduct(lab, url)
    assert [len(trials) for trials in mirrored(url).values()] == [8] * 2 * 3


def test_a_mirror_that_is_new_or_was_wiped_is_filled_from_the_ledger(
    lab: Lab, url: str, tmp_path: Path
) -> None:
    conduct(lab, "")
    conduct(lab, url)
    assert {len(trials) for trials in mirrored(url).values()} == {6}


def test_the_mirror_changes_nothing_in_the_ledger(lab: Lab, url: str, tmp_path: Path) -> None:
    other = Ledger(tmp_path / "other")
    conduct(lab, url)
    conduct(lab, "", ledger=other)
    assert files(lab.ledger) == files(other)


def test_a_storage_that_cannot_be_reached_costs_one_warning_and_no_trial(
    lab: Lab, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.WARNING, "study"):
        conduct(lab, f"sqlite:///{tmp_path}/no/such/folder/trials.db")
    warnings = [record.getMessage() for record in caplog.records if record.name == "study.tracking.mirror"]
    assert len(warnings) == 1
    assert "Training continues" in warnings[0]
    started = len(lab.started())
    assert started == 2 * 3 * 6
    other = Ledger(tmp_path / "other")
    conduct(lab, "", ledger=other)
    assert files(lab.ledger) == files(other)


@pytest.mark.parametrize("url", ["postgresql://me:secret@host/db", "mysql://me:secret@host/db"])
def test_a_warning_hides_the_password_of_the_url(
    lab: Lab, url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str) -> None:
        raise ConnectionError(f"could not connect to {url}")

    monkeypatch.setattr(dashboard, "TrialStorage", refuse)
    with caplog.at_level(logging.WARNING, "study"):
        conduct(lab, url)
    (warning,) = [record.getMessage() for record in caplog.records if record.name.startswith("study")]
    assert "secret" not in warning
    assert warning.count(url.replace("secret", "…")) == 2


def test_a_storage_that_hangs_is_left_behind(
    lab: Lab, url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    for_ever = threading.Event()
    monkeypatch.setattr(dashboard, "TrialStorage", lambda url: for_ever.wait())
    with caplog.at_level(logging.WARNING, "study"), dashboard.TrialMirror(url, drain_seconds=0.05) as trials:
        conductor.carry_out(lab.ledger.save(lab.record()), lab.ledger, InProcess(), trials, FAKE)
    for_ever.set()
    assert re.search(r"\b\d+ of \d+ trials\b", caplog.text)


@pytest.mark.parametrize(("high", "end"), [(None, TrialState.FAIL), (10.0, TrialState.COMPLETE)])
def test_a_minimized_metric_has_its_direction_and_a_diverged_trial_its_worst_value_if_there_is_one(
    lab: Lab, url: str, high: float | None, end: TrialState
) -> None:
    metric = Metric("rmse", "RMSE", unit="K", scale=1.0, direction="minimize", high=high)
    study = replace(lab.record(), metric="rmse", metrics=(metric,))
    run = study.variants[0].run(study.first_point(study.variants[0]), 1, None)
    machine = Machine({}, "", "")
    curve = (Epoch(1, None, None, {"rmse": 3.0}, 1.0), Epoch(2, None, None, {}, 1.0))
    finished = RunState(RunResult(run.id, "finished", 1, {"rmse": 3.0}, curve, None, 2.0, machine))
    diverged = RunState(RunResult(run.id, "diverged", 0, {}, (), None, 2.0, machine))
    storage = dashboard.TrialStorage(url)
    for number, state in enumerate((finished, diverged)):
        storage.add(study, Job("train", run, study.variants[0].name, "search", number), state)
    (name,) = optuna.get_all_study_names(url)
    shown = optuna.load_study(study_name=name, storage=url)
    assert shown.direction == optuna.study.StudyDirection.MINIMIZE
    assert [(trial.state, trial.value) for trial in shown.trials] == [(TrialState.COMPLETE, 3.0), (end, high)]
    assert shown.trials[0].intermediate_values == {1: 3.0}


def test_two_projects_that_share_a_storage_have_studies_of_their_own(
    lab: Lab, url: str, tmp_path: Path
) -> None:
    machine = Machine({}, "", "")
    for folder, lr in (("alice", 0.001), ("bob", 0.002), ("alice", 0.003)):
        (tmp_path / folder).mkdir(exist_ok=True)
        study = replace(lab.record(), root=str(tmp_path / folder))
        run = study.variants[0].run({"train.lr": lr}, 1, None)
        finished = RunState(RunResult(run.id, "finished", 1, {"war": 0.5}, (), None, 2.0, machine))
        job = Job("train", run, study.variants[0].name, "search", 0)
        dashboard.TrialStorage(url).add(study, job, finished)
    shown = mirrored(url)
    assert sorted(trial.params["train.lr"] for trial in shown.pop("s/even-odd")) == [0.001, 0.003]
    ((name, trials),) = shown.items()
    assert name.startswith("s/even-odd ")
    assert [trial.params["train.lr"] for trial in trials] == [0.002]


def test_failed_and_diverged_trials_are_shown_as_such(
    lab: Lab, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import study.testing.fake as fake

    real, calls = fake.train, []

    def train(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], rule: str = "") -> None:
        calls.append(spec)
        if len(calls) == 1:
            raise RuntimeError("out of luck")
        real(spec, folder, on_epoch, rule)

    monkeypatch.setattr(fake, "train", train)
    lab.file.write_text(STUDY.replace("low = 3e-4, high = 1e-2", "low = 0.5, high = 5.0"))
    conduct(lab, url)
    ends = [trial.user_attrs["end"] for trials in mirrored(url).values() for trial in trials]
    assert ends.count("failed") == 1
    assert ends.count("diverged") >= 1
    assert len(ends) == 2 * 3 * 3


def test_a_searched_component_is_shown_with_the_parameters_that_it_has(lab: Lab, url: str) -> None:
    momentum = '{ low = 0.5, high = 0.9, when = { optimizer = "sgd" } }'
    lr = '"train.lr" = { low = 1e-3, high = 1e-2 }'
    space = f'{{ optimizer = ["sgd", "adamw"], "optimizer.momentum" = {momentum}, {lr} }}'
    changes = (f"search.space={space}", "search.pruner='none'")
    conduct(lab, url, *changes)
    shown = [trial for trials in mirrored(url).values() for trial in trials]
    record = lab.record(*changes)
    assert len(shown) == 6 * sum(len(list(record.searches(variant))) for variant in record.variants)
    kinds = {json.loads(trial.params["optimizer"])["name"] for trial in shown}
    assert kinds == {"sgd", "adamw"}
    for trial in shown:
        is_sgd = json.loads(trial.params["optimizer"])["name"] == "sgd"
        assert ("optimizer.momentum" in trial.params) == is_sgd
    decided = lab.ledger.with_decisions(record)
    assert not lab.ledger.damaged
    assert len(decided.suggestions) == len(shown)
