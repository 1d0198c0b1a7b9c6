"""Mirror a search's trials into an Optuna storage, for its dashboard; nothing is ever read back into a plan.

There is one Optuna study for each search: of a variant, a repetition and a fold. A trial appears when it has ended,
with its scores by epoch and the id of its run, by which a study that is resumed repeats nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from study.engine.events import Event, JobEnded, Listener, StudyStarted, TrainingFound
from study.engine.plan import Job
from study.engine.search import distributions_of
from study.errors import without_passwords
from study.hashing import digest
from study.ledger.grid import point_in
from study.ledger.record import RunState, StudyRecord
from study.records import Epoch
from study.tracking.mirror import DRAIN_SECONDS, UNLIMITED, QueuedMirror, no_mirror


def mirror(url: str) -> contextlib.AbstractContextManager[Listener]:
    """Return a listener that mirrors a study's trials to the storage at `url`; one that does nothing for ``""``."""
    return TrialMirror(url) if url else no_mirror()


class TrialMirror(QueuedMirror[tuple[StudyRecord, Job, RunState]]):
    """A listener that mirrors ended trials.

    A storage that is down, slow or broken causes one warning. The ledger has every trial, and the next run of
    the study mirrors what is missing.

    Args:
        url: An Optuna storage, such as ``sqlite:////folder/trials.db``; created if it is missing.
        drain_seconds: The longest time that leaving the context waits for trials that are not written yet.
    """

    stops_at_errors = True

    def __init__(self, url: str, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        super().__init__(capacity=UNLIMITED, drain_seconds=drain_seconds)
        self._url = url
        self._study: StudyRecord | None = None

    def __call__(self, event: Event) -> None:
        """Queue a trial that has ended."""
        if isinstance(event, StudyStarted):
            self._study = event.study
        elif isinstance(event, TrainingFound | JobEnded) and self._study is not None:
            is_ended_trial = event.job.purpose == "search" and event.state.final
            if is_ended_trial:
                self._put((self._study, event.job, event.state))

    def _open(self) -> Callable[[tuple[StudyRecord, Job, RunState]], None]:
        storage = TrialStorage(self._url)
        return lambda item: storage.add(*item)

    def _report_lost(self, lost: int, queued: int) -> None:
        self._warn(f"{lost} of {queued} trials were not written within {self._drain_seconds:.0f} s")

    def _error_message(self, reason: str) -> str:
        return without_passwords(
            f"Optuna storage at {self._url}: {reason}. Training continues; the ledger has every trial, and the "
            "next run of this study mirrors what is missing."
        )


class TrialStorage:
    """An Optuna storage, used by one thread only."""

    def __init__(self, url: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = optuna.storages.get_storage(url)
        self._studies: dict[str, Any] = {}
        self._stored: dict[str, set[tuple[object, ...]]] = {}

    def add(self, study: StudyRecord, job: Job, state: RunState) -> None:
        """Add a trial unless the storage has it with the same end."""
        part_of = [] if job.repetition is None else [f"repetition {job.repetition + 1}"]
        part_of += [] if job.run.fold is None else [f"fold {job.run.fold}"]
        name = "/".join([study.name, job.variant, *part_of])
        trial = _optuna_trial(study, job, state)
        identity = _identity(trial)
        if name not in self._studies:
            self._open(name, study)
        if identity not in self._stored[name]:
            self._studies[name].add_trial(trial)
            self._stored[name].add(identity)

    def _open(self, name: str, study: StudyRecord) -> None:
        import optuna

        metric = study.primary
        for stored in (name, f"{name} {digest(study.root, 6)}"):
            opened = optuna.create_study(
                storage=self._storage, study_name=stored, direction=metric.direction, load_if_exists=True
            )
            project = opened.user_attrs.get("project", study.root)
            if project == study.root or not Path(project).is_dir():
                break  # else another project's study of the same name, which is a study of its own
        opened.set_user_attr("score", metric.name)
        opened.set_user_attr("project", study.root)
        self._studies[name] = opened
        self._stored[name] = {_identity(trial) for trial in opened.get_trials(deepcopy=False)}


def _optuna_trial(study: StudyRecord, job: Job, state: RunState) -> Any:
    from optuna.trial import TrialState, create_trial

    variant = next(variant for variant in study.variants if variant.name == job.variant)
    space = {
        key: {**dimension, "choices": [_shown(choice) for choice in dimension["choices"]]}
        if "choices" in dimension
        else dimension
        for key, dimension in study.space_of(variant).items()
    }
    point = point_in(study.space_of(variant), job.run.config)
    distributions = distributions_of({key: space[key] for key in point})
    parameters = {key: _shown(value) for key, value in point.items()}
    end: str = "failed"
    value: float | None = None
    trial_state = TrialState.FAIL
    history: tuple[Epoch, ...] = ()
    if state.pruned is not None:
        trial_state, value, end = TrialState.PRUNED, state.pruned.score, "pruned"
        history = state.pruned.history
    elif state.result is not None:
        end = state.result.status
        value = state.result.validation[study.metric] if end == "finished" else study.primary.worst
        if math.isfinite(value):
            trial_state = TrialState.COMPLETE
        else:  # it diverged, and the metric has no worst value
            value = None
        history = state.result.history
    return create_trial(
        params=parameters,
        distributions=distributions,
        value=value,
        state=trial_state,
        intermediate_values={
            epoch.epoch: epoch.validation[study.metric]
            for epoch in history
            if study.metric in epoch.validation
        },
        user_attrs={"run": job.run.id, "trial": job.number + 1, "end": end},
    )


def _shown(value: Any) -> Any:
    """Return a value as Optuna takes it: lists and tables as text."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list | tuple) else value


def _identity(trial: Any) -> tuple[object, ...]:
    return tuple(trial.user_attrs.get(name) for name in ("run", "trial", "end"))
