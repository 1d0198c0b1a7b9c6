"""Trainings that are killed, given up or damaged, and go on."""

from __future__ import annotations

import io
import json
import multiprocessing
from dataclasses import replace
from itertools import count
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch
from support.frail_parts import KILLED, attempt
from support.training_jobs import MakeSpec, ignore, train

from study.executors.local import ENVIRONMENT
from study.ledger.layout import stopped_file
from study.records import RunResult, RunSpec, Stopped, from_json, to_json
from study.tasks.clips.training import train as job
from study.tasks.clips.training.state import TrainState

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
FILES = ["history.json", "result.json", "validation.npz", "weights.safetensors"]
STEPS_PER_EPOCH = 7


@pytest.fixture(scope="module")
def processes() -> Any:
    """Return what starts processes that have torch imported.

    Their server is that of all later tests in this process, so it has the environment of the executor.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["study.tasks.clips.training.train", "torch._dynamo", "support.training_jobs"]
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        forkserver.ensure_running()
    return context


@pytest.fixture
def hard(spec: MakeSpec) -> Any:
    """Return the request of a training that draws on every source of chance and state there is."""
    request = spec(
        epochs=4,
        dataset={"noise": 60.0},
        network={"dropout": 0.5},
        loss={"name": "fading"},
        augmentation=STANDARD,
        mixup=0.8,
        cutmix=1.0,
        ema=0.9,
    )
    return replace(request, modules=("support.tiny_parts", "support.frail_parts"))


def numbers(folder: Path) -> Any:
    """Return everything that a training left but its times."""
    history = json.loads((folder / "history.json").read_text())["content"]
    result = json.loads((folder / "result.json").read_text())
    for timed in (result, *history, *result["history"]):
        assert timed.pop("seconds") > 0
        timed.pop("system", None)  # the load of the machine
    assert all(seconds >= 0 for seconds in result.pop("seconds_in").values())
    del result["of"], result["checksum"]  # of the folder, and of the times
    kept = [(folder / name).read_bytes() for name in FILES[2:] if (folder / name).exists()]
    return history, result, kept


def interrupted(request: RunSpec, folder: Path, after: Any, rule: Any = "") -> Any:
    """Train until an epoch is over, as a Ctrl-C would end it; return the epochs that were reported."""
    reported: list[int] = []

    def stop(epoch: Any) -> None:
        reported.append(epoch.epoch)
        if epoch.epoch == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(request, folder, stop, rule)
    return reported


def epochs_of(request: RunSpec, folder: Path, rule: Any = "") -> Any:
    reported: list[int] = []
    train(request, folder, lambda epoch: reported.append(epoch.epoch), rule)
    return reported


def run_in(processes: Any, *arguments: Any, **death: Any) -> Any:
    process = processes.Process(target=attempt, args=arguments, kwargs=death)
    process.start()
    return process


def test_kills_at_every_epoch_and_inside_one_leave_no_trace(
    hard: RunSpec, tmp_path: Path, processes: Any
) -> None:
    train(hard, tmp_path / "undisturbed", ignore)
    epochs_file = tmp_path / "epochs"
    deaths = [
        {"step": 3},
        {"epoch": 1},
        {"epoch": 2},
        {"step": 4},
        {"step": STEPS_PER_EPOCH},
        {"epoch": 3},
        {"step": 1},
        {"epoch": 4},
    ]
    for death in deaths:
        process = run_in(processes, hard, tmp_path / "killed", epochs_file, **death)
        process.join()
        assert process.exitcode == KILLED, death
        assert not (tmp_path / "killed" / "result.json").exists()
    assert epochs_of(hard, tmp_path / "killed") == []
    assert epochs_file.read_text().split() == [
        "1",
        "2",
        "3",
        "4",
    ]  # none of them was trained twice to its end
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "undisturbed")
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == FILES


def test_a_kill_before_any_write_leaves_no_trace(hard: RunSpec, tmp_path: Path, processes: Any) -> None:
    short = replace(hard, config={**hard.config, "train": {**hard.config["train"], "epochs": 2}})
    train(short, tmp_path / "undisturbed", ignore)
    for write in count(1):
        process = run_in(processes, short, tmp_path / "killed", tmp_path / "epochs", write=write)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == KILLED
    assert write > 4
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "undisturbed")
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == FILES


def test_two_trainings_in_one_folder_end_in_one_valid_result(
    hard: RunSpec, tmp_path: Path, processes: Any
) -> None:
    train(hard, tmp_path / "alone", ignore)
    both = [run_in(processes, hard, tmp_path / "together", tmp_path / f"epochs-{n}") for n in "ab"]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert numbers(tmp_path / "together") == numbers(tmp_path / "alone")
    assert sorted(path.name for path in (tmp_path / "together").iterdir()) == FILES


def truncated(data: Any, request: RunSpec) -> Any:
    return data[: len(data) // 2]


def flipped(data: Any, request: RunSpec) -> Any:
    """Change one bit of a tensor, which torch reads without a word."""
    start = data.index(
        torch.load(io.BytesIO(data))["state"]["network"]["state"]["head.weight"].numpy().tobytes()
    )
    return data[:start] + bytes([data[start] ^ 1]) + data[start + 1 :]


def of_another_run(data: Any, request: RunSpec) -> Any:
    return changed(data, lambda kept: kept["origin"].update(run="r2-0000000000000000"))


def of_other_libraries(data: Any, request: RunSpec) -> Any:
    return changed(data, lambda kept: kept["origin"]["libraries"].update(torch="1.0"))


def of_another_format(data: Any, request: RunSpec) -> Any:
    return changed(data, lambda kept: kept["origin"].update(format=0))


def of_another_network(data: Any, request: RunSpec) -> Any:
    return changed(data, lambda kept: kept["state"]["network"]["state"].pop("head.weight"))


def without_history(data: Any, request: RunSpec) -> Any:
    return changed(data, lambda kept: kept.pop("history"))


def changed(data: Any, change: Any) -> Any:
    kept, buffer = torch.load(io.BytesIO(data)), io.BytesIO()
    change(kept)
    torch.save(kept, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        flipped,
        of_another_run,
        of_other_libraries,
        of_another_format,
        of_another_network,
        without_history,
        lambda data, request: b"",
        lambda data, request: b"no checkpoint at all",
    ],
)
def test_a_checkpoint_that_is_not_this_training_s_is_ignored_with_a_warning(
    hard: RunSpec, tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    train(hard, tmp_path / "undisturbed", ignore)
    interrupted(hard, tmp_path / "damaged", after=2)
    file = tmp_path / "damaged" / "checkpoint.pt"
    file.write_bytes(damage(file.read_bytes(), hard))
    assert epochs_of(hard, tmp_path / "damaged") == [1, 2, 3, 4]
    assert "checkpoint.pt is ignored, the training starts from the beginning" in caplog.text
    assert numbers(tmp_path / "damaged") == numbers(tmp_path / "undisturbed")


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def test_history_past_the_checkpoint_is_dropped(
    hard: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    interrupted(hard, folder, after=1)
    earlier = (folder / "checkpoint.pt").read_bytes()
    interrupted(hard, folder, after=3)
    (folder / "checkpoint.pt").write_bytes(earlier)
    with monkeypatch.context() as patch:
        patch.setattr(job, "run_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train(hard, folder, ignore)
    assert [epoch["epoch"] for epoch in json.loads((folder / "history.json").read_text())["content"]] == [1]
    assert epochs_of(hard, folder) == [2, 3, 4]


def test_the_seconds_of_all_attempts_add_up(hard: RunSpec, tmp_path: Path) -> None:
    interrupted(hard, tmp_path, after=2)
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(changed(file.read_bytes(), lambda kept: kept.update(seconds=1000.0)))
    train(hard, tmp_path, ignore)
    assert from_json(RunResult, (tmp_path / "result.json").read_bytes()).seconds > 1000


def test_a_divergence_leaves_no_checkpoint(spec: MakeSpec, tmp_path: Path) -> None:
    request = spec(lr=1e30, warmup_epochs=0.0, epochs=4)
    train(request, tmp_path, ignore)
    assert from_json(RunResult, (tmp_path / "result.json").read_bytes()).status == "diverged"
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_training_that_is_killed_and_then_diverges_ends_like_an_undisturbed_one(
    spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_epoch = job.train_epoch
    bad = job.TrainedEpoch(float("nan"), diverged_step=15)
    monkeypatch.setattr(job, "train_epoch", lambda state, n: train_epoch(state, n) if n < 3 else bad)
    train(spec(), tmp_path / "undisturbed", ignore)
    interrupted(spec(), tmp_path / "killed", after=2)
    train(spec(), tmp_path / "killed", ignore)
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "undisturbed")
    assert not (tmp_path / "killed" / "checkpoint.pt").exists()


def test_a_restored_state_continues_with_every_random_generator_restored(hard: RunSpec) -> None:
    import random

    import numpy as np

    from study.config.registry import Registry

    registry = Registry(hard.modules)
    dataset = registry.build("dataset", hard.table("dataset"))

    def build() -> Any:
        return TrainState.of(hard, registry, dataset, torch.device("cpu"))

    def random_numbers() -> Any:
        return torch.rand(3).tolist(), random.random(), np.random.random()  # noqa: NPY002

    state = build()
    job.train_epoch(state, 1)
    random_numbers()
    buffer = io.BytesIO()
    torch.save(state.state_dict(), buffer)
    expected = job.train_epoch(state, 2), random_numbers()
    restored = build()
    job.train_epoch(restored, 3)
    restored.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    assert (job.train_epoch(restored, 2), random_numbers()) == expected
    for weight, other in zip(state.eval_model.parameters(), restored.eval_model.parameters(), strict=True):
        assert torch.equal(weight, other)


def test_a_trial_below_its_rule_is_pruned_and_resumes_without_the_rule(hard: RunSpec, tmp_path: Path) -> None:
    rule = json.dumps({"2": 2.0})
    train(hard, tmp_path / "undisturbed", ignore)
    assert epochs_of(hard, tmp_path / "pruned", rule) == [1, 2]
    found = list((tmp_path / "pruned").glob("stopped-*.json"))
    record = from_json(Stopped, found[0].read_bytes())
    assert [stopped_file({"2": 2.0})]
    assert (record.run, record.rule, record.epoch) == (hard.id, {"2": 2.0}, 2)
    assert record.score == max(epoch.validation["war"] for epoch in record.history)
    assert not (tmp_path / "pruned" / "result.json").exists()
    assert epochs_of(hard, tmp_path / "pruned") == [3, 4]
    assert numbers(tmp_path / "pruned") == numbers(tmp_path / "undisturbed")


def test_a_trial_above_its_rule_is_trained_to_its_end(hard: RunSpec, tmp_path: Path) -> None:
    assert epochs_of(hard, tmp_path, json.dumps({"1": 0.0, "3": 0.0})) == [1, 2, 3, 4]
    assert (tmp_path / "result.json").exists()


def test_a_trial_that_was_killed_too_late_is_pruned_at_the_epoch_of_the_rule(
    hard: RunSpec, tmp_path: Path
) -> None:
    rule = json.dumps({"1": 2.0})
    epochs_of(hard, tmp_path / "undisturbed", rule)
    interrupted(hard, tmp_path / "killed", after=3)
    assert epochs_of(hard, tmp_path / "killed", rule) == []

    def stopped_record(folder: str) -> str:
        stopped = from_json(Stopped, next((tmp_path / folder).glob("stopped-*.json")).read_bytes())
        return to_json(
            replace(stopped, history=tuple(replace(e, seconds=1.0, system={}) for e in stopped.history))
        )

    assert stopped_record("killed") == stopped_record("undisturbed")
    assert epochs_of(hard, tmp_path / "killed") == [4]
