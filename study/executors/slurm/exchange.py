"""The files by which a conductor and its jobs exchange calls, epochs and ends; each has one writer.

::

    <root>/<submission>/calls.json          the calls of each job, by identity, before they are submitted
    <root>/<submission>/ids.json            the scheduler's id of each job
    <root>/<submission>/<call>.started      written at the start of each attempt, with the host
    <root>/<submission>/<call>.epochs       one line of JSON for each epoch or silence
    <root>/<submission>/<call>.end          how the call ended
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from study.executors.base import Call, CallEpoch, CallSilent, Ending
from study.files import write
from study.hashing import digest
from study.records import Epoch

CALLS, IDS = "calls.json", "ids.json"
_STARTED, _EPOCHS, _END = ".started", ".epochs", ".end"


@dataclass(frozen=True)
class End:
    """How a call ended, as its job reports it."""

    ending: Ending
    reason: str = ""
    detail: str = ""
    device: str = ""
    host: str = ""
    files: Mapping[str, int] = field(default_factory=dict)
    """The size in bytes of each file in the call's folder."""


def identity(call: Call) -> str:
    """Return what a call has in common with the same call of an earlier conductor, and with no other."""
    return digest([call.key, call.target, call.run.id, str(call.folder), list(call.arguments)])


def write_calls(folder: Path, jobs: Sequence[Sequence[Call]]) -> None:
    """Write which calls each job of a submission gets."""
    write(folder / CALLS, json.dumps([[identity(call) for call in calls] for calls in jobs]))


def read_calls(folder: Path) -> list[list[str]]:
    """Return the identities of the calls of each job of a submission; none if it was never written."""
    return _list(folder / CALLS)


def write_ids(folder: Path, ids: Sequence[str]) -> None:
    """Write the scheduler's ids of the jobs of a submission."""
    write(folder / IDS, json.dumps(list(ids)))


def read_ids(folder: Path) -> list[str]:
    """Return the scheduler's ids of the jobs of a submission; none if its conductor ended before it had them."""
    return _list(folder / IDS)


def write_start(folder: Path, call: Call) -> float:
    """Record that an attempt starts on this host, and return the time by the clock of the disk."""
    path = folder / f"{identity(call)}{_STARTED}"
    write(path, socket.gethostname())
    return path.stat().st_mtime


def read_start(folder: Path, call: Call) -> str:
    """Return the host of the latest attempt; empty if the call was never started."""
    try:
        return (folder / f"{identity(call)}{_STARTED}").read_text()
    except OSError:
        return ""


def write_event(folder: Path, event: CallEpoch | CallSilent) -> None:
    """Add an epoch or a silence to the file of its call."""
    is_epoch = isinstance(event, CallEpoch)
    record = {"epoch": asdict(event.epoch)} if is_epoch else {"silent_s": event.seconds}  # type: ignore[union-attr]
    with (folder / f"{identity(event.call)}{_EPOCHS}").open("a") as file:
        file.write(f"{json.dumps(record)}\n")


def read_events(folder: Path, call: Call, offset: int) -> tuple[list[CallEpoch | CallSilent], int]:
    """Return the events from a byte of the call's file on, and the byte after the last whole line."""
    try:
        with (folder / f"{identity(call)}{_EPOCHS}").open("rb") as file:
            file.seek(offset)
            text = file.read()
    except OSError:
        return [], offset
    whole = text[: text.rfind(b"\n") + 1]
    return [_event(call, json.loads(line)) for line in whole.splitlines()], offset + len(whole)


def _event(call: Call, record: Mapping[str, Any]) -> CallEpoch | CallSilent:
    if "epoch" in record:
        return CallEpoch(call, Epoch(**record["epoch"]))
    return CallSilent(call, record["silent_s"])


def write_end(folder: Path, call: Call, end: End) -> None:
    """Write how a call ended."""
    write(folder / f"{identity(call)}{_END}", json.dumps(asdict(end)))


def read_end(folder: Path, call: Call) -> End | None:
    """Return how a call ended; None if it has not, or if that is not visible yet."""
    try:
        record = json.loads((folder / f"{identity(call)}{_END}").read_bytes())
    except OSError:
        return None
    return End(**{**record, "ending": Ending(record["ending"])})


def has_end(folder: Path, of: str) -> bool:
    """Return whether the call of an identity has ended."""
    return (folder / f"{of}{_END}").exists()


def remove_end(folder: Path, call: Call) -> None:
    """Remove the end of a call, which the conductor has taken."""
    (folder / f"{identity(call)}{_END}").unlink(missing_ok=True)


def _list(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []
