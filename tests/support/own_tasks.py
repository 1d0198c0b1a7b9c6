"""Runs made by hand: a task of a user's own, trained without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from study.records import RunSpec
from study.run import Run
from study.tasks.command import CommandTask
from study.tasks.function import FunctionTask
from study.tasks.options import Options

METRIC = {"name": "acc", "label": "accuracy"}


def function_task(
    project: Path, train: str = "mine:train", evaluate: str = "", **options: Any
) -> FunctionTask:
    return FunctionTask(train, evaluate, Options(**{"metric": METRIC, "root": str(project), **options}))


def command_task(
    project: Path,
    command: list[str],
    evaluate: list[str] | None = None,
    reads_config: bool = False,
    **options: Any,
) -> CommandTask:
    return CommandTask(
        command, evaluate, reads_config, Options(**{"metric": METRIC, "root": str(project), **options})
    )


def run_of(
    task: Any,
    folder: Path,
    config: dict[str, Any] | None = None,
    rule: dict[str, float] | None = None,
    seed: int = 3,
    fold: int | None = None,
    **spec: Any,
) -> Run:
    primary = next(iter(task.metrics.values()))
    request = RunSpec(
        config=config or {},
        seed=seed,
        fold=fold,
        data_digest="",
        code_digest="",
        metric={"name": primary.name},
        direction=primary.direction,
        **spec,
    )
    folder.mkdir(parents=True, exist_ok=True)
    return task.run_class(
        request,
        folder,
        task.metrics,
        rule=rule,
        select=task.select,
        resumes=task.resumes,
        weights_name=task.weights_name,
        checkpoint_name=task.checkpoint_name,
    )
