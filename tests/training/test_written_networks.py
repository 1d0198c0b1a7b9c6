"""Networks as people write them are trained, tested and profiled, or one sentence before the search says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.training_jobs import MakeSpec, evaluate, ignore, measure, profile, train
from support.written_networks import WAYS

from study.config.components.declarations import declarations
from study.errors import InputError
from study.records import Profile, RunResult, from_json
from study.tasks.clips.training.probes.try_one_batch import try_one_batch

REFUSED = {
    "lazy in training": "'auxiliary.weight'",
    "frozen": "all 4 tensors of the network's parameters are frozen",
    "no parameters": "the network has no parameters",
    "tuple": "Got a tuple of 2: a tensor of shape (2, 3)",
    "list": "Got a list of 1",
    "dict": "Got a dictionary with 'logits'",
    "fixed classes": "Got a tensor of shape (2, 7)",
    "per frame": "Got a tensor of shape (2, 2, 3)",
    "nan in evaluation": "not finite",
    "listed": "nn.ModuleList",
    "verbose": "the forward pass failed",
    "function": "must return a torch.nn.Module",
    "class": "the class Plain; call it",
}
"""Ways that cannot be trained, and what the sentence about them says."""
LONGEST = 500


@pytest.fixture
def written(spec: MakeSpec) -> Any:
    """Return a function that makes the request of a training of a network that is written in some way."""
    from dataclasses import replace

    def make(way: str, clips_of_a_class: int = 7, **changes: Any) -> Any:
        made = spec(dataset={"per_class": clips_of_a_class}, **{"epochs": 2, "ema": 0.9, **changes})
        network = {"name": "written", "way": way}
        modules = ("support.tiny_parts", "support.written_networks")
        return replace(made, config={**made.config, "network": network}, modules=modules)

    return make


@pytest.mark.parametrize("way", [way for way in WAYS if way not in REFUSED])
@pytest.mark.filterwarnings("ignore")
def test_it_is_trained_resumed_tested_profiled_and_measured(written: Any, way: str, tmp_path: Path) -> None:
    def stop(epoch: Any) -> None:
        raise KeyboardInterrupt

    request = written(way)
    try_one_batch(request)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(request, whole)
    with pytest.raises(KeyboardInterrupt):
        train(request, killed, stop)
    train(request, killed)
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (whole, killed)]
    assert weights[0] == weights[1]
    assert len(from_json(RunResult, (whole / "result.json").read_bytes()).history) == 2
    evaluate(request, whole)
    profile(request, whole)
    measure(request, whole, ignore, "probes@0")


@pytest.mark.parametrize("way", REFUSED)
def test_it_is_refused_in_one_sentence_before_anything_is_trained(written: Any, way: str) -> None:
    with pytest.raises(InputError) as caught:
        try_one_batch(written(way))
    text = str(caught.value)
    assert REFUSED[way] in text
    assert "\n" not in text
    assert len(text) < LONGEST


def test_a_last_batch_of_one_clip_is_tried_where_a_split_has_one(written: Any) -> None:
    try_one_batch(written("squeezed", clips_of_a_class=8))
    with pytest.raises(
        InputError, match=r"a batch of one clip .* the last of 33 validation clips in batches of 8"
    ):
        try_one_batch(written("squeezed", clips_of_a_class=11))
    try_one_batch(written("batch norm", clips_of_a_class=11))


@pytest.mark.parametrize("changes", [{"batch_size": 1}, {"batch_size": 4, "accumulate": 4}])
def test_training_on_single_clips_is_tried_as_it_will_be(written: Any, changes: Any) -> None:
    with pytest.raises(InputError, match=r"norm \(BatchNorm1d\).* more than 1 value per channel"):
        try_one_batch(written("batch norm", **changes))
    try_one_batch(written("plain", **changes))


def test_few_training_clips_are_one_small_batch(written: Any) -> None:
    with pytest.raises(InputError, match="more than 1 value per channel"):
        try_one_batch(written("batch norm", clips_of_a_class=1, batch_size=8, accumulate=2))


def test_averages_of_complex_values_are_averages(written: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    train(written("complex", ema=0.0), tmp_path / "last")
    train(written("complex", ema=0.5), tmp_path / "averaged")
    last, averaged = (load_file(tmp_path / name / "weights.safetensors") for name in ("last", "averaged"))
    assert averaged["filter"].is_complex()
    assert not torch.equal(last["filter"], averaged["filter"])


def test_parameters_that_are_not_trained_are_counted_apart(written: Any, tmp_path: Path) -> None:
    profile(written("frozen trunk"), tmp_path)
    counts = from_json(Profile, (tmp_path / "profile.json").read_bytes())
    assert counts.frozen == 8 * 27 + 8
    assert counts.parameters == 8 * 4 * 3 + 3


@pytest.mark.filterwarnings("ignore")
def test_a_network_that_cannot_be_traced_says_that_nothing_is_counted(written: Any, tmp_path: Path) -> None:
    profile(written("scripted"), tmp_path)
    counts = from_json(Profile, (tmp_path / "profile.json").read_bytes())
    assert (counts.macs, counts.parameters) == (0, 32 * 3 + 3)
    assert counts.uncounted


@pytest.mark.parametrize(
    ("kind", "context", "parameter"),
    [
        ("network", "shape, classes, build", "name"),
        ("loss", "", "name"),
        ("design", "reference, factors", "within"),
    ],
)
def test_a_parameter_with_the_name_of_a_key_of_every_study_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, context: str, parameter: str
) -> None:
    text = f'''
from typing import Annotated
from study.config.registry import component
@component("{kind}")
def mine({context}{"," if context else ""} *, {parameter}: Annotated[str, "of a variant"] = "a"):
    """Mine."""
'''
    (tmp_path / "parts_of_mine.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=f"'{parameter}' cannot be the name of a parameter"):
        declarations("parts_of_mine")
