"""What a run is known by: each test is named after the trainings that would be wasted, or mixed up, without it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.lab import FAKE, Lab

import study
from study import hashing
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor
from study.engine import queue as agenda
from study.engine.events import JobStarted
from study.executors.inprocess import InProcess
from study.ledger.record import StudyRecord
from study.records import RunSpec, from_json
from study.tasks.clips.training.settings import TrainSettings

COUNTED = {"config", "seed", "data_digest", "code_digest", "fold", "device", "threads"}
COUNTED |= {"task", "metric", "direction", "counts"}
UNCOUNTED = {
    "options",
    "local_paths",
    "modules",
    "import_paths",
    "legacy",
    "epochs_key",
    "loader_workers",
    "schema",
}

TWO_FACTORS = """
title = "t"
question = "Does it?"
repetitions = 2
[base.dataset]
name = "faces"
train_clips = 70
validation_clips = 14
test_clips = 14
[design]
kind = "factorial"
reference = { splitter = "even-odd", readout = "mean" }
[factors]
splitter = ["even-odd", "issm"]
readout = ["mean", "gru"]
[train]
epochs = 2
batch_size = 8
[search]
trials = 3
[search.space]
"train.lr" = { low = 3e-4, high = 1e-2, log = true }
"train.weight_decay" = [1e-3, 1e-2]
"""


def compiled(folder: Path, text: str, name: str = "s", project: str = "") -> StudyRecord:
    """Return the record of a study file, on the machine that `project` describes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(project)
    (folder / f"{name}.toml").write_text(text)
    here = settings(folder)
    return compile_study(load(folder / f"{name}.toml"), here, "cpu")


def identities(record: StudyRecord) -> dict[str, str]:
    """Return what the runs and decisions of each variant are made from, by the variant's levels."""
    return {
        str(sorted(variant.levels.items())): " ".join(
            [
                variant.run(record.first_point(variant), 1, None).id,
                *(record.decision(search, 0) for search in record.searches(variant)),
            ]
        )
        for variant in record.variants
    }


def trained(lab: Lab, record: StudyRecord) -> list[str]:
    """Carry a study out without its report and return the runs that had to be trained."""
    started: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, JobStarted) and event.job.kind == "train":
            started.append(event.job.run.id)

    conductor.carry_out(lab.ledger.save(record), lab.ledger, InProcess(), listen, FAKE)
    return started


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


# The study's text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('["even-odd", "issm"]', '["issm", "even-odd"]'),
        (
            'splitter = ["even-odd", "issm"]\nreadout = ["mean", "gru"]',
            'readout = ["mean", "gru"]\nsplitter = ["even-odd", "issm"]',
        ),
        ('splitter = "even-odd", readout = "mean"', 'readout = "mean", splitter = "even-odd"'),
        ("epochs = 2\nbatch_size = 8", "batch_size = 8\nepochs = 2"),
        ("train_clips = 70\nvalidation_clips = 14", "validation_clips = 14\ntrain_clips = 70"),
        (
            '"train.lr" = { low = 3e-4, high = 1e-2, log = true }\n"train.weight_decay" = [1e-3, 1e-2]',
            '"train.weight_decay" = [1e-3, 1e-2]\n"train.lr" = { log = true, high = 1e-2, low = 3e-4 }',
        ),
        ("3e-4", "0.0003"),
        ('title = "t"', 'title = "another"'),
        ('question = "Does it?"', 'question = "Really?" # yes'),
    ],
)
def test_no_training_is_wasted_on_another_order_or_wording(tmp_path: Path, old: str, new: str) -> None:
    assert TWO_FACTORS.count(old) == 1
    before = compiled(tmp_path, TWO_FACTORS)
    after = compiled(tmp_path, TWO_FACTORS.replace(old, new))
    assert identities(after) == identities(before)
    assert len(identities(before)) == len(before.variants) == 4


def test_reordered_levels_and_keys_train_nothing_anew(lab: Lab, tmp_path: Path) -> None:
    assert len(trained(lab, compiled(tmp_path / "a", TWO_FACTORS))) == 4 * 2 * 3
    turned = TWO_FACTORS.replace('["even-odd", "issm"]', '["issm", "even-odd"]')
    turned = turned.replace("epochs = 2\nbatch_size = 8", "batch_size = 8\nepochs = 2")
    assert not trained(lab, compiled(tmp_path / "a", turned))


def test_a_change_of_one_level_leaves_the_other_variants_alone(tmp_path: Path) -> None:
    before = identities(compiled(tmp_path, TWO_FACTORS))
    changed = TWO_FACTORS.replace('["even-odd", "issm"]', '["even-odd", { name = "issm", frozen = true }]')
    after = identities(compiled(tmp_path, changed))
    kept = {levels for levels in before if "even-odd" in levels}
    assert len(kept) == 2
    assert {levels: after[levels] for levels in kept} == {levels: before[levels] for levels in kept}
    assert not set(after.values()) - {before[levels] for levels in kept} & set(before.values())


# The run


def one_run(folder: Path) -> RunSpec:
    """Return a run with every key that a study of the default network has."""
    record = compiled(folder, TWO_FACTORS)
    return record.variants[0].run(record.first_point(record.variants[0]), 1, None)


@pytest.fixture(scope="module")
def a_run(tmp_path_factory) -> RunSpec:
    return one_run(tmp_path_factory.mktemp("run"))


def changed(value: Any) -> Any:
    """Return another value, of the same type where that is possible."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list | tuple):
        return type(value)([*value, "x"])
    if isinstance(value, dict):
        return {**value, "x": 1}
    return 1 if value is None else f"{value}x"


def with_other(run: RunSpec, key: str) -> RunSpec:
    """Return the run with another value of a field, or of a key of its configuration."""
    kind, _, parameter = key.partition(".")
    if not parameter:
        return replace(run, **{key: changed(getattr(run, key))})
    table = {**run.config[kind], parameter: changed(run.config[kind][parameter])}
    return replace(run, config={**run.config, kind: table})


def test_every_field_of_a_run_says_whether_it_counts() -> None:
    assert {f.name for f in fields(RunSpec)} == COUNTED | UNCOUNTED, "a new field: add it to one of the two"
    for f in fields(RunSpec):
        assert f.metadata.get("counts", True) == (f.name in COUNTED), f.name


def test_no_key_that_can_change_a_number_is_left_out_of_the_identity(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    keys = [f"{kind}.{key}" for kind, table in run.config.items() for key in table]
    assert {f"train.{f.name}" for f in fields(TrainSettings)} <= set(keys)
    keys += sorted(COUNTED - {"config"})
    ids = {key: with_other(run, key).id for key in keys}
    assert run.id not in ids.values(), [key for key, value in ids.items() if value == run.id]
    assert len(set(ids.values())) == len(keys)


@hypothesis_settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_two_requests_are_one_run_exactly_where_all_that_counts_is_equal(a_run, data) -> None:
    run = replace(a_run, legacy={})
    counted = [f"{kind}.{key}" for kind, table in run.config.items() for key in table]
    counted += sorted(COUNTED - {"config"})
    uncounted = sorted(UNCOUNTED - {"legacy"})
    one, other = (data.draw(st.sets(st.sampled_from([*counted, *uncounted]), max_size=5)) for _ in range(2))
    runs = []
    for keys in (one, other):
        made = run
        for key in data.draw(st.permutations(sorted(keys))):
            made = with_other(made, key)
        runs.append(made)
    assert (runs[0].id == runs[1].id) == (one - set(uncounted) == other - set(uncounted))


@pytest.mark.parametrize("key", [f.name for f in fields(TrainSettings)])
def test_a_setting_of_training_retrains_every_variant(tmp_path: Path, key: str) -> None:
    text = TWO_FACTORS.split("[search]", maxsplit=1)[0].replace("epochs = 2\nbatch_size = 8\n", "{}")
    default = next(f.default for f in fields(TrainSettings) if f.name == key)
    others = {
        "labels": "shuffled",
        "fit": "train+val",
        "determinism": "strict",
        "mix_probability": 0.5,
        "ema": 0.5,
        "precision": "bf16",
        "accumulate": 2,
        "graph": True,
        "attention": "reference",
        "sampling": "balanced",
        "class_weights": "balanced",
        "normalise": "imagenet",
        "layer_decay": 0.5,
    }
    before = identities(compiled(tmp_path, text.replace("{}", "")))
    other = "{ head = 0.5 }" if key == "lr_factors" else json.dumps(others.get(key, changed(default)))
    after = identities(compiled(tmp_path, text.replace("{}", f"{key} = {other}\n")))
    assert not set(after.values()) & set(before.values())


# The machine


@pytest.mark.parametrize(
    "project",
    [
        'ledger = "elsewhere"',
        'reports = "elsewhere"',
        "workers = 7",
        "loader_workers = 3",
        'mlflow = "off"',
        '[data.faces]\ncache = "elsewhere"',
    ],
)
def test_another_place_or_more_workers_retrain_nothing(tmp_path: Path, project: str) -> None:
    assert identities(compiled(tmp_path, TWO_FACTORS, project=project)) == identities(
        compiled(tmp_path, TWO_FACTORS)
    )


def test_a_mirror_for_a_dashboard_and_another_name_of_the_study_retrain_nothing(tmp_path: Path) -> None:
    mirrored = TWO_FACTORS.replace("trials = 3", 'trials = 3\nstorage = "sqlite:///t.db"')
    before = identities(compiled(tmp_path, TWO_FACTORS))
    assert identities(compiled(tmp_path, mirrored, "other")) == before


def test_another_device_is_another_run(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(TWO_FACTORS)
    cpu, cuda = (
        compile_study(load(tmp_path / "s.toml"), settings(tmp_path), device) for device in ("cpu", "cuda")
    )
    assert not set(identities(cpu).values()) & set(identities(cuda).values())


def test_saying_more_retrains_nothing(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(TWO_FACTORS)
    quiet, loud = (
        subprocess.run(
            [sys.executable, "-m", "study", *options, "plan", "s.toml"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(study.__file__).parents[1]), "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for options in ([], ["--verbose"])
    )
    free = re.compile(r"[\d.]+ [KMGT]B are free")  # other programs write meanwhile
    assert free.sub("", quiet) == free.sub("", loud)
    assert free.search(quiet)


# Several studies, and studies that grow


def test_a_run_that_another_study_has_trained_is_not_trained_again(lab: Lab, tmp_path: Path) -> None:
    text = TWO_FACTORS.split("[search]", maxsplit=1)[0]
    assert len(trained(lab, compiled(tmp_path, text, "one"))) == 8
    fewer = text.replace('["mean", "gru"]', '["mean"]').replace("factorial", "one-factor")
    assert not trained(lab, compiled(tmp_path, fewer, "two"))
    other = text.replace('["even-odd", "issm"]', '["even-odd", "halves"]')
    assert len(trained(lab, compiled(tmp_path, other, "three"))) == 4


@pytest.mark.parametrize(
    ("old", "new", "trainings"),
    [
        ("repetitions = 2", "repetitions = 4", 4 * 2 * 3),
        ('["mean", "gru"]', '["mean", "gru", "lstm"]', 2 * 2 * 3),
    ],
)
def test_more_seeds_or_levels_train_only_what_is_new(
    lab: Lab, tmp_path: Path, old: str, new: str, trainings: int
) -> None:
    trained(lab, compiled(tmp_path, TWO_FACTORS))
    assert len(trained(lab, compiled(tmp_path, TWO_FACTORS.replace(old, new)))) == trainings


def test_more_trials_go_on_from_the_suggestions_kept_even_if_the_sampler_would_now_say_otherwise(
    lab: Lab, tmp_path: Path, monkeypatch
) -> None:
    first = compiled(tmp_path, TWO_FACTORS)
    trained(lab, first)
    kept = lab.ledger.with_decisions(first).suggestions
    assert len(kept) == 4 * 2 * 3
    asked_again: list[int] = []

    def another_optuna(ask):
        asked_again.append(len(ask.history))
        return {"train.lr": 5e-3, "train.weight_decay": 1e-3}

    monkeypatch.setattr(agenda, "suggest", another_optuna)
    assert not trained(lab, first)
    assert not asked_again
    more = compiled(tmp_path, TWO_FACTORS.replace("trials = 3", "trials = 6"))
    trained(lab, more)
    now = lab.ledger.with_decisions(more).suggestions
    assert kept.items() <= now.items()
    assert len(now) == 4 * 2 * 6
    assert sorted(asked_again) == [0] * 8 + [4] * 16, (
        "the fourth of the first generation, then two of the second"
    )


# What is added later


def test_a_parameter_added_later_leaves_old_runs_their_identity(tmp_path: Path) -> None:
    run = replace(one_run(tmp_path), legacy={})
    later = {**run.config, "dataset": {**run.config["dataset"], "rain": 0.0}}
    assert replace(run, config=later).id != run.id
    assert replace(run, config=later, legacy={"dataset.rain": 0.0}).id == run.id
    wet = {**run.config, "dataset": {**run.config["dataset"], "rain": 0.5}}
    assert replace(run, config=wet, legacy={"dataset.rain": 0.0}).id != run.id


def test_what_the_kept_ledger_asked_is_asked_by_the_same_ids_today(tmp_path: Path) -> None:
    """Fails where a parameter was added, and counted, without the value at which all is as before."""
    kept = Path(__file__).parent / "ledgers" / "schema-2"
    old = json.loads((kept / "studies" / "s" / "study.json").read_text())
    as_then = 'base.backbone = { name = "conv-tiny", width = 64 }'  # another default since
    today = compile_study(load(kept / "s.toml", changes=[as_then]), settings(tmp_path), "cpu")
    for variant, written in zip(today.variants, old["variants"], strict=True):
        same_surroundings = replace(
            variant.template,
            code_digest=written["template"]["code_digest"],
            data_digest=written["template"]["data_digest"],
        )
        assert same_surroundings.id == from_json(RunSpec, json.dumps(written["template"])).id, variant.name


def test_code_is_digested_from_the_parts_that_a_plan_shows(tmp_path: Path) -> None:
    record = compiled(tmp_path, TWO_FACTORS)
    for variant in record.variants:
        parts = record.code[variant.template.code_digest]
        assert "study.tasks.clips.nets.ifdd.splitters" in parts
        assert hashing.code_digest(parts) == variant.template.code_digest
