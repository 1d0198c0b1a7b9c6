"""Schedulers: Slurm by its commands and submitit, and processes of this machine to try the engine without a cluster."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from study.environment import environment
from study.errors import StudyError, unavailable
from study.executors.slurm.batch import SIGNAL, SIGNAL_VARIABLE, Batch
from study.executors.slurm.settings import WHERE, Slurm
from study.executors.slurm.states import (
    ACCOUNT_FORMAT,
    QUEUE_FORMAT,
    JobState,
    JobStatus,
    QueuedJob,
    read_accounts,
    read_job,
    read_queue,
)
from study.ledger.locks import start_time

PACKAGE_ROOT = Path(__file__).parents[3]
COMMAND_S = 60.0
"""The longest time that a command of Slurm may take."""
MOST_REQUEUES = 100_000
"""submitit's limit of requeues; the engine's is that each of them gets further."""
DEFAULT_ARRAY_SIZE = 1001
"""Slurm's default of MaxArraySize."""
_TRY_LATER = re.compile(
    r"submit ?(job)?limit|maxsubmit|submitjobs?(per|limit)|temporar|timed out|try again|unable to contact|connection",
    re.IGNORECASE,
)
"""What sbatch prints where the same submission may succeed later; it has no exit codes of its own."""


class SubmitLimitError(StudyError):
    """The scheduler takes no further jobs at present."""


class Scheduler(Protocol):
    """Starts jobs, reports their states, and cancels them."""

    @property
    def array_size(self) -> int:
        """The most jobs of one submission."""

    def submit(self, name: str, batches: Sequence[Batch]) -> list[str]:
        """Submit the batches as one array, and return the id of each job.

        Raises:
            SubmitLimitError: The scheduler takes no further jobs at present.
            InputError: It refuses the request.
        """

    def statuses(self, ids: Iterable[str]) -> Mapping[str, JobStatus] | None:
        """Return the status of each job; None if the scheduler does not answer."""

    def find(self, name: str) -> list[str]:
        """Return the ids of the jobs of a submission that are in the queue, by their index."""

    def cancel(self, ids: Iterable[str]) -> None:
        """Cancel jobs; those that have ended are left out."""


def open_scheduler(settings: Slurm) -> Scheduler:
    """Return the scheduler that the settings name.

    Raises:
        InputError: submitit is not installed, or this machine has no Slurm.
    """
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise unavailable(
            "--engine slurm",
            "needs the package submitit. Install it with `pip install 'ablation-study[slurm]'`.",
        ) from None
    return SlurmScheduler(settings) if settings.scheduler == "slurm" else LocalScheduler(settings)


class SlurmScheduler:
    """Submits by submitit, and asks squeue, sacct and scontrol."""

    def __init__(self, settings: Slurm) -> None:
        self._settings = settings
        require_slurm()

    @cached_property
    def array_size(self) -> int:
        """The setting, but no more than the cluster's MaxArraySize."""
        config = _output(["scontrol", "show", "config"]) or ""
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.MULTILINE)
        most = max(1, int(found[1]) if found else DEFAULT_ARRAY_SIZE)
        return min(self._settings.array_size or most, most)

    def submit(self, name: str, batches: Sequence[Batch]) -> list[str]:
        """Submit by ``sbatch``."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        from submitit.slurm.slurm import SlurmExecutor

        exports = [f"export {name}={shlex.quote(value)}" for name, value in job_environment().items()]
        executor = SlurmExecutor(batches[0].folder, max_num_timeout=MOST_REQUEUES)
        executor.update_parameters(
            job_name=name,
            time=self._settings.minutes,
            setup=[*exports, *self._settings.setup],
            stderr_to_stdout=True,
            array_parallelism=self._settings.max_jobs,
            wckey=None,
            additional_parameters={
                "requeue": True,
                "signal": f"{SIGNAL}@{self._settings.signal_s}",
                **self._settings.sbatch_options,
            },
        )
        try:
            with outside_of_job():
                return [str(job.job_id) for job in executor.submit_array(list(batches))]
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            raise refusal(str(error)) from None

    def statuses(self, ids: Iterable[str]) -> Mapping[str, JobStatus] | None:
        """Ask squeue, then sacct for jobs that have left the queue, then scontrol where there is no accounting."""
        wanted = list(ids)
        queue = self._queue()
        if queue is None:
            return None
        found = {job.id: job.status for job in queue}
        if gone := [id_ for id_ in wanted if id_ not in found]:
            found |= self._ended(gone)
        return {id_: found.get(id_, JobStatus(JobState.LOST)) for id_ in wanted}

    def _queue(self) -> list[QueuedJob] | None:
        text = _output(["squeue", "-h", "-r", "-u", getpass.getuser(), "-o", QUEUE_FORMAT])
        return None if text is None else read_queue(text)

    def _ended(self, ids: Sequence[str]) -> dict[str, JobStatus]:
        bases = ",".join(sorted({id_.partition("_")[0] for id_ in ids}))
        text = _output(["sacct", "-X", "-n", "-P", "-j", bases, "-o", ACCOUNT_FORMAT])
        found = {} if text is None else read_accounts(text)
        for id_ in ids:
            if id_ not in found and (
                status := read_job(_output(["scontrol", "show", "job", "-o", id_]) or "")
            ):
                found[id_] = status
        return found

    def find(self, name: str) -> list[str]:
        """Ask squeue for jobs of that name."""
        found = [job.id for job in self._queue() or () if job.name == name]
        return sorted(found, key=lambda id_: int(id_.partition("_")[2] or 0))

    def cancel(self, ids: Iterable[str]) -> None:
        """Call ``scancel``."""
        if given := sorted(ids):
            _output(["scancel", *given])


class LocalScheduler:
    """Runs each job as a process of this machine at once, by submitit; it has no queue."""

    array_size = DEFAULT_ARRAY_SIZE

    def __init__(self, settings: Slurm) -> None:
        self._settings = settings
        self._jobs: dict[str, Any] = {}

    def submit(self, name: str, batches: Sequence[Batch]) -> list[str]:
        """Start the processes; an id is the process's number with its start time."""
        from submitit.local.local import LocalExecutor

        executor = LocalExecutor(batches[0].folder, max_num_timeout=MOST_REQUEUES)
        executor.update_parameters(
            timeout_min=self._settings.minutes,
            gpus_per_node=self._settings.gpus,
            signal_delay_s=self._settings.signal_s,
            stderr_to_stdout=True,
            setup=self._settings.setup,
        )
        with environment(job_environment()):
            jobs = {_local_id(job.job_id): job for job in executor.submit_array(list(batches))}
        self._jobs |= jobs
        return list(jobs)

    def statuses(self, ids: Iterable[str]) -> Mapping[str, JobStatus] | None:
        """Return whether each process runs."""
        for job in self._jobs.values():
            job.done()  # collects the ended process
        return {id_: JobStatus(JobState.RUNNING if _runs(id_) else JobState.COMPLETED) for id_ in ids}

    def find(self, name: str) -> list[str]:
        """Return no job: a process has no name."""
        return []

    def cancel(self, ids: Iterable[str]) -> None:
        """Interrupt the processes."""
        for id_ in ids:
            if _runs(id_):
                os.kill(int(id_.partition("@")[0]), signal.SIGINT)


def require_slurm() -> None:
    """Raise InputError where this machine has no commands of Slurm."""
    from shutil import which

    missing = [command for command in ("sbatch", "squeue", "scancel", "srun") if which(command) is None]
    if missing:
        raise unavailable(
            "--engine slurm",
            f"this machine has no {' and no '.join(missing)}. Run it on a login node of the cluster, "
            f"or try the engine without a cluster by {WHERE}: scheduler = 'local'.",
        )


def refusal(message: str) -> StudyError:
    """Return the error of a submission that sbatch refused with a message."""
    lines = [line.strip() for line in message.splitlines() if "sbatch: error:" in line.lower()] or [
        message.strip()
    ]
    said = "; ".join(line.partition("error:")[2].strip() or line for line in lines)
    if _TRY_LATER.search(said):
        return SubmitLimitError(f"sbatch takes no further job at present: {said}")
    return unavailable(WHERE, f"sbatch refuses the job: {said}.")


@contextmanager
def outside_of_job() -> Iterator[None]:
    """Hide what Slurm has set for the job that this process runs in: jobs that it submits would inherit it."""
    from submitit.helpers import clean_env

    kept = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    with clean_env(), environment(kept):
        yield


def job_environment() -> dict[str, str]:
    """Return the variables of every job: the signal that submitit expects, and where this package is."""
    paths = os.pathsep.join(filter(None, (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", ""))))
    return {SIGNAL_VARIABLE: SIGNAL, "PYTHONPATH": paths}


def _output(command: Sequence[str]) -> str | None:
    """Return what a command prints; None if it fails."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return ended.stdout


def _local_id(process: str) -> str:
    return f"{process}@{start_time(int(process)).replace(' ', '/')}"


def _runs(id_: str) -> bool:
    process, _, started = id_.partition("@")
    return bool(started) and start_time(int(process)).replace(" ", "/") == started
