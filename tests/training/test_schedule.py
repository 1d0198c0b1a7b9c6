from math import cos, pi

import pytest

from study.training.schedule import Schedule


def test_the_warm_up_is_linear_and_the_cosine_ends_just_above_zero():
    schedule = Schedule(peak=0.8, total_steps=10, warmup_steps=4)
    expected = [
        0.2,
        0.4,
        0.6,
        0.8,
        0.8,
        0.4 * (1 + cos(pi / 6)),
        0.4 * (1 + 0.5),
        0.4,
        0.4 * (1 - 0.5),
        0.4 * (1 - cos(pi / 6)),
    ]
    assert [schedule.rate(step) for step in range(10)] == pytest.approx(expected, abs=1e-12)


def test_without_warm_up_the_first_step_has_the_peak_rate():
    assert Schedule(peak=0.1, total_steps=3, warmup_steps=0).rate(0) == 0.1


def test_a_warm_up_longer_than_the_training_never_reaches_the_peak():
    schedule = Schedule(peak=1.0, total_steps=3, warmup_steps=6)
    assert [schedule.rate(step) for step in range(3)] == pytest.approx([1 / 6, 2 / 6, 3 / 6])
