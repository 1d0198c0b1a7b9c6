"""The executor that runs calls as jobs of a cluster, and finds the jobs of an earlier conductor again."""

from __future__ import annotations

import logging
import shutil
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from study.errors import StudyError
from study.executors.base import Call, CallEnded, CallPending, Ending, Event
from study.executors.slurm import exchange
from study.executors.slurm.batch import Batch
from study.executors.slurm.exchange import End, identity
from study.executors.slurm.scheduler import Scheduler, SubmitLimitError
from study.executors.slurm.settings import Slurm
from study.executors.slurm.states import JobState, JobStatus
from study.executors.written import all_visible

_SUBMITTED = JobStatus(JobState.PENDING)
JOB_NAME = "study-{}"
"""The scheduler's name of a submission, filled with the name of its folder."""
STEP_S = 0.1
"""Between two checks of what is due, within a wait."""
CANCEL_S = 40.0
"""The longest wait for cancelled jobs to end: more than Slurm's KillWait."""
MOST_REFUSALS = 5
"""Submissions in a row that may be refused for now while no job of this study is in the queue."""
LAST_OUTPUT_LINES = 30
_log = logging.getLogger(__name__)
Item = TypeVar("Item")


@dataclass
class _Job:
    """A job in the queue, with its calls that have not ended."""

    id: str
    folder: Path
    """The folder of its submission."""
    calls: list[_Sent] = field(default_factory=list)
    submitted: float = field(default_factory=time.monotonic)
    status: JobStatus = _SUBMITTED
    gone_since: float | None = None
    """When the scheduler first reported its end."""


@dataclass
class _Sent:
    """A call that a job has."""

    call: Call
    offset: int = 0
    """How much of the file of its events was read."""
    end: End | None = None
    end_seen: float = 0.0


class SlurmJobs:
    """Runs calls as jobs; each job starts workers as `LocalWorkers` does, so that results are the same.

    Calls that are submitted within `gather_s` become one job array. A conductor that finds a job for a call that an
    earlier one submitted waits for that job. `wait` asks the scheduler rarely, and reads the files of jobs otherwise.

    Args:
        scheduler: Where jobs run.
        folder: On a disk that all hosts share; holds a folder for each submission.
        settings: The table ``[engine.slurm]``.
        preload: Modules that the workers of a job import once.
        silent_s: As for `LocalWorkers`.
        workers: The most calls at a time; None for as many as `max_jobs` jobs take.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        folder: Path,
        settings: Slurm,
        preload: Sequence[str] = (),
        silent_s: float = 0.0,
        workers: int | None = None,
    ) -> None:
        self.keeps_jobs = False
        """Whether `close` leaves the jobs running, for the next conductor."""
        self._scheduler, self._root, self._settings = scheduler, folder.resolve(), settings
        self._preload, self._silent_s = tuple(preload), silent_s
        self._capacity = workers or settings.max_jobs * settings.runs_per_job
        self._gathered: list[Call] = []
        """Calls to submit."""
        self._gathered_at = 0.0
        self._jobs: list[_Job] = []
        self._earlier: dict[str, _Job] | None = None
        """Jobs of earlier conductors by the identity of each call; None until the first call needs them."""
        self._events: list[Event] = []
        self._next_look = self._next_query = self._next_submission = 0.0
        self._refusals = 0
        self._most_jobs = settings.max_jobs
        """The most jobs of one submission, fewer after a refusal."""
        self._reported: set[str] = set()
        """Why jobs wait in the queue, as far as it was reported."""

    @property
    def capacity(self) -> int:
        """The number of calls that have a job or wait for one."""
        return self._capacity

    def submit(self, call: Call) -> None:
        """Wait for the job that an earlier conductor submitted for this call, or submit one with the next `wait`."""
        call.folder.mkdir(parents=True, exist_ok=True)
        earlier = self._jobs_of_earlier_conductors().pop(identity(call), None)
        if earlier is not None:
            earlier.calls.append(_Sent(call))
            if earlier not in self._jobs:
                self._jobs.append(earlier)
            return
        if not self._gathered:
            self._gathered_at = time.monotonic()
        self._gathered.append(call)

    def wait(self, timeout_s: float) -> list[Event]:
        """Submit what was gathered, and return new events, after `timeout_s` at the latest.

        Raises:
            InputError: The scheduler refuses a job.
            StudyError: It takes no job for a long time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self._submit_gathered()
            now = time.monotonic()
            if now >= self._next_query:
                self._query()
                self._next_query = now + self._settings.query_s
            if now >= self._next_look:
                self._look(job for job in self._jobs if job.status.state is not JobState.PENDING)
                self._next_look = now + self._settings.poll_s
            events, self._events = self._events, []
            if events or time.monotonic() >= deadline:
                return events
            time.sleep(max(0.0, min(STEP_S, deadline - time.monotonic())))

    def close(self) -> None:
        """Cancel all jobs and wait for their end, unless `keeps_jobs`."""
        self._gathered.clear()
        jobs, self._jobs = self._jobs, []
        if self.keeps_jobs or not jobs:
            return
        self._scheduler.cancel(job.id for job in jobs if job.calls)
        deadline = time.monotonic() + CANCEL_S
        while time.monotonic() < deadline:
            statuses = self._scheduler.statuses(job.id for job in jobs)
            if statuses is not None and not any(status.is_live for status in statuses.values()):
                break
            time.sleep(min(1.0, max(STEP_S, self._settings.query_s)))
        for folder in {job.folder for job in jobs}:
            self._remove_unused(folder)

    # Submission

    def _submit_gathered(self) -> None:
        """Submit the gathered calls once they fill a submission or have waited long enough for others."""
        now = time.monotonic()
        waited = now - self._gathered_at >= self._settings.gather_s or len(self._gathered) >= self.capacity
        if not self._gathered or not waited or now < self._next_submission:
            return
        size = max(1, min(self._scheduler.array_size, self._most_jobs))
        batches = list(_chunks(self._gathered, self._settings.runs_per_job))
        for jobs in _chunks(batches, size):
            try:
                self._submit(jobs)
            except SubmitLimitError as error:
                self._wait_with_submissions(error)
                return
            self._gathered = self._gathered[sum(map(len, jobs)) :]
            self._refusals = 0
        self._most_jobs = self._settings.max_jobs

    def _submit(self, jobs: Sequence[Sequence[Call]]) -> None:
        """Submit one array of jobs; what each of them gets is written first."""
        name = uuid.uuid4().hex[:12]
        folder = self._root / name
        exchange.write_calls(folder, jobs)
        batches = [self._batch(folder, calls) for calls in jobs]
        try:
            ids = self._scheduler.submit(JOB_NAME.format(name), batches)
        except StudyError:
            self._remove_unused(folder)
            raise
        exchange.write_ids(folder, ids)
        for id_, calls in zip(ids, jobs, strict=True):
            self._jobs.append(_Job(id_, folder, [_Sent(call) for call in calls]))

    def _batch(self, folder: Path, calls: Sequence[Call]) -> Batch:
        settings = self._settings
        limit_s, signal_s = settings.minutes * 60.0, float(settings.signal_s)
        return Batch(folder, tuple(calls), tuple(sys.path), self._preload, self._silent_s, limit_s, signal_s)

    def _wait_with_submissions(self, error: SubmitLimitError) -> None:
        """Submit half as many jobs after some time; give up where none of this study is in the queue either."""
        _log.info("%s", error)
        self._refusals = 0 if self._jobs else self._refusals + 1
        if self._refusals > MOST_REFUSALS:
            raise StudyError(f"{error} It took none {self._refusals} times in a row.")
        self._most_jobs = max(1, min(self._most_jobs, len(self._gathered)) // 2)
        self._next_submission = time.monotonic() + self._settings.query_s

    # Jobs of earlier conductors

    def _jobs_of_earlier_conductors(self) -> dict[str, _Job]:
        """Return the jobs that may have, or had, each call; remove submissions of which nothing is left."""
        if self._earlier is None:
            folders = sorted(self._root.glob("*/"))
            ids = {folder: self._ids_of(folder) for folder in folders if exchange.read_calls(folder)}
            statuses = self._scheduler.statuses(id_ for of_folder in ids.values() for id_ in of_folder)
            if statuses is None:
                raise StudyError("the scheduler does not answer: it may have jobs of an earlier `study run`.")
            self._earlier = {}
            for folder, of_folder in ids.items():
                self._earlier |= _unfinished(folder, of_folder, statuses)
                if not any(statuses[id_].is_live for id_ in of_folder):
                    self._remove_unused(folder)
        return self._earlier

    def _ids_of(self, folder: Path) -> list[str]:
        """Return the ids of the jobs of a submission."""
        ids = exchange.read_ids(folder)
        if not ids and (ids := self._scheduler.find(JOB_NAME.format(folder.name))):
            exchange.write_ids(folder, ids)  # the conductor was killed while it submitted
        return ids

    # Events

    def _look(self, jobs: Iterable[_Job]) -> None:
        """Read the files of jobs."""
        for job in jobs:
            for sent in list(job.calls):
                events, sent.offset = exchange.read_events(job.folder, sent.call, sent.offset)
                self._events += events
                if sent.end is None and (end := exchange.read_end(job.folder, sent.call)):
                    sent.end, sent.end_seen = end, time.monotonic()
                if sent.end is not None and self._is_complete(sent, sent.end):
                    self._finish(job, sent, sent.end)

    def _is_complete(self, sent: _Sent, end: End) -> bool:
        """Return whether what a call wrote is visible here; after a long time it counts as visible."""
        is_late = time.monotonic() - sent.end_seen >= self._settings.visible_s
        return is_late or all_visible(sent.call.folder, end.files)

    def _finish(self, job: _Job, sent: _Sent, end: End) -> None:
        """Report the end of a call."""
        self._events.append(CallEnded(sent.call, end.ending, end.reason, end.detail, end.device, end.host))
        exchange.remove_end(job.folder, sent.call)
        job.calls.remove(sent)

    def _remove_unused(self, folder: Path) -> None:
        """Remove the folder of a submission unless one of its jobs may still need it."""
        jobs = (*self._jobs, *(self._earlier or {}).values())
        if not any(job.folder == folder for job in jobs):
            shutil.rmtree(folder, ignore_errors=True)  # the last process of a job may still write

    def _query(self) -> None:
        """Ask the scheduler for the state of all jobs, and end the calls of jobs that have ended without them."""
        statuses = self._scheduler.statuses(job.id for job in self._jobs) if self._jobs else {}
        if statuses is None:
            return
        now = time.monotonic()
        for job in self._jobs:
            job.status = statuses[job.id]
        self._report_pending(now)
        self._look(self._jobs)
        for job in list(self._jobs):
            if job.status.is_live:
                job.gone_since = None
                if reason := self._reason_to_give_up(job, now):
                    self._scheduler.cancel([job.id])
                    self._end_all(job, Ending.RAISED, reason)
                continue
            job.gone_since = now if job.gone_since is None else job.gone_since
            if now - job.gone_since >= self._settings.visible_s:
                self._end_all(job, job.status.ending, f"job {job.id} ended as {job.status}")
            if not job.calls:
                self._jobs.remove(job)
                self._remove_unused(job.folder)

    def _report_pending(self, now: float) -> None:
        """Report a reason for which jobs wait when it is new, with the first of these jobs."""
        waiting: dict[str, list[_Job]] = {}
        for job in self._jobs:
            if job.status.state is JobState.PENDING and job.status.reason and job.calls:
                waiting.setdefault(str(job.status), []).append(job)
        for reason, jobs in waiting.items():
            if reason not in self._reported:
                others = f", as {len(jobs) - 1} other jobs" if len(jobs) > 1 else ""
                text = f"job {jobs[0].id} is {reason}{others}"
                self._events.append(CallPending(jobs[0].calls[0].call, text, now - jobs[0].submitted))
        self._reported = set(waiting)

    def _reason_to_give_up(self, job: _Job, now: float) -> str:
        """Return why a pending job is cancelled; empty if it is not."""
        if job.status.never_starts:
            return f"job {job.id} can never start: {job.status}; see [engine.slurm] in study.toml"
        limit_s = self._settings.pending_s
        if limit_s and job.status.state is JobState.PENDING and now - job.submitted >= limit_s:
            return f"job {job.id} did not start within engine.slurm.pending_s = {limit_s} s: {job.status}"
        return ""

    def _end_all(self, job: _Job, ending: Ending, reason: str) -> None:
        detail = _last_output(job)
        for sent in list(job.calls):
            host = exchange.read_start(job.folder, sent.call)
            where = "" if host else ", before the run was started"
            self._finish(job, sent, sent.end or End(ending, f"{reason}{where}", detail, host=host))


def _unfinished(folder: Path, ids: Sequence[str], statuses: Mapping[str, JobStatus]) -> dict[str, _Job]:
    """Return the job of each call of a submission that may still run, or whose end no conductor has taken."""
    found: dict[str, _Job] = {}
    for id_, calls in zip(ids, exchange.read_calls(folder), strict=False):
        job = _Job(id_, folder, status=statuses[id_])
        left = [call for call in calls if job.status.is_live or exchange.has_end(folder, call)]
        found.update(dict.fromkeys(left, job))
    return found


def _chunks(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Return consecutive parts of at most `size` items."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def _last_output(job: _Job) -> str:
    """Return the last lines that a job printed: what its set-up and its scheduler say."""

    def lines() -> Iterator[str]:
        for path in sorted(job.folder.glob(f"{job.id.partition('@')[0]}_*.out")):
            yield from path.read_text(errors="replace").splitlines()[-LAST_OUTPUT_LINES:]

    try:
        return "\n".join(lines())
    except OSError:
        return ""
