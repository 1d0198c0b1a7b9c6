"""The Python interface: load a study, plan it, run it, read its findings."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from study.errors import InputError, conflict, data_error, missing_value, unavailable

if TYPE_CHECKING:
    from study.analysis.evidence import Scope
    from study.analysis.exploration import Ranking
    from study.analysis.findings import Findings
    from study.analysis.outside.rows import Columns
    from study.analysis.planning import Offers, TrainingTime
    from study.config.settings import Settings
    from study.config.study import StudySpec
    from study.engine.cache import TrainingList
    from study.engine.events import Event, Listener
    from study.executors.base import Engine, Executor, Work
    from study.ledger.record import StudyRecord
    from study.ledger.store import Ledger
    from study.metrics import Metric
    from study.statistics.spread import Spread
    from study.task import Progress
    from study.terminal.planned import ValueOrigin

Result = TypeVar("Result")
DEFAULT_ROPE_POINTS = 0.5
"""The least difference of interest where none is given, in percentage points."""


def load(
    path: str | Path,
    preset: str | None = None,
    changes: Mapping[str, Any] | Iterable[str] = (),
    *,
    root: str | Path | None = None,
    progress: Progress | None = None,
    accept_data: bool = False,
    engine: str = "local",
    engine_options: Mapping[str, Any] = MappingProxyType({}),
) -> Study:
    """Load, validate and compile a study; write and train nothing.

    Args:
        path: The study's TOML file.
        preset: The name of a preset of the study.
        changes: Values that replace the study's own, as ``{"train.epochs": 3}`` or ``["train.epochs=3"]``.
        root: The folder from which study.toml is searched upwards; the working folder by default.
        progress: Called with the numbers of examples read and in total, where a data set is read for the first time.
        accept_data: Run on data that are not sound; the report says why they are not.
        engine: Where the trainings run: ``local``, or another name that `study.engines` knows.
        engine_options: Options of the engine, in place of those in study.toml.

    Raises:
        InputError: The file is invalid; the message has the key, what is allowed and the nearest name.
    """
    from study.config.compile import compile_study
    from study.config.located import locating
    from study.config.settings import settings as read_settings
    from study.config.study import load as load_spec
    from study.engine.accept import accepted_code, with_accepted_code
    from study.engines import ON_THIS_MACHINE
    from study.engines import engine as engine_of
    from study.executors.devices import choose_device, cuda_devices
    from study.ledger.store import Ledger

    settings = read_settings(Path(root) if root is not None else Path.cwd())
    put_on_path(Path(os.path.realpath(path)).parent, settings.root)  # of a loop of links too
    changed = list(_as_settings(changes))
    in_file = locating(Path(path), preset, [change.partition("=")[0].strip() for change in changed])
    device: str = settings.device
    with in_file:
        spec = load_spec(Path(path), preset, changed)
        if device == "auto" or engine in ON_THIS_MACHINE:
            device = choose_device(device, () if device == "cpu" else cuda_devices())
        record = compile_study(spec, settings, device, progress)
    ledger = Ledger(settings.ledger)
    return Study(
        spec,
        with_accepted_code(record, accepted_code(record, ledger)),
        settings,
        accept_data,
        engine_of(engine, settings, engine_options),
    )


def put_on_path(*folders: Path) -> None:
    """Put `folders` at the front of the module path, in their order."""
    for folder in reversed(folders):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def _as_settings(changes: Mapping[str, Any] | Iterable[str]) -> Iterable[str]:
    """Return changes as ``key=value``."""
    from study.config.tables import as_setting

    if isinstance(changes, Mapping):
        return [as_setting(key, value) for key, value in changes.items()]
    return changes


@dataclass(frozen=True)
class Plan:
    """The trainings of a study and their states; prints as text."""

    study: StudyRecord
    spec: StudySpec
    listing: TrainingList
    spread: Spread | None = None
    """The standard deviation of paired differences that is known before the study; None where none is."""
    time: TrainingTime | None = None
    """How long one training takes, and what it leaves on the disk; None where nothing similar was ever timed."""
    workers: int = 1
    """Trainings at a time on this machine."""
    free_bytes: int | None = None
    """Free space where the ledger is; None where the file system does not say."""

    @property
    def trainings(self) -> int:
        """The number of trainings of the whole study."""
        from study.engine.plan import total_trainings

        return total_trainings(self.study)

    @property
    def cached(self) -> int:
        """The number of trainings that are done."""
        return sum(listed.is_done for listed in self.listing.decided)

    @property
    def seconds(self) -> float | None:
        """The expected time of the trainings that are left, with all workers; None where it is not known."""
        left = self.trainings - self.cached
        if not left:
            return 0.0
        return None if self.time is None else self.time.seconds * math.ceil(left / self.workers)

    @property
    def bytes(self) -> float | None:
        """What the trainings that are left are expected to leave on the disk; None where it is not known."""
        left = self.trainings - self.cached
        if not left:
            return 0.0
        return None if self.time is None or self.time.bytes is None else left * self.time.bytes

    @property
    def values(self) -> list[ValueOrigin]:
        """Each value of the reference with the key that ``--set`` takes, and where it was set."""
        from study.config.registry import task_of
        from study.terminal.planned import values_of_reference

        tables = task_of(self.study.variants[0].template).tables
        return list(values_of_reference(self.study, self.spec, tables))

    def __str__(self) -> str:
        from study.terminal.planned import format_costs, format_plan
        from study.terminal.power import format_power

        plan = format_plan(self.study, self.listing)
        return f"{format_costs(self)}\n\n{plan}\n\n{format_power(self.study, self.spread)}"

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Study:
    """A compiled study with the settings of this machine."""

    spec: StudySpec
    record: StudyRecord
    settings: Settings
    accept_data: bool = False
    """Whether `run` trains on data that are not sound."""
    engine: Engine | None = None
    """Where `run` trains; None for processes on this machine."""

    @property
    def name(self) -> str:
        """The study's name: its file's, with preset and changes, such as ``issm@smoke``."""
        return self.record.name

    @property
    def question(self) -> str:
        """The study's question."""
        return self.record.question

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger that holds runs and studies."""
        from study.ledger.store import Ledger

        return Ledger(self.settings.ledger)

    @property
    def reports(self) -> Path:
        """The folder of the study's report."""
        return self.settings.reports / self.name

    def accept_code(self) -> Study:
        """Return the study with runs of earlier code accepted in place of its own; write nothing yet."""
        from study.engine.accept import acceptable_code, with_accepted_code

        accepted = acceptable_code(self.record, self.ledger)
        return replace(self, record=with_accepted_code(self.record, accepted))

    def plan(self, sd: float | None = None) -> Plan:
        """Return each training of the study as cached, unfinished or new, and its power; train nothing.

        Args:
            sd: The expected standard deviation of paired differences, in the primary metric's scaled unit.
        """
        from study.engine.cache import list_trainings
        from study.statistics.spread import Spread

        self.ledger.require_same_study(self.record)
        record = self.ledger.with_decisions(self.record)
        spread = self.spread if sd is None else Spread(sd)
        return Plan(
            record,
            self.spec,
            list_trainings(record, self.ledger),
            spread,
            self._training_time(record),
            self._slots,
            free_bytes(self.ledger.root),
        )

    def _training_time(self, record: StudyRecord) -> TrainingTime | None:
        if not self.ledger.studies():
            return None
        from study.analysis.planning import training_time  # slow: imports scipy

        return training_time(self.ledger, record)

    @cached_property
    def spread(self) -> Spread | None:
        """The standard deviation of paired differences that is known before the study.

        That of its file, else what it was first planned with, else that of an earlier study in the ledger.
        """
        earlier = self.ledger.require_same_study(self.record)
        if self.record.spread is not None or earlier is not None:
            return self.record.spread or (None if earlier is None else earlier.spread)
        if not self.ledger.studies():
            return None
        from study.analysis.planning import earlier_spread  # slow: imports scipy

        return earlier_spread(self.ledger, self.record, metric_functions(self.record))

    def offers(self, budget: str, sd: float | None = None, seconds: float | None = None) -> Offers:
        """Return the designs that fit a budget such as ``24gpu-h``, ``8cpu-h`` or ``90min``, each with its power.

        Args:
            budget: What may be spent; without a device it is of this machine with all its workers.
            sd: As for `plan`.
            seconds: The time that one training takes; None for that of earlier trainings in the ledger.

        Raises:
            InputError: No training was ever timed, or the budget is of another kind of device than the study's.
        """
        from study.analysis.planning import designs_that_fit
        from study.statistics.spread import Spread

        spread = self.spread if sd is None else Spread(sd)
        slots = self._slots
        return designs_that_fit(self.ledger, self.record, budget, slots, spread, seconds)

    def check(self) -> None:
        """Run every variant on one batch, unless all trainings are done.

        Raises:
            InputError: A variant cannot be trained; the message has the reason.
        """
        from study.config.compile import try_variants

        if self._has_work:
            try_variants(self.record)

    @property
    def _has_work(self) -> bool:
        """Whether not all trainings have ended."""
        from study.engine import jobs
        from study.engine.plan import total_trainings

        return jobs.ended_trainings(self.record, self.ledger) < total_trainings(self.record)

    def run(
        self,
        *,
        retry_failed: bool = False,
        listeners: Iterable[Listener] | None = None,
        executor: Executor | None = None,
    ) -> Findings:
        """Train what is missing, write the report and return the findings.

        Args:
            retry_failed: Run failed runs again.
            listeners: Called with every event; None shows a progress display.
            executor: Runs the trainings; None uses one of the study's engine.

        Raises:
            InputError: A variant cannot be trained, or the data are not sound and not accepted; nothing is written.
            StudyError: Another process runs the study, or the disk is full.
        """
        from study.engine import conductor

        conduct = partial(
            conductor.run,
            computes=metric_functions(self.record),
            write=report_writer(self.record, self.settings),
        )
        return self._conducted(conduct, retry_failed, listeners, executor)

    def detach(self, arguments: Sequence[str]) -> str:
        """Let the study's engine carry it out without this process; return for people where it runs.

        Args:
            arguments: Of the command `study` that carries it out.

        Raises:
            InputError: The engine has no machines that go on when this process ends, or a variant cannot be trained.
            StudyError: Another process runs the study.
        """
        from study.executors.base import CanDetach

        if not hasattr(self.engine, "detach"):
            raise conflict("--detach", "needs an engine whose cluster has a queue, such as `--engine slurm`.")
        self._check_data()
        self.ledger.require_free(self.name)
        self.ledger.require_same_study(self.record)
        self.check()
        self._make_folders()
        return cast(CanDetach, self.engine).detach(self._work(self._task()), arguments)

    def explore(
        self,
        *,
        retry_failed: bool = False,
        listeners: Iterable[Listener] | None = None,
        executor: Executor | None = None,
    ) -> Ranking:
        """Train what is missing, test nothing, and write and return the ranking of the variants on validation.

        An ordinary run reuses the trainings. Arguments and errors are those of `run`.
        """
        from study.engine import conductor

        return self._conducted(conductor.explore, retry_failed, listeners, executor)

    def _conducted(
        self,
        conduct: Callable[..., Result],
        retry_failed: bool,
        listeners: Iterable[Listener] | None,
        executor: Executor | None,
    ) -> Result:
        """Check the study, prepare its workers and mirrors, and return what `conduct` makes of it."""
        from study.config.compile import try_variants
        from study.engine import jobs
        from study.engine.events import Preparing, Step
        from study.tracking import optuna
        from study.tracking.mlflow import mirror

        self._check_data()
        self.ledger.require_free(self.name)
        task = self._task()
        with ExitStack() as stack:
            if listeners is None:
                from study.terminal.display import Display
                from study.terminal.output import PrintedConsole

                listeners = [stack.enter_context(Display(PrintedConsole()))]
            own_listeners = tuple(listeners)

            def show(event: Event) -> None:
                for listener in own_listeners:
                    listener(event)

            prepare = getattr(task, "prepare", None)
            if prepare is not None and jobs.ended_trainings(self.record, self.ledger) == 0:
                show(Preparing(Step.PREPARE))
                prepare()
            if executor is None:  # before the check, as workers import their libraries meanwhile
                executor = stack.enter_context(closing(self._workers(task)))
                show(Preparing(Step.WORKERS, executor.capacity))
            self.ledger.require_same_study(self.record)
            if self._has_work:
                show(Preparing(Step.CHECK))
                try_variants(self.record)
            self._make_folders()
            # a study that another process runs stays as it is
            stack.enter_context(self.ledger.hold(self.name))
            self.ledger.accept_code(self.record.accepted_code)
            if retry_failed:
                jobs.remove_failures(self.record, self.ledger)
            self._generate_data(task)
            mirrors = (
                stack.enter_context(mirror(self.settings.mlflow, self.settings.artifacts, self.record)),
                stack.enter_context(optuna.mirror(self.spec.search.storage)),
            )

            def notify(event: Event) -> None:
                show(event)
                for mirrored in mirrors:
                    mirrored(event)

            return conduct(
                replace(self.record, spread=self.spread),
                self.ledger,
                executor,
                self.settings.reports,
                notify,
                keep=self.settings.keep,
                environment=getattr(task, "environment", {}),
            )

    def _generate_data(self, task: Any) -> None:
        """Generate the data of the study that do not exist yet, with a progress bar, unless all trainings are done."""
        from study.terminal.display import progress_from_first

        if not hasattr(task, "generate") or not self._has_work:
            return
        with progress_from_first("Generating", "clips") as progress:
            task.generate([variant.template for variant in self.record.variants], progress)

    def _check_data(self) -> None:
        """Raise InputError where the data are not sound and not accepted."""
        if self.record.data.unsound and not self.accept_data:
            reasons = "\n".join(f"  {reason}" for reason in self.record.data.unsound)
            raise data_error(
                self.record.file,
                f"the data set {self.record.data.name!r} is not sound:\n{reasons}\n"
                "Correct it (`study data check` lists everything), or train on it with --accept-data; the report "
                "says so then.",
            )

    def report(self) -> Findings:
        """Write the report from the ledger and return the findings; train nothing."""
        self.ledger.require_same_study(self.record)
        return write_report(self.name, self.settings)

    def _task(self) -> Any:
        from study.config.registry import task_of

        return task_of(self.record.variants[0].template)

    def _workers(self, task: Any) -> Executor:
        from study.executors.local import Local

        return (self.engine or Local()).executor(self._work(task))

    def _work(self, task: Any) -> Work:
        """Return what an engine needs to know of the study's calls."""
        from study.executors.base import Work

        template, settings = self.record.variants[0].template, self.settings
        return Work(
            self.name,
            settings.root,
            settings.ledger,
            "cuda" if template.device == "cuda" else "cpu",
            int(template.options.get("gpus") or 1) if template.device == "cuda" else 0,
            template.threads,
            tuple(task.preload),
            tuple(template.import_paths),
            getattr(task, "environment", {}),
            None if settings.workers == "auto" else settings.workers,
            settings.runs_per_gpu,
            settings.silent_s,
        )

    @property
    def _slots(self) -> int:
        """How many trainings run at a time on this machine."""
        from study.executors.sharing import slots

        return slots(self._work(self._task()))[0]

    def _make_folders(self) -> None:
        for key, folder in (("ledger", self.settings.ledger), ("reports", self.settings.reports)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unavailable(
                    f"study.toml: {key}", f"{folder} cannot be created: {error.strerror}."
                ) from None


def free_bytes(folder: Path) -> int | None:
    """Return the free space of the disk that a folder is, or will be, on; None where it cannot be read."""
    there = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    try:
        return None if there is None else shutil.disk_usage(there).free
    except OSError:
        return None


def write_report(name: str, settings: Settings) -> Findings:
    """Write the report of a study from the ledger, mirror its conclusion, and return the findings.

    Raises:
        InputError: The ledger has no such study.
    """
    from study.engine import conductor
    from study.ledger.store import Ledger
    from study.tracking.mlflow import mirror
    from study.tracking.mlflow_database import is_there
    from study.tracking.replay import conclusion

    ledger = Ledger(settings.ledger)
    record = ledger.study(name)
    findings = conductor.report(
        name,
        ledger,
        settings.reports,
        lambda event: None,
        metric_functions(record),
        report_writer(record, settings),
    )
    # a study that runs is mirrored by the process that runs it
    if is_there(settings.mlflow) and ledger.holder(name) is None:
        with mirror(settings.mlflow, settings.artifacts, record) as notify:
            notify(conclusion(record, ledger, findings, settings.reports / name))
    return findings


def report_writer(record: StudyRecord, settings: Settings) -> Callable[[Findings, Path], object]:
    """Return a writer of a study's report, with its authors and, where its task shows examples, with pictures."""

    def write(findings: Findings, folder: Path) -> tuple[Path, ...]:
        from study.reporting.write import write as write_all
        from study.tasks.pictures import read_pictures

        signed = replace(findings, authors=settings.authors, affiliation=settings.affiliation)
        return write_all(signed, folder, read_pictures(findings, record))

    return write


def judge(
    source: str | Path,
    experiment: str = "",
    *,
    metric: Mapping[str, Any] = MappingProxyType({}),
    reference: str = "",
    claims: Iterable[str] = (),
    rope: float | None = None,
    alpha: float = 0.05,
    scope: Scope | None = None,
    columns: Columns | None = None,
) -> Findings:
    """Judge scores that were measured elsewhere; write nothing and import no torch.

    Args:
        source: A file of separated values, or the URI of an MLflow store.
        experiment: The experiment of the MLflow store; empty for a file.
        metric: Keys of ``[task] metric`` in a study: label, unit, direction, scale, low, high.
        reference: The variant that the others are compared with; empty for the first.
        claims: Variants that are claimed to beat the reference.
        rope: The least difference of interest, scaled; 0.5 points if None and the unit is per cent.
        alpha: The probability of any false verdict.
        scope: For whom intervals speak; None for new test examples where there is a row for each example.
        columns: Names of the columns, or of the tags, parameters and the metric of MLflow runs.

    Raises:
        InputError: The scores cannot be read or compared, or an argument is wrong.
    """
    from study.analysis.analyse import findings
    from study.analysis.outside.evidence import Question, evidence_of
    from study.analysis.outside.mlflow_runs import read_experiment
    from study.analysis.outside.rows import Columns
    from study.analysis.outside.table import read_table

    names = columns or Columns()
    scores = (
        read_experiment(str(source), experiment, names) if experiment else read_table(Path(source), names)
    )
    described = _judged_metric(scores.metric, metric)
    if rope is None and described.unit != "%":
        unit = f", in {described.unit}" if described.unit else ""
        raise missing_value(
            "--rope", f"is missing: the least difference in {described.title} that matters{unit}."
        )
    question = Question(
        described, DEFAULT_ROPE_POINTS if rope is None else rope, alpha, reference, tuple(claims), scope
    )
    return findings(evidence_of(scores, question))


def _judged_metric(name: str, given: Mapping[str, Any]) -> Metric:
    """Return the metric of scores that are called `name`."""
    from study.tasks.options import RESERVED, metric_of

    key = re.sub(r"\W", "_", name)
    key = f"score_{key}" if key in RESERVED or key[:1].isdigit() else key
    try:
        return metric_of({"name": key, "label": name, **given}, "metric", Path.cwd())
    except InputError as error:
        mistake = replace(error.mistake, key=error.mistake.key.replace("metric.", "--", 1))
        raise InputError(str(error).replace("metric.", "--", 1), mistake) from None


def metric_functions(record: StudyRecord) -> dict[str, Callable[..., float]]:
    """Return ``compute`` of each metric that has it, by name; the user's modules are put on the module path."""
    from study.config.registry import Registry, task_of

    put_on_path(*map(Path, record.variants[0].template.import_paths))
    try:
        task = task_of(record.variants[0].template)
    except InputError:  # the task module no longer exists
        return {}
    metrics = dict(task.metrics)
    primary = record.variants[0].template.metric
    if record.metric not in metrics and "metric" in task.kinds:  # one with parameters of its own
        metrics[record.metric] = Registry(record.variants[0].template.modules, record.task).metric(primary)
    names = {metric.name for metric in record.metrics}
    return {
        name: metric.compute
        for name, metric in metrics.items()
        if name in names and metric.compute is not None
    }
