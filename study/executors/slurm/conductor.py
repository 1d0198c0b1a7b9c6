"""The conductor as a job of the cluster: each job first submits the next one, which waits for its end.

A job runs ``python -m study.executors.slurm.conductor SCRIPT arguments…``. The chain ends with the report, an error, or
`study stop`. At the time limit, where it is preempted, and where its node or its process dies, a job leaves the rest of
the study to the next.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from study.errors import conflict
from study.executors.slurm.scheduler import COMMAND_S, job_environment, outside_of_job, refusal
from study.executors.slurm.settings import WHERE, Slurm
from study.files import write

FOLDER = "conductors"
"""Of scripts and output, in the folder of submissions."""
LINK = "STUDY_CONDUCTOR"
"""The environment variable with the number of the job in its chain."""
MOST_LINKS = 200
"""Jobs in a chain: a conductor that is killed each time does not go on for ever."""
INTERRUPTED = 130
"""The exit code of a conductor that was stopped."""
KILLED = 128
"""Exit codes from here on are of processes that a signal has killed."""


def detach(settings: Slurm, study: str, jobs: Path, arguments: Sequence[str]) -> tuple[str, Path]:
    """Submit the first conductor of a study, and return the job's id and the file of its output.

    Args:
        settings: The table ``[engine.slurm]``.
        study: The study's name.
        jobs: The folder of submissions.
        arguments: Of the command `study`, without ``--detach``.

    Raises:
        StudyError: sbatch refuses the job, or takes none at present.
    """
    if settings.scheduler != "slurm":
        raise conflict(
            "--detach", f"needs a queue, which {WHERE}: scheduler = {settings.scheduler!r} has not."
        )
    folder = (jobs / FOLDER).resolve()
    script, output = folder / f"{study}.sh", folder / f"{study}-%j.txt"
    write(script, script_of(settings, study, script, output, arguments))
    id_ = submit(script, 1)
    return id_, Path(str(output).replace("%j", id_))


def script_of(settings: Slurm, study: str, script: Path, output: Path, arguments: Sequence[str]) -> str:
    """Return the script of a conductor's job; its shell becomes the conductor, so that signals reach it."""
    options = {
        "job-name": f"study-conductor-{study}",
        "output": output,
        "open-mode": "append",
        "chdir": Path.cwd(),
        "signal": f"B:USR1@{settings.signal_s}",
        **settings.conductor_sbatch_options,
    }
    lines = [_directive(name, value) for name, value in options.items()]
    exports = [f"export {name}={shlex.quote(value)}" for name, value in job_environment().items()]
    command = [sys.executable, "-u", "-m", "study.executors.slurm.conductor", str(script), *arguments]
    return "\n".join(
        [
            "#!/bin/bash",
            *lines,
            "#SBATCH --no-requeue",
            *exports,
            *settings.setup,
            f"exec {shlex.join(command)}",
            "",
        ]
    )


def submit(script: Path, link: int, after: str = "") -> str:
    """Submit a conductor's job, to start after another one has ended in any way, and return its id.

    Raises:
        StudyError: sbatch refuses the job, or takes none at present.
    """
    dependency = [f"--dependency=afterany:{after}"] if after else []
    with outside_of_job():
        ended = subprocess.run(
            ["sbatch", "--parsable", f"--export=ALL,{LINK}={link}", *dependency, str(script)],
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
    if ended.returncode != 0:
        raise refusal(ended.stderr)
    return ended.stdout.strip().partition(";")[0]


def conduct(script: Path, arguments: Sequence[str]) -> int:
    """Submit the next job, run the study, and cancel the next job unless it is to go on; return the exit code."""
    link, own = int(os.environ.get(LINK, "1")), os.environ["SLURM_JOB_ID"]
    following = submit(script, link + 1, own) if link < MOST_LINKS else ""
    process = subprocess.Popen([sys.executable, "-u", "-m", "study", *arguments])
    leaves = False

    def leave(number: int, frame: FrameType | None) -> None:
        nonlocal leaves
        leaves = True
        process.send_signal(signal.SIGUSR1)

    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, leave)
    code = process.wait()
    was_killed = code < 0 or (code >= KILLED and code != INTERRUPTED)
    if following and not leaves and not was_killed:
        subprocess.run(["scancel", following], timeout=COMMAND_S, check=False)
    return code if code >= 0 else KILLED - code


def _directive(name: str, value: object) -> str:
    return f"#SBATCH --{name}" if value is True else f"#SBATCH --{name}={shlex.quote(str(value))}"


if __name__ == "__main__":
    sys.exit(conduct(Path(sys.argv[1]), sys.argv[2:]))
