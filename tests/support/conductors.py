"""Real conductor processes over the fake trainer, for tests that start many and kill them.

One process imports everything once and forks a conductor for each request: starting one takes a tenth of
a second instead of two. It is run as ``python -c "import conductors; conductors.serve()"``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import study
from support.small_study import small_study

HERE = Path(__file__).parent
PACKAGE_ROOT = Path(study.__file__).parents[1]
NEEDED_TORCH = 77
FAKE, REAL = "study.testing.fake", "study.tasks.work"
PATIENCE_S = 60.0

STUDY = small_study(epochs=3, seeds=2, trials=3, generation=2)


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Make a folder in memory where there is one: a thousand synced writes wait for no disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


class Conductors:
    """Starts, kills and awaits conductors of one study file in one folder."""

    def __init__(self, folder: Path, text: str = STUDY) -> None:
        self.folder = folder
        self.ledger = folder / "ledger"
        self.log = folder / "ledger-epochs.txt"
        (folder / "s.toml").write_text(text)
        self._server = subprocess.Popen(
            [sys.executable, "-c", "import conductors; conductors.serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent, PACKAGE_ROOT)))},
        )

    def start(
        self,
        workers: int = 1,
        longest_s: float = 0.0,
        seed: int = 0,
        changes: tuple[str, ...] = (),
        ledger: str = "ledger",
        trainer: str = FAKE,
    ) -> int:
        """Start a conductor and return its process number."""
        log = self.folder / f"{ledger}-epochs.txt"
        pace = {"log": str(log), "longest_s": longest_s, "seed": seed, "trainer": trainer}
        return int(self._ask("start", workers=workers, changes=changes, ledger=ledger, pace=pace))

    def wait(self, process: int) -> int:
        """Wait for a conductor's end and return its exit code, negative for a signal."""
        return int(self._ask("wait", process=process))

    def kill(self, process: int) -> None:
        os.kill(process, signal.SIGKILL)
        self.wait(process)

    def is_running(self, process: int) -> bool:
        return self._ask("poll", process=process) == "running"

    def output(self, process: int) -> str:
        """Return what a conductor has printed so far, events included."""
        file = self.folder / f"output-{process}.txt"
        return file.read_text() if file.is_file() else ""

    def wait_for_output(self, process: int, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.output(process).count(text) < times:
            assert time.monotonic() < deadline, f"{text!r} is not in the output: {self.output(process)}"
            time.sleep(0.01)

    def workers_of(self, conductor: int) -> list[int]:
        """Return the worker processes of a conductor: its grandchildren, by the server that forks them."""
        parents = dict(_parents())
        servers = {child for child, parent in parents.items() if parent == conductor}
        return sorted(child for child, parent in parents.items() if parent in servers)

    def begun(self) -> list[tuple[str, int]]:
        """Return every epoch of a run that was ever begun, in order."""
        lines = self.log.read_text().splitlines() if self.log.is_file() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()

    def _ask(self, what: str, **request: Any) -> str:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps({"what": what, **request}) + "\n")
        self._server.stdin.flush()
        return self._server.stdout.readline().strip()


def tables(ledger: Path) -> dict[str, Any]:
    """Return all that a study's answer is made of, measured time and what depends on it excepted."""
    from study.analysis.analyse import findings
    from study.analysis.gather import gather
    from study.ledger.store import Ledger

    found: dict[str, Any] = {}
    for pattern in (
        "runs/*/result.json",
        "runs/*/test.json",
        "profiles/*/*.json",
        "studies/*/suggestions/*.json",
        "studies/*/interims/*.json",
    ):
        for file in sorted(ledger.glob(pattern)):
            found[str(file.relative_to(ledger))] = timeless(json.loads(file.read_bytes()))
    for pattern in ("runs/*/*.safetensors", "runs/*/*.npz"):
        for file in sorted(ledger.glob(pattern)):
            found[str(file.relative_to(ledger))] = hashlib.sha256(file.read_bytes()).hexdigest()
    for name in Ledger(ledger).studies():
        answer = findings(gather(Ledger(ledger), Ledger(ledger).study(name)))
        table = timeless(dataclasses.asdict(answer))
        table["facts"] = {
            key: fact for key, fact in table["facts"].items() if key not in ("trained", "commit")
        }
        found[name] = table
    return found


def timeless(value: Any) -> Any:
    """Return a nested value without the measured times, and without checksums, which depend on them."""
    if isinstance(value, dict):
        kept = {
            key: below
            for key, below in value.items()
            if "seconds" not in str(key) and key not in ("checksum", "system")
        }
        return {key: timeless(below) for key, below in kept.items()}
    return [timeless(below) for below in value] if isinstance(value, list | tuple) else value


def serve() -> None:
    """Fork a conductor for each request on standard input."""
    import optuna  # noqa: F401  this and the next would be imported by every conductor anew

    import study.engine.conductor
    import study.executors.local  # noqa: F401
    from study.config import compile as prepare
    from study.config.settings import settings
    from study.config.study import load

    records: dict[tuple[str, ...], Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["what"] == "start":
            changes = tuple(request["changes"])
            if changes not in records:
                spec = load(Path("s.toml"), None, changes)
                records[changes] = prepare.compile_study(spec, settings(Path.cwd()), "cpu")
            if not (process := os.fork()):
                _carry_out(records[changes], request)
            print(process, flush=True)
        else:
            ended, status = os.waitpid(request["process"], os.WNOHANG if request["what"] == "poll" else 0)
            print(os.waitstatus_to_exitcode(status) if ended else "running", flush=True)


def _carry_out(record: Any, request: dict[str, Any]) -> None:
    from study.engine import conductor
    from study.engine.jobs import TARGETS
    from study.errors import StudyError
    from study.executors.local import LocalWorkers
    from study.ledger.store import Ledger

    faked = request["pace"]["trainer"] == FAKE
    targets = (
        {kind: f"support.paced_jobs:{kind}" for kind in TARGETS}
        if faked
        else {**TARGETS, "train": "support.paced_jobs:train"}
    )
    os.environ["PACE"] = json.dumps(request["pace"])
    output = os.open(f"output-{os.getpid()}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 1
    try:
        ledger = Ledger(Path(request["ledger"]))
        with ledger.hold(record.name):
            conductor.carry_out(
                ledger.save(record),
                ledger,
                LocalWorkers(
                    request["workers"],
                    preload=["support.paced_jobs" if faked else "study.tasks.clips.training.train"],
                ),
                lambda event: print(type(event).__name__, getattr(event, "holder", ""), flush=True),
                targets,
                decide=lambda study, look: _close(ledger, study, look),
            )
        code = NEEDED_TORCH if "torch" in sys.modules else 0
    except StudyError as error:
        print(f"Error: {error}", flush=True)
    except KeyboardInterrupt:
        code = 130
    finally:
        os._exit(code)


def _close(ledger: Any, study: Any, look: Any) -> dict[str, Any]:
    """Close about half of the comparisons at each look, by their test scores."""
    from study.analysis.gather import gather
    from study.analysis.values.scores import against_reference
    from study.ledger.record import Closing

    evidence = gather(ledger, study)
    closed = {}
    for variant in evidence.compared:
        found = against_reference(evidence, variant)
        assert found is not None, "a look is taken when all repetitions up to it are tested"
        name = next(name for name, involved in study.comparisons.items() if variant.name in involved)
        if name in look.open and int(1e6 * abs(sum(found.values))) % 2:
            closed[name] = Closing("decided", "helps")
    return closed


def _parents() -> list[tuple[int, int]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            found.append((int(folder.name), int(fields[1])))
    return found
