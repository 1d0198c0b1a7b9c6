"""Trial step: one forward and backward pass of a run's network on random clips, before a study trains anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study import seeds
from study.config.registry import Registry
from study.errors import InputError, StudyError, code_error, data_error
from study.generators import seeded
from study.hashing import HARNESS, seed_of
from study.records import RunSpec
from study.tasks.clips.data.contract import SPLITS, ClipShape, Dataset
from study.tasks.clips.data.seeded import build_dataset
from study.tasks.clips.nets.contract import Loss
from study.tasks.clips.training.batches import Transform, on_device
from study.tasks.clips.training.building import as_trained, build_part, plain_network
from study.tasks.clips.training.precision import forward
from study.tasks.clips.training.settings import Precision, TrainSettings, check_settings
from study.tasks.clips.training.state import (
    clips_to_train_on,
    optimizer_of,
    refuse_test_clips,
    schedule_of,
    trained_parameters,
)
from study.tasks.clips.training.tensors import tensors_of

CLIPS = 2
MOST_NAMED = 3
UNSEEDED = (
    "It draws from a generator that cannot be seeded, such as numpy.random.default_rng() or random.Random() without an "
    "argument, or uses memory that is never initialised. Use torch, numpy.random or random, or pass a seed."
)
RESULTS_KEPT = ". A module keeps a tensor of the first step: keep it by .detach() if the next step reads it."
LONGEST_REASON = 300
"""Maximum characters of an exception's message."""
CPU = torch.device("cpu")


def try_one_batch(run: RunSpec) -> None:
    """Build the components of a run and take one step on random clips, on the CPU.

    Raises:
        InputError: Components that do not fit together or do not fit the clips, training on test clips, or the first
            failure: in building, the forward pass, the loss, the backward pass, the step.
    """
    registry = Registry(run.modules)
    settings = TrainSettings.of(run)
    check_settings(settings, run.device)
    dataset = build_dataset(registry, run.table("dataset"))
    refuse_test_clips(dataset, settings.fit)
    _check_splits(run, registry, dataset)
    with seeded(seed_of(run.seed, seeds.TRIAL_STEP)):
        _step(run, registry, settings, dataset)


def _step(run: RunSpec, registry: Registry, settings: TrainSettings, dataset: Dataset) -> None:
    shape, classes = dataset.shape, len(dataset.classes)
    _build_without_memory(run, registry, shape, classes)
    with _stage("building the network"):
        network = as_trained(plain_network(registry, run, shape, classes), replace(settings, compile=False))
    _check_initial_values(network, lambda: plain_network(registry, run, shape, classes))
    with _stage("building the loss"):
        loss: Loss = build_part(registry, run, "loss")
    with _stage("building the augmentation"):
        augment: Transform = build_part(registry, run, "augmentation")
    _check_trainable(trained_parameters(network, loss))
    with _stage("building the optimizer"):
        optimizer = optimizer_of(run, registry, settings, network, loss)
    with _stage("building the schedule"):
        rate = schedule_of(run, registry, settings, steps_per_epoch=1).rate(0)
        if not math.isfinite(rate) or rate < 0:
            raise code_error(
                "", f"the schedule's first rate must be finite and at least 0. Got {rate!r} instead."
            )
    with _stage("augmenting clips"):
        pixels = on_device(
            _pixels(shape, min(CLIPS, _smallest_part(dataset, run.fold, settings))),
            CPU,
        )
        clips = augment(pixels, torch.Generator().manual_seed(0))
        if not isinstance(clips, Tensor) or clips.shape != pixels.shape:
            raise code_error("", f"the augmentation must return clips of shape {tuple(pixels.shape)}.")
    precision: Precision = "fp32" if settings.precision == "tf32" else settings.precision
    targets = torch.arange(len(clips)) % classes
    if settings.mixup or settings.cutmix or settings.class_weights != "none":
        targets = F.one_hot(targets, classes).to(clips.dtype)
    tensors_of(network)
    network.train()
    with _stage("the forward pass", network):
        output = forward(network, clips, precision, classes)
    with _stage("the loss"):
        value = loss(output, targets)
        if not isinstance(value, Tensor) or value.ndim:
            raise code_error("", "the loss must return a tensor without dimensions.")
    if not math.isfinite(value.item()):
        raise code_error("", f"the loss of the first batch is {value.item()}, so no training can follow.")
    if not value.requires_grad:
        raise code_error(
            "",
            "the loss depends on no parameter that is trained: the network's forward or the loss stops gradients "
            "(torch.no_grad, .detach(), .item(), .numpy(), argmax), or uses frozen parameters only.",
        )
    if shapes := _untrained(value, trained_parameters(network, loss)):
        raise code_error(
            "",
            f"{len(shapes)} tensors need gradients but are no parameters, so they would never be trained or kept "
            f"(shapes {', '.join(map(str, shapes[:MOST_NAMED]))}). Use nn.Parameter, nn.ModuleList or nn.ParameterList "
            "in place of tensors or modules in a list, a dict or outside a module.",
        )
    with _stage("the backward pass", network):
        value.backward()  # type: ignore[no-untyped-call]
    with _stage("the optimizer's step"):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    if _keeps_results(network):
        try:
            with _stage("the backward pass", network):
                loss(forward(network, clips.clone(), precision, classes), targets).backward()  # type: ignore[no-untyped-call]
        except InputError as error:
            raise code_error(
                "", f"the first step passes and the second fails: {error}{RESULTS_KEPT}"
            ) from error
    network.eval()
    with _stage("the forward pass in evaluation", network), torch.no_grad():
        logits = forward(network, clips, precision, classes).logits
    if not logits.isfinite().all():
        raise code_error("", "the network's logits in evaluation are not finite, so no epoch can be judged.")
    if one := _batch_of_one(dataset, run.fold, settings):
        try:
            with _stage("the forward pass in evaluation", network), torch.no_grad():
                forward(network, clips[:1], precision, classes)
        except InputError as error:
            raise code_error(
                "", f"a batch of one clip cannot be evaluated, and {one} is one: {error}"
            ) from error


def _keeps_results(network: nn.Module) -> bool:
    """Return whether a module has an attribute that a forward pass computed with gradients."""
    kept = (value for module in network.modules() for value in vars(module).values())
    return any(isinstance(value, Tensor) and value.grad_fn is not None for value in kept)


def _check_trainable(parameters: Sequence[nn.Parameter]) -> None:
    """Raise InputError unless a gradient changes at least one parameter."""
    if not any(parameter.requires_grad for parameter in parameters):
        state = (
            f"all {len(parameters)} tensors of the network's parameters are frozen (requires_grad = False)"
            if parameters
            else "the network has no parameters"
        )
        raise code_error("", f"{state}, so nothing would be trained.")


def _smallest_part(dataset: Dataset, fold: int | None, settings: TrainSettings) -> int:
    """Return the fewest clips, at least one, that pass the network together in training."""
    clips = len(clips_to_train_on(dataset, fold, settings.fit).labels)
    return max(1, min(settings.batch_size, clips) // settings.accumulate)


def _batch_of_one(dataset: Dataset, fold: int | None, settings: TrainSettings) -> str:
    """Return the split whose last batch has one clip, in words; empty if none has."""
    for name in SPLITS[1:]:
        clips = dataset.split(name, fold)
        count = len(clips.labels if clips.views is None else clips.views.clip)
        if count % settings.batch_size == 1 or settings.batch_size == 1:
            return f"the last of {count} {name} clips in batches of {settings.batch_size}"
    return ""


def _check_splits(run: RunSpec, registry: Registry, dataset: Dataset) -> None:
    """Raise InputError if a data set of the user's has other clips in a split when it is built again."""
    component = registry.get("dataset", run.table("dataset")["name"])
    if component.module.partition(".")[0] == HARNESS:
        return
    again = build_dataset(registry, run.table("dataset"))
    for name in SPLITS:
        if dataset.split(name, run.fold).ids != again.split(name, run.fold).ids:
            raise data_error(
                "",
                f"the data set {component.name!r} has other clips in its {name} split each time it is built, so test "
                f"clips would be trained on. {UNSEEDED}",
            )


def _check_initial_values(network: nn.Module, build: Callable[[], nn.Module]) -> None:
    """Raise InputError if a network has other initial weights when it is built again from the same seed."""
    again = dict(build().named_parameters())
    for name, parameter in network.named_parameters():
        if parameter.is_meta:
            raise code_error(
                "",
                f"the parameter {name!r} is on the device 'meta', so it has no values: create it without "
                "device='meta'.",
            )
        if name not in again or not torch.equal(parameter, again[name]):
            raise code_error(
                "",
                f"the network starts from other weights each time it is built: {name!r} differs. {UNSEEDED}",
            )


def _untrained(loss: Tensor, parameters: Sequence[Tensor]) -> list[tuple[int, ...]]:
    """Return the shapes of the tensors that a loss is differentiated by and that are not among `parameters`."""
    known = {id(parameter) for parameter in parameters}
    pending, seen, shapes = [loss.grad_fn], set[Any](), []
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in known:
            shapes.append(tuple(leaf.shape))
        pending += [following for following, _ in node.next_functions]
    return shapes


def _build_without_memory(run: RunSpec, registry: Registry, shape: ClipShape, classes: int) -> None:
    """Raise the InputError of components that do not fit together before a large network takes memory."""
    try:
        with torch.device("meta"):
            plain_network(registry, run, shape, classes)
    except InputError:
        raise
    except (
        Exception,
        SystemExit,
    ):  # such as a constructor that reads tensor values: building with memory decides
        return


def _pixels(shape: ClipShape, clips: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (clips, *shape), dtype=np.uint8)


@contextmanager
def _stage(doing: str, network: nn.Module | None = None) -> Iterator[None]:
    """Turn any exception into an InputError of one line; a StudyError passes unchanged."""
    try:
        yield
    except StudyError:
        raise
    except (Exception, SystemExit) as error:  # a builder may call sys.exit
        reason = next(iter(str(error).strip().splitlines()), "")
        reason = reason if len(reason) <= LONGEST_REASON else reason[:LONGEST_REASON] + "…"
        module = "" if network is None else _failing_module(network, error.__traceback__)
        raise code_error(
            "",
            f"{doing} failed{f' in {module}' if module else ''}: {type(error).__name__}: {reason}".rstrip(
                ": "
            ),
        ) from error


def _failing_module(network: nn.Module, traceback: TracebackType | None) -> str:
    """Return name and class of the innermost module in a traceback; empty if there is none."""
    names = {id(module): name for name, module in network.named_modules()}
    innermost = ""
    while traceback is not None:
        owner = traceback.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and names.get(id(owner)):
            innermost = f"{names[id(owner)]} ({type(owner).__name__})"
        traceback = traceback.tb_next
    return innermost
