"""A worker that outlives its killed conductor, and ends its training after the next conductor has looked at it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.conductors import tables
from support.lab import Lab

import study
from study.engine.events import EpochEnded, Event, JobEnded
from study.executors.base import Call
from study.executors.inprocess import InProcess
from study.ledger.layout import CLIPS_WEIGHTS, OWN_CHECKPOINT, RESULT
from study.ledger.store import Ledger
from study.tasks import work
from study.testing import fake

FUNCTION_STUDY = """
title = "t"
question = "Does it?"
repetitions = 2
[task]
function = "orphan_training:train"
metric = { name = "acc" }
resume = true
data_version = "1"
[design]
kind = "one-factor"
reference = { lr = 0.1 }
[factors]
lr = [0.1, 0.2]
"""
FUNCTION = """
from pathlib import Path

def train(config, run):
    with Path(__file__).with_name("trained.txt").open("a") as log:
        log.write(f"{run.seed} {config['lr']}\\n")
    run.checkpoint.write_text("1")
    run.report(1, acc=config["lr"])
    run.weights.write_text("w")
    run.test(acc=config["lr"])
"""


class AfterOrphan(InProcess):
    """Lets an orphan end each training between the conductor's last look at the run and the start of its worker."""

    def submit(self, call: Call) -> None:
        job = {"study.testing.fake:train": fake.train, "study.tasks.work:train": work.train}.get(call.target)
        if job is not None:
            job(call.run, call.folder, lambda epoch: None, *call.arguments)
        super().submit(call)


@pytest.mark.parametrize("pruner", ["none", "halving"])
def test_a_training_that_an_orphan_has_ended_is_not_trained_again(tmp_path: Path, pruner: str) -> None:
    changes = ("search.trials=6", "search.generation=3", f"search.pruner='{pruner}'", "train.epochs=6")
    lab, calm = Lab(tmp_path), Lab(tmp_path)
    calm.ledger = Ledger(tmp_path / "calm")
    lab.run(*changes, executor=AfterOrphan())
    calm.run(*changes)
    assert not [event for event in lab.events if isinstance(event, EpochEnded)]
    assert tables(lab.ledger.root) == tables(calm.ledger.root)


@pytest.fixture
def function_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "s.toml").write_text(FUNCTION_STUDY)
    (tmp_path / "study.toml").write_text('mlflow = "off"\ndevice = "cpu"\n')
    (tmp_path / "orphan_training.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("orphan_training", None)


def test_a_function_that_an_orphan_has_trained_is_not_called_again(function_study: Path) -> None:
    events: list[Event] = []
    study.load(function_study / "s.toml", root=function_study).run(
        executor=AfterOrphan(), listeners=[events.append]
    )
    ended = [event for event in events if isinstance(event, JobEnded) and event.job.kind == "train"]
    assert len(ended) == 4
    assert all(event.state.is_usable for event in ended)
    trained = Counter((function_study / "trained.txt").read_text().splitlines())
    assert sorted(trained.values()) == [1, 1, 1, 1]


def test_a_checkpoint_that_the_orphan_could_not_remove_is_removed(function_study: Path) -> None:
    record = study.load(function_study / "s.toml", root=function_study).record
    run = record.variants[0].run({}, 0, None)
    folder = function_study / "runs" / run.id
    folder.mkdir(parents=True)
    work.train(run, folder, lambda epoch: None)
    (folder / OWN_CHECKPOINT).write_text("1")
    work.train(run, folder, lambda epoch: None)
    assert len((function_study / "trained.txt").read_text().splitlines()) == 1
    assert not (folder / OWN_CHECKPOINT).exists()


@pytest.mark.parametrize("harm", ["no weights", "other weights", "another run's result", "damaged result"])
def test_a_result_that_cannot_be_used_is_trained_anew(tmp_path: Path, harm: str) -> None:
    lab = Lab(tmp_path)
    first, second = (lab.record().variants[0].run({"train.lr": 0.01}, seed, None) for seed in (0, 1))
    folder, other = lab.ledger.run_folder(first), lab.ledger.run_folder(second)
    for run, place in ((first, folder), (second, other)):
        fake.train(run, place, lambda epoch: None)
    expected = (folder / RESULT).read_bytes()
    if harm == "no weights":
        (folder / CLIPS_WEIGHTS).unlink()
    elif harm == "other weights":
        (folder / CLIPS_WEIGHTS).write_text("others")
    elif harm == "another run's result":
        (folder / RESULT).write_bytes((other / RESULT).read_bytes())
    else:
        damaged = {**json.loads(expected), "best_epoch": 1}
        (folder / RESULT).write_text(json.dumps(damaged))
    epochs: list[int] = []
    fake.train(first, folder, lambda epoch: epochs.append(epoch.epoch))
    assert epochs == [1, 2]
    assert (folder / RESULT).read_bytes() == expected
    assert (folder / CLIPS_WEIGHTS).read_text() == first.id
