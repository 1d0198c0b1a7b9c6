"""What would break for a user of the frame sampling."""

from __future__ import annotations

import numpy as np
import pytest

from study.data.sampling import uniform


def test_as_many_frames_as_asked_for_are_all_read_in_order() -> None:
    assert uniform(16, 16, None).tolist() == list(range(16))
    assert uniform(16, 16, np.random.default_rng(0)).tolist() == list(range(16))


def test_the_test_reads_the_middle_of_every_segment() -> None:
    assert uniform(48, 16, None).tolist() == list(range(1, 48, 3))
    assert uniform(12, 4, None).tolist() == [1, 4, 7, 10]


def test_training_reads_every_frame_of_every_segment_and_none_of_another() -> None:
    generator = np.random.default_rng(0)
    drawn = np.stack([uniform(77, 16, generator) for _ in range(2000)])
    bounds = [i * 77 // 16 for i in range(17)]
    for i in range(16):
        assert set(drawn[:, i]) == set(range(bounds[i], bounds[i + 1]))


@pytest.mark.parametrize(
    ("count", "places"), [(1, [0, 0, 0, 0]), (2, [0, 0, 1, 1]), (3, [0, 1, 1, 2]), (4, [0, 1, 2, 3])]
)
def test_short_clips_are_repeated_evenly_also_in_training(count: int, places: list[int]) -> None:
    assert uniform(count, 4, None).tolist() == places
    assert uniform(count, 4, np.random.default_rng(0)).tolist() == places


@pytest.mark.parametrize("count", [1, 5, 15, 16, 17, 847])
def test_places_are_inside_the_clip_and_in_order(count: int) -> None:
    for generator in (None, np.random.default_rng(count)):
        places = uniform(count, 16, generator)
        assert places.shape == (16,)
        assert places.min() >= 0
        assert places.max() < count
        assert (np.diff(places) >= 0).all()


def test_an_empty_clip_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        uniform(0, 16, None)
