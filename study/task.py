"""The seam between the harness and what it trains: the `Task` protocol and `Run`, what a training is handed."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from study.errors import StudyError, nearest, quoted
from study.files import remove, write
from study.hashing import seed_of
from study.ledger.layout import (
    EXAMPLES,
    HISTORY,
    OWN_CHECKPOINT,
    OWN_WEIGHTS,
    PROFILE,
    RESULT,
    TEST_PREDICTIONS,
    TEST_RESULT,
    stopped_file,
)
from study.machine import machine
from study.metrics import Metric
from study.records import (
    Breakdown,
    DataInfo,
    Epoch,
    Machine,
    Measurement,
    Profile,
    RunResult,
    RunSpec,
    Stopped,
    TestResult,
    stopped,
    to_json,
)

if TYPE_CHECKING:
    from study.ledger.predictions import Predictions

_log = logging.getLogger(__name__)

Config = Mapping[str, Any]
Select = Literal["best", "last"]
OnEpoch = Callable[[Epoch], None]

TRAIN_LOSS, LEARNING_RATE = "train_loss", "learning_rate"
"""Diagnostics that reports draw where they are reported."""
LARGEST_GAP = 1e-6
"""Between a reported score and what its metric computes from the predictions, absolutely and as a share."""


@dataclass(frozen=True)
class Kind:
    """A kind of components that a task's configuration names."""

    name: str
    context: tuple[str, ...] = ()
    """What is handed to every builder of the kind, before the ``*`` of its signature."""
    help: str = ""
    default: str | Mapping[str, Any] | None = None
    """What a study has that names none; None for a kind that is there only where another component asks for it."""
    legacy_default: str | None = None
    """A component that runs had before the kind existed: with its defaults it is left out of identities."""
    is_configured: bool = True
    """Whether ``[base]`` may name one; False for what a study asks for elsewhere, such as measures."""


@dataclass(frozen=True)
class Sources:
    """The code whose content counts in a run's identity."""

    modules: tuple[str, ...] = ()
    """Modules that the run names; their imports are followed."""
    follow: tuple[str, ...] = ()
    """Packages of the harness inside which imports are followed; the user's own are followed everywhere."""
    files: tuple[Path, ...] = ()
    """Files whose bytes count as they are."""
    root: Path | None = None
    """Folder that `files` are named relative to, and that modules are looked for in first."""
    version: int | None = None
    """Counts in place of all text where it is given."""


class Task(Protocol):
    """What is trained and judged. The harness knows a task by this protocol alone.

    A task that subclasses it needs `metrics` and `train`; the rest has defaults.
    """

    metrics: Mapping[str, Metric]
    """By the name under which values are reported; the first is primary where a study names none."""
    kinds: Mapping[str, Kind] = MappingProxyType({})
    """Kinds of components by name; empty for a task whose configuration is free tables."""
    tables: Mapping[str, type] = MappingProxyType({})
    """Tables of settings that are no components, each with the dataclass that declares it."""
    counts: Mapping[str, Any] = MappingProxyType({})
    """What every run's identity names of the task besides its configuration."""
    folds: tuple[int, ...] = ()
    """Folds that the task itself asks for; empty where its data say, or where there is one split."""
    threads: int = 1
    """Processor threads of one run."""
    select: Select = "last"
    """Which epoch judges a training and is tested."""
    resumes: bool = False
    """Whether a training that was killed goes on from `Run.checkpoint`."""
    epochs_key: str = ""
    """The dotted key of the configuration that says how many epochs a training has; empty where none does."""
    weights_name: str = OWN_WEIGHTS
    """The file or folder, in a run's folder, that holds what is tested."""
    checkpoint_name: str = OWN_CHECKPOINT
    """The file or folder, in a run's folder, that an unfinished training goes on from."""
    has_profile: bool = False
    """Whether `profile` counts networks in jobs of their own."""
    preload: tuple[str, ...] = ()
    """Modules that every worker needs, imported once for all of them."""

    def data(self, config: Config, progress: Callable[[int, int], None] | None = None) -> DataInfo:
        """Return what there is to know of the data that a configuration uses; by default, that they are not tracked.

        Raises:
            InputError: The data cannot be read.
        """
        return DataInfo("not tracked", "", folds=self.folds)

    def sources(self, config: Config) -> Sources:
        """Return the code whose content counts in the identity of a configuration's runs; by default the task's own."""
        return Sources((type(self).__module__,))

    def train(self, run: Run) -> None:
        """Train one run: report each epoch, leave the weights at `run.weights`. Never reads the test split."""

    def evaluate(self, run: Run) -> Mapping[str, float]:
        """Return the metrics of a trained run on the test split: a job of its own, for repetitions alone."""
        raise StudyError(
            "the task has no evaluation: implement `evaluate`, or call run.test(…) in the training."
        )

    def profile(self, run: Run) -> Profile | None:
        """Return what the run's network costs, None where that is not known."""
        return None


class CanCheck(Protocol):
    """A task that can try a configuration before anything is trained."""

    def check(self, run: RunSpec) -> None:
        """Build and step a run's network once; InputError says what does not fit."""


class CanMeasure(Protocol):
    """A task that offers measures of what trained networks do."""

    def measures(self, names: Sequence[str], configs: Sequence[Config], where: str) -> Mapping[str, Sources]:
        """Return the code of each measure by name; InputError for one that is unknown or does not fit the data."""

    def measure(self, run: Run, name: str) -> Measurement:
        """Return what a measure finds in a trained run."""


class CanDescribe(Protocol):
    """A task that adds facts of its own to reports."""

    def facts(self, configs: Sequence[Config]) -> Mapping[str, str]:
        """Return what a reader must know of how the study's repetitions were trained, by name."""


class RunStopped(Exception):  # noqa: N818 - the end of a training, not an error
    """Raised by `Run.report` where the training is to end; let it pass."""


class Pruned(RunStopped):
    """The search gave the trial up."""


class Diverged(RunStopped):
    """A value that must be finite was not."""


class ReportError(StudyError):
    """A training reported something that cannot be."""


class Run:
    """One run as its training sees it: what to train, where to write, whom to tell.

    Args:
        spec: The run.
        folder: Its folder.
        metrics: The task's metrics by name.
        on_epoch: Called after each epoch.
        rule: The least gain that lets a search trial go on, by epoch; empty to train to the end.
        select: Which epoch judges the training.
        resumes: Whether an earlier attempt's checkpoint may be gone on from.
        weights_name: The name of the file or folder of weights.
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: Path,
        metrics: Mapping[str, Metric],
        on_epoch: OnEpoch = lambda epoch: None,
        rule: Mapping[str, float] | None = None,
        select: Select = "last",
        resumes: bool = False,
        weights_name: str = OWN_WEIGHTS,
        checkpoint_name: str = OWN_CHECKPOINT,
    ) -> None:
        self.spec = spec
        self.folder = folder
        self.metrics = metrics
        self.select = select
        self.resumes = resumes
        self.history: tuple[Epoch, ...] = ()
        """Epochs so far, those of earlier attempts that this one goes on from included."""
        self.weights = folder / weights_name
        """Where the training leaves what is tested: a file or a folder."""
        self.checkpoint = folder / checkpoint_name
        """Where the training may keep what it needs to go on after a kill; removed at the result."""
        self.outcome: Stopped | RunResult | None = None
        self.warnings: tuple[str, ...] = ()
        """Sentences that the report repeats."""
        self.breakdowns: tuple[Breakdown, ...] = ()
        self.test_metrics: Mapping[str, float] | None = None
        self.examples_tested = 0
        self.earlier_seconds = 0.0
        """Wall time of earlier attempts that this one goes on from."""
        self._on_epoch = on_epoch
        self._rule = rule or {}
        self._began = self._last = time.perf_counter()
        self._attempt_epoch = 0
        self._best: Epoch | None = None
        self._best_value = -math.inf

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved configuration, as nested tables."""
        return self.spec.config

    @property
    def seed(self) -> int:
        """The run's seed; repetitions of equal number share it across variants."""
        return self.spec.seed

    @property
    def fold(self) -> int | None:
        """The fold to train and test on, None where there is one split."""
        return self.spec.fold

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``; which GPU is chosen by the environment."""
        return self.spec.device

    def seed_for(self, *purpose: str | int) -> int:
        """Return a seed in [0, 2**63) for one purpose, such as ``"order"`` and an epoch."""
        return seed_of(self.spec.seed, *purpose)

    @property
    def metric(self) -> Metric:
        """The primary metric."""
        return self.metrics[self.spec.metric_name]

    @property
    def seconds(self) -> float:
        """Wall time of the training so far, earlier attempts included."""
        return self.earlier_seconds + time.perf_counter() - self._began

    @cached_property
    def machine(self) -> Machine:
        """What the run is computed with."""
        return machine(self.spec.device)

    def warn(self, text: str) -> None:
        """Add a sentence to the run's log and to the warnings of the study's report."""
        if text not in self.warnings:
            _log.warning("%s", text)
            self.warnings = (*self.warnings, text)

    def report(self, epoch: int, **values: float) -> bool:
        """Take the figures of an epoch and return whether it is the best so far.

        Args:
            epoch: From 1, each greater than the one before; an earlier attempt's epochs from here on are replaced.
            values: Metrics on the validation split by their declared names, in their own units. ``train_loss``,
                ``learning_rate`` and whatever else is reported are kept as diagnostics.

        Raises:
            Pruned: The search gives the trial up.
            Diverged: The primary metric is not finite: a diverged trial counts as the worst.
            ReportError: An epoch that was reported before, or a value that is no number.
        """
        number, figures = self._checked(epoch, values)
        name = self.spec.metric_name
        if name in figures and not math.isfinite(figures[name]):
            _log.warning("epoch %d: %s is %s: the training diverged", number, name, figures[name])
            self.diverge()
            raise Diverged(f"{name} is {figures[name]} in epoch {number}")
        declared = {key: value for key, value in figures.items() if key in self.metrics}
        rest = {key: value for key, value in figures.items() if key not in declared}
        now = time.perf_counter()
        entry = Epoch(
            epoch=number,
            train_loss=_finite(rest.pop(TRAIN_LOSS, None)),
            learning_rate=_finite(rest.pop(LEARNING_RATE, None)),
            validation={key: value for key, value in declared.items() if math.isfinite(value)},
            seconds=now - self._last,
            diagnostics={key: value for key, value in rest.items() if math.isfinite(value)},
        )
        return self.add(entry)

    def add(self, entry: Epoch) -> bool:
        """Take an epoch that is already put together; as `report`."""
        self._last = time.perf_counter()
        self._attempt_epoch = entry.epoch
        kept = tuple(old for old in self.history if old.epoch < entry.epoch)
        if len(kept) < len(self.history):  # an epoch that is replaced is no longer the best
            self._best, self._best_value = None, -math.inf
            for old in kept:
                self._judge(old)
        self.history = (*kept, entry)
        is_best = self._judge(entry)
        self.write_history()
        self._on_epoch(entry)
        self.stop_if_pruned()
        return is_best

    def resume(self, history: Iterable[Epoch], seconds: float = 0.0) -> None:
        """Go on from the epochs of an earlier attempt, which took so long; may raise Pruned."""
        self.history = tuple(history)
        self.earlier_seconds = seconds
        for entry in self.history:
            self._judge(entry)
        if self.history:
            self.write_history()
        self.stop_if_pruned()

    def write_history(self) -> None:
        """Leave the epochs so far where people and other processes can read them."""
        entries = [asdict(entry) for entry in self.history]
        write(self.folder / HISTORY, json.dumps(entries, indent=1, allow_nan=False))

    def stop_if_pruned(self) -> None:
        """Raise Pruned, the reason kept, where the rule of the search ends the trial."""
        if self._rule and (found := stopped(self.spec, self._rule, self.history)):
            self.outcome = found
            raise Pruned(f"stopped after epoch {found.epoch}")

    def diverge(self) -> None:
        """Note that the training broke down: its result has no metrics and no weights."""
        self.outcome = self._result("diverged", 0, {}, has_weights=False)

    def finish(
        self,
        best_epoch: int | None = None,
        validation: Mapping[str, float] | None = None,
        parameters: int | None = None,
        nondeterministic: Sequence[str] = (),
    ) -> None:
        """Note the result of a training that ran to its end; by default that of the epoch that `select` names.

        Raises:
            ReportError: The primary metric never arrived.
        """
        if validation is None:
            chosen = self._best if self.select == "best" else self._last_judged()
            if chosen is None:
                raise ReportError(self._nothing_reported())
            best_epoch, validation = chosen.epoch, chosen.validation
        self.outcome = self._result(
            "finished",
            best_epoch or 0,
            validation,
            has_weights=self.weights.exists(),
            parameters=parameters,
            nondeterministic=nondeterministic,
        )

    def close(self) -> None:
        """Write what the training came to, the result last; the checkpoint of one that is over is removed.

        Raises:
            ReportError: The training ended without having reported its primary metric.
        """
        if self.outcome is None:
            self.finish()
        outcome = self.outcome
        if isinstance(outcome, Stopped):
            write(self.folder / stopped_file(outcome.rule), to_json(outcome))
        elif outcome is not None:
            if outcome.status == "finished" and self.test_metrics is not None:
                self.write_test(self.test_metrics, self.seconds, seen_in_training=True)
            write(self.folder / RESULT, to_json(outcome))
            remove(self.checkpoint)

    def write_test(
        self, metrics: Mapping[str, float], seconds: float, seen_in_training: bool = False
    ) -> None:
        """Write the test result, once.

        Raises:
            ReportError: The primary metric is missing, or a value is not finite.
        """
        name = self.spec.metric_name
        if name not in metrics:
            raise ReportError(f"the test reported {_named(metrics)}, but not the primary metric {name!r}.")
        for key, value in metrics.items():
            self.check_bounds(f"the test reported {key} = {value!r}", key, value)
        result = TestResult(
            run=self.spec.id,
            metrics={key: float(value) for key, value in metrics.items()},
            examples=self.examples_tested,
            seconds=seconds,
            breakdowns=self.breakdowns,
            seen_in_training=seen_in_training,
        )
        write(self.folder / TEST_RESULT, to_json(result))

    def test(self, **metrics: float) -> None:
        """Report test figures from inside the training: sealed, read by the analysis for winners alone."""
        self.test_metrics = metrics

    def examples(self, ids: Sequence[str], values: Sequence[float], sources: Sequence[str] = ()) -> None:
        """Keep one value for each test example; their mean is the primary metric.

        Args:
            ids: (n,) names of the examples.
            values: (n,) in the metric's own unit.
            sources: (n,) what each example comes from, such as a person; examples of one source are not independent.
        """
        from study.ledger.predictions import save_examples

        self.examples_tested = len(ids)
        save_examples(self.folder / EXAMPLES, ids, values, sources)

    def predictions(self, ids: Any, labels: Any, scores: Any, sources: Any = ()) -> None:
        """Keep what was predicted for each test example.

        Args:
            ids: (n,) names of the examples.
            labels: (n,) what is true.
            scores: (n,) or (n, K) what was predicted, such as logits.
            sources: (n,) what each example comes from.
        """
        import numpy as np

        from study.ledger.predictions import Predictions

        count = len(ids)
        for what, given in (("labels", labels), ("scores", scores), ("sources", sources)):
            if len(given) != count and (what != "sources" or len(given)):
                raise ReportError(f"run.predictions: {len(given)} {what} for {count} ids.")
        of = sources if len(sources) else ids
        self.keep_predictions(
            Predictions(np.asarray(ids, str), np.asarray(of, str), np.asarray(labels), np.asarray(scores))
        )

    def keep_predictions(self, predictions: Predictions, name: str = TEST_PREDICTIONS) -> None:
        """Write predictions that are already put together."""
        from study.ledger.predictions import save

        if name == TEST_PREDICTIONS:
            self.examples_tested = len(predictions.ids)
        save(self.folder / name, predictions)

    def breakdown(self, breakdown: Breakdown) -> None:
        """Add a breakdown of the test figures."""
        self.breakdowns = (*self.breakdowns, breakdown)

    def keep_profile(self, profile: Profile) -> None:
        """Write what the network costs."""
        write(self.folder / PROFILE, to_json(profile))

    def _checked(self, epoch: Any, values: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
        """Return the epoch and its figures as numbers; ReportError says which is none."""
        if isinstance(epoch, bool) or not is_number(epoch) or int(epoch) != epoch or epoch < 1:
            raise ReportError(f"an epoch must be a whole number from 1. Got {epoch!r} instead.")
        if epoch <= self._attempt_epoch:
            how = "twice" if epoch == self._attempt_epoch else f"after epoch {self._attempt_epoch}"
            raise ReportError(f"epoch {epoch} was reported {how}; each must be greater than the one before.")
        for name, value in values.items():
            if not is_number(value):
                raise ReportError(
                    f"epoch {epoch} reported {name} = {value!r}, of type {type(value).__name__}; it must be a number."
                )
            if math.isfinite(float(value)):
                self.check_bounds(f"epoch {epoch} reported {name} = {value!r}", name, value)
        if self._rule and self.spec.metric_name not in values and str(epoch) in self._rule:
            raise ReportError(
                f"epoch {epoch} did not report {self.spec.metric_name!r}, by which the search prunes."
                f"{nearest(self.spec.metric_name, values)}"
            )
        return int(epoch), {name: float(value) for name, value in values.items()}

    def check_bounds(self, what: str, name: str, value: Any) -> None:
        """Raise ReportError where a figure is no finite number, or lies outside of its metric's bounds."""
        if not is_number(value) or not math.isfinite(float(value)):
            raise ReportError(f"{what}; it must be a finite number.")
        metric = self.metrics.get(name)
        if metric is None:
            return
        low, high = (bound if bound is not None else math.nan for bound in (metric.low, metric.high))
        if value < low - LARGEST_GAP or value > high + LARGEST_GAP:
            bound, side = (
                (metric.low, "below the lowest") if value < low else (metric.high, "above the highest")
            )
            raise ReportError(
                f"{what}, {side} possible value {bound:g} of the metric. Report it in the metric's own unit "
                "(a share of 1 for per cent), or declare other bounds: low, high."
            )

    def _judge(self, entry: Epoch) -> bool:
        """Whether an epoch is better than all before it."""
        value = entry.validation.get(self.spec.metric_name)
        if value is None or not self.spec.gain(value) > self._best_value:
            return False
        self._best, self._best_value = entry, self.spec.gain(value)
        return True

    def _last_judged(self) -> Epoch | None:
        judged = [entry for entry in self.history if self.spec.metric_name in entry.validation]
        return judged[-1] if judged else None

    def _nothing_reported(self) -> str:
        name = self.spec.metric_name
        reported = {key for entry in self.history for key in (*entry.validation, *entry.diagnostics)}
        if not self.history:
            return f"the training ended without reporting {name!r}: call run.report(epoch, {name}=…)."
        return (
            f"the training reported {quoted(sorted(reported)) if reported else 'no figures'}, but never the primary "
            f"metric {name!r}.{nearest(name, reported)}"
        )

    def _result(
        self,
        status: Literal["finished", "diverged"],
        best_epoch: int,
        validation: Mapping[str, float],
        has_weights: bool,
        parameters: int | None = None,
        nondeterministic: Sequence[str] = (),
    ) -> RunResult:
        return RunResult(
            run=self.spec.id,
            status=status,
            best_epoch=best_epoch,
            validation=dict(validation),
            history=self.history,
            parameters=parameters,
            seconds=self.seconds,
            machine=self.machine,
            has_weights=has_weights,
            nondeterministic=tuple(nondeterministic),
            warnings=self.warnings,
        )


def check_score(metric: Metric, reported: float, labels: Any, scores: Any) -> None:
    """Raise ReportError unless a metric computes from the predictions what was reported."""
    if metric.compute is None:
        return
    found = float(metric.compute(labels, scores))
    if not math.isclose(found, reported, rel_tol=LARGEST_GAP, abs_tol=LARGEST_GAP):
        raise ReportError(
            f"{metric.name} was reported as {reported!r}, but its 'compute' finds {found!r} in the predictions."
        )


def is_number(value: Any) -> bool:
    """Return whether `value` is a number or something `float` takes, such as a tensor of one element; text is not."""
    if isinstance(value, bool | str | bytes) or value is None:
        return False
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _named(values: Iterable[str]) -> str:
    return quoted(sorted(values)) if values else "nothing"


__all__ = [
    "CanCheck",
    "CanDescribe",
    "CanMeasure",
    "Diverged",
    "Kind",
    "Pruned",
    "ReportError",
    "Run",
    "RunStopped",
    "Sources",
    "Task",
    "check_score",
    "is_number",
]
