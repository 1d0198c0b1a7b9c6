"""The task `function`: a Python function of the user trains."""

from __future__ import annotations

import ast
import contextlib
import importlib
import random
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from study.config.registry import component
from study.errors import InputError, missing_value
from study.files import remove
from study.ledger.layout import EXAMPLES, TEST_PREDICTIONS
from study.nested import flatten
from study.records import Profile, RunSpec
from study.reported import ReportError, is_number
from study.run import Run, RunStopped
from study.task import Config, Sources
from study.tasks.options import Options
from study.tasks.own.outside import watched
from study.tasks.own.references import Reference, check_imports
from study.tasks.own.tracked import Tracked, represent_in_yaml
from study.tasks.own.training import OwnTask, ProgramError, begin_attempt, end_training, validated_test

if TYPE_CHECKING:
    from torch import nn

    from study.config.registry import Registry

PRELOADED = ("numpy", "scipy", "sklearn", "torch", "torchvision")
"""Libraries that survive a fork; those that the user's module imports are imported once for all workers."""
WORKER = ("study.tasks.work", "study.tasks.function", "threadpoolctl")
WITH_TORCH = ("torch._dynamo", "study.tasks.own.profiling")
"""Slow imports of the first optimizer and of `FunctionRun.profile`."""
NUMPY_SEEDS = 2**32
MOST_UNREAD_KEYS = 5
"""The most keys that a warning lists."""


@component("task")
def function(
    registry: Registry,
    *,
    function: Annotated[str, "what trains, as module:function: def train(config, run)"],
    evaluate: Annotated[
        str, "what computes the test figures, as module:function: def test(config, run)"
    ] = "",
    options: Options,
) -> FunctionTask:
    """A Python function trains: def train(config, run)."""
    return FunctionTask(function, evaluate, options)


class FunctionRun(Run):
    """The run that a user's function gets: a `Run` that can also profile a network."""

    parameters: int | None = None

    @cached_property
    def read(self) -> set[str]:
        """The dotted keys of the configuration that have been read."""
        return set()

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration, as nested dicts that the training may change."""
        return Tracked(self.spec.config, self.read)

    def profile(self, model: nn.Module, example_input: Any) -> Profile:
        """Profile a network on one example, write the profile for the report, and return it.

        Operators that cannot be counted are a warning in the run's log. The epoch's time excludes the profile's.

        Args:
            model: The network; it is not changed.
            example_input: A tensor (B, …) on the network's device, or a tuple or dict of the network's arguments.
        """
        from study.tasks.own.profiling import profile_model

        began = time.perf_counter()
        record = profile_model(model, example_input)
        self.keep_profile(record)
        self.parameters = record.parameters
        seconds = time.perf_counter() - began
        self._began, self._last = self._began + seconds, self._last + seconds
        return record


class FunctionTask(OwnTask):
    """A function of the user as a task; see `Task`."""

    run_class = FunctionRun

    def __init__(self, train: str, evaluate: str, options: Options) -> None:
        super().__init__(options)
        self._train = Reference(train, "task.function", options.code, ("config", "run"))
        self._evaluate = (
            Reference(evaluate, "task.evaluate", options.code, ("config", "run")) if evaluate else None
        )

    def _identity(self) -> Mapping[str, Any]:
        return {"function": self._train.text, "evaluate": self._evaluate.text if self._evaluate else None}

    def references(self) -> tuple[Reference, ...]:
        """Return every function of the user that the task names."""
        own = (self._train, self._evaluate) if self._evaluate else (self._train,)
        return (*own, *super().references())

    @property
    def preload(self) -> tuple[str, ...]:  # type: ignore[override]
        """Modules of the harness, and the common libraries that the modules of the task's functions import."""
        try:
            trees = [reference.syntax() for reference in self.references()]
        except InputError:
            return ()
        imported = {name for tree in trees for node in ast.walk(tree) for name in _imported_modules(node)}
        libraries = sorted(name for name in imported if name.partition(".")[0] in PRELOADED)
        return (*WORKER, *libraries, *(WITH_TORCH if "torch" in libraries else ()))

    def sources(self, config: Config) -> Sources:
        """Return the functions' modules, whose imports are followed, and the listed files."""
        return Sources(
            modules=tuple(dict.fromkeys(reference.module for reference in self.references())),
            files=self.listed_sources(),
            root=self.options.code,
            version=self.options.version,
        )

    def validate(self, configs: Sequence[Config]) -> None:
        """Check the task's functions and options, without importing any module of the user.

        Raises:
            InputError: A module or function that does not exist, a syntax error, or wrong parameters.
        """
        self.check_keys(configs)
        self.prepare_command()
        for reference in self.references():
            reference.validate()

    def check(self, run: RunSpec) -> None:
        """Import every function that the task names; raise InputError where one cannot be imported."""
        check_imports(self.references(), self.environment)

    def train(self, run: Run) -> None:
        """Call the user's function with the configuration, as dicts, and the run.

        Raises:
            RunStopped: The search stops the trial, or the training diverged.
            ReportError: The function reported or returned something impossible.
        """
        begin_attempt(run)
        returned = self._call(self._train, run)
        self._warn_of_unread_keys(run)
        if run.result is None:
            self._report_returned(returned, run)
        parameters = run.parameters if isinstance(run, FunctionRun) else None
        end_training(run, "task.evaluate", self._evaluate is not None, parameters)

    def evaluate(self, run: Run) -> Mapping[str, float]:
        """Call the user's function for the test, and return its figures.

        Raises:
            ReportError: It returns neither figures nor the primary metric, or impossible figures.
        """
        if self._evaluate is None:
            raise missing_value("task.evaluate", "is missing; this training reports its test figures itself.")
        for name in (TEST_PREDICTIONS, EXAMPLES):
            remove(run.folder / name)
        returned = self._call(self._evaluate, run)
        if returned is None and run.test_metrics is not None:
            returned = run.test_metrics
        if not isinstance(returned, Mapping):
            if not is_number(returned):
                raise ReportError(
                    f"{self._evaluate.text} must return figures, such as {{{run.spec.metric_name!r}: 0.5}}. "
                    f"Got {_excerpt(returned)} instead."
                )
            returned = {run.spec.metric_name: float(returned)}
        return validated_test(run, {str(key): value for key, value in returned.items()})

    def _call(self, reference: Reference, run: Run) -> Any:
        """Call a function of the user with the configuration and the run, seeded and in its working folder."""
        if "torch" in self.preload:  # an import inside the function would come after the seeding
            importlib.import_module("torch")
        _seed_libraries(run.seed, self.threads)  # for what the module draws when it is imported
        function = reference.load()
        represent_in_yaml()
        _seed_libraries(run.seed, self.threads)
        with contextlib.chdir(self.options.root_folder / self.options.cwd), watched(run, self.options):
            try:
                return function(run.config, run)
            except RunStopped:
                raise
            except SystemExit as error:
                if error.code in (None, 0):
                    return None
                raise ProgramError(
                    f"{reference.text} called sys.exit({error.code!r})", traceback.format_exc()
                ) from error
            except Exception as error:
                if run.result is None:
                    raise
                raise RunStopped(
                    "the training framework raised another error when the training was stopped"
                ) from error

    def _warn_of_unread_keys(self, run: Run) -> None:
        """Warn of keys of the configuration that the training did not read."""
        if not isinstance(run, FunctionRun):
            return
        if unread := [key for key in flatten(run.spec.config) if key not in run.read]:
            more = " and more" if len(unread) > MOST_UNREAD_KEYS else ""
            run.warn(
                f"{self._train.text} never read {', '.join(unread[:MOST_UNREAD_KEYS])}{more}: varying such a key makes "
                "no difference to the training."
            )

    def _report_returned(self, returned: Any, run: Run) -> None:
        """Report the figures that a training returned as its only epoch; do nothing where it returned None."""
        if returned is None:
            return
        if not isinstance(returned, Mapping):
            raise ReportError(
                f"{self._train.text} must return nothing, or figures such as {{{run.spec.metric_name!r}: 0.5}} where "
                f"it reports no epochs. Got {_excerpt(returned)} instead."
            )
        if run.history:
            raise ReportError(
                f"{self._train.text} returned {_excerpt(returned)} after it had reported epochs; it must return "
                "nothing."
            )
        with contextlib.suppress(RunStopped):
            run.report(1, **{str(key): value for key, value in returned.items()})


def _seed_libraries(seed: int, threads: int) -> None:
    """Seed random, NumPy and, where it is imported, torch, and limit their threads."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    random.seed(seed)
    np.random.seed(seed % NUMPY_SEEDS)  # noqa: NPY002 - the user's code may use the global generator
    threadpool_limits(threads)
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)
        torch.set_num_threads(threads)


def _imported_modules(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports, and their top-level packages."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
    return [part for name in names for part in (name.partition(".")[0], name)]


def _excerpt(value: Any) -> str:
    """Return the beginning of a value's text, and its type."""
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '…'} of type {type(value).__name__}"
