"""`OwnTask`: the common base of the tasks `function` and `command`, which train by the user's code."""

from __future__ import annotations

import glob
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from study.errors import StudyError, nearest, unknown_name, wrong_value
from study.files import remove, write
from study.hashing import digest, file_digest
from study.ledger.layout import (
    EXAMPLES,
    HISTORY,
    OWN_CHECKPOINT,
    OWN_WEIGHTS,
    PROFILE,
    TEST_PREDICTIONS,
)
from study.ledger.reading import content_of, epochs_of, read_bytes, sealed_content
from study.metrics import Metric
from study.nested import walk
from study.records import DamagedError, DataInfo, Epoch, Profile
from study.reported import ReportError, check_bounds, check_score
from study.run import Run, Select
from study.task import Config, Kind
from study.tasks.options import Options, metrics_of
from study.tasks.own.references import Reference

_log = logging.getLogger(__name__)

DIGESTS = Path(".study") / "data" / "digests.json"
"""The cache of data files' digests, below the folder of study.toml."""
SETTLED_S = 2.0
"""The age below which a file's digest is not cached: it may change without a new modification time."""
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
LAST_LINES = 30


class ProgramError(StudyError):
    """Raised where a program of the user fails; `detail` is its last output."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class OwnTask:
    """A task whose training is the user's own: its metrics, data, code and options."""

    kinds: Mapping[str, Kind] = {}
    tables: Mapping[str, type] = {}
    weights_name = OWN_WEIGHTS
    checkpoint_name = OWN_CHECKPOINT
    has_profile = False
    preload: tuple[str, ...] = ()
    run_class: type[Run] = Run
    """The class of the run that `train` and `evaluate` get."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.metrics: Mapping[str, Metric] = metrics_of(options)
        self.folds: tuple[int, ...] = tuple(options.folds)
        self.threads = options.threads
        self.select: Select = options.select
        self.resumes = options.resume
        self.epochs_key = options.epochs
        self.gpus = options.gpus
        self.timeout_s: float | None = options.timeout_s or None
        self.legacy: Mapping[str, Any] = dict(options.legacy)

    @property
    def counts(self) -> Mapping[str, Any]:
        """What the task adds to the identity; options at their defaults are left out."""
        values = {
            **self._identity(),
            "select": self.select if self.select != "last" else None,
            "env": dict(self.options.env) or None,
            "gpus": self.gpus if self.gpus > 1 else None,
            "cwd": self.options.cwd or None,
        }
        return {key: value for key, value in values.items() if value is not None}

    def _identity(self) -> Mapping[str, Any]:
        """Return the options that identify the training."""
        raise NotImplementedError

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that a worker sets before it imports the user's modules."""
        threads = {name: str(self.threads) for name in THREADS}
        return {**threads, "CUBLAS_WORKSPACE_CONFIG": ":4096:8", **self.options.env}

    def data(self, config: Config, progress: Callable[[int, int], None] | None = None) -> DataInfo:
        """Return the digest of the declared data: of the content of files, or of ``task.data_version``.

        Raises:
            InputError: A pattern that matches no file.
        """
        chance = {name: m.chance for name, m in self.metrics.items() if m.chance is not None}
        if self.options.data_version:
            version = self.options.data_version
            return DataInfo(
                "declared data", digest(version), folds=self.folds, chance=chance, facts={"Version": version}
            )
        if not self.options.data:
            return DataInfo("not tracked", "", folds=self.folds, chance=chance)
        root = self.options.root_folder
        files = dict(matching_files(self.options.data, root, "task.data"))
        digests = _file_digests(files, root / DIGESTS, progress)
        size = sum(path.stat().st_size for path in files.values())
        facts = {"Files": f"{len(files)}, {size / 1e6:.3g} MB"}
        return DataInfo("declared data", digest(digests), folds=self.folds, chance=chance, facts=facts)

    def profile(self, run: Run) -> Profile | None:
        """Return None: the training profiles its network itself, by `run.profile`."""
        return None

    def listed_sources(self) -> tuple[Path, ...]:
        """Return the files that ``task.sources`` matches; raise InputError where a pattern matches none."""
        return tuple(
            path for _, path in matching_files(self.options.sources, self.options.code, "task.sources")
        )

    def references(self) -> tuple[Reference, ...]:
        """Return every function of the user that the task names."""
        computes = (getattr(metric.compute, "reference", None) for metric in self.metrics.values())
        references = [reference for reference in computes if reference is not None]
        if isinstance(self.options.prepare, str):
            references.append(Reference(self.options.prepare, "task.prepare", self.options.code, ()))
        return tuple(references)

    def check_keys(self, configs: Sequence[Config]) -> None:
        """Raise InputError where ``task.epochs`` is a key that no configuration of the study has."""
        if (key := self.epochs_key) in ("", "epochs"):
            return
        keys = {key for config in configs for key, _ in walk(config)}
        if key not in keys:
            raise unknown_name("task.epochs", f"no key {key!r} in the configuration", key, keys, "")

    @property
    def prepare(self) -> Callable[[], None] | None:
        """The function that runs ``task.prepare``; None where it is not set."""
        return None if self.options.prepare is None else self._run_preparation

    def _run_preparation(self) -> None:
        """Run ``task.prepare`` in a separate process.

        Raises:
            ProgramError: The program failed.
            InputError: The program or function does not exist.
        """
        from study.tasks.own.processes import run_once

        if isinstance(self.options.prepare, str):
            (reference,) = [one for one in self.references() if one.key == "task.prepare"]
            reference.validate()
        run_once(self.prepare_command(), "task.prepare", self.options.folder, self.environment)

    def prepare_command(self) -> list[str]:
        """Return the command of ``task.prepare``; an empty list where it is not set."""
        import sys

        given = self.options.prepare
        if given is None:
            return []
        if isinstance(given, str):
            module, _, function = given.partition(":")
            code = f"import sys; sys.path.insert(0, {str(self.options.code)!r}); import {module}; {module}.{function}()"
            return [sys.executable, "-c", code]
        if not isinstance(given, list) or not given or not all(isinstance(part, str) for part in given):
            raise wrong_value(
                "task.prepare", "must be a command as a list of strings, or 'module:function'.", given
            )
        return list(given)


def begin_attempt(run: Run) -> None:
    """Prepare a run's folder: resume from the checkpoint where the task does, else remove files of earlier attempts.

    Raises:
        Pruned: The search stops the trial after the epochs of earlier attempts.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    for name in (TEST_PREDICTIONS, EXAMPLES, PROFILE):
        remove(run.folder / name)
    if run.resumes and run.checkpoint.exists():
        history = _read_history(run.folder)
        if history is not None:
            _log.info("resuming from the checkpoint, after %d epochs of earlier attempts", len(history))
            run.resume(history, sum(epoch.seconds for epoch in history))
            return
    for path in (run.checkpoint, run.weights, run.folder / HISTORY):
        remove(path)


def _read_history(folder: Path) -> tuple[Epoch, ...] | None:
    """Return the epochs of earlier attempts; none where their file is missing, None where it is damaged."""
    path = folder / HISTORY
    text = read_bytes(path)
    if text is None:
        return ()
    try:
        return epochs_of(content_of(text, path), path)
    except DamagedError as error:
        _log.warning("%s The checkpoint is ignored: the training starts from the beginning.", error)
        return None


def end_training(run: Run, evaluate_key: str, has_evaluation: bool, parameters: int | None = None) -> None:
    """Set the result of a training that has ended, unless it has one.

    Args:
        run: The run.
        evaluate_key: The key of ``[task]`` that names the evaluation.
        has_evaluation: Whether that key is set; otherwise the training must report the test figures.
        parameters: Trainable values of the network; None where unknown.

    Raises:
        ReportError: The primary metric, the test figures or the weights are missing.
    """
    if run.result is not None:
        return
    run.finish(parameters=parameters)
    if problem := _test_problem(run, evaluate_key, has_evaluation):
        run.result = None
        raise ReportError(problem)
    if run.test_metrics is not None:
        run.test_metrics = validated_test(run, run.test_metrics)


def _test_problem(run: Run, evaluate_key: str, has_evaluation: bool) -> str:
    """Return the message for missing or doubled test figures, or missing weights; empty where all is well."""
    if has_evaluation and run.test_metrics is not None:
        return f"the training reported test figures, but {evaluate_key} computes them too. Remove one of the two."
    if has_evaluation and not run.weights.exists():
        similar = sorted(path.name for path in run.folder.glob(f"{run.weights.name}*"))
        hint = f" There is {similar[0]!r}: some functions add a suffix to the name." if similar else ""
        return f"the training saved nothing at {run.weights}, which {evaluate_key} needs.{hint}"
    if not has_evaluation and run.test_metrics is None:
        name = run.spec.metric_name
        return (
            f"the training ended without test figures. Either set {evaluate_key}, which runs on winners alone, or "
            f'report them: run.test({name}=…) in a function, {{"test": {{"{name}": …}}}} as a line of a command.'
        )
    return ""


def validated_test(run: Run, metrics: Mapping[str, float]) -> Mapping[str, float]:
    """Return test figures that are complete and agree with the run's stored examples or predictions.

    Raises:
        ReportError: The primary metric is missing, a value is no finite number, or the figures disagree.
    """
    name = run.spec.metric_name
    if name not in metrics:
        raise ReportError(
            f"the test reported {sorted(metrics)}, but not the primary metric {name!r}.{nearest(name, metrics)}"
        )
    for key, value in metrics.items():
        check_bounds(f"the test reported {key} = {value!r}", value, run.metrics.get(key))
    values = {key: float(value) for key, value in metrics.items()}
    if (path := run.folder / TEST_PREDICTIONS).is_file():
        from study.ledger.predictions import load

        predictions = load(path)
        for metric in run.metrics.values():
            if metric.name in values:
                check_score(metric, values[metric.name], predictions.labels, predictions.logits)
    if (path := run.folder / EXAMPLES).is_file():
        import numpy as np

        with np.load(path) as stored:
            mean = float(np.mean(stored["values"]))
        if not math.isclose(mean, values[name], rel_tol=1e-6, abs_tol=1e-6):
            raise ReportError(
                f"{name} was reported as {values[name]!r}, but the mean of run.examples is {mean!r}."
            )
    return values


def deep_copy(value: Any) -> Any:
    """Return a configuration as new dicts and lists, which a training may change."""
    if isinstance(value, Mapping):
        return {key: deep_copy(item) for key, item in value.items()}
    return [deep_copy(item) for item in value] if isinstance(value, list | tuple) else value


def matching_files(patterns: Iterable[str], root: Path, key: str) -> Iterator[tuple[str, Path]]:
    """Yield the files that patterns match, by a name that is the same on every machine; a folder matches its files."""
    by_name: dict[str, Path] = {}
    for pattern in patterns:
        parts = Path(pattern).parts
        fixed = Path(*parts[: _first_wildcard(parts)]) if Path(pattern).is_absolute() else root
        matches = sorted(glob.glob(str(root / pattern), recursive=True))  # noqa: PTH207 - absolute ones too
        paths = [path for match in matches for path in (Path(match), *sorted(Path(match).rglob("*")))]
        files = [path for path in paths if path.is_file()]
        if not files:
            raise wrong_value(key, f"{pattern!r} matches no file. It is relative to {root}.")
        by_name |= {os.path.relpath(path, fixed.parent if fixed.is_file() else fixed): path for path in files}
    yield from sorted(by_name.items())


def _first_wildcard(parts: Sequence[str]) -> int:
    return next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts))


def _file_digests(
    files: Mapping[str, Path], cache: Path, progress: Callable[[int, int], None] | None
) -> dict[str, str]:
    """Return the digest of each file's content by its name; those of unchanged files come from the cache."""
    cached: dict[str, list[Any]] = {}
    with suppress(OSError, DamagedError):  # files are then read again
        cached = content_of(cache.read_bytes(), cache)
    digests, settled = {}, {}
    for number, (name, path) in enumerate(files.items(), start=1):
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        entry = cached.get(str(path))
        digests[name] = entry[2] if entry and entry[:2] == stamp else file_digest(path)
        if time.time() - status.st_mtime > SETTLED_S:
            settled[str(path)] = [*stamp, digests[name]]
        if progress is not None:
            progress(number, len(files))
    if any(cached.get(path) != entry for path, entry in settled.items()):
        with suppress(OSError):  # the cache only saves time
            write(cache, sealed_content(cached | settled, cache))
    return digests
