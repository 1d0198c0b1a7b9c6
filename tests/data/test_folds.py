"""Folds: a run is identified by its own fold only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from study.config.compile import compile_study
from study.config.registry import Registry
from study.config.settings import settings
from study.config.study import load
from study.tasks.clips.data.make import make

STUDY = """
title = "t"
question = "Does it?"
[base]
dataset = { name = "dfew", frames = 4, size = 32, folds = [1] }
[design]
kind = "one-factor"
reference = { splitter = "even-odd" }
[factors]
splitter = ["even-odd", "issm"]
[search]
trials = 0
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "DFEW"
    make(out, clips=70, size=32, folds=3, parameters={"frames": 4})
    return out


@pytest.fixture
def lab(tmp_path: Path, made: Path) -> Path:
    shutil.copytree(made, tmp_path / "DFEW")
    (tmp_path / "study.toml").write_text('[data.dfew]\nroot = "DFEW"\n')
    (tmp_path / "issm.toml").write_text(STUDY)
    return tmp_path


def runs(lab: Path, folds: list[int]) -> dict[tuple[str, int], str]:
    spec = load(lab / "issm.toml", None, [f"base.dataset.folds={json.dumps(folds)}"])
    record = compile_study(spec, settings(lab), "cpu")
    assert record.folds == tuple(folds)
    return {(v.name, fold): v.run({}, 1, fold).id for v in record.variants for fold in folds}


def test_a_fold_is_the_same_run_whatever_other_folds_are_requested(lab: Path) -> None:
    both = runs(lab, [1, 2])
    assert len(set(both.values())) == 4
    for fold in (1, 2):
        alone = runs(lab, [fold])
        assert alone == {key: run for key, run in both.items() if key[1] == fold}


def test_a_worker_finds_the_data_that_its_run_was_named_after(lab: Path) -> None:
    spec = load(lab / "issm.toml", None, ["base.dataset.folds=[1,2,3]"])
    record = compile_study(spec, settings(lab), "cpu")
    run = record.variants[0].run({}, 1, 2)
    dataset = Registry().build("dataset", run.table("dataset"))
    assert dataset.folds == (2,)
    assert dataset.digest == dataset.digest_of(2) == run.data_digest
    assert record.data.digest != run.data_digest


def test_a_list_that_changes_in_one_fold_leaves_the_others_their_runs(lab: Path) -> None:
    before = runs(lab, [1, 2, 3])
    path = lab / "DFEW/EmoLabel_DataSplit/test(single-labeled)/set_2.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([rows[0], *reversed(rows[1:])]) + "\n")
    after = runs(lab, [1, 2, 3])
    assert {key for key in before if before[key] != after[key]} == {key for key in before if key[1] == 2}


def test_the_first_reading_reports_progress_and_later_ones_do_not(lab: Path) -> None:
    spec, calls = load(lab / "issm.toml"), []
    for _ in range(2):
        compile_study(spec, settings(lab), "cpu", lambda done, total: calls.append((done, total)))
    assert calls == [(n, 70) for n in range(1, 71)]
    assert len(list((lab / ".study/data").glob("dfew-*.jsonl"))) == 1
