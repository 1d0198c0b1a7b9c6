"""The record of a benchmark: both sides, their ratio, and what a machine without a GPU shows."""

from __future__ import annotations

import json

import pytest

from study.bench.result import NEEDS_GPU, Measured, as_json, as_table, in_turn


def test_a_ratio_above_one_is_better_whatever_the_unit() -> None:
    assert Measured("step", "ms", 40.0, 10.0).ratio == 4.0
    assert Measured("loader", "clips/s", 40.0, 10.0, lower_is_better=False).ratio == 0.25


def test_a_figure_that_needs_a_gpu_is_shown_as_missing_and_not_as_zero() -> None:
    result = Measured("graph", "ms", None, None)
    (column,) = [column for column in as_table([result]).columns if column.header == "after"]
    assert list(column.cells) == [NEEDS_GPU]
    (read,) = json.loads(as_json([result]))
    assert (read["before"], read["ratio"]) == (None, None)


def test_the_sides_are_measured_in_turn_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    figures = {"a": iter((100.0, 1.0, 2.0, 9.0)), "b": iter((100.0, 5.0, 6.0, 7.0))}

    def side(name: str) -> float:
        order.append(name)
        return next(figures[name])

    medians = in_turn({"a": lambda: side("a"), "b": lambda: side("b")}, repeats=3)
    assert medians == pytest.approx({"a": 2.0, "b": 6.0})
    assert "".join(order) == "baabbaab"
