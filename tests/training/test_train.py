import json

import numpy as np
import pytest
import safetensors.torch
import torch

from study.errors import StudyError
from study.records import Epoch, RunResult, from_json
from study.training import train as job
from study.training.batches import shuffled
from study.training.predictions import load
from study.training.train import train


def ignore(epoch):
    pass


def result_of(folder):
    return from_json(RunResult, (folder / "result.json").read_bytes())


def run(spec, folder, on_epoch=ignore):
    train(spec, folder, on_epoch)
    return result_of(folder)


def orders_of(spec, folder):
    import tiny_parts

    tiny_parts.ORDERS.clear()
    train(spec, folder, ignore)
    return list(tiny_parts.ORDERS)


def test_a_training_learns_and_leaves_a_whole_record(spec, tmp_path):
    seen: list[Epoch] = []
    result = run(spec(epochs=8), tmp_path, seen.append)
    assert result.status == "finished"
    assert result.selection["war"] > 0.9
    assert [epoch.epoch for epoch in seen] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert result.history == tuple(seen)
    assert (
        json.loads((tmp_path / "history.json").read_bytes())
        == json.loads((tmp_path / "result.json").read_bytes())["history"]
    )
    assert result.parameters == 32 * 16 + 16 + 16 * 3 + 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "history.json",
        "result.json",
        "selection.npz",
        "weights.safetensors",
    ]


def test_the_kept_predictions_are_those_that_the_selection_metrics_tell_of(spec, tmp_path):
    result = run(spec(dataset={"noise": 90.0}), tmp_path)
    kept = load(tmp_path / "selection.npz")
    assert kept.ids[:2].tolist() == ["selection-0", "selection-1"]
    assert kept.sources[:2].tolist() == ["person-0", "person-1"]
    assert (kept.logits.argmax(1) == kept.labels).mean() == pytest.approx(result.selection["war"])


def test_the_test_split_is_never_read(spec, tmp_path):
    run(spec(dataset={"forbidden": ["test"]}, epochs=1), tmp_path)


@pytest.mark.parametrize("metric", ["war", "uar"])
def test_the_epoch_with_the_highest_primary_metric_is_kept(spec, tmp_path, metric):
    result = run(spec(epochs=6, lr=3e-2, dataset={"noise": 90.0}, select_by=metric), tmp_path)
    values = [epoch.selection[metric] for epoch in result.history]
    assert len(set(values)) > 1
    assert values[result.best_epoch - 1] == max(values)
    assert result.best_epoch == values.index(max(values)) + 1
    assert result.selection == result.history[result.best_epoch - 1].selection


def test_on_ties_the_earliest_epoch_is_kept(spec, tmp_path):
    assert run(spec(lr=0.0), tmp_path).best_epoch == 1


def test_the_same_request_gives_the_same_numbers_and_weights(spec, tmp_path):
    first, second = run(spec(), tmp_path / "a"), run(spec(), tmp_path / "b")
    assert first.selection == second.selection
    assert [e.train_loss for e in first.history] == [e.train_loss for e in second.history]
    for name in ("weights.safetensors", "selection.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_seed_gives_other_weights(spec, tmp_path):
    for seed in (1, 2):
        train(spec(seed=seed, lr=0.0, epochs=1), tmp_path / str(seed), ignore)
    first, second = (
        safetensors.torch.load_file(tmp_path / s / "weights.safetensors")["head.weight"] for s in "12"
    )
    assert not torch.equal(first, second)


def test_variants_see_the_same_clips_in_the_same_order(spec, tmp_path):
    reference = orders_of(spec(), tmp_path / "a")
    assert orders_of(spec(network={"width": 3, "dropout": 0.5}), tmp_path / "b") == reference
    assert orders_of(spec(seed=2), tmp_path / "c") != reference
    assert orders_of(spec(stream=1), tmp_path / "d") != reference


def test_every_epoch_has_an_order_of_its_own_and_repeats_no_clip(spec, tmp_path):
    batches = orders_of(spec(epochs=2), tmp_path)
    assert [len(batch) for batch in batches] == [8] * 14  # 60 clips: 7 full batches an epoch
    first, second = sum(batches[:7], []), sum(batches[7:], [])  # noqa: RUF017
    assert first != second
    assert len(set(first)) == len(set(second)) == 56


def test_clips_that_fill_no_batch_are_still_trained_on(spec, tmp_path):
    assert [len(batch) for batch in orders_of(spec(epochs=1, batch_size=100), tmp_path)] == [60]


def test_the_stream_leaves_the_initial_weights_alone(spec, tmp_path):
    for stream in (0, 1):
        train(spec(lr=0.0, epochs=1, stream=stream), tmp_path / str(stream), ignore)
    first, second = (safetensors.torch.load_file(tmp_path / s / "weights.safetensors") for s in "01")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_learning_rate_warms_up_and_falls(spec, tmp_path):
    result = run(spec(epochs=4, lr=0.01, warmup_epochs=1.0), tmp_path)
    # 7 steps an epoch; the last step of epoch e is 7e - 1, warm-up 7 steps of 28
    expected = [0.005 * (1 + np.cos(np.pi * (7 * e - 1 - 7) / 21)) for e in (2, 3, 4)]
    assert [epoch.learning_rate for epoch in result.history] == pytest.approx([0.01, *expected])


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_a_divergence_is_a_result_and_not_an_exception(spec, tmp_path, clip_norm):
    seen = []
    result = run(spec(lr=1e30, warmup_epochs=0.0, clip_norm=clip_norm), tmp_path, seen.append)
    assert result.status == "diverged"
    assert (result.best_epoch, result.selection["war"], result.selection["uar"]) == (0, 0.0, 0.0)
    assert "loss" not in result.selection
    assert list(result.history) == seen
    assert not (tmp_path / "weights.safetensors").exists()


def test_the_result_is_written_last(spec, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr(job, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        train(spec(epochs=1), tmp_path, ignore)
    assert (tmp_path / "history.json").exists()
    assert not (tmp_path / "result.json").exists()


def test_a_training_that_is_stopped_can_be_started_again_in_its_folder(spec, tmp_path):
    def stop(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec(), tmp_path / "a", stop)
    assert not (tmp_path / "a" / "result.json").exists()
    run(spec(), tmp_path / "a")
    run(spec(), tmp_path / "b")
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (
        tmp_path / "b" / "weights.safetensors"
    ).read_bytes()


def test_shuffled_labels_keep_the_class_counts_and_depend_on_the_seed():
    labels = np.repeat(np.arange(3), [5, 20, 10])
    once, again, other = shuffled(labels, 1), shuffled(labels, 1), shuffled(labels, 2)
    assert np.bincount(once).tolist() == [5, 20, 10]
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
    assert not np.array_equal(once, labels)


def test_shuffled_labels_leave_nothing_to_learn(spec, tmp_path):
    found = [
        run(spec(seed=seed, epochs=8, labels="shuffled"), tmp_path / str(seed)).history[-1].selection["war"]
        for seed in range(8)
    ]
    assert np.mean(found) < 0.6  # 1/3 by chance, the true labels give more than 0.9


def test_a_gpu_that_is_not_there_is_an_error_and_not_a_cpu(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StudyError, match="torch sees no GPU"):
        train(spec(device="cuda"), tmp_path, ignore)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
def test_a_gpu_trains_and_repeats_itself(spec, tmp_path):
    first, second = (run(spec(device="cuda"), tmp_path / name) for name in "ab")
    assert first.selection == second.selection
    assert first.machine.hardware == torch.cuda.get_device_name()
