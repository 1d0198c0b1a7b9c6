"""Shows progress, jobs and plans as text: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from study.analysis.sentences.units import heading, number, unit_suffix
from study.engine.estimate import RunningTraining, TimeEstimate
from study.engine.events import (
    EpochEnded,
    Event,
    JobEnded,
    JobPending,
    JobRetried,
    JobSilent,
    JobStarted,
    LookTaken,
    Preparing,
    Step,
    StudyStarted,
    TrainingFound,
    Waiting,
    WeightsDamaged,
)
from study.engine.gc import Reason
from study.engine.plan import Job, Purpose
from study.ledger.record import StudyRecord
from study.metrics import Metric
from study.records import Epoch
from study.terminal.output import PrintedConsole
from study.terminal.program import as_typed
from study.terminal.quiet import IS_QUIET
from study.terminal.tables import Column, fitted, print_text

REFRESHES_A_SECOND = 4
RUN_NOUNS: Mapping[Purpose, str] = {"search": "trial", "repetition": "repetition", "profile": "profile"}
"""The word for one run of each purpose."""
GC_REASONS: Mapping[Reason, str] = {
    Reason.FINISHED_CHECKPOINT: "checkpoints of finished runs",
    Reason.PRUNED_CHECKPOINT: "checkpoints of pruned trials",
    Reason.TRIAL_WEIGHTS: "weights and predictions of beaten search trials",
    Reason.PARTIAL_FILE: "half-written files of a crash",
    Reason.STALE_LOCK: "locks of processes that have ended",
    Reason.UNREFERENCED_RUN: "runs that no study refers to",
}
"""The words for each reason why a file can be freed."""
FEW_SECONDS = 5
NONE = "–"


class Display:
    """Shows the events of a running study; used as a context manager around the run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._study: StudyRecord | None = None
        self._running: dict[str, _Running] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trainings"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task: TaskID | None = None
        self._total = self._done = 0
        self._counted: set[str] = set()
        self._pace: TimeEstimate | None = None
        self._workers = 1
        self._live = Live(console=console, refresh_per_second=REFRESHES_A_SECOND, get_renderable=self._render)

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._running.clear()
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Preparing):
            self._print(_format_step(event))
        elif isinstance(event, StudyStarted):
            self._begin(event)
        elif isinstance(event, JobStarted):
            self._running[event.job.key] = _Running(event.job, time.monotonic())
            self._workers = max(self._workers, len(self._running))
            if event.job.kind == "train":
                self._log(f"start   {format_job(event.job)}")
        elif isinstance(event, EpochEnded):
            running = self._running.get(event.job.key) or _Running(event.job, time.monotonic())
            self._running[event.job.key] = running.after(event.epoch, self._metric)
            self._log(f"epoch   {format_job(event.job)}  {self._progress_of(event.job, event.epoch)}")
            self._advance()
        elif isinstance(event, JobEnded):
            self._end(event)
        elif isinstance(event, TrainingFound):
            self._count(event)
        elif isinstance(event, JobRetried):
            self._print(f"DIED    {format_job(event.job)}: {event.reason}; it is started again")
        elif isinstance(event, JobSilent):
            spent = format_duration(event.seconds)
            self._print(f"SILENT  {format_job(event.job)}: nothing reported or printed for {spent}")
        elif isinstance(event, JobPending):
            spent = format_duration(event.seconds)
            self._print(f"PENDING {format_job(event.job)}: not started for {spent}: {event.reason}")
        elif isinstance(event, LookTaken):
            self._take_look(event)
        elif isinstance(event, WeightsDamaged):
            self._running.pop(event.job.key, None)
            self._print(
                f"DAMAGED {format_job(event.job)}: {event.reason.rstrip('.')}; the run is trained again"
            )
        elif isinstance(event, Waiting):
            elsewhere = f"; if it has ended: `study unlock --host {event.holder.host}`"
            self._print(
                f"waiting for {format_job(event.job)}, which {event.holder} runs for another study"
                f"{elsewhere if event.holder.is_elsewhere else ''}"
            )

    def _begin(self, event: StudyStarted) -> None:
        self._study, self._total = event.study, event.total
        self._pace = TimeEstimate(event.study)
        names = ", ".join(variant.name for variant in event.study.variants)
        self._print(f"{event.study.name}: {event.study.question}")
        failed = f", {event.failed} failed before (--retry-failed tries them again)" if event.failed else ""
        cached = f"{event.cached} of {event.total} cached{failed}"
        self._print(f"{len(event.study.variants)} variants ({names}); {cached}")
        self._task = self._bar.add_task(event.study.name, total=event.total, left="")
        if self._console.is_terminal:
            self._live.start()

    def _take_look(self, event: LookTaken) -> None:
        self._total = event.total
        if self._pace is not None:
            self._pace.plan(event.study)
        if self._task is not None:
            self._bar.update(self._task, total=event.total)
        names = [f"{name}: {c.outcome}" for name, c in event.interim.closed.items()]
        self._print(
            f"look after {event.interim.look} repetitions: {'; '.join(names) or 'all comparisons stay open'}"
        )
        self._advance()

    def _end(self, event: JobEnded) -> None:
        self._running.pop(event.job.key, None)
        if event.state.failure is not None:
            self._print(f"FAILED  {format_job(event.job)}: {event.state.failure.reason}")
        elif event.state.pruned is not None:
            self._log(f"pruned  {format_job(event.job)}  after epoch {event.state.pruned.epoch}")
        elif event.job.kind == "train" and event.state.result is not None:
            result = event.state.result
            score = f"{self._score(result.validation)} at epoch {result.best_epoch}".strip()
            summary = "diverged" if result.status == "diverged" else score
            self._log(f"done    {format_job(event.job)}  {summary} ({result.seconds:.0f} s)")
        if event.job.kind == "train":
            self._count(event)
            time_left = self._time_left()
            parts = (f"{self._done} of {self._total} trainings", time_left)
            self._log(f"        {', '.join(part for part in parts if part)}")

    def _count(self, event: TrainingFound | JobEnded) -> None:
        if event.job.key not in self._counted:  # a run whose weights were lost ends twice
            self._counted.add(event.job.key)
            self._done += 1
            if self._pace is not None:
                self._pace.training_ended(event.job, event.state)
        self._advance()

    def _advance(self) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=self._done, left=self._time_left())

    def _time_left(self) -> str:
        if self._pace is None or self._done >= self._total:
            return ""
        running = [running.training for running in self._running.values() if running.job.kind == "train"]
        seconds = self._pace.seconds_left(running, self._workers)
        return "" if seconds is None else f"{format_time_left(seconds)} left"

    @property
    def _metric(self) -> Metric | None:
        return self._study.primary if self._study else None

    def _score(self, validation: Mapping[str, float]) -> str:
        """Return the primary metric on the validation split, empty if it was not reported."""
        metric = self._metric
        if metric is None or metric.name not in validation:
            return ""
        return f"{metric.title} {_scaled(validation[metric.name], metric)}{unit_suffix(metric)}"

    def _progress_of(self, job: Job, epoch: Epoch) -> str:
        total = "" if job.run.epochs is None else f"/{job.run.epochs}"
        loss = "" if epoch.train_loss is None else f"loss {epoch.train_loss:.3f}"
        parts = (f"epoch {epoch.epoch}{total}", loss, self._score(epoch.validation))
        return "  ".join(part for part in parts if part)

    def _render(self) -> Group:
        running = list(self._running.values())
        if not running:
            return Group(self._bar)
        metric = self._metric
        columns = [
            Column("variant", [each.job.variant for each in running], "left"),
            Column("run", [format_run_number(each.job) for each in running], "left"),
            Column("epoch", [each.progress for each in running], "left"),
            Column("loss", [each.loss for each in running], is_optional=True),
            Column(heading(metric) if metric else "score", [each.score(metric) for each in running]),
            Column("best", [each.best_score(metric) for each in running], is_optional=True),
            Column("left", [each.time_left for each in running], is_optional=True),
        ]
        return Group(self._bar, fitted(columns, self._console.width))

    def _log(self, text: str) -> None:
        """Print a line unless the live table shows the same."""
        if not self._console.is_terminal:
            self._print(text)

    def _print(self, text: str) -> None:
        print_text(self._console, as_typed(text))


@dataclass(frozen=True)
class _Running:
    """A job that a worker does, with its latest epoch."""

    job: Job
    begun: float
    """When it started, by `time.monotonic`."""
    epoch: Epoch | None = None
    seconds: float = 0.0
    """Wall time of the epochs that have ended here."""
    best: float | None = None
    """The best score on the validation split, not scaled."""

    def after(self, epoch: Epoch, metric: Metric | None) -> _Running:
        """Return it after another epoch."""
        best, score = self.best, epoch.validation.get(metric.name) if metric else None
        if (
            metric is not None
            and score is not None
            and (best is None or metric.gain(score) > metric.gain(best))
        ):
            best = score
        return replace(self, epoch=epoch, seconds=epoch.epoch * epoch.seconds, best=best)

    @property
    def training(self) -> RunningTraining:
        """It as the estimate of the time left takes it."""
        ended = self.epoch.epoch if self.epoch else 0
        return RunningTraining(self.job, ended, self.job.run.epochs, self.seconds)

    @property
    def progress(self) -> str:
        """The number of epochs that have ended, or what is done instead."""
        if self.job.kind != "train":
            return _format_work(self.job)
        total = f" of {self.job.run.epochs}" if self.job.run.epochs else ""
        if self.epoch is None:
            return f"data, then epoch 1{total}: {format_duration(time.monotonic() - self.begun)}"
        return f"{self.epoch.epoch}{total}"

    @property
    def loss(self) -> str:
        """The training loss of the latest epoch."""
        loss = self.epoch.train_loss if self.epoch else None
        return NONE if loss is None else f"{loss:.3f}"

    def score(self, metric: Metric | None) -> str:
        """Return the metric on the validation split after the latest epoch."""
        value = self.epoch.validation.get(metric.name) if self.epoch and metric else None
        return NONE if value is None or metric is None else _scaled(value, metric)

    def best_score(self, metric: Metric | None) -> str:
        """Return the best score so far."""
        return NONE if self.best is None or metric is None else _scaled(self.best, metric)

    @property
    def time_left(self) -> str:
        """How long it still takes if its epochs take as long as the latest one."""
        epochs = self.job.run.epochs
        if self.epoch is None or not epochs:
            return NONE
        return format_time_left((epochs - self.epoch.epoch) * self.epoch.seconds)


def _scaled(value: float, metric: Metric) -> str:
    return number(metric.scale * value, metric.unit)


def _format_step(event: Preparing) -> str:
    match event.step:
        case Step.PREPARE:
            return "Preparing: the task's own preparation"
        case Step.WORKERS:
            return f"Starting {event.workers} worker{'s' if event.workers > 1 else ''}, which import their libraries"
        case Step.CHECK:
            return "Trying each variant on one batch"


@contextmanager
def progress_bar(description: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yields a function that takes the number of units done and their total.

    If the output is no terminal, prints a line for each tenth instead, and at least every two seconds.
    """
    if IS_QUIET.get():
        yield lambda done, total: None
        return
    console = PrintedConsole()
    if not console.is_terminal:
        yield _progress_lines(description, unit)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def progress_from_first(description: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar from the first call of the yielded function on."""
    with ExitStack() as stack:
        bars: list[Callable[[int, int], None]] = []

        def show(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress_bar(description, unit)))
            bars[0](done, total)

        yield show


def _progress_lines(description: str, unit: str) -> Callable[[int, int], None]:
    last_tenth, printed = -1, time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last_tenth, printed
        tenth = 10 * done // max(total, 1)
        if tenth != last_tenth or time.monotonic() - printed > 2:  # a tenth falls if a second task begins
            last_tenth, printed = tenth, time.monotonic()
            print(f"{description}: {done} of {total} {unit}", flush=True)

    return show


def format_duration(seconds: float) -> str:
    """Return a time rounded to a suitable unit, such as ``12 min``."""
    for unit, length, limit in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < limit * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def format_bytes(number: float) -> str:
    """Return a size with three digits, such as ``12.3 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def format_time_left(seconds: float) -> str:
    """Return an estimate of the time left, such as ``about 12 min``; never none, as there is work left."""
    return "a few seconds" if seconds < FEW_SECONDS else f"about {format_duration(seconds)}"


def format_job(job: Job) -> str:
    """Return the label of a job, such as ``issm, repetition 3``."""
    work = f", {_format_work(job)}" if job.kind == "measure" else ""
    return f"{job.variant}, {format_run_number(job)}{work}"


def format_run_number(job: Job) -> str:
    """Return which run of its variant a job belongs to, such as ``fold 2, repetition 3, trial 1``."""
    fold = f"fold {job.run.fold}, " if job.run.fold is not None else ""
    repetition = f"repetition {job.repetition + 1}, " if job.repetition is not None else ""
    return f"{fold}{repetition}{RUN_NOUNS[job.purpose]} {job.number + 1}"


def _format_work(job: Job) -> str:
    """Return the kind of a job, with the measure's name, such as ``test`` or ``measure frames``."""
    work = "test" if job.kind == "evaluate" else job.kind
    return f"{work} {job.measure.partition('@')[0]}".strip()
