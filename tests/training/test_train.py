import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from support import tiny_parts
from support.training_jobs import MakeSpec, evaluate, ignore, train

from study.config.registry import Registry
from study.errors import StudyError
from study.ledger.predictions import load
from study.records import Epoch, RunResult, RunSpec, TestResult, from_json
from study.tasks.clips.training.batches import shuffled
from study.tasks.clips.training.state import TrainState
from study.tasks.clips.training.train import train_epoch


def result_of(folder: Path) -> Any:
    return from_json(RunResult, (folder / "result.json").read_bytes())


def run(spec: RunSpec, folder: Path, on_epoch: Any = ignore) -> Any:
    train(spec, folder, on_epoch)
    return result_of(folder)


def orders_of(spec: RunSpec, folder: Path) -> Any:
    tiny_parts.ORDERS.clear()
    train(spec, folder, ignore)
    return list(tiny_parts.ORDERS)


def clips_shown(spec: RunSpec, folder: Path) -> Any:
    """Return the clips that the network was shown in training and out of it, each (n, C, T, H, W)."""
    for shown in tiny_parts.SEEN.values():
        shown.clear()
    train(spec, folder, ignore)
    return tuple(torch.cat(tiny_parts.SEEN[training]) for training in (True, False))


def state_of(spec: RunSpec) -> Any:
    registry = Registry(spec.modules)
    dataset = registry.build("dataset", spec.table("dataset"))
    return TrainState.of(spec, registry, dataset, torch.device("cpu"))


def test_a_training_learns_and_leaves_a_whole_record(spec: MakeSpec, tmp_path: Path) -> None:
    seen: list[Epoch] = []
    result = run(spec(epochs=8), tmp_path, seen.append)
    assert result.status == "finished"
    assert result.validation["war"] > 0.9
    assert [epoch.epoch for epoch in seen] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert result.history == tuple(seen)
    assert (
        json.loads((tmp_path / "history.json").read_bytes())["content"]
        == json.loads((tmp_path / "result.json").read_bytes())["history"]
    )
    assert result.parameters == 32 * 16 + 16 + 16 * 3 + 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "history.json",
        "result.json",
        "validation.npz",
        "weights.safetensors",
    ]


def test_the_kept_predictions_are_those_of_the_selection_metrics(spec: MakeSpec, tmp_path: Path) -> None:
    result = run(spec(dataset={"noise": 90.0}), tmp_path)
    kept = load(tmp_path / "validation.npz")
    assert kept.ids[:2].tolist() == ["validation-0", "validation-1"]
    assert kept.sources[:2].tolist() == ["person-0", "person-1"]
    assert (kept.logits.argmax(1) == kept.labels).mean() == pytest.approx(result.validation["war"])


def test_the_test_split_is_never_read(spec: MakeSpec, tmp_path: Path) -> None:
    run(spec(dataset={"forbidden": ["test"]}, epochs=1), tmp_path)


@pytest.mark.parametrize("metric", ["war", "uar", "macro-f1"])
def test_the_epoch_with_the_highest_primary_metric_is_kept(
    spec: MakeSpec, tmp_path: Path, metric: Any
) -> None:
    result = run(spec(epochs=6, lr=3e-2, dataset={"noise": 90.0}, metric=metric), tmp_path)
    values = [epoch.validation[metric] for epoch in result.history]
    assert len(set(values)) > 1
    assert values[result.best_epoch - 1] == max(values)
    assert result.best_epoch == values.index(max(values)) + 1
    assert result.validation == result.history[result.best_epoch - 1].validation


def test_on_ties_the_earliest_epoch_is_kept(spec: MakeSpec, tmp_path: Path) -> None:
    assert run(spec(lr=0.0), tmp_path).best_epoch == 1


def test_the_same_request_gives_the_same_numbers_and_weights(spec: MakeSpec, tmp_path: Path) -> None:
    first, second = run(spec(), tmp_path / "a"), run(spec(), tmp_path / "b")
    assert first.validation == second.validation
    assert [e.train_loss for e in first.history] == [e.train_loss for e in second.history]
    for name in ("weights.safetensors", "validation.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_seed_gives_other_weights(spec: MakeSpec, tmp_path: Path) -> None:
    for seed in (1, 2):
        train(spec(seed=seed, lr=0.0, epochs=1), tmp_path / str(seed), ignore)
    first, second = (
        safetensors.torch.load_file(tmp_path / s / "weights.safetensors")["head.weight"] for s in "12"
    )
    assert not torch.equal(first, second)


def test_variants_see_the_same_clips_in_the_same_order(spec: MakeSpec, tmp_path: Path) -> None:
    reference = orders_of(spec(), tmp_path / "a")
    assert orders_of(spec(network={"width": 3, "dropout": 0.5}), tmp_path / "b") == reference
    assert orders_of(spec(seed=2), tmp_path / "c") != reference
    assert orders_of(spec(stream=1), tmp_path / "d") != reference


def test_every_epoch_has_an_order_of_its_own_and_repeats_no_clip(spec: MakeSpec, tmp_path: Path) -> None:
    batches = orders_of(spec(epochs=2), tmp_path)
    assert [len(batch) for batch in batches] == [8] * 14  # 60 clips: 7 full batches an epoch
    first, second = (list(chain.from_iterable(part)) for part in (batches[:7], batches[7:]))
    assert first != second
    assert len(set(first)) == len(set(second)) == 56


def test_clips_that_fill_no_batch_are_still_trained_on(spec: MakeSpec, tmp_path: Path) -> None:
    assert [len(batch) for batch in orders_of(spec(epochs=1, batch_size=100), tmp_path)] == [60]


def test_another_stream_has_other_initial_weights(spec: MakeSpec, tmp_path: Path) -> None:
    for stream in (0, 1):
        train(spec(lr=0.0, epochs=1, stream=stream), tmp_path / str(stream), ignore)
    first, second = (safetensors.torch.load_file(tmp_path / s / "weights.safetensors") for s in "01")
    assert not torch.equal(first["head.weight"], second["head.weight"])


def test_the_learning_rate_warms_up_and_falls(spec: MakeSpec, tmp_path: Path) -> None:
    result = run(spec(epochs=4, lr=0.01, warmup_epochs=1.0), tmp_path)
    # 7 steps an epoch; the last step of epoch e is 7e - 1, warm-up 7 steps of 28
    expected = [0.005 * (1 + np.cos(np.pi * (7 * e - 1 - 7) / 21)) for e in (2, 3, 4)]
    assert [epoch.learning_rate for epoch in result.history] == pytest.approx([0.01, *expected])


STANDARD = {
    "name": "standard",
    "flip": 0.5,
    "scale_low": 0.5,
    "scale_high": 1.0,
    "ratio": 1.3,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.0,
    "hue": 0.0,
}
CHANGING = {"augmentation": STANDARD, "mixup": 0.8, "cutmix": 1.0}


@pytest.mark.parametrize("changing", [{"augmentation": STANDARD}, {"mixup": 0.8}, {"cutmix": 1.0}])
def test_training_clips_are_changed_and_no_others(spec: MakeSpec, tmp_path: Path, changing: Any) -> None:
    training, judging = clips_shown(spec(epochs=2), tmp_path / "a")
    changed, same = clips_shown(spec(epochs=2, **changing), tmp_path / "b")
    assert (training != changed).flatten(1).any(1).float().mean() > 0.8
    assert torch.equal(judging, same)


def test_variants_see_the_same_changed_clips(spec: MakeSpec, tmp_path: Path) -> None:
    reference, _ = clips_shown(spec(**CHANGING), tmp_path / "a")
    narrow = {"width": 3, "dropout": 0.5}
    assert torch.equal(clips_shown(spec(network=narrow, **CHANGING), tmp_path / "b")[0], reference)
    assert torch.equal(clips_shown(spec(ema=0.9, **CHANGING), tmp_path / "c")[0], reference)
    assert not torch.equal(clips_shown(spec(seed=2, **CHANGING), tmp_path / "d")[0], reference)


def test_seed_stream_and_epoch_shift_augmentation_and_mixing(spec: MakeSpec) -> None:
    def seeds(epoch: Any = 1, **changes: Any) -> Any:
        state = state_of(spec(**changes))
        used: list[int] = []

        def augment(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            used.append(generator.initial_seed())
            return clips

        def mixup(clips: torch.Tensor, labels: torch.Tensor, classes: int, seed: int) -> Any:
            used.append(seed)
            return clips, labels

        state.augment, state.mixup = augment, mixup
        train_epoch(state, epoch)
        return used

    reference = seeds()
    assert seeds(network={"width": 3}) == reference
    assert len(set(reference)) == 1 + 7  # one generator for the epoch, one seed for each of 7 batches
    for changed in (seeds(seed=2), seeds(stream=1), seeds(epoch=2)):
        assert not set(changed) & set(reference)


def test_every_epoch_changes_clips_anew(spec: MakeSpec, tmp_path: Path) -> None:
    shown, _ = clips_shown(spec(epochs=2, augmentation=STANDARD, dataset={"noise": 0.0}), tmp_path)
    first, second = shown.chunk(2)
    assert not any(torch.equal(clip, other) for clip in first for other in second)


def test_a_changed_training_repeats_itself(spec: MakeSpec, tmp_path: Path) -> None:
    for name in "ab":
        run(spec(ema=0.9, **CHANGING), tmp_path / name)
    first, second = (tmp_path / name / "weights.safetensors" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_the_averaged_weights_are_those_after_each_step_with_geometric_shares(spec: MakeSpec) -> None:
    state = state_of(spec(ema=0.8, epochs=1))
    steps = []
    state.on_step = lambda *_: steps.append(state.network.head.weight.detach().clone())
    train_epoch(state, 1)
    shares = torch.tensor([0.8 ** (len(steps) - 1 - n) for n in range(len(steps))])
    expected = torch.einsum("n,nij->ij", shares / shares.sum(), torch.stack(steps))
    torch.testing.assert_close(state.eval_model.head.weight.data, expected, rtol=0, atol=1e-6)
    assert not torch.equal(state.eval_model.head.weight, state.network.head.weight)


def test_averaging_leaves_training_alone_and_decides_what_is_selected(spec: MakeSpec, tmp_path: Path) -> None:
    plain, averaged = (run(spec(ema=ema), tmp_path / str(ema)) for ema in (0.0, 0.9))
    assert [e.train_loss for e in plain.history] == [e.train_loss for e in averaged.history]
    assert [e.diagnostics["loss"] for e in plain.history] != [e.diagnostics["loss"] for e in averaged.history]
    evaluated = spec(ema=0.9, dataset={"test_is_validation": True})
    evaluate(evaluated, tmp_path / "0.9", ignore)
    tested = from_json(TestResult, (tmp_path / "0.9" / "test.json").read_bytes())
    assert {name: tested.metrics[name] for name in averaged.validation} == averaged.validation


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_a_divergence_is_a_result_and_not_an_exception(
    spec: MakeSpec, tmp_path: Path, clip_norm: Any
) -> None:
    seen: list[Epoch] = []
    result = run(spec(lr=1e30, warmup_epochs=0.0, clip_norm=clip_norm), tmp_path, seen.append)
    assert result.status == "diverged"
    assert (result.best_epoch, result.validation, result.has_weights) == (0, {}, False)
    assert list(result.history) == seen
    assert not (tmp_path / "weights.safetensors").exists()


def test_the_result_is_written_last(spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("study.ledger.predictions.save", full_disk)
    with pytest.raises(OSError, match="no space"):
        train(spec(epochs=1), tmp_path, ignore)
    assert (tmp_path / "history.json").exists()
    assert not (tmp_path / "result.json").exists()


def test_a_stopped_training_can_be_restarted_in_its_folder(spec: MakeSpec, tmp_path: Path) -> None:
    def stop(epoch: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec(), tmp_path / "a", stop)
    assert not (tmp_path / "a" / "result.json").exists()
    run(spec(), tmp_path / "a")
    run(spec(), tmp_path / "b")
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (
        tmp_path / "b" / "weights.safetensors"
    ).read_bytes()


def test_shuffled_labels_keep_the_class_counts_and_depend_on_the_seed() -> None:
    labels = np.repeat(np.arange(3), [5, 20, 10])
    once, again, other = shuffled(labels, 1), shuffled(labels, 1), shuffled(labels, 2)
    assert np.bincount(once).tolist() == [5, 20, 10]
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
    assert not np.array_equal(once, labels)


def test_shuffled_labels_leave_nothing_to_learn(spec: MakeSpec, tmp_path: Path) -> None:
    found = [
        run(spec(seed=seed, epochs=8, labels="shuffled"), tmp_path / str(seed)).history[-1].validation["war"]
        for seed in range(8)
    ]
    assert np.mean(found) < 0.6  # 1/3 by chance, the true labels give more than 0.9


def test_a_gpu_that_is_not_there_is_an_error_and_not_a_cpu(
    spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StudyError, match="torch sees no GPU"):
        train(spec(device="cuda"), tmp_path, ignore)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
def test_a_gpu_trains_and_repeats_itself(spec: MakeSpec, tmp_path: Path) -> None:
    first, second = (run(spec(device="cuda"), tmp_path / name) for name in "ab")
    assert first.validation == second.validation
    assert first.machine.hardware == torch.cuda.get_device_name()
