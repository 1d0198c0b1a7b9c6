"""Commands of Slurm for tests: jobs are processes of this machine, which a test delays, cancels, preempts or loses.

`FakeSlurm` puts ``sbatch``, ``srun``, ``squeue``, ``sacct``, ``scontrol`` and ``scancel`` on PATH; each runs this file.
The formats are those of Slurm 23.11 as far as the engine reads them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scontrol", "scancel")
LIVE = ("PENDING", "RUNNING")
VARIABLE = "FAKE_SLURM"
KILL_WAIT_S = 8.0
STEP_S = 0.05
REQUEUE_S = 0.5
"""For which a requeued job is pending at least."""


class FakeSlurm:
    """A cluster in a folder; to be used with ``monkeypatch.setenv`` by the fixture."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        (folder / "jobs").mkdir()
        self.configure(**config)
        for command in COMMANDS:
            path = self.bin / command
            path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{__file__}" {command} "$@"\n')
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def configure(self, **config: Any) -> None:
        """Set ``hold`` (a reason for which jobs wait), ``delay_s``, ``submit_limit``, ``max_array``, ``limit_s``,
        ``signal_s`` (before the limit), ``accounting`` (whether sacct answers)."""
        _write(self.folder / "config.json", {**_config(self.folder), **config})

    def jobs(self) -> dict[str, dict[str, Any]]:
        return _jobs(self.folder)

    def states(self) -> list[str]:
        return [job["state"] for job in self.jobs().values()]

    def order(self, id_: str, order: str) -> None:
        """Let something happen to a job: ``cancel``, ``preempt-requeue``, ``preempt-cancel``, ``node-fail``, ``lose``,
        ``signal``."""
        (self.folder / "jobs" / f"{id_}.order").write_text(order)

    def wait_for(self, state: str, jobs: int = 1, patience_s: float = 60.0) -> list[str]:
        """Return the ids of jobs in a state, once there are so many."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            found = [id_ for id_, job in self.jobs().items() if job["state"] == state]
            if len(found) >= jobs:
                return found
            time.sleep(STEP_S)
        raise AssertionError(f"no {jobs} jobs became {state}: {self.jobs()}")

    def stop(self) -> None:
        """Kill everything."""
        for job in self.jobs().values():
            for key in ("runner", "process"):
                if job.get(key):
                    with contextlib.suppress(OSError):
                        os.killpg(job[key], signal.SIGKILL)


# What follows runs in the commands: it imports nothing outside the standard library.


def _write(path: Path, value: Any) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value))
    aside.replace(path)


def _config(root: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((root / "config.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def _jobs(root: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted((root / "jobs").glob("[0-9]*.json"), key=lambda path: _key(path.stem)):
        with contextlib.suppress(FileNotFoundError):
            found[path.stem] = json.loads(path.read_text())
    return found


def _key(id_: str) -> tuple[int, int]:
    base, _, index = id_.partition("_")
    return int(base), int(index or 0)


def _update(root: Path, id_: str, **values: Any) -> None:
    path = root / "jobs" / f"{id_}.json"
    with contextlib.suppress(FileNotFoundError):
        _write(path, {**json.loads(path.read_text()), **values})


def sbatch(root: Path, arguments: list[str]) -> int:
    options = [argument for argument in arguments if argument.startswith("--")]
    script = Path(next(argument for argument in arguments if not argument.startswith("--")))
    text = script.read_text()
    given = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", text, re.MULTILINE))
    given |= dict(option[2:].partition("=")[::2] for option in options)
    given = {key: value.strip("'\"") for key, value in given.items()}
    config = _config(root)
    (root / "calls.txt").open("a").write("sbatch\n")
    if given.get("partition") == "nowhere":
        print("sbatch: error: invalid partition specified: nowhere", file=sys.stderr)
        print("sbatch: error: Batch job submission failed: Invalid partition name specified", file=sys.stderr)
        return 1
    match = re.match(r"0-(\d+)", given.get("array", ""))
    count = int(match[1]) + 1 if match else 0
    live = sum(job["state"] in LIVE for job in _jobs(root).values())
    if count > config.get("max_array", 1001):
        print("sbatch: error: Batch job submission failed: Invalid job array specification", file=sys.stderr)
        return 1
    if live + max(1, count) > config.get("submit_limit", 10**6):
        print("sbatch: error: AssocMaxSubmitJobLimit", file=sys.stderr)
        print(
            "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
            "(job submit limit, user's size and/or time limits)",
            file=sys.stderr,
        )
        return 1
    base = _new_id(root)
    copy = root / "jobs" / f"{base}.sh"
    copy.write_text(text)
    for index in range(count) if match else [None]:
        id_ = f"{base}" if index is None else f"{base}_{index}"
        job = {
            "name": given.get("job-name", script.name),
            "state": "PENDING",
            "reason": "None",
            "base": base,
            "index": index,
            "script": str(copy),
            "output": given.get("output", "slurm-%j.out"),
            "options": given,
            "restarts": 0,
            "folder": str(Path.cwd()),
        }
        _write(root / "jobs" / f"{id_}.json", job)
        runner = subprocess.Popen(
            [sys.executable, "-S", "-E", __file__, "run", id_],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(root / "runner.log").open("a"),
            start_new_session=True,
        )
        _update(root, id_, runner=runner.pid)
    print(f"{base}" if "--parsable" in options else f"Submitted batch job {base}")
    return 0


def _new_id(root: Path) -> int:
    number = 100
    while True:
        try:
            (root / "jobs" / f"id-{number}").mkdir()
        except FileExistsError:
            number += 1
        else:
            return number


def run(root: Path, id_: str) -> None:
    """Be the daemon of one job: start it, watch it, and start it again after a requeue."""
    while _attempt(root, id_):
        job = _jobs(root)[id_]
        _update(root, id_, state="PENDING", restarts=job["restarts"] + 1)
        time.sleep(REQUEUE_S)


def _attempt(root: Path, id_: str) -> bool:
    """Run a job once; return whether it is to be requeued."""
    job = _jobs(root)[id_]
    since = time.monotonic()
    while reason := _waits(root, job, since):
        _update(root, id_, reason=reason)
        if _order(root, id_) in ("cancel", "lose"):
            _end(root, id_, "CANCELLED by 1000", 0)
            return False
        time.sleep(STEP_S)
    names = {"%A": str(job["base"]), "%a": str(job["index"]), "%j": str(job["base"]), "%t": "0"}
    output = job["output"]
    for name, value in names.items():
        output = output.replace(name, value)
    env = {**os.environ, "SLURM_JOB_ID": str(job["base"]), "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    exported = job["options"].get("export", "").split(",")
    env |= dict(pair.split("=", 1) for pair in exported if "=" in pair)
    env |= {
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": "node1",
    }
    if job["index"] is not None:
        env |= {"SLURM_ARRAY_JOB_ID": str(job["base"]), "SLURM_ARRAY_TASK_ID": str(job["index"])}
    with (Path(job["folder"]) / output).open("ab") as file:
        process = subprocess.Popen(
            ["bash", job["script"]],
            stdout=file,
            stderr=file,
            env=env,
            cwd=job["folder"],
            start_new_session=True,
        )
    _update(root, id_, state="RUNNING", reason="None", process=process.pid)
    return _watch(root, id_, process)


def _waits(root: Path, job: dict[str, Any], since: float) -> str:
    """Return why a job does not start yet; empty if it may."""
    config = _config(root)
    dependency = job["options"].get("dependency", "").partition(":")[2]
    others = _jobs(root)
    if any(other["state"] in LIVE for id_, other in others.items() if dependency and id_ == dependency):
        return "Dependency"
    if config.get("hold"):
        return str(config["hold"])
    return "Priority" if time.monotonic() - since < config.get("delay_s", 0.0) else ""


def _watch(root: Path, id_: str, process: subprocess.Popen[bytes]) -> bool:
    config, began = _config(root), time.monotonic()
    limit_s = config.get("limit_s", 1e9)
    requeue, was_signalled = False, False
    while process.poll() is None:
        order = _order(root, id_)
        passed = time.monotonic() - began
        if order == "signal" or (passed > limit_s - config.get("signal_s", 5.0) and not was_signalled):
            was_signalled = was_signalled or order != "signal"
            if _jobs(root)[id_]["options"].get("signal", "").startswith("B:"):
                os.kill(process.pid, signal.SIGUSR1)
            else:
                _signal(process, signal.SIGUSR1)
        elif order == "requeue":
            requeue = True
        elif order in ("cancel", "preempt-cancel", "preempt-requeue", "node-fail", "lose"):
            return _stop(root, id_, process, order)
        elif passed > limit_s:
            _terminate(process)
            _end(root, id_, "TIMEOUT", 0)
            return False
        time.sleep(STEP_S)
    if requeue or _order(root, id_) == "requeue":
        return True
    code = process.returncode
    _end(root, id_, "COMPLETED" if code == 0 else "FAILED", code)
    return False


def _stop(root: Path, id_: str, process: subprocess.Popen[bytes], order: str) -> bool:
    if order in ("node-fail", "lose"):
        _signal(process, signal.SIGKILL, with_shell=True)
        process.wait()
        if order == "lose":
            (root / "jobs" / f"{id_}.json").unlink()
        else:
            _end(root, id_, "NODE_FAIL", 0)
        return False
    _terminate(process)
    if order == "preempt-requeue":
        return True
    _end(root, id_, "CANCELLED by 1000" if order == "cancel" else "PREEMPTED", 0)
    return False


def _terminate(process: subprocess.Popen[bytes]) -> None:
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_WAIT_S)
    _signal(process, signal.SIGKILL, with_shell=True)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int, with_shell: bool = False) -> None:
    """Signal every process of the job's session, as Slurm does for a step; the batch shell only if it is killed."""
    for pid in _session(process.pid):
        if with_shell or pid != process.pid:
            with contextlib.suppress(OSError):
                os.kill(pid, number)


def _session(session: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(path.name)) == session:
                yield int(path.name)


def _order(root: Path, id_: str) -> str:
    path = root / "jobs" / f"{id_}.order"
    try:
        found = path.read_text()
    except FileNotFoundError:
        return ""
    path.unlink()
    return found


def _end(root: Path, id_: str, state: str, code: int) -> None:
    _update(root, id_, state=state, code=code, process=None)


def srun(root: Path, arguments: list[str]) -> int:
    while arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option in ("--output", "--error"):
            arguments.pop(0)
    os.execvp(arguments[0], arguments)


def squeue(root: Path, arguments: list[str]) -> int:
    for id_, job in _jobs(root).items():
        if job["state"] in LIVE:
            print(f"{id_}|{job['state']}|{job['reason']}|{job['name']}")
    return 0


def sacct(root: Path, arguments: list[str]) -> int:
    if not _config(root).get("accounting", True):
        print("Slurm accounting storage is disabled", file=sys.stderr)
        return 1
    bases = arguments[arguments.index("-j") + 1].split(",")
    for id_, job in _jobs(root).items():
        if str(job["base"]) in bases:
            print(f"{id_}|{job['state']}|{job['reason']}|{job.get('code', 0)}:0|node1")
    return 0


def scontrol(root: Path, arguments: list[str]) -> int:
    if arguments[:2] == ["show", "config"]:
        print(f"MaxArraySize            = {_config(root).get('max_array', 1001)}")
    elif arguments[0] == "requeue":
        (root / "jobs" / f"{arguments[1]}.order").write_text("requeue")
    else:
        job = _jobs(root).get(arguments[-1])
        if job is None:
            print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
            return 1
        print(
            f"JobId={job['base']} JobName={job['name']} JobState={job['state'].split()[0]} Reason={job['reason']}"
        )
    return 0


def scancel(root: Path, arguments: list[str]) -> int:
    for given in arguments:
        for id_, job in _jobs(root).items():
            if given in (id_, str(job["base"])) and job["state"] in LIVE:
                (root / "jobs" / f"{id_}.order").write_text("cancel")
    return 0


if __name__ == "__main__":
    root_, command_, rest = Path(os.environ[VARIABLE]), sys.argv[1], sys.argv[2:]
    if command_ == "run":
        run(root_, rest[0])
    else:
        sys.exit(globals()[command_](root_, rest))
