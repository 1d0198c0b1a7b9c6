"""The recipes of IFDD against what is known of the release, and short trainings by each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.training_jobs import train

from study.config.compile import compile_study
from study.config.registry import Registry
from study.config.settings import settings
from study.config.study import load
from study.records import RunResult, from_json
from study.tasks.clips.nets.contract import Output

STUDY = """
title = "t"
question = "Does it?"
recipe = "{}"
[base]
dataset = {{ name = "faces", train_clips = 48, validation_clips = 14, test_clips = 14 }}
network = {{ name = "ifdd", stages = [1] }}
backbone = "conv-tiny"
splitter = "issm"
[design]
kind = "one-factor"
reference = {{ "train.ema" = 0.0 }}
[factors]
"train.ema" = [0.0, 0.9]
"""


@pytest.fixture
def request_of(tmp_path: Path) -> Any:
    """Return a function that makes the request of a training by a recipe."""

    def make(name: Any, *changes: Any, ema: Any = 0.0) -> Any:
        file = tmp_path / "s.toml"
        file.write_text(STUDY.format(name))
        study = compile_study(load(file, None, changes), settings(tmp_path), "cpu")
        variant = next(v for v in study.variants if v.template.config["train"]["ema"] == ema)
        return variant.run({}, 1, None)

    return make


@pytest.mark.parametrize(
    ("name", "batch", "expected"),
    [
        ("ifdd-released", 16, 0.2),
        ("ifdd-released", 1, 0.0125),
        ("ifdd-fixed", 16, 0.0125),
        ("ifdd-fixed", 1, 0.0125),
    ],
)
def test_the_context_loss_of_a_constant_half_is_that_of_the_release(
    request_of: Any, name: Any, batch: Any, expected: Any
) -> None:
    loss = Registry().build("loss", request_of(name).config["loss"])
    logits, labels = torch.zeros(batch, 7), torch.zeros(batch, dtype=torch.int64)
    constrained = loss(Output(logits, torch.full((batch, 768, 4, 7, 7), 0.5)), labels)
    assert (constrained - loss(Output(logits), labels)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ifdd-released", {0: "1.0e-06", 9: "8.8e-05", 10: "5.0e-05", 50: "2.96e-05", 99: "5.2e-07"}),
        ("ifdd-fixed", {0: "1.0e-06", 10: "1.00e-04", 55: "5.00e-05"}),
    ],
)
def test_the_learning_rates_of_a_whole_training(request_of: Any, name: Any, expected: Any) -> None:
    config = request_of(name).config
    values = (config["train"][key] for key in ("lr", "epochs", "warmup_epochs"))
    rates = Registry().build("schedule", config["schedule"], *values, 10)
    found = {epoch: rates.rate(10 * epoch) for epoch in expected}
    digits = {epoch: len(text) - len("1.e-06") for epoch, text in expected.items()}
    assert {epoch: f"{rate:.{digits[epoch]}e}" for epoch, rate in found.items()} == expected


@pytest.mark.parametrize("name", ["ifdd-released", "ifdd-fixed"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_short_training_by_a_recipe(request_of: Any, name: Any, ema: Any, tmp_path: Path) -> None:
    train(request_of(name, "train.epochs=2", ema=ema), tmp_path / name, lambda epoch: None)
    result = from_json(RunResult, (tmp_path / name / "result.json").read_bytes())
    assert result.status == "finished"
    assert len(result.history) == 2
    first = result.history[0].learning_rate
    # the release's first epoch, and the third of 30 steps of warm-up
    assert first == pytest.approx({"ifdd-released": 1e-6, "ifdd-fixed": 1e-4 * 3 / 30}[name])
