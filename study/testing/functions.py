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

EXAMPLES_A_STEP, CLASSES = 3, 7
EXAMPLES = 50
"""That a metric is computed for."""

Checks = tuple[Callable[[], None], ...]


def _optimizer(registry: Registry, config: Config) -> Checks:
    def stepped(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for step in range(steps):
            inputs = torch.randn(EXAMPLES_A_STEP, 4, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            network(inputs).square().sum().backward()
            optimizer.step()

    def made(network: nn.Module) -> torch.optim.Optimizer:
        found = registry.build("optimizer", config, list(network.parameters()), 1e-2, 0.0)
        assert isinstance(found, torch.optim.Optimizer), (
            f"it is no torch.optim.Optimizer but {type(found).__name__}"
        )
        return found

    def network() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))

    made(network())

    def steps_every_parameter() -> None:
        net = network()
        before = copy.deepcopy(net.state_dict())
        stepped(net, made(net), 2)
        for name, value in net.state_dict().items():
            assert value.isfinite().all(), f"{name} is not finite after two steps"
            assert not torch.equal(value, before[name]), f"{name} did not change in two steps"

    def resumes_from_its_state() -> None:
        net = network()
        optimizer = made(net)
        stepped(net, optimizer, 2)
        again = copy.deepcopy(net)
        resumed = made(again)
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        stepped(net, optimizer, 2)
        stepped(again, resumed, 2)
        for name, value in net.state_dict().items():
            assert torch.equal(value, again.state_dict()[name]), f"{name} differs after state_dict was loaded"

    return steps_every_parameter, resumes_from_its_state


def _schedule(registry: Registry, config: Config) -> Checks:
    epochs, steps_per_epoch = 5, 7
    built = [
        registry.build("schedule", config, 0.1, epochs, warmup, steps_per_epoch) for warmup in (0.0, 1.5, 9.0)
    ]

    def has_rates_for_every_step() -> None:
        for schedule in built:
            for step in range(epochs * steps_per_epoch):
                rate = schedule.rate(step)
                assert math.isfinite(rate), f"the rate of step {step} is {rate!r}"
                assert rate >= 0, f"the rate of step {step} is {rate!r}, below 0"

    def depends_on_the_step_alone() -> None:
        for schedule in built:
            first = [schedule.rate(step) for step in range(epochs * steps_per_epoch)]
            again = [schedule.rate(step) for step in reversed(range(epochs * steps_per_epoch))]
            assert first == again[::-1], "a step has another rate when it is asked for again"

    return has_rates_for_every_step, depends_on_the_step_alone


def _metric(registry: Registry, config: Config) -> Checks:
    metric = registry.metric(config)
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, EXAMPLES)
    logits = random.standard_normal((EXAMPLES, CLASSES)).astype(np.float32)
    right = np.eye(CLASSES, dtype=np.float32)[labels]

    def value(labels: Any, logits: Any) -> float:
        assert metric.compute is not None, "it has no function"
        return metric.compute(labels, logits)

    def is_finite_and_within_its_bounds() -> None:
        low = -math.inf if metric.low is None else metric.low
        high = math.inf if metric.high is None else metric.high
        for given, scores in ((labels, logits), (labels, right), (labels, -right), (labels[:1], logits[:1])):
            found = value(given, scores)
            assert math.isfinite(found), f"it is {found!r} for {len(given)} examples"
            assert low <= found <= high, f"it is {found!r}, outside [{low}, {high}]"

    def ignores_the_order_of_examples() -> None:
        order = random.permutation(EXAMPLES)
        first, second = value(labels, logits), value(labels[order], logits[order])
        assert math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12), f"{first!r} becomes {second!r}"

    def prefers_right_predictions() -> None:
        best, worst = value(labels, right), value(labels, -right)
        assert metric.gain(best) >= metric.gain(worst), (
            f"{best!r} for right predictions, {worst!r} for wrong ones"
        )

    def leaves_its_arguments_alone() -> None:
        given = labels.copy(), logits.copy()
        value(*given)
        assert np.array_equal(given[0], labels), "it changes the labels"
        assert np.array_equal(given[1], logits), "it changes the logits"

    return (
        is_finite_and_within_its_bounds,
        ignores_the_order_of_examples,
        prefers_right_predictions,
        leaves_its_arguments_alone,
    )


FUNCTIONS: Mapping[str, Callable[[Registry, Config], Checks]] = {
    "optimizer": _optimizer,
    "schedule": _schedule,
    "metric": _metric,
}
"""By kind: what makes the checks of a configuration."""
