"""Whether a study's networks can be built at all, asked before anything is written or trained."""

from __future__ import annotations

import torch

from study.components.network import build_network
from study.data.clips import Dataset
from study.records import RunSpec
from study.registry import Registry
from study.training.learner import refuse_test_clips


def check(run: RunSpec) -> None:
    """Build the network, the loss and the augmentation of a run, without memory for their tensors.

    Raises:
        InputError: Parts that do not go together, or do not fit the clips, or test clips that would be trained on.
    """
    registry = Registry(run.modules)
    dataset: Dataset = registry.build("dataset", run.table("dataset"))
    refuse_test_clips(dataset, run.config["train"].get("fit", "train"))
    with torch.device("meta"):
        build_network(registry, run.tables, dataset.shape, len(dataset.classes))
        registry.build("loss", run.table("loss"))
    registry.build("augmentation", run.table("augmentation"))
