"""Numbers and names are written one way, without false precision."""

from __future__ import annotations

import pytest

from study.analysis.described import Interval
from study.analysis.sentences.units import difference, number, signed_difference, with_unit
from study.reporting import text


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.249, "+1.2"), (-0.3, "−0.3"), (0.0, "0.0"), (-0.04, "0.0"), (0.04, "0.0"), (100, "+100.0")],
)
def test_differences_have_a_sign_and_zero_has_none(value: float, expected: str) -> None:
    assert signed_difference(value) == expected


@pytest.mark.parametrize(
    ("value", "as_number", "as_difference", "as_signed"),
    [
        (0.314159, "0.3142", "0.314", "+0.314"),
        (-0.00123456, "−0.001235", "−0.00123", "−0.00123"),
        (12345.678, "12346", "12346", "+12346"),
        (1.5e9, "1.5e+09", "1.5e+09", "+1.5e+09"),
        (0.0, "0", "0", "0"),
        (-0.0, "0", "0", "0"),
    ],
)
def test_other_units_than_per_cent_have_significant_digits(
    value: float, as_number: str, as_difference: str, as_signed: str
) -> None:
    assert (number(value, "K"), difference(value, ""), signed_difference(value, "s")) == (
        as_number,
        as_difference,
        as_signed,
    )


def test_a_difference_has_the_unit_of_its_metric_and_per_cent_are_points() -> None:
    assert [with_unit("0.3", unit) for unit in ("%", "K", "")] == ["0.3 points", "0.3 K", "0.3"]


def test_intervals_follow_their_mean() -> None:
    assert text.difference_with_interval(Interval(1.2, -0.3, 2.7)) == "+1.2 [−0.3, 2.7]"
    assert text.mean_with_interval(Interval(71.2, 69.8, 72.6)) == "71.2 [69.8, 72.6]"
    assert text.mean_with_half_width(Interval(71.2, 69.8, 72.6)) == "71.2 ± 1.4"
    assert text.mean_with_interval(Interval(71.2, None, None)) == "71.2"
    assert text.mean_with_interval(None) == "–"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (725, "12 min 05 s"),
        (3599.7, "1 h 00 min"),
        (8040, "2 h 14 min"),
    ],
)
def test_durations_carry_over_when_rounded(seconds: float, expected: str) -> None:
    assert text.duration(seconds) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.000 k"),
        (48_020_000_000, "48.02 G"),
        (123_456_789, "123.5 M"),
        (2 * 10**12, "2.000 T"),
    ],
)
def test_operations_have_four_digits_and_a_prefix(value: int, expected: str) -> None:
    assert text.operations(value) == expected


def test_sizes_are_in_powers_of_two() -> None:
    assert text.mebibytes(3 * 1024 * 1024 // 2) == "1.50"
    assert text.mebibytes(None) == text.operations(None) == "–"


def test_probabilities_are_never_rounded_to_certainty() -> None:
    assert text.probability(0.0004) == "< 0.01"
    assert text.probability(0.9999) == "> 0.99"
    assert text.probability(0.147) == "0.15"
    assert text.probability(1.0) == "1.00"
    assert text.p_value(0.00001) == "< 0.001"
    assert text.p_value(0.0625) == "0.062"


@pytest.mark.parametrize("width", [10, 18, 26])
@pytest.mark.parametrize(
    "name", ["splitter=issm, lifting.predictor_depth=1", "x" * 60, "a b", "", "日本" * 20]
)
def test_names_wrap_within_their_width_and_lose_nothing(name: str, width: int) -> None:
    lines = text.wrapped(name, width).split("\n")
    assert max(map(len, lines)) <= width
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")
