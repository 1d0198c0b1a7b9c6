"""Conformance suites of components: what every part of a kind must do, checked on whatever the registry lists.

Use it on one's own components like this::

    registry = Registry(["my_lab.splitters"])

    @pytest.mark.parametrize("case", cases(registry), ids=str)
    def test_component(case):
        conform(case, registry)

A component that owns parameters which no gradient reaches names them in an attribute `unused`, a collection
of parameter names.
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
"""Tried in this order: the first that a network or backbone does not refuse."""
FEATURES = Features(channels=16, frames=8, height=3, width=5)
GROUP = FEATURES._replace(frames=4)
WIDTH = 0.25
LONGEST_RANGE = 4
"""Whole numbers within a range of this length are all tried."""
GPU_TOLERANCE = 1e-4

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A component with its defaults, or with one parameter set to another value."""

    kind: str
    config: Config
    changed: str = ""

    def __str__(self) -> str:
        change = f"-{self.changed}={self.config[self.changed]}" if self.changed else ""
        return f"{self.kind}-{self.config['name']}{change}"


@dataclass(frozen=True)
class Subject:
    """A built component: how to call it, on what, and the shapes that it owes."""

    part: Any
    inputs: tuple[Tensor, ...]
    call: Callable[..., Tensors]
    shapes: Mapping[str, tuple[int, ...]]

    def __call__(self) -> Tensors:
        """Return the component's outputs by name."""
        return self.call(self.part, *self.inputs)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The component's parameters that are to be trained."""
        if not isinstance(self.part, nn.Module):
            return {}
        return {
            name: parameter for name, parameter in self.part.named_parameters() if parameter.requires_grad
        }


def cases(registry: Registry) -> list[Case]:
    """Return every component that has a suite: with its defaults, then with each parameter changed alone.

    Changed are choices, switches and short ranges of whole numbers. Data sets, and components with parameters
    that have no default, are left out.
    """
    return [
        case
        for component in registry
        if component.kind in (*SUBJECTS, *FUNCTIONS) and not required_parameters(component)
        for case in cases_of(component, registry)
    ]


def cases_of(component: Component, registry: Registry) -> list[Case]:
    """Return the cases of one component: with its defaults, then with each parameter changed alone."""
    config = registry.resolve(component.kind, _narrow(component), component.name)
    changed = [Case(component.kind, config | {name: value}, name) for name, value in _changes(component)]
    return [Case(component.kind, config), *changed]


def required_parameters(component: Component) -> list[str]:
    """Return the names of a component's parameters that have no default."""
    return [name for name, parameter in component.parameters.items() if parameter.required]


def _narrow(component: Component) -> Config:
    """Return a component's request with a width that is a multiple taken at `WIDTH`: full width tells no more."""
    width = component.parameters.get("width")
    return {"name": component.name} | ({"width": WIDTH} if width and isinstance(width.default, float) else {})


def conform(case: Case, registry: Registry) -> None:
    """Raise AssertionError, which says what is wrong, unless the component keeps all that is asked of it."""
    for _, check in checks(case, registry):
        check()


def checks(case: Case, registry: Registry) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the checks of a case's kind, each with what it checks; nothing for a value that is refused.

    Raises:
        InputError: The component cannot be built with its defaults.
    """
    try:
        if case.kind in FUNCTIONS:
            found = [(_title(check), check) for check in FUNCTIONS[case.kind](registry, case.config)]
        else:
            subject = build(case, registry)
            found = [(_title(check), partial(check, subject)) for check in CHECKS]
    except InputError:
        if case.changed:  # the value does not go with the other defaults, and the message says so
            return
        raise
    yield from found


def _title(check: Callable[..., Any]) -> str:
    return check.__name__.replace("_", " ")


def conform_on_gpu(case: Case, registry: Registry) -> None:
    """Raise AssertionError unless the component computes on a GPU what it does on the CPU, in full fp32."""
    if case.kind in FUNCTIONS:  # computes nothing of its own on a device
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


def owes_its_shapes(subject: Subject) -> None:
    """Outputs have the shapes that the contract or the component itself declares, and are finite."""
    with torch.no_grad():
        outputs = subject()
    shapes = {name: tuple(tensor.shape) for name, tensor in outputs.items()}
    assert shapes == dict(subject.shapes), f"shapes: expected {dict(subject.shapes)}, got {shapes}"
    for name, tensor in outputs.items():
        assert tensor.isfinite().all(), f"{name} is not finite"


def is_deterministic(subject: Subject) -> None:
    """In evaluation, the same input gives the same output bit for bit and leaves no trace."""
    with torch.no_grad():
        first, second = subject(), subject()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), f"{name} differs between two evaluations of one input"


def keeps_clips_apart(subject: Subject) -> None:
    """In evaluation, what is said of a clip does not depend on the clips beside it."""
    with torch.no_grad():
        together = subject()
        alone = subject.call(subject.part, *(tensor[:1] for tensor in subject.inputs))
    for name, tensor in together.items():
        if tensor.ndim:
            torch.testing.assert_close(alone[name], tensor[:1], rtol=1e-4, atol=1e-5)


def trains_every_parameter(subject: Subject) -> None:
    """A gradient that is finite and not zero reaches every parameter that is not declared `unused`."""
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


CHECKS = (owes_its_shapes, is_deterministic, keeps_clips_apart, trains_every_parameter)
"""Of every component that computes with tensors."""


def build(case: Case, registry: Registry) -> Subject:
    """Build the case's component in evaluation mode, on random inputs, the global random state left alone."""
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
        lambda splitter, clip: _groups(splitter(clip)),
        _owed(part.groups),
    )


def _lifting(registry: Registry, config: Config) -> Subject:
    shapes = GroupShapes(GROUP, GROUP)
    part = registry.build("lifting", config, shapes)

    def call(lifting: Any, static: Tensor, dynamic: Tensor, clip: Tensor) -> Tensors:
        lifted: Lifted = lifting(Groups(static, dynamic), clip)
        residual = {} if lifted.context_residual is None else {"context residual": lifted.context_residual}
        return _groups(lifted.groups) | residual

    inputs = (torch.randn(BATCH, *GROUP), torch.randn(BATCH, *GROUP), torch.randn(BATCH, *FEATURES))
    with torch.no_grad():
        constrained = "context residual" in call(part, *inputs)
    owed = _owed(shapes) | ({"context residual": (BATCH, *GROUP)} if constrained else {})
    return Subject(part, inputs, call, owed)


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


def _changes(component: Component) -> Iterator[tuple[str, Any]]:
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
            return tuple(values) if len(values) <= LONGEST_RANGE + 1 else ()
    return ()


def _first_accepted(make: Callable[[ClipShape], Any]) -> tuple[Any, ClipShape]:
    *others, last = CLIP_SHAPES
    for shape in others:
        try:
            return make(shape), shape
        except InputError:
            continue
    return make(last), last


def _groups(groups: Groups) -> Tensors:
    return {name: group for name, group in groups._asdict().items() if group is not None}


def _owed(shapes: GroupShapes) -> dict[str, tuple[int, ...]]:
    return {name: (BATCH, *shape) for name, shape in shapes._asdict().items() if shape is not None}


@contextmanager
def _full_precision() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
