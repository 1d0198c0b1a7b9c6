"""Final trainings on train and validation clips together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_parts
from support.training_jobs import MakeSpec, evaluate, ignore, train

from study.config.compile import compile_study, try_variants
from study.config.registry import Registry
from study.config.settings import settings
from study.config.study import load
from study.errors import InputError
from study.records import Epoch, RunResult, RunSpec, TestResult, from_json
from study.tasks.clips.data.faces.dataset import Faces
from study.tasks.clips.training.probes.try_one_batch import try_one_batch
from study.tasks.clips.training.state import clips_to_train_on


@pytest.fixture
def final(spec: MakeSpec) -> Any:
    """Return a function that makes the request of a training on train and validation clips."""

    def make(*, is_optimistic: Any = False, **changes: Any) -> Any:
        dataset = {"name": "both", "per_class": 10, "is_optimistic": is_optimistic}
        request = spec(fit="train+val", **changes)
        config = {**request.config, "dataset": dataset}
        return replace(request, config=config, modules=("support.tiny_parts", "support.frail_parts"))

    return make


def result_of(folder: Path) -> Any:
    return from_json(RunResult, (folder / "result.json").read_bytes())


def dataset_of(request: RunSpec) -> Any:
    return Registry(request.modules).build("dataset", request.table("dataset"))


def test_the_clips_are_those_of_train_and_then_those_of_validation(final: MakeSpec) -> None:
    dataset = dataset_of(final())
    both, train_clips, validation = (
        clips_to_train_on(dataset, None, "train+val"),
        dataset.split("train"),
        dataset.split("validation"),
    )
    assert both.ids == train_clips.ids + validation.ids
    assert both.sources == train_clips.sources + validation.sources
    assert both.labels.tolist() == [*train_clips.labels, *validation.labels]
    chosen = np.array([31, 2, 59, 30, 29, 0])
    pixels = both.read(chosen, np.random.default_rng(1))
    for row, index in enumerate(chosen):
        split, inside = (train_clips, index) if index < 30 else (validation, index - 30)
        alone = split.read(np.array([inside]), np.random.default_rng(1))
        assert np.array_equal(pixels[row], alone[0])


@pytest.mark.parametrize("chosen", [[3, 1], [40, 35]])
def test_a_batch_may_come_from_one_split_alone(final: MakeSpec, chosen: Any) -> None:
    both = clips_to_train_on(dataset_of(final()), None, "train+val")
    assert len(both.read(np.array(chosen), np.random.default_rng(1))) == 2


def test_nothing_is_selected_and_the_last_epoch_is_kept(final: MakeSpec, tmp_path: Path) -> None:
    epochs: list[Epoch] = []
    train(final(epochs=4), tmp_path, epochs.append)
    result = result_of(tmp_path)
    assert (result.status, result.best_epoch, result.validation) == ("finished", 4, {})
    assert [(epoch.epoch, epoch.validation) for epoch in epochs] == [(n, {}) for n in (1, 2, 3, 4)]
    assert not (tmp_path / "validation.npz").exists()
    evaluate(final(epochs=4), tmp_path, ignore)
    assert from_json(TestResult, (tmp_path / "test.json").read_bytes()).examples == 30


def test_an_epoch_takes_the_steps_of_all_clips(final: MakeSpec, tmp_path: Path) -> None:
    tiny_parts.SEEN[True].clear()
    tiny_parts.SEEN[False].clear()
    train(final(epochs=2), tmp_path, ignore)
    assert [len(batch) for batch in tiny_parts.SEEN[True]] == [8] * 14  # 60 clips: 7 full batches an epoch
    assert {len(batch) for batch in tiny_parts.SEEN[False]} == {
        8
    }  # one batch, for the comparison in the test


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_it_resumes_after_a_kill_to_the_same_weights(final: MakeSpec, tmp_path: Path, ema: Any) -> None:
    def stop(epoch: Any) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    request = final(ema=ema)
    train(request, tmp_path / "undisturbed", ignore)
    with pytest.raises(KeyboardInterrupt):
        train(request, tmp_path / "killed", stop)
    train(request, tmp_path / "killed", ignore)
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("undisturbed", "killed")]
    assert weights[0] == weights[1]
    losses = [
        [
            epoch["train_loss"]
            for epoch in json.loads((tmp_path / name / "history.json").read_text())["content"]
        ]
        for name in ("undisturbed", "killed")
    ]
    assert losses[0] == losses[1]


def test_a_divergence_is_a_result_here_too(final: MakeSpec, tmp_path: Path) -> None:
    train(final(lr=1e30, warmup_epochs=0.0), tmp_path, ignore)
    result = result_of(tmp_path)
    assert (result.status, result.best_epoch, result.validation) == ("diverged", 0, {})
    assert not (tmp_path / "weights.safetensors").exists()


def test_test_clips_are_never_trained_on(final: MakeSpec, tmp_path: Path) -> None:
    request = final(is_optimistic=True)
    with pytest.raises(InputError, match="train on the test clips"):
        train(request, tmp_path, ignore)
    with pytest.raises(InputError, match="train on the test clips"):
        try_one_batch(request)


STUDY = """
title = "t"
question = "Does it?"
[base]
dataset = { name = "faces", train_clips = 28, validation_clips = 14, test_clips = 14 }
backbone = "conv-tiny"
[train]
fit = "train+val"
[design]
kind = "one-factor"
reference = { "train.ema" = 0.0 }
[factors]
"train.ema" = [0.0, 0.9]
"""


def test_a_study_that_would_train_on_test_clips_in_the_end_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.toml").write_text(STUDY)
    study = compile_study(load(tmp_path / "s.toml"), settings(tmp_path), "cpu")
    try_variants(study)
    monkeypatch.setattr(Faces, "is_optimistic", True)
    with pytest.raises(
        InputError, match=r"s\.toml: variant .*: train\.fit: 'train\+val' would train on the test clips"
    ):
        try_variants(study)
