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
from study.errors import InputError
from study.files import remove
from study.records import Profile, RunSpec
from study.task import EXAMPLES, TEST_PREDICTIONS, Config, ReportError, Run, RunStopped, Sources, is_number
from study.tasks.options import Options
from study.tasks.own.outside import watched
from study.tasks.own.references import Reference, check_imports
from study.tasks.own.tracked import Tracked, represent_in_yaml, unread
from study.tasks.own.training import OwnTask, ProgramError, begin_attempt, checked_test, end_training

if TYPE_CHECKING:
    from torch import nn

    from study.config.registry import Registry

PRELOADED = ("numpy", "scipy", "sklearn", "torch", "torchvision")
"""Libraries that survive a fork: what the user's module imports of them is imported once for all workers."""
WORKER = ("study.tasks.work", "study.tasks.function", "threadpoolctl")
WITH_TORCH = ("torch._dynamo", "fvcore.nn", "study.tasks.own.profiling")
"""What the first optimizer and `FunctionRun.profile` import: seconds for every worker."""
SEEDS = 2**32
MOST_NAMED = 5
"""Keys that a warning names."""


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
    """A run as a user's function sees it: what every run has, and the profile of a network."""

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
        """Measure a network on one example, keep the result for the report, and return it.

        What cannot be counted is a warning in the run's log. The time that it takes is no part of the epoch's.

        Args:
            model: The network; it stays as it is.
            example_input: A tensor (B, …) on the network's device, or a tuple or dict of what the network takes.
        """
        from study.tasks.own.profiling import profile_model

        began = time.perf_counter()
        found = profile_model(model, example_input)
        self.keep_profile(found)
        self.parameters = found.parameters
        taken = time.perf_counter() - began
        self._began, self._last = self._began + taken, self._last + taken
        return found


class FunctionTask(OwnTask):
    """A function of the user as a task; see `Task`."""

    run_class = FunctionRun

    def __init__(self, train: str, evaluate: str, options: Options) -> None:
        super().__init__(options)
        self._train = Reference(train, "task.function", options.code, ("config", "run"))
        self._evaluate = (
            Reference(evaluate, "task.evaluate", options.code, ("config", "run")) if evaluate else None
        )

    def _named(self) -> Mapping[str, Any]:
        return {"function": self._train.text, "evaluate": self._evaluate.text if self._evaluate else None}

    def references(self) -> tuple[Reference, ...]:
        """Return every function of the user that the task names."""
        own = (self._train, self._evaluate) if self._evaluate else (self._train,)
        return (*own, *super().references())

    @property
    def preload(self) -> tuple[str, ...]:  # type: ignore[override]
        """What workers need, and what the modules of the task's functions import of common libraries."""
        try:
            trees = [reference.syntax() for reference in self.references()]
        except InputError:
            return ()
        named = {name for tree in trees for node in ast.walk(tree) for name in _imported(node)}
        found = sorted(name for name in named if name.partition(".")[0] in PRELOADED)
        return (*WORKER, *found, *(WITH_TORCH if "torch" in found else ()))

    def sources(self, config: Config) -> Sources:
        """Return the functions' modules, whose imports are followed, and the listed files."""
        return Sources(
            modules=tuple(dict.fromkeys(reference.module for reference in self.references())),
            files=self.listed_sources(),
            root=self.options.code,
            version=self.options.version,
        )

    def validate(self, configs: Sequence[Config]) -> None:
        """Check what can be checked without importing anything of the user.

        Raises:
            InputError: A module or function that is not there, a syntax error, other parameters than promised.
        """
        self.check_keys(configs)
        self.preparation()
        for reference in self.references():
            reference.validate()

    def check(self, run: RunSpec) -> None:
        """Import every function that the task names; InputError says why one cannot be."""
        check_imports(self.references(), self.environment)

    def train(self, run: Run) -> None:
        """Call the user's function with the configuration, as dicts, and the run.

        Raises:
            RunStopped: The search gives the trial up, or the training diverged.
            ReportError: What the function reported or returned is not what was promised.
        """
        begin_attempt(run)
        returned = self._call(self._train, run)
        self._name_unread(run)
        if run.outcome is None:
            self._take(returned, run)
        parameters = run.parameters if isinstance(run, FunctionRun) else None
        end_training(run, "task.evaluate" if self._evaluate else "task.evaluate?", parameters)

    def evaluate(self, run: Run) -> Mapping[str, float]:
        """Return what the user's function for the test says.

        Raises:
            ReportError: It returns neither figures nor the primary metric, or figures that cannot be.
        """
        if self._evaluate is None:
            raise InputError("task.evaluate: is missing; this training reports its test figures itself.")
        for name in (TEST_PREDICTIONS, EXAMPLES):
            remove(run.folder / name)
        returned = self._call(self._evaluate, run)
        if returned is None and run.test_metrics is not None:
            returned = run.test_metrics
        if not isinstance(returned, Mapping):
            if not is_number(returned):
                raise ReportError(
                    f"{self._evaluate.text} must return figures, such as {{{run.spec.metric_name!r}: 0.5}}. "
                    f"Got {_shown(returned)} instead."
                )
            returned = {run.spec.metric_name: float(returned)}
        return checked_test(run, {str(key): value for key, value in returned.items()})

    def _call(self, reference: Reference, run: Run) -> Any:
        called = reference.load()
        represent_in_yaml()
        if "torch" in self.preload:  # a function may import it when it is called, too late for its seed
            importlib.import_module("torch")
        _seed(run.seed, self.threads)
        with contextlib.chdir(self.options.root_folder / self.options.cwd), watched(run, self.options):
            try:
                return called(run.config, run)
            except RunStopped:
                raise
            except SystemExit as error:
                if error.code in (None, 0):
                    return None
                raise ProgramError(
                    f"{reference.text} called sys.exit({error.code!r})", traceback.format_exc()
                ) from error
            except Exception as error:
                if run.outcome is None:
                    raise
                raise RunStopped(
                    "the training framework turned the end of the training into an error"
                ) from error

    def _name_unread(self, run: Run) -> None:
        """Warn of keys of the configuration that neither the training nor its profile read."""
        names = list(unread(run.spec.config, run.read if isinstance(run, FunctionRun) else set()))
        if names and isinstance(run, FunctionRun):
            shown = ", ".join(names[:MOST_NAMED]) + (" and more" if len(names) > MOST_NAMED else "")
            run.warn(
                f"{self._train.text} never read {shown}: what varies in such a key makes no difference to the training."
            )

    def _take(self, returned: Any, run: Run) -> None:
        """Take what a training returned: nothing, or its only figures."""
        if returned is None:
            return
        if not isinstance(returned, Mapping):
            raise ReportError(
                f"{self._train.text} must return nothing, or figures such as {{{run.spec.metric_name!r}: 0.5}} where "
                f"it reports no epochs. Got {_shown(returned)} instead."
            )
        if run.history:
            raise ReportError(
                f"{self._train.text} returned {_shown(returned)} after it had reported epochs; it must return nothing."
            )
        with contextlib.suppress(RunStopped):
            run.report(1, **{str(key): value for key, value in returned.items()})


def _seed(seed: int, threads: int) -> None:
    """Seed random, NumPy and, where it is imported, torch; keep to so many threads."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    random.seed(seed)
    np.random.seed(seed % SEEDS)  # noqa: NPY002 - the user's code may draw from it
    threadpool_limits(threads)
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)
        torch.set_num_threads(threads)


def _imported(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports, and their packages."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
    return [part for name in names for part in (name.partition(".")[0], name)]


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '…'} of type {type(value).__name__}"
