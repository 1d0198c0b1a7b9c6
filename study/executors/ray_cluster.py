"""Run calls on the machines of a Ray cluster: ``--engine ray``.

Each slot is an actor of Ray with the CPUs and GPUs of one call. It runs its calls as `LocalWorkers` does, in a process
of its own, and yields their events. Ray itself retries nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from annotated_types import Ge

from study.environment import environment
from study.errors import InputError, conflict, unavailable
from study.executors.base import Call, CallEnded, CallPending, Ending, Event, Work
from study.executors.local import LocalWorkers
from study.executors.shared import Shared, problem_here, shared
from study.machine import cpu_cores

REFRESH_S = 1.0
"""The age at which the list of machines is read anew."""
PENDING_S = 30.0
"""A call that has not started after so many seconds is reported."""
IDLE_S = 60.0
"""After so many seconds without a call a slot gives its CPUs and GPUs back."""
SLOT_POLL_S = 0.5
ANSWER_S = 10.0
CHECK_S = 120.0
"""The longest time that a machine may take to say what it has."""
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Ray:
    """Runs trainings on a Ray cluster: the one at `address`, or a new one on this machine."""

    address: str = ""
    """``auto`` for the cluster that this machine belongs to, or ``host:port`` of its head; empty to start one."""
    cpus: Annotated[float, Ge(0)] = 0.0
    """CPUs of each run; 0 for as many as it has threads."""
    gpus: Annotated[float, Ge(0)] = 0.0
    """GPUs of each run, a fraction to share them; 0 for as many as the task asks for on a GPU, none on the CPU."""

    def executor(self, work: Work) -> RayWorkers:
        """Connect to the cluster, or start one, and check that its machines can run the calls.

        Raises:
            InputError: Ray is not installed or not there, no machine has what a call needs, or one of them does not see
                the ledger or the code.
        """
        needs = {"CPU": self.cpus or float(work.threads)}
        if work.device == "cuda":
            needs["GPU"] = self.gpus or float(work.gpus)
        elif self.gpus:
            raise conflict(
                "study.toml: engine.ray.gpus",
                f"{self.gpus:g} GPUs for each run, but the runs use the CPU. Set device = "
                "'cuda' in study.toml, or leave gpus out.",
            )
        ray = _connected(self.address)
        try:
            _require_room(ray, needs)
            return RayWorkers(ray, work, needs)
        except BaseException:
            ray.shutdown()
            raise


def _connected(address: str) -> Any:
    """Return the module `ray`, connected to a cluster."""
    try:
        import ray
    except ImportError:
        raise unavailable(
            "--engine ray", "Ray is not installed: pip install 'ablation-study[ray]'."
        ) from None
    options = {} if address else {"num_cpus": len(cpu_cores()), "include_dashboard": False}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        _require_answer(address)
        with environment({"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}):
            ray.init(
                address=address or "local",
                logging_level="ERROR",
                log_to_driver=False,
                configure_logging=False,
                **options,
            )
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray takes it
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise unavailable(
            "--ray-address",
            f"no Ray cluster answers at {address!r} ({reason}). Start one with `ray start --head`, or "
            "leave the address out to start one for this study.",
        ) from None
    return ray


def _require_answer(address: str) -> None:
    """Raise an error where nothing answers at ``host:port``: Ray itself waits for minutes."""
    host, colon, port = address.rpartition(":")
    if "/" in address:
        raise ValueError("the conductor must run on a machine of the cluster")
    if colon:
        socket.create_connection((host, int(port)), ANSWER_S).close()


def _machines(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _room(node: Mapping[str, Any], needs: Mapping[str, float]) -> int:
    """Return how many calls a machine can run at a time."""
    return min(int(node["Resources"].get(name, 0.0) / amount + 1e-9) for name, amount in needs.items())


def _require_room(ray: Any, needs: Mapping[str, float]) -> None:
    nodes = _machines(ray)
    if any(_room(node, needs) for node in nodes):
        return
    has = "; ".join(f"{node['NodeManagerHostname']} has {_amounts(node['Resources'])}" for node in nodes)
    raise unavailable(
        "study.toml: engine.ray",
        f"each run needs {_amounts(needs)}, and no machine of the cluster has that: {has}.",
    )


def _amounts(resources: Mapping[str, float]) -> str:
    return " and ".join(
        f"{resources.get(name, 0.0):g} {name}s" for name in ("CPU", "GPU") if name in resources
    )


class _Slot:
    """The actor of a slot: runs one call at a time on its machine."""

    def __init__(self, expected: Shared, work: Work, threads: str | None) -> None:
        import ray

        self._problem = problem_here(expected)
        os.environ.pop(THREADS, None)  # which Ray sets to the CPUs of the actor
        if threads is not None:
            os.environ[THREADS] = threads
        vars(sys.modules["__main__"]).pop("__file__", None)  # else every worker imports Ray's own program
        devices = range(len(ray.get_gpu_ids())) if work.device == "cuda" else ()
        os.chdir(work.root)
        self._workers = LocalWorkers(1, devices, work.preload, work.silent_s)

    def run(self, call: Call) -> Iterator[Event | str]:
        """Yield what is wrong with the machine, empty if nothing is, and then the events of a call."""
        yield self._problem
        if self._problem:
            return
        self._workers.submit(call)
        while True:
            for event in self._workers.wait(SLOT_POLL_S):
                if isinstance(event, CallEnded):
                    yield replace(event, host=socket.gethostname())
                    return
                yield event


@dataclass
class _Running:
    call: Call
    slot: Any
    is_new: bool
    """Whether the slot has run no call before."""
    submitted_at: float = field(default_factory=time.monotonic)
    has_started: bool = False
    is_reported: bool = False
    """Whether it was reported as pending."""


class RayWorkers:
    """Runs as many calls at a time as the cluster has room for.

    Args:
        ray: The module `ray`, connected.
        work: What the calls need.
        needs: Resources of each call by Ray's name.

    Raises:
        InputError: A machine does not see the ledger or the code.
    """

    def __init__(self, ray: Any, work: Work, needs: Mapping[str, float]) -> None:
        self._ray = ray
        self._work = work
        self._needs = needs
        self._running: dict[Any, _Running] = {}
        """Running calls by the generator of their events."""
        self._idle: list[tuple[float, Any]] = []
        """Slots without a call, with the time of the last one's end."""
        self._capacity, self._read_at = 0, -REFRESH_S
        self._is_closed = False
        work.ledger.mkdir(parents=True, exist_ok=True)
        self._marker = shared(work)
        self._shared = self._marker.__enter__()
        try:
            self._check_machines()
        except BaseException:
            self._marker.__exit__(None, None, None)
            raise

    def _check_machines(self) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remote = self._ray.remote(num_cpus=0, max_retries=0)(problem_here)
        nodes = _machines(self._ray)
        found = [
            remote.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(self._shared)
            for node in nodes
        ]
        problems = [
            f"  {node['NodeManagerHostname']}: {problem}"
            for node, reference in zip(nodes, found, strict=True)
            if (problem := self._problem(reference))
        ]
        if problems:
            raise self._not_shared(problems)

    def _problem(self, reference: Any) -> str:
        try:
            problem: str = self._ray.get(reference, timeout=CHECK_S)
        except self._ray.exceptions.RayError as error:
            return f"it cannot run code of the package study: {_last_line(error)}"
        return problem

    def _not_shared(self, problems: Sequence[str]) -> InputError:
        lines = "\n".join(problems)
        return conflict(
            "--engine ray",
            f"the ledger and the code must lie on paths that all machines share:\n{lines}\n"
            "Move them to a shared disk (study.toml: ledger), and start Ray on each machine from the same environment.",
        )

    @property
    def capacity(self) -> int:
        """The number of calls that the living machines have room for together."""
        if time.monotonic() - self._read_at > REFRESH_S:
            room = sum(_room(node, self._needs) for node in _machines(self._ray))
            self._capacity = room if self._work.workers is None else min(room, self._work.workers)
            self._read_at = time.monotonic()
        return self._capacity

    def submit(self, call: Call) -> None:
        """Run the call in a slot that is free, or in a new one as soon as a machine has room for it."""
        slot = self._idle.pop()[1] if self._idle else None
        running = _Running(call, slot or self._new_slot(), slot is None)
        self._running[running.slot.run.remote(call)] = running

    def _new_slot(self) -> Any:
        actor = self._ray.remote(
            num_cpus=self._needs["CPU"],
            num_gpus=self._needs.get("GPU", 0.0),
            max_restarts=0,
            max_task_retries=0,
        )(_Slot)
        return actor.remote(self._shared, self._work, os.environ.get(THREADS))

    def wait(self, timeout_s: float) -> list[Event]:
        """Return new events, waiting for the first no longer than `timeout_s`."""
        self._release_idle_slots()
        if not self._running:
            return []
        ready, _ = self._ray.wait(list(self._running), timeout=timeout_s)
        events: list[Event] = []
        while ready:
            for generator in ready:
                events += self._next(generator)
            if not self._running:
                break
            ready, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        return events + list(self._pending())

    def _next(self, generator: Any) -> Iterator[Event]:
        """Yield the next event of a call; nothing where it has only started."""
        running = self._running[generator]
        try:
            event = self._ray.get(next(generator))
        except (StopIteration, self._ray.exceptions.RayError) as error:
            del self._running[generator]
            if running.has_started or running.is_new:
                yield self._lost(running, error)
            else:
                self.submit(running.call)  # its slot was lost while it was idle
            return
        if isinstance(event, str):
            if event:
                raise self._not_shared([f"  {event}"])
            running.has_started = True
            return
        if isinstance(event, CallEnded):
            del self._running[generator]
            self._idle.append((time.monotonic(), running.slot))
        yield event

    def _lost(self, running: _Running, error: Exception) -> CallEnded:
        return CallEnded(
            running.call, Ending.LOST, f"its machine or Ray's process on it is gone: {_last_line(error)}"
        )

    def _pending(self) -> Iterator[CallPending]:
        """Report each call that has not started for long, once."""
        now = time.monotonic()
        for running in self._running.values():
            if not (running.has_started or running.is_reported) and now - running.submitted_at > PENDING_S:
                running.is_reported = True
                reason = f"no machine of the cluster has {_amounts(self._needs)} free"
                yield CallPending(running.call, reason, now - running.submitted_at)

    def _release_idle_slots(self) -> None:
        while self._idle and time.monotonic() - self._idle[0][0] > IDLE_S:
            self._ray.kill(self._idle.pop(0)[1])

    def close(self) -> None:
        """End all calls and slots, and the cluster if it was started for the study."""
        if self._is_closed:
            return
        self._is_closed = True
        for slot in (
            *(slot for _, slot in self._idle),
            *(running.slot for running in self._running.values()),
        ):
            self._ray.kill(slot)
        self._running.clear()
        self._idle.clear()
        self._marker.__exit__(None, None, None)
        self._ray.shutdown()


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
