"""A training that goes on from its checkpoint: epochs that are done again are judged again."""

from __future__ import annotations

from pathlib import Path

from study.metrics import Metric
from study.records import RunSpec
from study.task import Run


def opened(folder: Path) -> Run:
    spec = RunSpec(
        config={}, seed=1, data_digest="", code_digest="", metric={"name": "acc"}, direction="maximize"
    )
    return Run(spec, folder, {"acc": Metric("acc")}, select="best", resumes=True)


def test_the_best_epoch_is_the_best_again_where_a_kill_came_before_its_weights_were_saved(
    tmp_path: Path,
) -> None:
    first = opened(tmp_path)
    assert [first.report(epoch, acc=acc) for epoch, acc in ((1, 0.5), (2, 0.7))] == [True, True]
    again = opened(tmp_path)  # killed after epoch 2 was reported; the checkpoint is that of epoch 1
    again.resume(first.history)
    assert again.report(2, acc=0.7), "the weights of epoch 2 have to be saved"
    assert not again.report(3, acc=0.6)
    again.close()
    assert again.outcome is not None
    assert again.outcome.best_epoch == 2
    assert [entry.epoch for entry in again.history] == [1, 2, 3]
