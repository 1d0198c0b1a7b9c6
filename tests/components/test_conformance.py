"""Every registered component against the shipped conformance suite."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from study.config.registry import Registry
from study.tasks.clips.nets.attention import Attending, use_attention
from study.testing import components as suite
from study.testing.components import Case, Subject, cases, conform, conform_on_gpu

CASES = cases(Registry())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_component_conforms(case: Case, registry: Registry) -> None:
    conform(case, registry)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU to compare with the CPU")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_component_computes_the_same_on_a_gpu(case: Case, registry: Registry) -> None:
    conform_on_gpu(case, registry)


ATTENDING = ("attention", "class-token", "ifdd", "mfvit-xs", "mvit-tiny", "mvit-v2-s")


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.config["name"] in ATTENDING and not case.changed], ids=str
)
def test_component_conforms_with_fused_attention_too(case: Case, registry: Registry) -> None:
    subject = suite.build(case, registry)
    assert any(isinstance(module, Attending) for module in subject.part.modules())
    use_attention(subject.part, "fast")
    for check in suite.CHECKS:
        check(subject)


def test_every_registered_component_is_a_case(registry: Registry) -> None:
    tested = {(case.kind, case.config["name"]) for case in CASES}
    assert {kind for kind, _ in tested} >= {"network", *registry.parts("ifdd"), "loss", "augmentation"}
    assert tested >= {
        (found.kind, found.name) for found in registry if found.kind in {kind for kind, _ in tested}
    }


class Broken(nn.Linear):
    """A head that breaks one promise."""

    def __init__(self, promise: str) -> None:
        super().__init__(4, 2)
        self.promise, self.calls = promise, 0

    def forward(self, feature: Tensor) -> Tensor:
        self.calls += 1
        logits = super().forward(feature)
        if self.promise == "shapes":
            return logits[:, :1]
        if self.promise == "deterministic":
            return logits + self.calls
        if self.promise == "apart":
            return logits - logits.mean(0)
        return logits.detach() + feature.sum()


@pytest.mark.parametrize(
    ("promise", "check", "message"),
    [
        ("shapes", suite.outputs_have_declared_shapes, "shapes: expected"),
        ("deterministic", suite.is_deterministic, "differs between two evaluations"),
        ("apart", suite.is_independent_of_the_batch, "not close"),
        ("gradient", suite.trains_every_parameter, "no gradient reaches weight"),
    ],
)
def test_suite_notices_a_component_that_breaks_a_promise(promise: str, check: Any, message: str) -> None:
    inputs = (torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),)
    subject = Subject(Broken(promise), inputs, lambda head, x: {"logits": head(x)}, {"logits": (3, 2)})
    with pytest.raises(AssertionError, match=message):
        check(subject)
