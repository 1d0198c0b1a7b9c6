"""Operators without a deterministic form, memory that runs out, and progress in the log."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training_jobs import MakeSpec, evaluate, ignore, train

from study.errors import StudyError
from study.records import RunResult, from_json
from study.tasks.clips.training import batches
from study.tasks.clips.training.determinism import nondeterministic_operators, set_up
from study.tasks.clips.training.memory import explain_out_of_memory


@pytest.fixture
def frail(spec: MakeSpec) -> Any:
    """Return a function that makes the request of a training with frail parts."""

    def make(**changes: Any) -> Any:
        return replace(spec(**changes), modules=("support.tiny_parts", "support.frail_parts"))

    return make


def operators(folder: Path) -> Any:
    return from_json(RunResult, (folder / "result.json").read_bytes()).nondeterministic


def test_operators_without_a_deterministic_form_are_named_once(
    frail: MakeSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(frail(loss={"name": "putting"}), tmp_path, ignore)
    assert operators(tmp_path) == ("put_",)
    assert caplog.text.count("put_ has no deterministic form") == 1


def test_they_are_still_named_when_the_training_was_killed_in_between(
    frail: MakeSpec, tmp_path: Path
) -> None:
    request = frail(loss={"name": "putting"}, epochs=1)

    def stop(epoch: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(request, tmp_path, stop)
    train(request, tmp_path, ignore)  # nothing is left to be computed
    assert operators(tmp_path) == ("put_",)


def test_a_deterministic_training_names_none(spec: MakeSpec, tmp_path: Path) -> None:
    train(spec(), tmp_path, ignore)
    assert operators(tmp_path) == ()


def test_strict_is_an_error_that_names_the_operator_and_the_setting(frail: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r'put_ has no deterministic form.*train\.determinism = "strict"'):
        train(frail(loss={"name": "putting"}, determinism="strict"), tmp_path, ignore)
    assert not (tmp_path / "result.json").exists()


def test_strict_trains_what_is_deterministic_to_the_same_numbers(spec: MakeSpec, tmp_path: Path) -> None:
    for setting in ("strict", "warn", "off"):
        train(spec(determinism=setting), tmp_path / setting, ignore)
    results = [
        from_json(RunResult, (tmp_path / setting / "result.json").read_bytes()).validation
        for setting in ("strict", "warn", "off")
    ]
    assert results[0] == results[1] == results[2]


def test_off_requests_no_determinism_and_collects_no_warnings(frail: MakeSpec, tmp_path: Path) -> None:
    train(frail(loss={"name": "putting"}, determinism="off"), tmp_path, ignore)
    assert operators(tmp_path) == ()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_job_leaves_no_setting_of_an_earlier_one_in_its_process(spec: MakeSpec) -> None:
    for setting, expected in (("strict", (True, False)), ("off", (False, False)), ("warn", (True, True))):
        set_up(spec(determinism=setting))
        found = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )
        assert found == expected


def test_an_encoder_of_a_user_is_evaluated_as_it_is_trained(spec: MakeSpec) -> None:
    set_up(spec())
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, activation="gelu", batch_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 2)
    tokens = torch.randn(3, 7, 32)
    trained = encoder.train()(tokens)
    with torch.inference_mode():
        assert torch.equal(encoder.eval()(tokens), trained)


def test_other_warnings_and_errors_pass(spec: MakeSpec) -> None:
    with pytest.warns(UserWarning, match="something else"), nondeterministic_operators(spec()) as found:
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert not found
    with (
        pytest.raises(RuntimeError, match=r"^shapes do not fit$"),
        nondeterministic_operators(spec()),
        explain_out_of_memory("working"),
    ):
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize(
    ("message", "operator"),
    [
        (
            "avg_pool3d_backward_cuda does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True, warn_only=True)'. You can file an issue",
            "avg_pool3d_backward_cuda",
        ),
        (
            "Memory Efficient attention defaults to a non-deterministic algorithm. To explicitly enable determinism",
            "Memory Efficient attention",
        ),
        (
            "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or "
            "`at::Context::setDeterministicAlgorithms(true)`, but this operation is not deterministic because it "
            "uses CuBLAS and you have CUDA >= 10.2.",
            "CuBLAS",
        ),
    ],
)
def test_messages_of_torch_on_a_gpu_are_parsed(spec: MakeSpec, message: Any, operator: Any) -> None:
    with nondeterministic_operators(spec()) as found:
        for _ in range(2):
            warnings.warn(message, UserWarning, stacklevel=1)
    assert list(found) == [operator]


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU: on the CPU this operator is deterministic"
)
def test_an_operator_without_a_deterministic_form_on_a_gpu_is_named(spec: MakeSpec) -> None:
    request = spec(device="cuda")
    set_up(request)
    clips = torch.rand(1, 1, 4, 8, 8, device="cuda", requires_grad=True)
    with nondeterministic_operators(request) as found:
        torch.nn.functional.avg_pool3d(clips, 2).sum().backward()  # type: ignore[no-untyped-call]
    assert list(found) == ["avg_pool3d_backward_cuda"]


@pytest.mark.parametrize(("is_host_memory", "owner"), [(False, "The GPU"), (True, "This machine")])
def test_memory_that_runs_out_names_the_batch_size_and_what_to_change(
    frail: MakeSpec, tmp_path: Path, is_host_memory: Any, owner: Any
) -> None:
    request = frail(network={"name": "greedy", "own_memory": is_host_memory, "width": 16}, batch_size=8)
    del request.config["network"]["width"]
    with pytest.raises(
        StudyError, match=rf"{owner} ran out of memory training in batches of 8.*train\.batch_size"
    ):
        train(request, tmp_path, ignore)


def test_memory_that_runs_out_in_the_test_names_the_batch_size(
    spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(spec(epochs=1), tmp_path, ignore)

    def no_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("study.tasks.clips.training.evaluation.evaluate.predict", no_memory)
    with pytest.raises(StudyError, match="testing in batches of 8 clips"):
        evaluate(spec(epochs=1), tmp_path, ignore)


def test_a_long_epoch_logs_its_progress(
    spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "study")
    train(spec(epochs=1), tmp_path / "short", ignore)
    assert "steps" not in caplog.text
    monkeypatch.setattr(batches, "LOG_EVERY_S", 0.0)
    train(spec(epochs=1), tmp_path / "long", ignore)
    assert "epoch 1 of 1: 3 of 7 steps, loss " in caplog.text
    assert "predicting: 2 of 8 steps, about " in caplog.text
