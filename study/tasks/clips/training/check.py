"""Whether a study's networks can be built at all, asked before anything is written or trained."""

from __future__ import annotations

import torch

from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.data.contract import Dataset
from study.records import RunSpec
from study.config.registry import Registry
from study.tasks.clips.training.state import refuse_test_clips


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
