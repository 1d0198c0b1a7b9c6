"""`Run`, what a training is handed: its configuration, and where its figures and weights go."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from study.errors import nearest, quoted
from study.files import content_digests, remove, write
from study.hashing import seed_of
from study.ledger.layout import (
    EXAMPLES,
    HISTORY,
    OWN_CHECKPOINT,
    OWN_WEIGHTS,
    PROFILE,
    RESULT,
    TEST_INPUTS,
    TEST_OUTPUTS,
    TEST_PREDICTIONS,
    TEST_RESULT,
    stopped_file,
)
from study.ledger.reading import sealed_content, write_record
from study.machine import machine
from study.metrics import Metric
from study.records import (
    Breakdown,
    Epoch,
    Machine,
    Profile,
    RunResult,
    RunSpec,
    Stopped,
    TestResult,
    TimePart,
    stopped,
)
from study.reported import ReportError, check_bounds, is_number
from study.system_metrics import SystemMetrics

if TYPE_CHECKING:
    from study.ledger.predictions import Predictions

_log = logging.getLogger(__name__)

Select = Literal["best", "last"]
OnEpoch = Callable[[Epoch], None]
TRAIN_LOSS, LEARNING_RATE = "train_loss", "learning_rate"
"""Diagnostics that reports plot."""


class RunStopped(Exception):  # noqa: N818 - the end of a training, not an error
    """Raised by `Run.report` to end the training; a training must not catch it."""


class Pruned(RunStopped):
    """Raised where the search stops the trial."""


class Diverged(RunStopped):
    """Raised where a value that must be finite is not."""


class Run:
    """One run as its training sees it: the configuration to train, and where to write and report results.

    Args:
        spec: The run.
        folder: Its folder.
        metrics: The task's metrics by name.
        on_epoch: Called after each epoch.
        rule: The least gain at which a search trial continues, by epoch; empty to train to the end.
        select: Which epoch's metrics are the result of the training.
        resumes: Whether the training may resume from an earlier attempt's checkpoint.
        weights_name: The name of the file or folder of weights.
        checkpoint_name: The name of the file or folder of the checkpoint.
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
        """Epochs so far, those of the earlier attempts that this one resumes included."""
        self.weights = folder / weights_name
        """Where the training saves the weights that are tested: a file or a folder."""
        self.checkpoint = folder / checkpoint_name
        """Where the training may save what it needs to resume after a kill; removed once there is a result."""
        self.result: Stopped | RunResult | None = None
        """The end of the training; None while it is unfinished."""
        self.warnings: tuple[str, ...] = ()
        """Sentences that the report repeats."""
        self.breakdowns: tuple[Breakdown, ...] = ()
        self.test_metrics: Mapping[str, float] | None = None
        self.examples_tested = 0
        self.seconds_in: Mapping[TimePart, float] = {}
        """Seconds of the training by what they were spent on, earlier attempts included; empty where not measured."""
        self.earlier_seconds = 0.0
        """Wall time of the earlier attempts that this one resumes."""
        self._on_epoch = on_epoch
        self._rule = rule or {}
        self._began = self._last = time.perf_counter()
        self._system = SystemMetrics()
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
        """The fold to train and test on; None where there is one split."""
        return self.spec.fold

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``; the environment selects which GPU."""
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
        """The library versions and hardware that the run uses."""
        return machine(self.spec.device)

    def warn(self, text: str) -> None:
        """Add a sentence to the run's log and to the warnings of the study's report."""
        if text not in self.warnings:
            _log.warning("%s", text)
            self.warnings = (*self.warnings, text)

    def report(self, epoch: int, **values: float) -> bool:
        """Record the figures of an epoch and return whether it is the best so far.

        Args:
            epoch: From 1, each greater than the one before; epochs of an earlier attempt from this one on are
                replaced.
            values: Metrics on the validation split by their declared names, in their own units. ``train_loss``,
                ``learning_rate`` and all other values are kept as diagnostics.

        Raises:
            Pruned: The search stops the trial.
            Diverged: The primary metric is not finite: a diverged trial counts as the worst.
            ReportError: An epoch that was reported before, or a value that is no number.
        """
        number, figures = self._report_as_numbers(epoch, values)
        name = self.spec.metric_name
        if name in figures and not math.isfinite(figures[name]):
            _log.warning("epoch %d: %s is %s: the training diverged", number, name, figures[name])
            self.diverge()
            raise Diverged(f"{name} is {figures[name]} in epoch {number}")
        declared = {key: value for key, value in figures.items() if key in self.metrics}
        diagnostics = {key: value for key, value in figures.items() if key not in declared}
        now = time.perf_counter()
        entry = Epoch(
            epoch=number,
            train_loss=_finite(diagnostics.pop(TRAIN_LOSS, None)),
            learning_rate=_finite(diagnostics.pop(LEARNING_RATE, None)),
            validation={key: value for key, value in declared.items() if math.isfinite(value)},
            seconds=now - self._last,
            diagnostics={key: value for key, value in diagnostics.items() if math.isfinite(value)},
        )
        return self.add(entry)

    def add(self, entry: Epoch) -> bool:
        """Record an epoch, as `report` does, and return whether it is the best so far."""
        self._last = time.perf_counter()
        self._attempt_epoch = entry.epoch
        entry = replace(entry, system=self._system.sample())
        earlier = tuple(old for old in self.history if old.epoch < entry.epoch)
        if len(earlier) < len(self.history):  # an epoch that is replaced is no longer the best
            self._best, self._best_value = None, -math.inf
            for old in earlier:
                self._update_best(old)
        self.history = (*earlier, entry)
        is_best = self._update_best(entry)
        self.write_history()
        self._on_epoch(entry)
        self.stop_if_pruned()
        return is_best

    def resume(self, history: Iterable[Epoch], seconds: float = 0.0) -> None:
        """Continue after the epochs of an earlier attempt, which took `seconds`; may raise Pruned."""
        self.history = tuple(history)
        self.earlier_seconds = seconds
        for entry in self.history:
            self._update_best(entry)
        if self.history:
            self.write_history()
        self.stop_if_pruned()

    def write_history(self) -> None:
        """Write the epochs so far to the run's folder."""
        entries = [asdict(entry) for entry in self.history]
        path = self.folder / HISTORY
        write(path, sealed_content(entries, path))

    def stop_if_pruned(self) -> None:
        """Raise Pruned, and set the result, where the rule of the search stops the trial."""
        if self._rule and (result := stopped(self.spec, self._rule, self.history)):
            self.result = result
            raise Pruned(f"stopped after epoch {result.epoch}")

    def diverge(self, step: int | None = None) -> None:
        """Set the result of a training that diverged: it has no metrics and no weights.

        Args:
            step: The optimizer step, from 1, whose loss or gradient was not finite; None where unknown.
        """
        result = self._make_result("diverged", 0, {}, has_weights=False)
        self.result = replace(result, diverged_step=step)

    def finish(
        self,
        best_epoch: int | None = None,
        validation: Mapping[str, float] | None = None,
        parameters: int | None = None,
        nondeterministic: Sequence[str] = (),
    ) -> None:
        """Set the result of a training that ran to its end; by default that of the epoch that `select` names.

        Raises:
            ReportError: The primary metric was never reported.
        """
        if validation is None:
            selected = self._best if self.select == "best" else self._last_with_primary()
            if selected is None:
                raise ReportError(self._missing_primary())
            best_epoch, validation = selected.epoch, selected.validation
        self.result = self._make_result(
            "finished",
            best_epoch or 0,
            validation,
            has_weights=self.weights.exists(),
            parameters=parameters,
            nondeterministic=nondeterministic,
        )

    def close(self) -> None:
        """Write the test result, where the training reported one, then the result, and remove the checkpoint.

        Raises:
            ReportError: The training ended without having reported its primary metric.
        """
        if self.result is None:
            self.finish()
        result = self.result
        if isinstance(result, Stopped):
            write_record(self.folder / stopped_file(result.rule), result)
        elif result is not None:
            if result.status == "finished" and self.test_metrics is not None:
                self.write_test(self.test_metrics, self.seconds, seen_in_training=True)
            own = (PROFILE,) if self.test_metrics is None else (PROFILE, TEST_RESULT)
            result = replace(result, files=content_digests(self.folder, (*TEST_INPUTS, *own)))
            write_record(self.folder / RESULT, result)
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
            raise ReportError(
                f"the test reported {quoted(sorted(metrics))}, but not the primary metric {name!r}."
            )
        for key, value in metrics.items():
            check_bounds(f"the test reported {key} = {value!r}", value, self.metrics.get(key))
        result = TestResult(
            run=self.spec.id,
            metrics={key: float(value) for key, value in metrics.items()},
            examples=self.examples_tested,
            seconds=seconds,
            breakdowns=self.breakdowns,
            seen_in_training=seen_in_training,
            files=content_digests(self.folder, TEST_OUTPUTS),
        )
        write_record(self.folder / TEST_RESULT, result)

    def test(self, **metrics: float) -> None:
        """Report test figures from inside the training; only the analysis reads them, and for winners alone."""
        self.test_metrics = metrics

    def examples(self, ids: Sequence[str], values: Sequence[float], sources: Sequence[str] = ()) -> None:
        """Write one value for each test example; their mean is the primary metric.

        Args:
            ids: (n,) names of the examples.
            values: (n,) in the metric's own unit.
            sources: (n,) the source of each example, such as a person; examples of one source are not independent.
        """
        from study.ledger.predictions import save_examples

        self.examples_tested = len(ids)
        save_examples(self.folder / EXAMPLES, ids, values, sources)

    def predictions(self, ids: Any, labels: Any, scores: Any, sources: Any = ()) -> None:
        """Write the predictions for the test examples.

        Args:
            ids: (n,) names of the examples.
            labels: (n,) true values.
            scores: (n,) or (n, K) predictions, such as logits.
            sources: (n,) the source of each example.
        """
        import numpy as np

        from study.ledger.predictions import Predictions

        count = len(ids)
        for name, array in (("labels", labels), ("scores", scores), ("sources", sources)):
            if len(array) != count and (name != "sources" or len(array)):
                raise ReportError(f"run.predictions: {len(array)} {name} for {count} ids.")
        source_of_each = sources if len(sources) else ids
        self.keep_predictions(
            Predictions(
                np.asarray(ids, str), np.asarray(source_of_each, str), np.asarray(labels), np.asarray(scores)
            )
        )

    def keep_predictions(self, predictions: Predictions, name: str = TEST_PREDICTIONS) -> None:
        """Write predictions to the file `name` of the run's folder."""
        from study.ledger.predictions import save

        if name == TEST_PREDICTIONS:
            self.examples_tested = len(predictions.ids)
        save(self.folder / name, predictions)

    def breakdown(self, breakdown: Breakdown) -> None:
        """Add a breakdown of the test figures."""
        self.breakdowns = (*self.breakdowns, breakdown)

    def keep_profile(self, profile: Profile) -> None:
        """Write the profile of the network."""
        write_record(self.folder / PROFILE, profile)

    def _report_as_numbers(self, epoch: Any, values: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
        """Return the epoch and its figures as numbers; raise ReportError where one is no number."""
        if isinstance(epoch, bool) or not is_number(epoch) or int(epoch) != epoch or epoch < 1:
            raise ReportError(f"an epoch must be a whole number from 1. Got {epoch!r} instead.")
        if epoch <= self._attempt_epoch:
            when = "twice" if epoch == self._attempt_epoch else f"after epoch {self._attempt_epoch}"
            raise ReportError(f"epoch {epoch} was reported {when}; each must be greater than the one before.")
        for name, value in values.items():
            if not is_number(value):
                raise ReportError(
                    f"epoch {epoch} reported {name} = {value!r}, of type {type(value).__name__}; it must be a number."
                )
            if math.isfinite(float(value)):
                check_bounds(f"epoch {epoch} reported {name} = {value!r}", value, self.metrics.get(name))
        if self._rule and self.spec.metric_name not in values and str(epoch) in self._rule:
            raise ReportError(
                f"epoch {epoch} did not report {self.spec.metric_name!r}, by which the search prunes."
                f"{nearest(self.spec.metric_name, values)}"
            )
        return int(epoch), {name: float(value) for name, value in values.items()}

    def _update_best(self, entry: Epoch) -> bool:
        """Return whether an epoch is better than all before it, and remember it if so."""
        value = entry.validation.get(self.spec.metric_name)
        if value is None or not self.spec.gain(value) > self._best_value:
            return False
        self._best, self._best_value = entry, self.spec.gain(value)
        return True

    def _last_with_primary(self) -> Epoch | None:
        """Return the last epoch that reported the primary metric."""
        entries = [entry for entry in self.history if self.spec.metric_name in entry.validation]
        return entries[-1] if entries else None

    def _missing_primary(self) -> str:
        """Return the message for a training that never reported its primary metric."""
        name = self.spec.metric_name
        reported = {key for entry in self.history for key in (*entry.validation, *entry.diagnostics)}
        if not self.history:
            return f"the training ended without reporting {name!r}: call run.report(epoch, {name}=…)."
        return (
            f"the training reported {quoted(sorted(reported)) if reported else 'no figures'}, but never the primary "
            f"metric {name!r}.{nearest(name, reported)}"
        )

    def _make_result(
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
            seconds_in={str(part): seconds for part, seconds in self.seconds_in.items()},
        )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
