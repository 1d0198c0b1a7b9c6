"""What the conductor makes of a cluster: machines that come and go, calls that are preempted or cancelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.lab import Lab

from study.engine.conductor import MOST_RETRIES
from study.engine.events import JobEnded, JobPending, JobRetried
from study.executors.base import Call, CallEnded, CallPending, Ending, Event
from study.executors.inprocess import InProcess

TRAININGS = 18


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


class Cluster(InProcess):
    """Ends calls badly as often as asked, and has the capacities of a list, one for each wait."""

    def __init__(self, endings: Sequence[Ending] = (), capacities: Sequence[int] = ()) -> None:
        super().__init__()
        self._endings, self._capacities = endings, list(capacities)
        self.tries: Counter[str] = Counter()
        self.most = 0

    @property
    def capacity(self) -> int:  # type: ignore[override]
        """The capacity now; as it is asked for before every start, the next one comes where it is 0."""
        if self._capacities and self._capacities[0] == 0:
            return self._capacities.pop(0)
        return self._capacities[0] if self._capacities else 1

    def submit(self, call: Call) -> None:
        self.tries[call.key] += 1
        if self.tries[call.key] <= len(self._endings):
            ending = self._endings[self.tries[call.key] - 1]
            self._events.append(CallPending(call, "PENDING (Resources)", 60.0))
            self._events.append(CallEnded(call, ending, f"it was {ending}", host="node-7"))
        else:
            super().submit(call)

    def wait(self, timeout_s: float) -> list[Event]:
        running = sum(isinstance(event, CallEnded) for event in self._events)
        self.most = max(self.most, running)
        if len(self._capacities) > 1:
            self._capacities.pop(0)
        return super().wait(timeout_s)


@pytest.mark.parametrize("ending", [Ending.LOST, Ending.PREEMPTED])
def test_a_lost_machine_is_not_held_against_its_runs(lab: Lab, ending: Ending) -> None:
    executor = Cluster([ending] * MOST_RETRIES[ending])
    lab.run(executor=executor)
    assert not list(lab.ledger.root.rglob("failure.json"))
    retried = sum(isinstance(event, JobRetried) for event in lab.events)
    assert retried == len(executor.tries) * MOST_RETRIES[ending]
    pending = [event for event in lab.events if isinstance(event, JobPending)]
    assert {(event.reason, event.seconds) for event in pending} == {("PENDING (Resources)", 60.0)}


def test_a_run_that_loses_every_machine_fails_at_last_with_the_name_of_one(lab: Lab) -> None:
    executor = Cluster([Ending.LOST] * (MOST_RETRIES[Ending.LOST] + 1))
    lab.run(executor=executor)
    failures = [
        event.state.failure
        for event in lab.events
        if isinstance(event, JobEnded) and event.state.failure is not None
    ]
    assert failures
    assert {(failure.reason, failure.environment["host"]) for failure in failures} == {
        ("it was lost", "node-7")
    }


def test_a_death_uses_up_no_retry_of_a_lost_machine(lab: Lab) -> None:
    lab.run(executor=Cluster([Ending.LOST, Ending.DIED, Ending.LOST]))
    assert not list(lab.ledger.root.rglob("failure.json"))


def test_a_cancelled_run_is_not_started_again(lab: Lab) -> None:
    executor = Cluster([Ending.CANCELLED])
    lab.run(executor=executor)
    assert set(executor.tries.values()) == {1}
    assert not [event for event in lab.events if isinstance(event, JobRetried)]


def test_a_study_goes_on_when_machines_come_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.engine.conductor.POLL_S", 0.01)
    executor = Cluster(capacities=[4, 4, 0, 0, 0, 1, 1, 0, 2, 3])
    lab.run(executor=executor)
    trained = [event for event in lab.events if isinstance(event, JobEnded) and event.job.kind == "train"]
    assert len(trained) == TRAININGS
    assert executor.most > 1
