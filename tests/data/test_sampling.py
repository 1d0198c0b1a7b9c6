"""Frame sampling: which frames of a clip are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from study.errors import InputError
from study.tasks.clips.data.sampling import Sampling, uniform


def test_as_many_frames_as_requested_are_all_read_in_order() -> None:
    assert uniform(16, 16, None).tolist() == list(range(16))
    assert uniform(16, 16, np.random.default_rng(0)).tolist() == list(range(16))


def test_the_test_reads_the_middle_of_every_segment() -> None:
    assert uniform(48, 16, None).tolist() == list(range(1, 48, 3))
    assert uniform(12, 4, None).tolist() == [1, 4, 7, 10]


def test_training_reads_every_frame_of_every_segment_and_none_of_another() -> None:
    generator = np.random.default_rng(0)
    sampled = np.stack([uniform(77, 16, generator) for _ in range(2000)])
    bounds = [i * 77 // 16 for i in range(17)]
    for i in range(16):
        assert set(sampled[:, i]) == set(range(bounds[i], bounds[i + 1]))


@pytest.mark.parametrize(
    ("count", "indices"), [(1, [0, 0, 0, 0]), (2, [0, 0, 1, 1]), (3, [0, 1, 1, 2]), (4, [0, 1, 2, 3])]
)
def test_short_clips_are_repeated_evenly_also_in_training(count: int, indices: list[int]) -> None:
    assert uniform(count, 4, None).tolist() == indices
    assert uniform(count, 4, np.random.default_rng(0)).tolist() == indices


@pytest.mark.parametrize("count", [1, 5, 15, 16, 17, 847])
def test_indices_are_inside_the_clip_and_in_order(count: int) -> None:
    for generator in (None, np.random.default_rng(count)):
        indices = uniform(count, 16, generator)
        assert indices.shape == (16,)
        assert indices.min() >= 0
        assert indices.max() < count
        assert (np.diff(indices) >= 0).all()


def test_an_empty_clip_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        uniform(0, 16, None)


def test_short_clips_repeat_their_last_frame_on_request() -> None:
    assert uniform(2, 5, np.random.default_rng(0), "last").tolist() == [0, 1, 1, 1, 1]
    window = Sampling(4, "window", 3, "last", "1x1")
    assert window.indices(7, np.random.default_rng(0)).tolist() == [0, 3, 6, 6]
    assert window.evaluation_indices(7)[0].tolist() == [0, 3, 6, 6]
    assert Sampling(4, "window", 3, "even", "windows").evaluation_indices(7)[0].tolist() == [0, 2, 4, 6]
    assert [
        indices.tolist() for indices in Sampling(4, "uniform", 1, "last", "2x2").evaluation_indices(2)
    ] == [[0, 1, 1, 1]] * 2


def test_training_draws_every_window_that_fits_and_no_other() -> None:
    sampling, generator = Sampling(4, "window", 2, "even", "1x1"), np.random.default_rng(0)
    sampled = {tuple(sampling.indices(12, generator).tolist()) for _ in range(300)}
    assert sampled == {(start, start + 2, start + 4, start + 6) for start in range(6)}


@pytest.mark.parametrize("count", range(1, 60))
def test_windows_cover_every_frame_that_the_stride_can_and_stay_inside(count: int) -> None:
    windows = Sampling(4, "window", 3, "last", "windows").evaluation_indices(count)
    indices = np.stack(windows)
    assert indices.min() >= 0
    assert indices.max() < count
    if count >= 10:
        starts = indices[:, 0]
        assert starts[0] == 0
        assert starts[-1] == count - 10
        assert (np.diff(starts) <= 10).all()
        assert len(windows) == -(-count // 10)


@pytest.mark.parametrize("kind", ["uniform", "window"])
@pytest.mark.parametrize("views", ["1x1", "2x2"])
def test_evaluation_reads_the_same_frames_every_time(kind: str, views: str) -> None:
    sampling = Sampling(16, kind, 1, "even", views)  # type: ignore[arg-type]
    for count in (1, 8, 16, 17, 77):
        first, again = sampling.evaluation_indices(count), sampling.evaluation_indices(count)
        assert [indices.tolist() for indices in first] == [indices.tolist() for indices in again]
        assert len(first) == (1 if views == "1x1" else 2)
        assert all(
            (indices >= 0).all() and (indices < count).all() and indices.shape == (16,) for indices in first
        )


def starts(views: list[np.ndarray]) -> list[int]:
    return [int(indices[0]) for indices in views]


def test_released_views_leave_out_the_incomplete_window() -> None:
    complete = Sampling(4, "window", 1, "last", "complete-windows")
    assert starts(complete.evaluation_indices(11)) == [0, 4]
    assert starts(complete.evaluation_indices(12)) == [0, 4, 8]
    assert [indices.tolist() for indices in complete.evaluation_indices(3)] == [[0, 1, 2, 2]]
    moved = Sampling(4, "window", 1, "last", "windows")
    assert starts(moved.evaluation_indices(11)) == [0, 4, 7]


def test_random_test_window_depends_on_the_clip_alone() -> None:
    sampling = Sampling(4, "window", 2, "last", "random-window")
    found = {clip: starts(sampling.evaluation_indices(40, clip)) for clip in map(str, range(200))}
    assert found == {clip: starts(sampling.evaluation_indices(40, clip)) for clip in found}
    assert {start for (start,) in found.values()} == set(range(34))


def test_segments_of_neighbours_are_read_as_in_temporal_segment_networks() -> None:
    """8 segments x 2 frames; the middle of a segment of m starts is m/2 (Wang et al., ECCV 2016)."""
    sampling = Sampling(16, "uniform", 1, "first", "1x1", neighbours=2)
    indices = sampling.indices(81, None)  # 80 starts, segments of 10
    assert indices[::2].tolist() == [5, 15, 25, 35, 45, 55, 65, 75]
    assert (indices[1::2] - indices[::2] == 1).all()
    assert sampling.indices(5, None).tolist() == [0, 1] * 8
    drawn = np.stack([sampling.indices(81, np.random.default_rng(seed)) for seed in range(300)])
    assert set(drawn[:, 2].tolist()) == set(range(10, 20))
    assert sampling.indices(1, None).tolist() == [0] * 16


def test_starts_of_segments_are_tested_and_jittered_in_training() -> None:
    sampling = Sampling(4, "starts", 1, "last", "1x1")
    assert sampling.indices(40, None).tolist() == [0, 10, 20, 30]
    drawn = np.stack([sampling.indices(40, np.random.default_rng(seed)) for seed in range(300)])
    assert set(drawn[:, 1].tolist()) == set(range(10, 20))
    assert sampling.indices(3, None).tolist() == [0, 1, 2, 2]


def test_frames_at_equal_distances_include_the_first_and_the_last() -> None:
    sampling = Sampling(5, "linspace", 1, "last", "1x1")
    for generator in (None, np.random.default_rng(0)):
        assert sampling.indices(10, generator).tolist() == [0, 2, 4, 6, 9]


def test_two_temporal_views_are_those_of_two_by_two_without_the_mirror() -> None:
    for count in (5, 16, 50):
        two, four = (Sampling(16, "uniform", 1, "last", views) for views in ("2x1", "2x2"))  # type: ignore[arg-type]
        assert np.array_equal(two.evaluation_indices(count), four.evaluation_indices(count))


@pytest.mark.parametrize(
    "parameters",
    [
        {"kind": "uniform", "views": "complete-windows"},
        {"kind": "window", "neighbours": 2},
        {"kind": "uniform", "neighbours": 3},
        {"kind": "window", "short": "first"},
        {"kind": "linspace", "stride": 2},
    ],
)
def test_settings_that_contradict_each_other_are_refused(parameters: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"frames": 16, "kind": "uniform", "stride": 1, "short": "last", "views": "1x1"}
    with pytest.raises(InputError):
        Sampling(**{**usual, **parameters})


def test_sampling_of_before_has_the_digest_of_before() -> None:
    sampling = Sampling(16, "uniform", 1, "even", "1x1")
    assert sampling.counted == {"frames": 16, "kind": "uniform", "stride": 1, "short": "even", "views": "1x1"}
