"""The engine ``slurm``: the table ``[engine.slurm]`` of study.toml, checked against what a study's calls need."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from study.config.registry import Range
from study.errors import conflict, shown, wrong_value
from study.executors.base import Work
from study.executors.slurm.states import minutes_of
from study.ledger.layout import JOBS

if TYPE_CHECKING:
    from study.executors.slurm.engine import SlurmJobs

WHERE = "study.toml: engine.slurm"


@dataclass(frozen=True)
class Slurm:
    """Runs trainings as jobs of a cluster: what each requests, how many there are, how often the scheduler is asked.

    Raises:
        InputError: A time is not in one of Slurm's forms, or an option is no string, number or true.
    """

    partition: Annotated[str, "partition of the jobs; the cluster's default if empty"] = ""
    account: Annotated[str, "account that is charged"] = ""
    gres: Annotated[str, "generic resources, such as 'gpu:1' or 'gpu:a100:1'"] = ""
    cpus: Annotated[int, Range(1), "processor cores of a job"] = 4
    memory: Annotated[str, "memory of a job, such as '16G'; the cluster's default if empty"] = ""
    time: Annotated[str, "time limit of a job, in a form of sbatch; runs may take longer"] = "4:00:00"
    setup: Annotated[list[str], "shell lines before a job's work, such as 'module load cuda'"] = field(
        default_factory=list
    )
    options: Annotated[dict[str, Any], "further options of sbatch, without '--'"] = field(
        default_factory=dict
    )
    max_jobs: Annotated[int, Range(1), "jobs in the queue at a time, running or waiting"] = 100
    array_size: Annotated[int, Range(0), "most jobs of an array; 0 for the cluster's MaxArraySize"] = 0
    runs_per_job: Annotated[int, Range(1), "runs that one job does, one after the other"] = 1
    signal_s: Annotated[int, Range(10), "seconds before the time limit at which a job checkpoints"] = 120
    pending_s: Annotated[
        int, Range(0), "longest wait in the queue before it is a failure; 0 for no limit"
    ] = 0
    query_s: Annotated[float, Range(0.0), "seconds between two queries of the scheduler"] = 20.0
    poll_s: Annotated[float, Range(0.0), "seconds between two looks at the files of jobs"] = 2.0
    gather_s: Annotated[float, Range(0.0), "seconds in which runs are gathered into one submission"] = 3.0
    visible_s: Annotated[float, Range(0.0), "longest time until a file of another host is visible"] = 90.0
    scheduler: Annotated[
        Literal["slurm", "local"], "'local' runs the jobs as processes of this machine, to try them"
    ] = "slurm"
    conductor_time: Annotated[str, "time limit of a job of --detach"] = "1-0"
    conductor_memory: Annotated[str, "memory of the job of --detach"] = "8G"
    conductor_options: Annotated[dict[str, Any], "options of sbatch for the job of --detach"] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        """Check times and options."""
        for key in ("time", "conductor_time"):
            try:
                minutes_of(getattr(self, key))
            except ValueError:
                raise wrong_value(
                    f"{WHERE}.{key}",
                    f"must be a time limit such as '90', '4:00:00' or '1-12:00:00'. "
                    f"Got {shown(getattr(self, key))} instead.",
                ) from None
        for key in ("options", "conductor_options"):
            for name, value in getattr(self, key).items():
                if name.startswith("-") or not isinstance(value, str | int | float):
                    raise wrong_value(
                        f"{WHERE}.{key}.{name}",
                        f"must be a string, a number or true, and its name has no '--'. "
                        f"Got {shown(value)} instead.",
                    )

    def executor(self, work: Work) -> SlurmJobs:
        """Return an executor.

        Raises:
            InputError: submitit or Slurm is missing, or a job requests less than a run needs.
        """
        from study.executors.slurm.engine import SlurmJobs
        from study.executors.slurm.scheduler import open_scheduler

        self._check(work)
        scheduler = open_scheduler(self)
        folder = work.ledger / JOBS
        jobs = SlurmJobs(scheduler, folder, self, work.preload, work.silent_s, work.workers)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, partial(_leave, jobs))
        return jobs

    def detach(self, work: Work, arguments: Sequence[str]) -> str:
        """Submit the conductor of a study as a job, and return what follows from it, for people.

        Args:
            work: As for `executor`.
            arguments: Of the command `study`, without ``--detach``.

        Raises:
            StudyError: As `executor`, or sbatch refuses the job.
        """
        from study.executors.slurm.conductor import detach
        from study.executors.slurm.scheduler import open_scheduler

        self._check(work)
        open_scheduler(self)
        id_, output = detach(self, work.study, work.ledger / JOBS, arguments)
        return (
            f"Job {id_} carries {work.study} out, and jobs after it until the report is written. Its output is in "
            f"{output}. `study status` shows the progress, `study stop` ends it."
        )

    def _check(self, work: Work) -> None:
        """Raise InputError where a job would request less than a run needs."""
        requests_gpu = "gpu" in self.gres or any(name.startswith("gpus") for name in self.options)
        if work.device == "cuda" and not requests_gpu:
            raise conflict(f"{WHERE}.gres", "requests no GPU, but runs use one. Set it, such as to 'gpu:1'.")
        if work.device == "cpu" and requests_gpu:
            raise conflict(
                f"{WHERE}.gres",
                "requests a GPU, but runs use the CPU. Set device = 'cuda' in study.toml: 'auto' is "
                "what this machine has.",
            )
        if self.gpus and work.gpus > self.gpus:
            raise conflict(
                f"{WHERE}.gres", f"requests {self.gpus} GPUs, but each run needs task.gpus = {work.gpus}."
            )
        if work.threads > self.cpus:
            raise conflict(
                f"{WHERE}.cpus", f"is {self.cpus}, but each run computes with {work.threads} threads."
            )

    @cached_property
    def minutes(self) -> int:
        """The time limit of a job in minutes."""
        return minutes_of(self.time)

    @property
    def gpus(self) -> int:
        """The number of GPUs that `gres` requests."""
        kinds = re.findall(r"(?:^|,)(?:gres/)?gpu(?::[A-Za-z][\w.-]*)?(?::(\d+))?(?=,|\(|$)", self.gres)
        return sum(int(number or 1) for number in kinds)

    @property
    def sbatch_options(self) -> Mapping[str, Any]:
        """The options of sbatch for a job that trains, by name."""
        named = {
            "partition": self.partition,
            "account": self.account,
            "gres": self.gres,
            "mem": self.memory,
            "cpus-per-task": self.cpus,
        }
        return {**{name: value for name, value in named.items() if value}, **self.options}

    @property
    def conductor_sbatch_options(self) -> Mapping[str, Any]:
        """The options of sbatch for the job of ``--detach``, by name."""
        named = {
            "partition": self.partition,
            "account": self.account,
            "mem": self.conductor_memory,
            "time": self.conductor_time,
        }
        return {**{name: value for name, value in named.items() if value}, **self.conductor_options}


def _leave(jobs: SlurmJobs, number: int, frame: FrameType | None) -> None:
    """End the conductor as Ctrl-C does, but leave its jobs to the next one."""
    jobs.keeps_jobs = True
    raise KeyboardInterrupt
