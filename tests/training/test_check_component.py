"""The conformance suites of optimizers, schedules and metrics, and what the command prints."""

from __future__ import annotations

from typing import Any

import pytest

from study.config.registry import Registry
from study.errors import InputError
from study.testing.components import cases, conform
from study.testing.report import check_component


@pytest.fixture
def registry() -> Any:
    return Registry(["support.tiny_parts", "support.open_parts"])


OWN = ("optimizer", "schedule", "metric")


@pytest.mark.parametrize("case", [case for case in cases(Registry()) if case.kind in OWN], ids=str)
def test_built_in_optimizers_schedules_and_metrics_conform(case: Any) -> None:
    conform(case, Registry())


def test_a_network_that_returns_plain_logits_conforms(registry: Any) -> None:
    lines = [line.text for line in check_component("bare", None, registry)]
    assert len(lines) == 4
    assert all(line.startswith("passed  network bare") for line in lines)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sleeping", "2.bias did not change"),
        ("growing", "below 0"),
        ("unbounded", "outside [0.0, 0.1]"),
        ("odd", "must return float logits"),
        ("broken", "shapes cannot be multiplied"),
    ],
)
def test_what_is_wrong_is_one_line(registry: Any, name: Any, reason: Any) -> None:
    failed = [line.text for line in check_component(name, None, registry) if line.is_failure]
    assert reason in failed[0]
    assert len(failed) == len(set(failed))
    assert all("\n" not in line for line in failed)


def test_a_fault_that_fails_every_check_is_one_line(registry: Any) -> None:
    lines = [line.text for line in check_component("broken", None, registry)]
    assert len([line for line in lines if "broken: " in line]) == 1


def test_components_without_a_suite_or_with_required_parameters_are_reported(registry: Any) -> None:
    for name, kind, reason in (("frames", "measure", "no suite"), ("dfew", "dataset", "needs 'root'")):
        (line,) = check_component(name, kind, registry)
        assert reason in line.text
        assert not line.is_failure


def test_a_data_set_is_checked_with_its_defaults(registry: Any) -> None:
    (line,) = check_component("tiny", "dataset", registry)
    assert line.text.startswith(("passed", "FAILED"))


def test_an_unknown_component_is_named_with_the_nearest(registry: Any) -> None:
    with pytest.raises(InputError, match="Did you mean 'adamw'"):
        list(check_component("adam", None, registry))
