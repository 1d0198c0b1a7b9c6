from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.training_jobs import MakeSpec, train

from study.records import RunResult, TimePart, from_json
from study.tasks.clips.training.stepping.clock import CudaClock, HostClock

STEP_PARTS = {
    TimePart.TO_DEVICE,
    TimePart.AUGMENTATION,
    TimePart.FORWARD,
    TimePart.BACKWARD,
    TimePart.OPTIMIZER,
    TimePart.VALIDATION,
    TimePart.CHECKPOINT,
}


def test_the_host_clock_adds_up_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 11.0, 13.5, 14.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clock = HostClock()
    for part in (TimePart.DATA, TimePart.FORWARD, TimePart.DATA):
        clock.mark(part)
    assert clock.totals() == {TimePart.DATA: 1.5, TimePart.FORWARD: 2.5}


class Timeline:
    """A GPU that takes a given time for the work before each event, and counts the waits for it."""

    def __init__(self, milliseconds: list[float]) -> None:
        self.left, self.now, self.waits, self.made = milliseconds, 0.0, 0, 0

    def event(self, enable_timing: bool) -> Any:
        assert enable_timing
        self.made += 1
        return Event(self)


class Event:
    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def record(self) -> None:
        self._timeline.now += self._timeline.left.pop(0)
        self.at = self._timeline.now

    def synchronize(self) -> None:
        self._timeline.waits += 1

    def elapsed_time(self, later: Event) -> float:
        return later.at - self.at


def test_the_gpu_clock_waits_once_for_all_marks_and_reuses_its_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timeline = Timeline([0, 1000, 250, 4000, 500, 750, 8000])
    monkeypatch.setattr(torch.cuda, "Event", timeline.event)
    clock = CudaClock()
    for part in (TimePart.DATA, TimePart.FORWARD, TimePart.BACKWARD):
        clock.mark(part)
    assert timeline.waits == 0
    assert clock.totals() == {TimePart.DATA: 1.0, TimePart.FORWARD: 0.25, TimePart.BACKWARD: 4.0}
    assert timeline.waits == 1
    for part in (TimePart.DATA, TimePart.FORWARD, TimePart.STEP):
        clock.mark(part)
    assert clock.totals() == {
        TimePart.DATA: 1.5,
        TimePart.FORWARD: 1.0,
        TimePart.BACKWARD: 4.0,
        TimePart.STEP: 8.0,
    }
    assert timeline.made == 4


def test_a_training_records_what_its_time_was_spent_on(spec: MakeSpec, tmp_path: Path) -> None:
    train(spec(ema=0.9, mixup=0.8), tmp_path)
    result = from_json(RunResult, (tmp_path / "result.json").read_bytes())
    assert {TimePart(name) for name in result.seconds_in} == STEP_PARTS | {TimePart.DATA}
    assert 0 < sum(result.seconds_in.values()) <= result.seconds


def test_a_resumed_training_adds_the_time_of_its_earlier_attempts(spec: MakeSpec, tmp_path: Path) -> None:
    def stop(epoch: Any) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec(), tmp_path, stop)
    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["seconds_in"]
    train(spec(), tmp_path)
    result = from_json(RunResult, (tmp_path / "result.json").read_bytes())
    assert set(stored) == {part.value for part in STEP_PARTS | {TimePart.DATA}}
    assert all(result.seconds_in[part] > seconds for part, seconds in stored.items())


def test_the_step_at_which_a_training_diverged_is_in_its_record(spec: MakeSpec, tmp_path: Path) -> None:
    train(spec(lr=1e30, warmup_epochs=0.0), tmp_path / "diverged")
    diverged = from_json(RunResult, (tmp_path / "diverged" / "result.json").read_bytes())
    assert diverged.status == "diverged"
    assert diverged.diverged_step == 7 * len(diverged.history) + diverged.diverged_step % 7  # type: ignore[operator]
    train(spec(epochs=1), tmp_path / "finished")
    assert from_json(RunResult, (tmp_path / "finished" / "result.json").read_bytes()).diverged_step is None
