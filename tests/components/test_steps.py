"""A step of every built-in network part stays on its device and builds no table, so that a CUDA graph can record it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from study.config.registry import Registry
from study.tasks.clips.nets.attention import AttentionForm, use_attention
from study.testing.components import Case, Subject, build, cases

KINDS = ("network", "backbone", "splitter", "lifting", "readout", "head")
CASES = [case for case in cases(Registry()) if case.kind in KINDS and not case.changed]
TABLES = ("aten.arange", "aten.eye", "aten.linspace", "aten.one_hot", "aten.tril", "aten.triu")


class OnDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations on a tensor of the host's memory, and those that build a table."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, result)):
            assert not isinstance(value, Tensor) or value.device.type == "meta", f"{func} leaves the device"
        assert not str(func).startswith(TABLES), f"{func} builds a table"
        return result


def step(subject: Subject) -> None:
    """Take a forward and backward pass on a device without values: one that read any would fail."""
    if isinstance(subject.part, nn.Module):
        subject.part.to("meta").train()
    inputs = [tensor.to("meta").requires_grad_() for tensor in subject.inputs]
    with OnDevice():
        outputs = subject.call(subject.part, *inputs)
        sum((tensor.sum() for tensor in outputs.values()), torch.zeros((), device="meta")).backward()


@pytest.mark.parametrize("form", ["fast", "reference"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_reads_no_value_copies_nothing_to_the_device_and_builds_no_table(
    registry: Registry, case: Case, form: AttentionForm
) -> None:
    subject = build(case, registry)
    use_attention(subject.part, form)
    step(subject)


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda x: x[torch.tensor([0])], "leaves the device"),
        (lambda x: x + torch.arange(4, device=x.device), "builds a table"),
        (lambda x: x * x.sum().item(), "meta"),
    ],
)
def test_a_part_that_cannot_be_recorded_is_found(forward: Any, reason: str) -> None:
    part = nn.Linear(4, 4)
    subject = Subject(part, (torch.ones(2, 4),), lambda part, x: {"y": forward(part(x))}, {})
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError), match=reason):
        step(subject)
