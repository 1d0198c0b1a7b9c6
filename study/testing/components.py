"""Conformance suites of components: checks that every component of a kind must pass.

To check components of your own in a test::

    registry = Registry(["my_lab.splitters"])

    @pytest.mark.parametrize("case", cases(registry), ids=str)
    def test_component(case):
        conform(case, registry)

A component with parameters that receive no gradient lists their names in an attribute `unused`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor, nn

from study.config.registry import Component, Config, Parameter, Range, Registry
from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.contract import Features, Groups, GroupShapes, Lifted, Output
from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.training.outputs import as_output
from study.testing.functions import FUNCTIONS

BATCH = 3
CLASSES = 7
CLIP_SHAPES = (ClipShape(1, 16, 32, 32), ClipShape(3, 16, 112, 112), ClipShape(3, 16, 224, 224))
"""Input shapes in order of preference: the first that a network or backbone accepts is used."""
FEATURES = Features(channels=16, frames=8, height=3, width=5)
GROUP = FEATURES._replace(frames=4)
WIDTH = 0.25
MAX_RANGE = 4
"""Every integer of a range up to this length is a case."""
GPU_TOLERANCE = 1e-4

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A configuration to check: a component with its defaults, or with one parameter changed."""

    kind: str
    config: Config
    changed: str = ""

    def __str__(self) -> str:
        change = f"-{self.changed}={self.config[self.changed]}" if self.changed else ""
        return f"{self.kind}-{self.config['name']}{change}"


@dataclass(frozen=True)
class Subject:
    """A built component with example inputs, a function that calls it, and the expected shapes of its outputs."""

    part: Any
    inputs: tuple[Tensor, ...]
    call: Callable[..., Tensors]
    shapes: Mapping[str, tuple[int, ...]]

    def __call__(self) -> Tensors:
        """Return the component's outputs by name."""
        return self.call(self.part, *self.inputs)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The component's trainable parameters by name."""
        if not isinstance(self.part, nn.Module):
            return {}
        return {
            name: parameter for name, parameter in self.part.named_parameters() if parameter.requires_grad
        }


def cases(registry: Registry) -> list[Case]:
    """Return the cases of every component that has a suite.

    Data sets, and components with parameters that have no default, are left out.
    """
    return [
        case
        for component in registry
        if component.kind in (*SUBJECTS, *FUNCTIONS) and not required_parameters(component)
        for case in cases_of(component, registry)
    ]


def cases_of(component: Component, registry: Registry) -> list[Case]:
    """Return the cases of a component: with its defaults, then with each parameter changed alone.

    Choices, switches and short integer ranges are changed.
    """
    config = registry.resolve(component.kind, _narrow_config(component), component.name)
    changed = [
        Case(component.kind, config | {name: value}, name) for name, value in _changed_values(component)
    ]
    return [Case(component.kind, config), *changed]


def required_parameters(component: Component) -> list[str]:
    """Return the names of a component's parameters that have no default."""
    return [name for name, parameter in component.parameters.items() if parameter.required]


def _narrow_config(component: Component) -> Config:
    """Return a component's configuration, with a width multiplier reduced to `WIDTH` to save time."""
    width = component.parameters.get("width")
    return {"name": component.name} | ({"width": WIDTH} if width and isinstance(width.default, float) else {})


def conform(case: Case, registry: Registry) -> None:
    """Check one case; raises AssertionError with the first violation."""
    for _, check in checks(case, registry):
        check()


def checks(case: Case, registry: Registry) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the title and the function of each check of a case; none if the component rejects the changed value.

    Raises:
        InputError: The component cannot be built with its defaults.
    """
    try:
        if case.kind in FUNCTIONS:
            titled = [(_title(check), check) for check in FUNCTIONS[case.kind](registry, case.config)]
        else:
            subject = build(case, registry)
            titled = [(_title(check), partial(check, subject)) for check in CHECKS]
    except InputError:
        if case.changed:  # the value may be invalid with the other defaults
            return
        raise
    yield from titled


def _title(check: Callable[..., Any]) -> str:
    return check.__name__.replace("_", " ")


def conform_on_gpu(case: Case, registry: Registry) -> None:
    """Check that a GPU gives the outputs of the CPU in full fp32; raises AssertionError otherwise."""
    if case.kind in FUNCTIONS:  # these compute nothing on a device
        return
    try:
        subject = build(case, registry)
    except InputError:
        if case.changed:
            return
        raise
    with torch.no_grad(), _full_precision():
        expected = subject()
        if isinstance(subject.part, nn.Module):
            subject.part.to("cuda")
        found = subject.call(subject.part, *(tensor.to("cuda") for tensor in subject.inputs))
    for name, tensor in expected.items():
        scale = tensor.abs().max().item()
        torch.testing.assert_close(found[name].cpu(), tensor, rtol=GPU_TOLERANCE, atol=GPU_TOLERANCE * scale)


def outputs_have_declared_shapes(subject: Subject) -> None:
    """Check that outputs are finite and have the shapes that the contract or the component declares."""
    with torch.no_grad():
        outputs = subject()
    shapes = {name: tuple(tensor.shape) for name, tensor in outputs.items()}
    assert shapes == dict(subject.shapes), f"shapes: expected {dict(subject.shapes)}, got {shapes}"
    for name, tensor in outputs.items():
        assert tensor.isfinite().all(), f"{name} is not finite"


def is_deterministic(subject: Subject) -> None:
    """Check that two evaluations of one input give the same output bit for bit."""
    with torch.no_grad():
        first, second = subject(), subject()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), f"{name} differs between two evaluations of one input"


def is_independent_of_the_batch(subject: Subject) -> None:
    """Check that the output of a clip in evaluation mode does not depend on the other clips of its batch."""
    with torch.no_grad():
        batched = subject()
        alone = subject.call(subject.part, *(tensor[:1] for tensor in subject.inputs))
    for name, tensor in batched.items():
        if tensor.ndim:
            torch.testing.assert_close(alone[name], tensor[:1], rtol=1e-4, atol=1e-5)


def trains_every_parameter(subject: Subject) -> None:
    """Check that every parameter that is not `unused` receives a finite gradient that is not zero."""
    inputs = tuple(
        tensor.requires_grad_() if tensor.is_floating_point() else tensor for tensor in subject.inputs
    )
    outputs = subject.call(subject.part, *inputs)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(tensor.shape, generator=generator) for tensor in outputs.values()]
    total = torch.stack(
        [(w * tensor).sum() for w, tensor in zip(weights, outputs.values(), strict=True)]
    ).sum()
    total.backward()  # type: ignore[no-untyped-call]
    unused = set(getattr(subject.part, "unused", ()))
    for name, parameter in subject.parameters.items():
        if name not in unused:
            assert parameter.grad is not None, f"no gradient reaches {name}"
            assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
            assert parameter.grad.any(), f"the gradient of {name} is zero"
    assert any(tensor.grad is not None for tensor in inputs), "no gradient reaches the input"


CHECKS = (
    outputs_have_declared_shapes,
    is_deterministic,
    is_independent_of_the_batch,
    trains_every_parameter,
)
"""The checks of every component that computes with tensors."""


def build(case: Case, registry: Registry) -> Subject:
    """Build a case's component in evaluation mode with random inputs; the global random state does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        subject = SUBJECTS[case.kind](registry, case.config)
    if isinstance(subject.part, nn.Module):
        subject.part.eval()
    return subject


def _network(registry: Registry, config: Config) -> Subject:
    parts = {
        kind: registry.resolve(kind, part, kind) for kind, part in registry.parts(config["name"]).items()
    }
    full = {**parts, "network": config}
    part, shape = _first_accepted(lambda shape: build_network(registry, full, shape, CLASSES))

    def call(network: Any, clips: Tensor) -> Tensors:
        return {"logits": as_output(network(clips), len(clips), CLASSES).logits}

    return Subject(part, (torch.rand(BATCH, *shape),), call, {"logits": (BATCH, CLASSES)})


def _backbone(registry: Registry, config: Config) -> Subject:
    part, shape = _first_accepted(lambda shape: registry.build("backbone", config, shape))

    def call(backbone: Any, clips: Tensor) -> Tensors:
        return {f"stage {number}": stage for number, stage in enumerate(backbone(clips))}

    shapes = {f"stage {number}": (BATCH, *stage) for number, stage in enumerate(part.stages)}
    return Subject(part, (torch.rand(BATCH, *shape),), call, shapes)


def _splitter(registry: Registry, config: Config) -> Subject:
    part = registry.build("splitter", config, FEATURES)
    return Subject(
        part,
        (torch.randn(BATCH, *FEATURES),),
        lambda splitter, clip: _named_groups(splitter(clip)),
        _batch_shapes(part.groups),
    )


def _lifting(registry: Registry, config: Config) -> Subject:
    shapes = GroupShapes(GROUP, GROUP)
    part = registry.build("lifting", config, shapes)

    def call(lifting: Any, static: Tensor, dynamic: Tensor, clip: Tensor) -> Tensors:
        lifted: Lifted = lifting(Groups(static, dynamic), clip)
        residual = {} if lifted.context_residual is None else {"context residual": lifted.context_residual}
        return _named_groups(lifted.groups) | residual

    inputs = (torch.randn(BATCH, *GROUP), torch.randn(BATCH, *GROUP), torch.randn(BATCH, *FEATURES))
    with torch.no_grad():
        has_residual = "context residual" in call(part, *inputs)
    expected = _batch_shapes(shapes) | ({"context residual": (BATCH, *GROUP)} if has_residual else {})
    return Subject(part, inputs, call, expected)


def _readout(registry: Registry, config: Config) -> Subject:
    part = registry.build("readout", config, GroupShapes(GROUP, GROUP))

    def call(readout: Any, static: Tensor, dynamic: Tensor) -> Tensors:
        return {"feature": readout(Groups(static, dynamic))}

    inputs = (torch.randn(BATCH, *GROUP), torch.randn(BATCH, *GROUP))
    return Subject(part, inputs, call, {"feature": (BATCH, part.features)})


def _head(registry: Registry, config: Config) -> Subject:
    part = registry.build("head", config, GROUP.channels, CLASSES)
    feature = torch.randn(BATCH, GROUP.channels)
    return Subject(
        part, (feature,), lambda head, feature: {"logits": head(feature)}, {"logits": (BATCH, CLASSES)}
    )


def _loss(registry: Registry, config: Config) -> Subject:
    part = registry.build("loss", config)

    def call(loss: Any, logits: Tensor, residual: Tensor, labels: Tensor) -> Tensors:
        return {"loss": loss(Output(logits, residual), labels)}

    inputs = (torch.randn(BATCH, CLASSES), torch.randn(BATCH, *GROUP), torch.arange(BATCH))
    return Subject(part, inputs, call, {"loss": ()})


def _augmentation(registry: Registry, config: Config) -> Subject:
    part = registry.build("augmentation", config)
    shape = ClipShape(3, 4, 12, 10)

    def call(augment: Any, clips: Tensor) -> Tensors:
        return {"clips": augment(clips, torch.Generator().manual_seed(0))}

    return Subject(part, (torch.rand(BATCH, *shape),), call, {"clips": (BATCH, *shape)})


SUBJECTS: Mapping[str, Callable[[Registry, Config], Subject]] = {
    "network": _network,
    "backbone": _backbone,
    "splitter": _splitter,
    "lifting": _lifting,
    "readout": _readout,
    "head": _head,
    "loss": _loss,
    "augmentation": _augmentation,
}


def _changed_values(component: Component) -> Iterator[tuple[str, Any]]:
    """Yield the name of each parameter that is no part with each value to try."""
    for name, parameter in component.parameters.items():
        if not parameter.is_part and not parameter.required:
            yield from ((name, value) for value in _values(parameter) if value != parameter.default)


def _values(parameter: Parameter) -> tuple[Any, ...]:
    annotation, *marks = get_args(parameter.annotation)
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if annotation is bool:
        return (False, True)
    for mark in marks:
        if isinstance(mark, Range) and annotation is int and mark.low is not None and mark.high is not None:
            values = range(int(mark.low), int(mark.high) + 1)
            return tuple(values) if len(values) <= MAX_RANGE + 1 else ()
    return ()


def _first_accepted(make: Callable[[ClipShape], Any]) -> tuple[Any, ClipShape]:
    """Return what `make` builds for the first of `CLIP_SHAPES` that it accepts, and that shape."""
    *preferred, last = CLIP_SHAPES
    for shape in preferred:
        try:
            return make(shape), shape
        except InputError:
            continue
    return make(last), last


def _named_groups(groups: Groups) -> Tensors:
    return {name: group for name, group in groups._asdict().items() if group is not None}


def _batch_shapes(shapes: GroupShapes) -> dict[str, tuple[int, ...]]:
    return {name: (BATCH, *shape) for name, shape in shapes._asdict().items() if shape is not None}


@contextmanager
def _full_precision() -> Iterator[None]:
    """Switch TF32 off."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
