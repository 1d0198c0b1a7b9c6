"""Conformance suites of optimizers, schedules and metrics."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from study.config.registry import Config, Registry

EXAMPLES_PER_STEP, CLASSES = 3, 7
EXAMPLES = 50
"""The number of examples that a metric is computed for."""

Checks = tuple[Callable[[], None], ...]


def _optimizer(registry: Registry, config: Config) -> Checks:
    def run_steps(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for step in range(steps):
            inputs = torch.randn(EXAMPLES_PER_STEP, 4, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            network(inputs).square().sum().backward()
            optimizer.step()

    def build(network: nn.Module) -> torch.optim.Optimizer:
        optimizer = registry.build("optimizer", config, list(network.parameters()), 1e-2, 0.0)
        assert isinstance(optimizer, torch.optim.Optimizer), (
            f"it is no torch.optim.Optimizer but {type(optimizer).__name__}"
        )
        return optimizer

    def network() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))

    build(network())

    def steps_every_parameter() -> None:
        net = network()
        before = copy.deepcopy(net.state_dict())
        run_steps(net, build(net), 2)
        for name, value in net.state_dict().items():
            assert value.isfinite().all(), f"{name} is not finite after two steps"
            assert not torch.equal(value, before[name]), f"{name} did not change in two steps"

    def resumes_from_its_state() -> None:
        net = network()
        optimizer = build(net)
        run_steps(net, optimizer, 2)
        net_copy = copy.deepcopy(net)
        resumed = build(net_copy)
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        run_steps(net, optimizer, 2)
        run_steps(net_copy, resumed, 2)
        for name, value in net.state_dict().items():
            assert torch.equal(value, net_copy.state_dict()[name]), (
                f"{name} differs after state_dict was loaded"
            )

    return steps_every_parameter, resumes_from_its_state


def _schedule(registry: Registry, config: Config) -> Checks:
    epochs, steps_per_epoch = 5, 7
    schedules = [
        registry.build("schedule", config, 0.1, epochs, warmup, steps_per_epoch) for warmup in (0.0, 1.5, 9.0)
    ]

    def has_a_rate_for_every_step() -> None:
        for schedule in schedules:
            for step in range(epochs * steps_per_epoch):
                rate = schedule.rate(step)
                assert math.isfinite(rate), f"the rate of step {step} is {rate!r}"
                assert rate >= 0, f"the rate of step {step} is {rate!r}, below 0"

    def depends_on_the_step_alone() -> None:
        for schedule in schedules:
            first = [schedule.rate(step) for step in range(epochs * steps_per_epoch)]
            again = [schedule.rate(step) for step in reversed(range(epochs * steps_per_epoch))]
            assert first == again[::-1], "a step has another rate when it is computed again"

    return has_a_rate_for_every_step, depends_on_the_step_alone


def _metric(registry: Registry, config: Config) -> Checks:
    metric = registry.metric(config)
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, EXAMPLES)
    logits = random.standard_normal((EXAMPLES, CLASSES)).astype(np.float32)
    correct = np.eye(CLASSES, dtype=np.float32)[labels]

    def value(labels: Any, logits: Any) -> float:
        assert metric.compute is not None, "it has no function"
        return metric.compute(labels, logits)

    def is_finite_and_within_its_bounds() -> None:
        low = -math.inf if metric.low is None else metric.low
        high = math.inf if metric.high is None else metric.high
        for targets, scores in (
            (labels, logits),
            (labels, correct),
            (labels, -correct),
            (labels[:1], logits[:1]),
        ):
            result = value(targets, scores)
            assert math.isfinite(result), f"it is {result!r} for {len(targets)} examples"
            assert low <= result <= high, f"it is {result!r}, outside [{low}, {high}]"

    def ignores_the_order_of_examples() -> None:
        order = random.permutation(EXAMPLES)
        first, second = value(labels, logits), value(labels[order], logits[order])
        assert math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12), f"{first!r} becomes {second!r}"

    def scores_correct_predictions_highest() -> None:
        best, worst = value(labels, correct), value(labels, -correct)
        assert metric.gain(best) >= metric.gain(worst), (
            f"{best!r} for correct predictions, {worst!r} for wrong ones"
        )

    def does_not_change_its_arguments() -> None:
        arguments = labels.copy(), logits.copy()
        value(*arguments)
        assert np.array_equal(arguments[0], labels), "it changes the labels"
        assert np.array_equal(arguments[1], logits), "it changes the logits"

    return (
        is_finite_and_within_its_bounds,
        ignores_the_order_of_examples,
        scores_correct_predictions_highest,
        does_not_change_its_arguments,
    )


FUNCTIONS: Mapping[str, Callable[[Registry, Config], Checks]] = {
    "optimizer": _optimizer,
    "schedule": _schedule,
    "metric": _metric,
}
"""Returns the checks of a configuration, by kind."""
