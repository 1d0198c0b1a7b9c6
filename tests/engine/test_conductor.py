"""A whole study with a trainer that trains nothing: what is run, what is kept, what is printed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support.lab import FAKE, STUDY, Lab
from support.mirror_store import study_record

from study.engine import conductor, jobs
from study.engine.events import JobEnded, JobRetried, StudyStarted, WeightsDamaged
from study.errors import StudyError
from study.executors import base as protocol
from study.executors.base import Call
from study.executors.inprocess import InProcess
from study.ledger.store import Ledger
from study.records import Epoch, Failure, RunSpec, from_json


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_a_study_ends_in_a_report(lab: Lab) -> None:
    found = lab.run(write=None)
    assert len(lab.started()) == 2 * 3 * 3
    assert [variant.name for variant in found.variants] == ["even-odd", "issm"]
    assert all(len(variant.repetitions) == 3 for variant in found.variants)
    for name in ("report.md", "report.pdf", "findings.json"):
        assert (lab.folder / "reports" / "s" / name).stat().st_size > 1000


def test_a_second_run_trains_nothing(lab: Lab) -> None:
    first = lab.run()
    report = (lab.folder / "reports" / "s" / "report.md").read_bytes()
    second = lab.run()
    assert not lab.started() + lab.started("evaluate") + lab.started("profile")
    began = next(event for event in lab.events if isinstance(event, StudyStarted))
    assert (began.cached, began.total) == (18, 18)
    assert second == first
    assert (lab.folder / "reports" / "s" / "report.md").read_bytes() == report


def test_reordered_levels_retrain_nothing(lab: Lab) -> None:
    lab.run()
    lab.file.write_text(STUDY.replace('["even-odd", "issm"]', '["issm", "even-odd"]'))
    lab.run()
    assert not lab.started()


def test_more_seeds_train_only_what_is_new(lab: Lab) -> None:
    lab.run()
    lab.file.write_text(STUDY.replace("repetitions = 3", "repetitions = 5"))
    lab.run()
    assert len(lab.started()) == 2 * 2 * 3


def test_more_trials_train_only_what_is_new(lab: Lab) -> None:
    lab.run()
    before = {job.run.id for job in lab.started()}
    lab.file.write_text(STUDY.replace("trials = 3", "trials = 5"))
    found = lab.run()
    assert len(lab.started()) == 2 * 3 * 2
    assert not before & {job.run.id for job in lab.started()}
    assert {len(variant.trials) for variant in found.variants} == {15}


def test_a_changed_learning_setting_retrains(lab: Lab) -> None:
    lab.run()
    lab.file.write_text(STUDY.replace("epochs = 2", "epochs = 3"))
    lab.run()
    assert len(lab.started()) == 18


def test_another_profile_or_setting_is_another_study(lab: Lab) -> None:
    lab.run()
    name = lab.record("repetitions=2").name
    assert name.startswith("s@")
    lab.run("repetitions=2")
    assert not lab.started(), "the runs are shared through the ledger"
    assert (lab.folder / "reports" / name / "report.md").is_file()


def test_a_failing_variant_is_reported_and_never_averaged_in_silence(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    import study.testing.fake as fake

    real = fake.train

    def train(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
        if spec.config["splitter"]["name"] == "issm" and spec.config["train"]["lr"] > 0:
            raise RuntimeError("out of luck")
        real(spec, folder, on_epoch)

    monkeypatch.setattr(fake, "train", train)
    found = lab.run()
    failures = [e.state.failure for e in lab.events if isinstance(e, JobEnded) and e.state.failure]
    assert len(failures) == 9
    assert "out of luck" in failures[0].reason
    assert "Traceback" in failures[0].detail
    issm = found.variants[1]
    assert issm.difference is None
    assert found.claims[0].verdict == "undecided"
    assert len(found.variants[0].repetitions) == 3, "the other variant went on"

    lab.run()
    assert not lab.started(), "a failed run is not tried again by itself"
    monkeypatch.setattr(fake, "train", real)
    record = lab.ledger.with_decisions(lab.record())
    assert jobs.remove_failures(record, lab.ledger) == 9
    lab.run()
    assert len(lab.started()) == 9


def test_a_network_that_is_counted_is_no_failure_though_its_run_failed(lab: Lab) -> None:
    searched = lab.file.read_text()
    lab.file.write_text(searched[: searched.index("[search]")])
    lab.run(targets={**FAKE, "train": "study.testing.fake:failing"})
    failed = [e.job.kind for e in lab.events if isinstance(e, JobEnded) and e.state.failure is not None]
    assert failed == ["train"] * 6
    assert len(lab.started("profile")) == 2


def test_a_diverged_repetition_is_an_outcome_and_no_failure(lab: Lab) -> None:
    lab.file.write_text(
        STUDY.replace("[search]\ntrials = 3\n", "")
        .split("[search.space]")[0]
        .replace("repetitions = 3", "repetitions = 2")
    )
    found = lab.run("train.lr=2.0")
    assert not jobs.failures(lab.record("train.lr=2.0"), lab.ledger)
    assert all(len(variant.failures) == 2 for variant in found.variants), "the report names each"


def test_a_network_that_cannot_be_counted_is_listed_and_tried_again(lab: Lab) -> None:
    lab.run(targets={**FAKE, "profile": "study.testing.fake:failing"})
    failed = jobs.failures(lab.record(), lab.ledger)
    assert [job.kind for job, _ in failed] == ["profile", "profile"]
    jobs.remove_failures(lab.record(), lab.ledger)
    lab.run()
    assert len(lab.started("profile")) == 2
    assert not jobs.failures(lab.record(), lab.ledger)


def test_a_job_that_writes_no_result_is_a_failure_and_not_an_endless_loop(lab: Lab) -> None:
    lab.run(targets={**FAKE, "train": "builtins:max"})
    failed = [e for e in lab.events if isinstance(e, JobEnded) and e.job.kind == "train"]
    assert len(failed) == 18
    assert all(e.state.failure is not None for e in failed)


def test_beaten_trials_keep_no_weights_and_tested_runs_do(lab: Lab) -> None:
    lab.run()
    kept = {file.parent.name for file in lab.ledger.root.glob("runs/*/weights.safetensors")}
    assert kept == {job.run.id for job in lab.started("evaluate")}
    assert kept == {file.parent.name for file in lab.ledger.root.glob("runs/*/validation.npz")}
    assert not list(lab.ledger.root.glob("runs/*/checkpoint.pt"))


def test_all_weights_are_kept_where_asked(lab: Lab) -> None:
    with lab.ledger.hold("s"):
        record = lab.ledger.save(lab.record())
        conductor.carry_out(record, lab.ledger, InProcess(), lab.events.append, FAKE, keep="all")
    assert len(list(lab.ledger.root.glob("runs/*/weights.safetensors"))) == 18


def test_a_confirmed_run_whose_weights_are_gone_is_trained_again_and_does_not_fail(lab: Lab) -> None:
    lab.run()
    before = {file: file.read_bytes() for file in lab.ledger.root.glob("runs/*/*.json")}
    tested = lab.started("evaluate")[0].run
    (lab.ledger.run_folder(tested) / "test.json").unlink()
    lab.ledger.drop_weights(tested)
    lab.run()
    assert [job.run.id for job in lab.started()] == [tested.id]
    assert [job.run.id for job in lab.started("evaluate")] == [tested.id]
    assert {file: file.read_bytes() for file in before} == before
    assert not jobs.failures(lab.record(), lab.ledger)


def test_a_study_ends_though_the_server_of_its_mirror_is_gone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from study.tracking.mlflow import MlflowMirror

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("study.reporting.write.write", lambda *_: None)
    with MlflowMirror("http://127.0.0.1:9", lab.folder, study_record("s"), drain_seconds=20.0) as tracker:
        found = conductor.run(lab.record(), lab.ledger, InProcess(), lab.folder / "reports", tracker, FAKE)
    assert all(len(variant.repetitions) == 3 for variant in found.variants)
    assert "Training continues" in caplog.text


class Deadly(InProcess):
    """Its workers die on training, each run's first so many attempts."""

    REASON = "killed"

    def __init__(self, deaths: int) -> None:
        super().__init__()
        self.deaths = deaths
        self.attempts: Counter[str] = Counter()

    def submit(self, task: Call) -> None:
        self.attempts[task.key] += 1
        if task.key.startswith("train") and self.attempts[task.key] <= self.deaths:
            died = protocol.CallEnded(task, protocol.Ending.DIED, self.REASON, "last words", "cuda:1")
            self._events.append(died)
        else:
            super().submit(task)


def test_a_worker_that_dies_once_costs_a_retry_and_no_failure(lab: Lab) -> None:
    executor = Deadly(1)
    lab.run(executor=executor)
    assert sum(isinstance(event, JobRetried) for event in lab.events) == 18
    assert not jobs.failures(lab.record(), lab.ledger)


def test_a_run_whose_worker_dies_twice_is_a_failure_with_its_last_output_and_where_that_was(lab: Lab) -> None:
    executor = Deadly(2)
    lab.run(executor=executor)
    failed = jobs.failures(lab.record(), lab.ledger)
    assert len(failed) == 18, "every trial; nothing was chosen"
    assert {executor.attempts[job.key] for job, _ in failed} == {2}
    for _, failure in failed:
        assert failure.reason == Deadly.REASON
        assert failure.detail == "last words"
        assert failure.environment["device"] == "cuda:1"
        assert failure.environment["host"] == socket.gethostname()
        assert {"hardware", "platform", "python", "torch"} <= set(failure.environment)


def test_a_failure_that_was_written_without_its_environment_can_be_read() -> None:
    written = '{"run": "r2-0", "job": "train", "reason": "why", "detail": "", "schema": 2}'
    assert from_json(Failure, written).environment == {}


def test_a_disk_that_is_full_while_a_job_works_fails_no_run(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "checkpoint.pt")

    with monkeypatch.context() as patch:
        patch.setattr("study.testing.fake.train", full)
        with pytest.raises(StudyError, match="No space left"):
            lab.run()
    assert not jobs.failures(lab.record(), lab.ledger)
    lab.run()
    assert len(lab.started()) == 18


def test_a_second_conductor_is_refused_by_name(lab: Lab) -> None:
    other = Ledger(lab.ledger.root)
    with other.hold("s"), pytest.raises(StudyError, match=f"process {os.getpid()} "):
        lab.run()


def test_a_lock_of_a_dead_process_does_not_block(lab: Lab) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock = lab.ledger.root / "studies" / "s" / "lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(f"{socket.gethostname()} {dead.pid}")
    lab.run()
    assert not lock.exists()


def test_the_conductor_needs_no_torch() -> None:
    code = (
        "import sys; import study; from study.engine import conductor; from study.cli import app;"
        "from study.terminal import display;"
        "from study.executors import local; from study.testing import fake; study.load;"
        "sys.exit('torch' in sys.modules or 'mlflow' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_damaged_weights_are_trained_again_before_the_test(lab: Lab) -> None:
    """The test job finds weights that are not those of the training, once for each of two runs."""
    found = lab.run(targets={**FAKE, "evaluate": "support.damaging_jobs:evaluate"})
    tested = {job.run.id for job in lab.started("evaluate")}
    damaged = [event for event in lab.events if isinstance(event, WeightsDamaged)]
    trained = Counter(job.run.id for job in lab.started() if job.run.id in tested)
    assert {event.job.run.id for event in damaged} == set(trained)
    assert set(trained.values()) == {2}
    assert not jobs.failures(lab.record(), lab.ledger)
    assert all(len(variant.repetitions) == 3 for variant in found.variants)
