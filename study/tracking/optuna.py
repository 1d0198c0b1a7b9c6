"""A search's trials mirrored into an Optuna storage, for its dashboard: nothing is ever read back into a plan.

There is one Optuna study for each variant and fold. A trial appears when it has ended, with what it scored
epoch by epoch; it carries its run's id, by which a study that is carried on repeats nothing.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import re
import threading
from collections.abc import Mapping
from typing import Any

from study.engine.events import Began, Event, Found, JobEnded, Listener
from study.engine.plan import Job
from study.engine.search import distributions_of
from study.ledger.record import RunState, StudyRecord
from study.metrics import Metric
from study.records import Epoch

_log = logging.getLogger(__name__)
DRAIN_SECONDS = 30.0


def mirror(url: str) -> contextlib.AbstractContextManager[Listener]:
    """Return a listener that mirrors a study's trials to the storage at `url`; one that does nothing for ``""``."""
    return TrialMirror(url) if url else contextlib.nullcontext(_ignore)


def _ignore(_: Event) -> None:
    pass


class TrialMirror:
    """A listener that returns at once; one thread writes.

    A storage that is down, slow or broken costs one warning. The ledger has every trial, and the next run of
    the study mirrors what is missing.

    Args:
        url: An Optuna storage, such as ``sqlite:////folder/trials.db``; made where it is missing.
        drain_seconds: How long leaving the context may wait for trials that are not written yet.
    """

    def __init__(self, url: str, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        self._url = url
        self._drain_seconds = drain_seconds
        self._study: StudyRecord | None = None
        self._ended: queue.Queue[tuple[Job, RunState] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._write, name="trial mirror", daemon=True)

    def __enter__(self) -> TrialMirror:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.put(None)
        self._thread.join(self._drain_seconds)
        if self._thread.is_alive():
            self._warn(f"not all trials were written within {self._drain_seconds:.0f} s")

    def __call__(self, event: Event) -> None:
        """Take note of a trial that has ended."""
        if isinstance(event, Began):
            self._study = event.study
        elif isinstance(event, Found | JobEnded) and event.job.purpose == "search" and event.state.final:
            self._ended.put((event.job, event.state))

    def _write(self) -> None:
        storage = None
        while (ended := self._ended.get()) is not None:
            try:
                storage = storage or _Storage(self._url)
                if self._study is not None:
                    storage.add(self._study, *ended)
            except Exception as error:
                self._warn((str(error).splitlines() or [repr(error)])[0])
                return

    def _warn(self, reason: str) -> None:
        _log.warning(
            "%s",
            _without_password(
                f"Optuna storage at {self._url}: {reason}. Training goes on; the ledger has every trial, and the "
                "next run of this study mirrors what is missing."
            ),
        )


class _Storage:
    """An Optuna storage, used by the writing thread alone."""

    def __init__(self, url: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = optuna.storages.get_storage(url)
        self._studies: dict[str, Any] = {}
        self._there: dict[str, set[tuple[object, ...]]] = {}

    def add(self, study: StudyRecord, job: Job, state: RunState) -> None:
        """Add a trial, unless it is there with the same end."""
        name = "/".join(
            [study.name, job.variant, *([f"fold {job.run.fold}"] if job.run.fold is not None else [])]
        )
        trial = _trial(study, job, state)
        key = _key(trial)
        if name not in self._studies:
            self._open(name, study.primary)
        if key not in self._there[name]:
            self._studies[name].add_trial(trial)
            self._there[name].add(key)

    def _open(self, name: str, metric: Metric) -> None:
        import optuna

        opened = optuna.create_study(
            storage=self._storage, study_name=name, direction=metric.direction, load_if_exists=True
        )
        opened.set_user_attr("score", metric.name)
        self._studies[name] = opened
        self._there[name] = {_key(trial) for trial in opened.get_trials(deepcopy=False)}


def _trial(study: StudyRecord, job: Job, state: RunState) -> Any:
    from optuna.trial import TrialState, create_trial

    distributions = distributions_of(study.space)
    tried = {key: _value(job.run.config, key) for key in distributions}
    how: str = "failed"
    value: float | None = None
    end = TrialState.FAIL
    history: tuple[Epoch, ...] = ()
    if state.pruned is not None:
        end, value, how = TrialState.PRUNED, state.pruned.score, "pruned"
        history = state.pruned.history
    elif state.result is not None:
        how = state.result.status
        value = state.result.validation[study.metric] if how == "finished" else study.primary.worst
        if math.isfinite(value):
            end = TrialState.COMPLETE
        else:  # it diverged, and there is no worst value to take for it
            value = None
        history = state.result.history
    return create_trial(
        params=tried,
        distributions=distributions,
        value=value,
        state=end,
        intermediate_values={
            epoch.epoch: epoch.validation[study.metric]
            for epoch in history
            if study.metric in epoch.validation
        },
        user_attrs={"run": job.run.id, "trial": job.number + 1, "end": how},
    )


def _value(config: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key."""
    found: Any = config
    for part in key.split("."):
        found = found[part]
    return found


def _key(trial: Any) -> tuple[object, ...]:
    return tuple(trial.user_attrs.get(name) for name in ("run", "trial", "end"))


def _without_password(text: str) -> str:
    return re.sub(r"(://[^:/@\s]*):[^@/\s]*@", r"\1:…@", text)
