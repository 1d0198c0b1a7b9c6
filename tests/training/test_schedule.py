from math import cos, pi
from typing import Any

import pytest

from study.tasks.clips.training.optim.schedules import Cosine, constant, cosine, ifdd_released, steps


def test_the_warm_up_is_linear_and_the_cosine_ends_just_above_zero() -> None:
    made = Cosine(peak=0.8, total_steps=10, warmup_steps=4)
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
    assert [made.rate(step) for step in range(10)] == pytest.approx(expected, abs=1e-12)


def test_without_warm_up_the_first_step_has_the_peak_rate() -> None:
    assert Cosine(peak=0.1, total_steps=3, warmup_steps=0).rate(0) == 0.1


def test_a_warm_up_longer_than_the_training_never_reaches_the_peak() -> None:
    made = Cosine(peak=1.0, total_steps=3, warmup_steps=6)
    assert [made.rate(step) for step in range(3)] == pytest.approx([1 / 6, 2 / 6, 3 / 6])


STEPS = 37
"""An epoch of the trainings below."""


def by_epoch(builder: Any, peak: Any = 1e-4, epochs: Any = 100, warmup_epochs: Any = 10.0) -> Any:
    made = builder(peak, epochs, warmup_epochs, STEPS)
    return [[made.rate(STEPS * epoch + step) for step in range(STEPS)] for epoch in range(epochs)]


def test_the_released_schedule_has_the_rates_that_are_known_of_the_release() -> None:
    rates = [epoch[0] for epoch in by_epoch(ifdd_released)]
    assert [f"{rates[epoch]:.1e}" for epoch in (0, 9, 10, 99)] == ["1.0e-06", "8.8e-05", "5.0e-05", "5.2e-07"]
    assert f"{rates[50]:.2e}" == "2.96e-05"


def test_the_released_schedule_changes_between_epochs_alone_and_falls_after_its_drop() -> None:
    epochs = by_epoch(ifdd_released)
    assert all(len(set(epoch)) == 1 for epoch in epochs)
    rates = [epoch[0] for epoch in epochs]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_released_schedule_scales_with_the_peak_and_the_length() -> None:
    whole = by_epoch(ifdd_released)
    short = by_epoch(ifdd_released, peak=1e-2, epochs=50, warmup_epochs=5.0)
    assert [epoch[0] for epoch in short] == pytest.approx([100 * epoch[0] for epoch in whole[::2]])


@pytest.mark.parametrize("builder", [cosine, ifdd_released, constant])
@pytest.mark.parametrize("warmup_epochs", [0.0, 0.5, 2.0, 2.5, 10.0])
def test_every_length_of_warm_up_gives_rates_up_to_the_peak(builder: Any, warmup_epochs: Any) -> None:
    rates = sum(by_epoch(builder, peak=1.0, epochs=2, warmup_epochs=warmup_epochs), [])  # type: ignore[var-annotated]  # noqa: RUF017
    assert all(0 < rate <= 1 for rate in rates)


def test_the_plain_cosine_starts_from_the_peak() -> None:
    assert by_epoch(cosine)[10][0] == 1e-4


def test_the_constant_schedule_stays_at_the_peak_after_its_warm_up() -> None:
    made = constant(0.5, 10, 0.5, 4)
    assert [made.rate(step) for step in range(40)] == [0.25, 0.5, *[0.5] * 38]


def test_the_rate_falls_by_a_factor_at_equal_distances() -> None:
    """Former-DFER: 0.01, a tenth of it every 40 of 100 epochs."""
    made = steps(0.01, 100, 0.0, STEPS, every=40, factor=0.1)
    rates = [made.rate(STEPS * epoch + step) for epoch in range(100) for step in (0, STEPS - 1)]
    assert rates == pytest.approx([0.01] * 80 + [0.001] * 80 + [0.0001] * 40)
    short = steps(
        0.01, 10, 0.0, STEPS, every=40, of=100, factor=0.1
    )  # at the same shares of a shorter training
    assert [short.rate(STEPS * epoch) for epoch in range(10)] == pytest.approx(rates[::20])
    assert [steps(1.0, 9, 1.0, 4, every=2, factor=0.5).rate(step) for step in (0, 3, 4, 8)] == [
        0.25,
        1,
        1,
        0.5,
    ]
