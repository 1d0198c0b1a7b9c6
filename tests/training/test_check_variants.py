"""One step before anything is trained: what does not fit is one message."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.training_jobs import MakeSpec

from study.errors import InputError
from study.records import RunSpec
from study.tasks.clips.training.probes.try_one_batch import try_one_batch


@pytest.fixture
def request_of(spec: MakeSpec) -> Any:
    """Return a function that makes the request of a training with parts of a stranger's."""

    def make(network: Any = None, **changes: Any) -> Any:
        made = spec(**changes)
        network = {"name": network} if isinstance(network, str) else network or {"name": "bare"}
        return replace(
            made,
            config={**made.config, "network": network},
            modules=("support.tiny_parts", "support.frail_parts", "support.open_parts"),
        )

    return make


def refusal(request: RunSpec) -> Any:
    with pytest.raises(InputError) as caught:
        try_one_batch(request)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_network_that_fits_passes_quickly_and_draws_nothing_from_the_global_generator(
    request_of: Any,
) -> None:
    try_one_batch(request_of())
    state = torch.get_rng_state()
    began = time.perf_counter()
    try_one_batch(request_of(mixup=0.8, ema=0.9))
    assert time.perf_counter() - began < 1
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("when", "stage", "exception"),
    [
        ("building", "building the network", "KeyError"),
        ("forward", "the forward pass failed in head (Linear)", "RuntimeError"),
        ("evaluation", "the forward pass in evaluation", "ZeroDivisionError: no clips"),
        ("backward", "the loss depends on no parameter", ".detach()"),
    ],
)
def test_what_fails_is_named_with_its_stage_and_reason(
    request_of: Any, when: Any, stage: Any, exception: Any
) -> None:
    text = refusal(request_of({"name": "broken", "when": when}))
    assert stage in text
    assert exception in text


def test_a_loss_that_is_no_scalar_is_refused(request_of: Any) -> None:
    assert "the loss must return" in refusal(request_of(loss={"name": "per-clip"}))


@pytest.mark.parametrize(
    ("returns", "got"),
    [
        ("tuple", "a tuple of 2: a tensor of shape (2, 3)"),
        ("dict", "a dictionary with 'logits'"),
        ("other classes", "a tensor of shape (2, 2)"),
        ("one vector", "a tensor of shape (3,)"),
        ("integers", "a tensor of int64 of shape (2, 3)"),
        ("nothing", "nothing"),
    ],
)
def test_a_network_that_returns_no_logits_is_one_sentence_on_what_came_and_what_is_owed(
    request_of: Any, returns: Any, got: Any
) -> None:
    text = refusal(request_of({"name": "odd", "returns": returns}))
    assert "float logits of shape (2, 3)" in text
    assert f"Got {got}" in text


def test_parts_of_a_batch_must_be_equal(request_of: Any) -> None:
    assert "train.accumulate: must divide train.batch_size, 8" in refusal(request_of(accumulate=3))


def test_tf32_on_a_cpu_is_refused(request_of: Any) -> None:
    assert "train.precision: 'tf32'" in refusal(request_of(precision="tf32"))


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"cls": "RMSprob"}, "Did you mean 'RMSprop'?"),
        ({"cls": "LBFGS"}, "needs a closure"),
        ({"cls": "RMSprop", "options": {"momentun": 0.9}}, "Did you mean 'momentum'?"),
        ({"cls": "RMSprop", "options": {"lr": 0.9}}, "set train.lr instead"),
        ({"cls": "Rprop", "options": {}}, "Rprop has no weight decay"),
        ({"cls": "Adam", "options": {"betas": 3}}, "optimizer.options: Adam refuses them"),
    ],
)
def test_an_optimizer_that_torch_does_not_have_is_named(
    request_of: Any, optimizer: Any, message: Any
) -> None:
    assert message in refusal(request_of(optimizer={"name": "torch-optim", "options": {}, **optimizer}))


@pytest.mark.parametrize(
    ("returns", "picked"), [("tuple", "self.network(clips)[0]"), ("dict", "self.network(clips)['logits']")]
)
def test_the_refusal_of_a_tuple_or_a_dictionary_names_the_line_that_picks_the_logits(
    request_of: Any, returns: Any, picked: Any
) -> None:
    assert picked in refusal(request_of({"name": "odd", "returns": returns}))


@pytest.mark.parametrize("returns", ["integers", "one vector", "nothing"])
def test_no_line_is_proposed_where_nothing_looks_like_logits(request_of: Any, returns: Any) -> None:
    assert "self.network" not in refusal(request_of({"name": "odd", "returns": returns}))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("meta", "'missing' is on the device 'meta'"),
        ("exit", "building the network failed: SystemExit: 3"),
        ("no gradients", "depends on no parameter that is trained"),
        ("memory", "the first step passes and the second fails"),
    ],
)
def test_networks_that_only_a_training_would_find_out_are_refused_before_it(
    request_of: Any, how: Any, says: Any
) -> None:
    assert says in refusal(request_of({"name": "unfit", "how": how}))


def test_a_network_that_keeps_a_result_which_no_later_step_reads_is_accepted(request_of: Any) -> None:
    try_one_batch(request_of({"name": "unfit", "how": "unread"}))
