from pathlib import Path
from typing import Any

import pytest
from support.training_jobs import MakeSpec, evaluate, ignore, train

from study.errors import DamagedWeightsError, StudyError
from study.ledger.predictions import load
from study.records import RunResult, TestResult, from_json


def not_an_epoch(epoch: Any) -> None:
    raise AssertionError("an evaluation has no epochs")


def test_on_the_selection_clips_the_best_epoch_scores_as_in_training(spec: MakeSpec, tmp_path: Path) -> None:
    request = spec(epochs=6, lr=3e-2, dataset={"noise": 90.0, "test_is_validation": True})
    train(request, tmp_path, ignore)
    evaluate(request, tmp_path, not_an_epoch)
    trained = from_json(RunResult, (tmp_path / "result.json").read_bytes())
    tested = from_json(TestResult, (tmp_path / "test.json").read_bytes())
    assert trained.best_epoch < 6  # or the last weights would do as well
    best = trained.history[trained.best_epoch - 1]
    assert tested.metrics == {**trained.validation, **best.diagnostics}
    assert (tested.run, tested.examples) == (request.id, 60)
    assert load(tmp_path / "test.npz").ids[0] == "validation-0"


def test_the_train_split_is_not_read(spec: MakeSpec, tmp_path: Path) -> None:
    train(spec(epochs=1), tmp_path, ignore)
    evaluate(spec(epochs=1, dataset={"forbidden": ["train"]}), tmp_path, ignore)
    assert load(tmp_path / "test.npz").ids[0] == "test-0"


def test_a_run_without_weights_cannot_be_evaluated(spec: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"no weights\.safetensors"):
        evaluate(spec(), tmp_path, ignore)
    assert not (tmp_path / "test.json").exists()


def test_damaged_weights_are_an_error_and_removed_so_that_a_retry_trains_them_again(
    spec: MakeSpec, tmp_path: Path
) -> None:
    train(spec(epochs=1), tmp_path, ignore)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(StudyError, match=r"weights\.safetensors was damaged"):
        evaluate(spec(epochs=1), tmp_path, ignore)
    assert not weights.exists()


def test_flipped_weights_and_those_of_another_run_are_not_tested(spec: MakeSpec, tmp_path: Path) -> None:
    train(spec(epochs=1), tmp_path / "a", ignore)
    train(spec(epochs=1, seed=7), tmp_path / "b", ignore)
    weights = tmp_path / "a" / "weights.safetensors"
    whole = weights.read_bytes()
    for content in (
        whole[:-3] + bytes([whole[-3] ^ 64]) + whole[-2:],
        (tmp_path / "b" / "weights.safetensors").read_bytes(),
    ):
        weights.write_bytes(content)
        with pytest.raises(DamagedWeightsError, match=r"weights\.safetensors was damaged"):
            evaluate(spec(epochs=1), tmp_path / "a", ignore)
        assert not weights.exists()
    weights.write_bytes(whole)
    evaluate(spec(epochs=1), tmp_path / "a", ignore)
