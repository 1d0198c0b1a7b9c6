"""``run --explore``: variants are ranked on validation, nothing is tested, and a study reuses the trainings."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest
from support.lab import FAKE, Lab
from support.small_study import small_study

from study.analysis.exploration import Ranking
from study.engine import conductor, plan
from study.engine.events import JobStarted
from study.executors.inprocess import InProcess
from study.files import write
from study.ledger.looks import read


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def explore(lab: Lab, *changes: str) -> Ranking:
    lab.events = []
    return conductor.explore(
        lab.record(*changes), lab.ledger, InProcess(), lab.folder / "reports", lab.events.append, FAKE
    )


def test_an_exploration_tests_nothing_and_ranks_by_validation(lab: Lab) -> None:
    found = explore(lab)
    assert {event.job.kind for event in lab.events if isinstance(event, JobStarted)} == {"train"}
    assert not list(lab.ledger.root.rglob("test.json"))
    assert not (lab.folder / "reports" / "s" / "report.md").exists()
    assert read(lab.ledger.root).looks == (), "no test figure was shown"
    study = lab.ledger.study("s")
    means = {}
    for variant in study.variants:
        runs = [repetition.run for repetition in plan.repetitions(study, variant, lab.ledger.state)]
        means[variant.name] = 100 * fmean(lab.ledger.state(run.id).result.validation["war"] for run in runs)
    assert {variant.name: variant.mean for variant in found.variants} == pytest.approx(means)
    assert [variant.name for variant in found.variants] == sorted(means, key=means.get, reverse=True)
    written = json.loads((lab.folder / "reports" / "s" / "exploration.json").read_text())
    assert [variant["name"] for variant in written["variants"]] == [v.name for v in found.variants]
    assert "verdict" not in written["variants"][0]


def test_the_study_that_confirms_reuses_the_trainings(lab: Lab) -> None:
    explore(lab)
    found = lab.run()
    assert lab.started() == []
    assert len(lab.started("evaluate")) == 6
    assert found.known.declared_before
    explore(lab)
    assert lab.started() == []


def test_a_diverged_training_counts_as_the_worst_score(lab: Lab) -> None:
    write(lab.file, small_study(epochs=1, seeds=3))
    record = lab.record("train.lr=10.0")
    found = conductor.explore(
        record, lab.ledger, InProcess(), lab.folder / "reports", lab.events.append, FAKE
    )
    assert [(variant.mean, variant.diverged) for variant in found.variants] == [(0.0, 3)] * 2
