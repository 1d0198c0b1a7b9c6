"""Chance of process-wide generators: drawn from the run's seed, and equal in every process."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.training_jobs import MakeSpec, train
from torch import Tensor

from study.config.registry import Registry
from study.errors import InputError
from study.generators import seeded
from study.records import RunSpec
from study.tasks.clips.data.seeded import build_dataset
from study.tasks.clips.training.batches import training_batches
from study.tasks.clips.training.loader import LoaderProcesses
from study.tasks.clips.training.probes.try_one_batch import try_one_batch
from study.tasks.clips.training.resident import reader_of
from study.tasks.clips.training.state import TrainState

MODULES = ("support.tiny_parts", "support.own_parts")


@pytest.fixture
def own_spec(spec: MakeSpec) -> Callable[..., RunSpec]:
    def make(augmentation: str = "none", **changes: Any) -> Any:
        made = spec(**changes)
        config = {**made.config, "network": {"name": "drawn"}, "augmentation": {"name": augmentation}}
        return replace(made, config=config, modules=MODULES)

    return make


def disturb() -> None:
    """Leave the process-wide generators as another process would have them."""
    random.seed()
    np.random.seed()  # noqa: NPY002
    torch.seed()


def drawn_values(request: RunSpec) -> dict[str, Tensor]:
    disturb()
    registry = Registry(request.modules)
    dataset = build_dataset(registry, request.table("dataset"))
    network: Any = TrainState.of(request, registry, dataset, torch.device("cpu")).network
    values = {name: value.detach() for name, value in network.named_parameters()}
    return values | {f"fixed {number}": value for number, value in enumerate(network.fixed)}


def test_initial_values_come_from_the_seed_by_whatever_generator_they_are_drawn(own_spec: MakeSpec) -> None:
    first, again, other = (drawn_values(own_spec(seed=seed)) for seed in (1, 1, 2))
    assert set(first) == {"by_torch", "by_numpy", "by_random", "fixed 0", "fixed 1"}
    for name, value in first.items():
        assert torch.equal(value, again[name]), name
        assert not torch.equal(value, other[name]), name


def test_the_block_restores_every_generator() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    with seeded(7):
        expected = draw()
    disturb()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[union-attr,index]  # noqa: NPY002
    with seeded(7):
        assert draw() == expected
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[union-attr,index]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_global_draws_of_an_augmentation_change_with_step_and_epoch_and_not_with_the_network(
    own_spec: MakeSpec, spec: MakeSpec, tmp_path: Path
) -> None:
    from support import tiny_parts

    def first_values(request: RunSpec, folder: str) -> list[float]:
        disturb()
        tiny_parts.SEEN[True].clear()
        train(request, tmp_path / folder)
        return [float(clips.double().sum()) for clips in tiny_parts.SEEN[True]]

    def request(dropout: float) -> RunSpec:
        made = spec(epochs=2, network={"dropout": dropout}, dataset={"noise": 0.0})
        return replace(made, config={**made.config, "augmentation": {"name": "jitter"}}, modules=MODULES)

    steps = first_values(request(0.0), "a")
    assert len(steps) == 2 * 7
    assert len({round(step, 3) for step in steps}) > 7
    assert steps == first_values(request(0.0), "b") == first_values(request(0.5), "c")


def test_a_split_that_is_drawn_at_random_is_the_same_in_every_job_and_leaks_nothing(
    own_spec: MakeSpec,
) -> None:
    ids = []
    for _ in range(2):
        disturb()
        dataset = build_dataset(Registry(MODULES), {"name": "shuffled"})
        ids.append([dataset.split(name).ids for name in ("train", "validation", "test")])  # type: ignore[arg-type]
    assert ids[0] == ids[1]
    assert len({one for split in ids[0] for one in split}) == 60
    assert list(ids[0][0]) != sorted(ids[0][0])


def shuffled_clips(split: Any) -> Any:
    return build_dataset(Registry(MODULES), {"name": "shuffled"}).split(split)


def test_global_draws_of_a_reader_are_the_same_with_any_number_of_loader_workers() -> None:
    batches = {}
    for workers in (0, 1, 3):
        disturb()
        clips = shuffled_clips("train")
        with LoaderProcesses(shuffled_clips, workers) if workers else nullcontext() as loader:
            read = reader_of(clips, "train", loader, torch.device("cpu"))
            batches[workers] = [
                [pixels.numpy() for pixels, _ in training_batches(clips, clips.labels, 5, (1, epoch), read)]
                for epoch in (1, 2)
            ]
    first, second = batches[0]
    assert len(first) == 6
    assert not np.array_equal(first[0] % 50, first[1] % 50)
    assert not np.array_equal(first[0], second[0])
    for workers in (1, 3):
        assert np.array_equal(batches[0], batches[workers])


def test_chance_that_cannot_be_seeded_is_refused_before_the_study(own_spec: MakeSpec) -> None:
    request = own_spec()
    try_one_batch(request)
    network = replace(request, config={**request.config, "network": {"name": "entropy"}})
    with pytest.raises(InputError, match=r"starts from other weights each time .* 'by_torch' differs"):
        try_one_batch(network)
    dataset = replace(request, config={**request.config, "dataset": {"name": "entropy-splits"}})
    with pytest.raises(InputError, match="'entropy-splits' has other clips in its train split"):
        try_one_batch(dataset)
    try_one_batch(replace(request, config={**request.config, "dataset": {"name": "shuffled"}}))


def test_what_a_module_draws_when_it_is_imported_does_not_depend_on_the_process() -> None:
    import sys

    draws = []
    for _ in range(2):
        sys.modules.pop("support.own_parts", None)
        disturb()
        Registry(MODULES).builder("network", "drawn")
        draws.append(sys.modules["support.own_parts"].MODULE_DRAW)
    assert draws[0] == draws[1]
