"""What a person sees while a study runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from study.analysis.units import number, unit_suffix
from study.config.study import StudySpec
from study.config.tables import leaves
from study.engine.cache import TrainingList
from study.engine.estimate import TimeEstimate, Training
from study.engine.events import Began, EpochEnded, Event, Found, JobEnded, Retried, Started, Waiting
from study.engine.plan import Job, rungs, size
from study.ledger.record import StudyRecord, VariantRecord
from study.records import Epoch

REFRESHES_A_SECOND = 4
NOUNS = {"search": "trial", "confirm": "seed", "profile": "profile"}


class Display:
    """Listens to a study and shows it; used as a context manager around the run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._study: StudyRecord | None = None
        self._running: dict[str, tuple[Job, Epoch | None]] = {}
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
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._running.clear()
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Began):
            self._begin(event)
        elif isinstance(event, Started):
            self._running[event.job.key] = (event.job, None)
            self._workers = max(self._workers, len(self._running))
            if event.job.kind == "train":
                self._line(f"start   {title(event.job)}")
        elif isinstance(event, EpochEnded):
            self._running[event.job.key] = (event.job, event.epoch)
            self._line(f"epoch   {title(event.job)}  {self._progress_of(event.job, event.epoch)}")
            self._advance()
        elif isinstance(event, JobEnded):
            self._end(event)
        elif isinstance(event, Found):
            self._count(event)
        elif isinstance(event, Retried):
            self._print(f"DIED    {title(event.job)}: {event.reason}; it is tried once more")
        elif isinstance(event, Waiting):
            self._print(f"waiting for {title(event.job)}, which {event.holder} is doing for another study")

    def _begin(self, event: Began) -> None:
        self._study, self._total = event.study, event.total
        self._pace = TimeEstimate(event.study)
        names = ", ".join(variant.name for variant in event.study.variants)
        self._print(f"{event.study.name}: {event.study.question}")
        failed = f", {event.failed} failed before (--retry-failed tries them again)" if event.failed else ""
        cached = f"{event.cached} of {event.total} cached{failed}"
        self._print(f"{len(event.study.variants)} variants ({names}); {cached}")
        self._task = self._bar.add_task(event.study.name, total=event.total, left="")

    def _end(self, event: JobEnded) -> None:
        self._running.pop(event.job.key, None)
        if event.state.failure is not None:
            self._print(f"FAILED  {title(event.job)}: {event.state.failure.reason}")
        elif event.state.pruned is not None:
            self._line(f"pruned  {title(event.job)}  after epoch {event.state.pruned.epoch}")
        elif event.job.kind == "train" and event.state.result is not None:
            result = event.state.result
            score = f"{self._score(result.validation)} at epoch {result.best_epoch}".strip()
            how = "diverged" if result.status == "diverged" else score
            self._line(f"done    {title(event.job)}  {how} ({result.seconds:.0f} s)")
        if event.job.kind == "train":
            self._count(event)
            left = self._time_left()
            self._line(f"        {self._done} of {self._total} trainings{', ' if left else ''}{left}")

    def _count(self, event: Found | JobEnded) -> None:
        if event.job.key not in self._counted:  # one whose weights were lost is trained twice
            self._counted.add(event.job.key)
            self._done += 1
            if self._pace is not None:
                self._pace.ended(event.job, event.state)
        self._advance()

    def _advance(self) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=self._done, left=self._time_left())

    def _time_left(self) -> str:
        if self._pace is None or self._done >= self._total:
            return ""
        trainings = [(job, epoch) for job, epoch in self._running.values() if job.kind == "train"]
        running = [
            Training(job, epoch.epoch, job.run.epochs, epoch.epoch * epoch.seconds)
            if epoch
            else Training(job, 0, job.run.epochs, 0.0)
            for job, epoch in trainings
        ]
        left = self._pace.left(running, self._workers)
        return "" if left is None else f"about {duration(left)} left"

    def _score(self, validation: Mapping[str, float]) -> str:
        """Return the score on the validation split; nothing where it was not reported."""
        metric = self._study.primary if self._study else None
        if metric is None or metric.name not in validation:
            return ""
        return f"{metric.title} {number(metric.scale * validation[metric.name], metric.unit)}{unit_suffix(metric)}"

    def _progress_of(self, job: Job, epoch: Epoch | None) -> str:
        total = "" if job.run.epochs is None else f"/{job.run.epochs}"
        if epoch is None:
            return f"epoch 0{total}" if total else "begun"
        loss = "" if epoch.train_loss is None else f"loss {epoch.train_loss:.3f}"
        shown = (f"epoch {epoch.epoch}{total}", loss, self._score(epoch.validation))
        return "  ".join(text for text in shown if text)

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for job, epoch in self._running.values():
            state = self._progress_of(job, epoch) if job.kind == "train" else what(job)
            table.add_row("  " + job.variant, f"{NOUNS[job.purpose]} {job.number + 1}", state)
        return Group(self._bar, table)

    def _line(self, text: str) -> None:
        """Print what the live table shows anyway only where there is no such table."""
        if not self._console.is_terminal:
            self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def counting(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar for one long task; yields a function that takes how much is done and how much there is.

    Without a terminal the bar is a line at every tenth.
    """
    console = Console()
    if not console.is_terminal:
        shown = -1

        def tell(done: int, total: int) -> None:
            nonlocal shown
            tenth = 10 * done // max(total, 1)
            if tenth != shown:  # less than before where one more task begins
                shown = tenth
                print(f"{what}: {done} of {total} {unit}", flush=True)

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def duration(seconds: float) -> str:
    """Return a time in the unit that a person would use, such as ``12 min``."""
    for unit, length, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < most * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def title(job: Job) -> str:
    """Return a job's name for people, such as ``issm, seed 3``."""
    measure = f", {what(job)}" if job.kind == "measure" else ""
    return f"{job.variant}, {turn(job)}{measure}"


def turn(job: Job) -> str:
    """Return which of its variant's runs a job is of, such as ``fold 2, seed 3``."""
    fold = f"fold {job.run.fold}, " if job.run.fold is not None else ""
    return f"{fold}{NOUNS[job.purpose]} {job.number + 1}"


def what(job: Job) -> str:
    """Return the kind of work that a job is, such as ``train`` or ``measure frames``."""
    return f"{job.kind} {job.measure.partition('@')[0]}".strip()


def describe_plan(study: StudyRecord, spec: StudySpec, listing: TrainingList) -> str:
    """Return what a run of the study would do, in words: its values with their origins, and its runs."""
    lines = [f"{study.name}: {study.question}", "", "Values of the reference, and where each comes from:"]
    reference = next(variant for variant in study.variants if variant.is_reference)
    flat = leaves(reference.template.config)
    width = max(map(len, flat))
    lines += [f"  {key:<{width}}  {value!s:<14} {_origin(key, spec)}" for key, value in flat.items()]
    lines += [
        f"  {key:<{width}}  {path:<14} this machine" for key, path in reference.template.local_paths.items()
    ]
    lines += ["", "Variants:"]
    lines += [
        f"  {variant.name}{' (reference)' if variant.is_reference else ''}" for variant in study.variants
    ]
    folds = f" x {len(study.folds)} fold(s)" if study.folds != (None,) else ""
    lines += [
        "",
        f"Trainings: {size(study)} = {len(study.variants)} variants x ({study.trials} search trials + "
        f"{study.repetitions} seeds){folds}",
        *_search(study),
        *(line for variant in study.variants for line in _trainings(variant, listing)),
        f"In all: {_totals(listing)}",
        "Nothing is tried here; `run` tries each variant before it trains any.",
    ]
    return "\n".join(lines)


def _search(study: StudyRecord) -> Iterator[str]:
    """Yield how the search goes about its trials, and which of them may be stopped early."""
    if not study.trials:
        return
    yield f"  Search: sampler {study.sampler}, generations of {study.generation}, pruner {study.pruner}"
    if study.pruner == "none":
        return
    epochs = study.variants[0].run(study.first_point, study.seed, study.folds[0]).epochs
    if epochs is None:
        yield "    which epochs are compared is decided as trainings report them: their number is not configured"
        return
    epochs_asked = rungs(study, epochs - 1)
    if study.trials <= study.generation:
        yield "    nothing is pruned: the first generation never is, and there is no second"
    elif not epochs_asked:
        yield f"    nothing is pruned: search.first_epoch is {study.first_epoch}, and there are {epochs} epochs"
    else:
        after = ", ".join(map(str, epochs_asked))
        yield (
            f"    from trial {study.generation + 1} on, a trial goes on after epoch {after} if it is in the best "
            f"1/{study.reduction} of the trials of earlier generations that got as far"
        )


def _trainings(variant: VariantRecord, listing: TrainingList) -> Iterator[str]:
    """Yield what is known of a variant's trainings, those alike in one line."""
    yield f"  {variant.name}"
    own = [listed for listed in listing.decided if listed.job.variant == variant.name]
    for (fold, purpose, status, reason), alike in groupby(
        own, lambda listed: (listed.job.run.fold, listed.job.purpose, listed.status, listed.reason)
    ):
        numbers = [listed.job.number + 1 for listed in alike]
        which = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
        where = f"fold {fold}, " if fold is not None else ""
        outcome = f"{status}: {reason}" if reason else status
        yield f"    {f'{where}{NOUNS[purpose]} {which}':<20} {outcome}"
    for left in listing.undetermined:
        if left.variant == variant.name:
            yield f"    {left.trainings} not yet determined: they follow from the search"


def _totals(listing: TrainingList) -> str:
    """Count trainings by the first word of their status."""
    counts = Counter(re.split(r"\W", listed.status)[0] for listed in listing.decided)
    counts["not yet determined"] = sum(left.trainings for left in listing.undetermined)
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _origin(key: str, spec: StudySpec) -> str:
    """Say where a resolved value was written."""
    kind = key.partition(".")[0]
    if any(factor in (kind, key) for factor in spec.factors):
        return "design.reference"
    if key in spec.search.space:
        return "default; the search replaces it"
    for path in (f"base.{key}", key, f"base.{kind}"):
        if path in spec.origins:
            named_only = path == f"base.{kind}" != f"base.{key}" and not key.endswith(".name")
            return "default" if named_only else spec.origins[path]
    return "default"
