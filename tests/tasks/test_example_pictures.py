"""Pictures of test clips for reports: the clips that were tested, and none where they cannot be read."""

from __future__ import annotations

import numpy as np
import pytest

from study.config.registry import Registry
from study.errors import InputError
from study.records import RunSpec
from study.tasks.clips.task import ClipsTask


def test_pictures_are_the_frames_of_the_named_clips() -> None:
    task = ClipsTask(Registry())
    run = RunSpec({"dataset": {"name": "faces", "test_clips": 40, "frames": 4, "size": 16}}, 1, "d", "c")
    shown = task.pictures(run, ["test-000031", "test-000002", "gone"])
    clips = task._dataset(run.table("dataset")).split("test")
    assert sorted(shown) == ["test-000002", "test-000031"]
    for name, frames in shown.items():
        expected = clips.read(np.array([clips.ids.index(name)]), None)[0, 0]
        assert frames.shape == (4, 16, 16, 3)
        assert all(np.array_equal(frames[..., channel], expected) for channel in range(3))


def test_a_data_set_that_is_gone_is_an_input_error() -> None:
    run = RunSpec({"dataset": {"name": "clips", "root": "/nowhere/clips"}}, 1, "d", "c")
    with pytest.raises(InputError):
        ClipsTask(Registry()).pictures(run, ["a"])
