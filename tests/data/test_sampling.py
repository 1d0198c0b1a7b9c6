"""Frame sampling: which frames of a clip are read."""

from __future__ import annotations

import numpy as np
import pytest

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
