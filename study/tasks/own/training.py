"""What the tasks `function` and `command` share: a training that is the user's own."""

from __future__ import annotations

import glob
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from study.errors import InputError, StudyError, nearest
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
from study.metrics import Metric
from study.records import DataInfo, Epoch, Profile
from study.task import (
    Config,
    Kind,
    ReportError,
    Run,
    Select,
    check_score,
)
from study.tasks.options import Options, metrics_of
from study.tasks.own.references import Reference

_log = logging.getLogger(__name__)

DIGESTS = Path(".study") / "data" / "digests.json"
"""Digests of data files, below the folder of study.toml."""
SETTLED_S = 2.0
"""A file younger than this may still change within the resolution of its time."""
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
LAST_LINES = 30


class ProgramError(StudyError):
    """A program of the user that did not do its work; `detail` is its last output."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class OwnTask:
    """What a user's own training has in common, function or command: metrics, data, code, attempts, tests."""

    kinds: Mapping[str, Kind] = {}
    tables: Mapping[str, type] = {}
    weights_name = OWN_WEIGHTS
    checkpoint_name = OWN_CHECKPOINT
    has_profile = False
    preload: tuple[str, ...] = ()
    run_class: type[Run] = Run
    """What a worker hands to `train` and `evaluate`."""

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
        """What the identity names of the task; an option at its default is left out."""
        found = {
            **self._named(),
            "select": self.select if self.select != "last" else None,
            "env": dict(self.options.env) or None,
            "gpus": self.gpus if self.gpus > 1 else None,
            "cwd": self.options.cwd or None,
        }
        return {key: value for key, value in found.items() if value is not None}

    def _named(self) -> Mapping[str, Any]:
        """Return what says which training this is."""
        raise NotImplementedError

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that a worker sets before it imports anything of the user."""
        counted = {name: str(self.threads) for name in THREADS}
        return {**counted, "CUBLAS_WORKSPACE_CONFIG": ":4096:8", **self.options.env}

    def data(self, config: Config, progress: Callable[[int, int], None] | None = None) -> DataInfo:
        """Return the digest of the declared data: the content of files, or the version that the user gives.

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
        named = dict(matched(self.options.data, root, "task.data"))
        digests = _digests(named, root / DIGESTS, progress)
        size = sum(path.stat().st_size for path in named.values())
        facts = {"Files": f"{len(named)}, {size / 1e6:.3g} MB"}
        return DataInfo("declared data", digest(digests), folds=self.folds, chance=chance, facts=facts)

    def profile(self, run: Run) -> Profile | None:
        """Return nothing: a training measures its network itself, by `run.profile`."""
        return None

    def listed_sources(self) -> tuple[Path, ...]:
        """Return the files that ``task.sources`` names; InputError where a pattern matches none."""
        return tuple(path for _, path in matched(self.options.sources, self.options.code, "task.sources"))

    def references(self) -> tuple[Reference, ...]:
        """Return every function of the user that the task names."""
        computes = (getattr(metric.compute, "reference", None) for metric in self.metrics.values())
        found = [reference for reference in computes if reference is not None]
        if isinstance(self.options.prepare, str):
            found.append(Reference(self.options.prepare, "task.prepare", self.options.code, ()))
        return tuple(found)

    def check_keys(self, configs: Sequence[Config]) -> None:
        """Raise InputError where ``task.epochs`` or a legacy key names nothing in any configuration of the study."""
        keys = {key for config in configs for key in keys_of(config)}
        wanted = {"task.epochs": self.epochs_key} if self.epochs_key not in ("", "epochs") else {}
        for where, key in wanted.items():
            if key not in keys:
                raise InputError(f"{where}: no key {key!r} in the configuration.{nearest(key, keys)}")

    def prepare(self) -> None:
        """Run what is declared to run once before the study, in a process of its own.

        Raises:
            ProgramError: It did not end well; the detail is its last output.
            InputError: It cannot be found.
        """
        from study.tasks.own.processes import run_once

        if isinstance(self.options.prepare, str):
            (reference,) = [found for found in self.references() if found.key == "task.prepare"]
            reference.validate()
        if self.options.prepare:
            run_once(self.preparation(), "task.prepare", self.options.folder, self.environment)

    def preparation(self) -> list[str]:
        """Return the arguments of the program that prepares the study; none where there is nothing to prepare."""
        import sys

        given = self.options.prepare
        if given is None:
            return []
        if isinstance(given, str):
            module, _, function = given.partition(":")
            code = f"import sys; sys.path.insert(0, {str(self.options.code)!r}); import {module}; {module}.{function}()"
            return [sys.executable, "-c", code]
        if not isinstance(given, list) or not given or not all(isinstance(part, str) for part in given):
            raise InputError(
                f"task.prepare: must be a command as a list of strings, or 'module:function'. Got {given!r} instead."
            )
        return list(given)


def begin_attempt(run: Run) -> None:
    """Make a run's folder ready: go on from the checkpoint where that is asked for, else remove what was left.

    Raises:
        Pruned: The epochs that are gone on from end the trial.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    for name in (TEST_PREDICTIONS, EXAMPLES, PROFILE):
        remove(run.folder / name)
    if run.resumes and run.checkpoint.exists():
        history = _history(run.folder)
        _log.info("going on from the checkpoint, after %d epochs of earlier attempts", len(history))
        run.resume(history, sum(epoch.seconds for epoch in history))
        return
    for path in (run.checkpoint, run.weights, run.folder / HISTORY):
        remove(path)


def _history(folder: Path) -> tuple[Epoch, ...]:
    try:
        return tuple(Epoch(**entry) for entry in json.loads((folder / HISTORY).read_bytes()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return ()


def end_training(run: Run, evaluates: str, parameters: int | None = None) -> None:
    """Note a training's result once it is complete.

    Args:
        run: The run.
        evaluates: The key of ``[task]`` that says who computes the test figures; where it ends in ``?``,
            it is not given, and the training has to report them itself.
        parameters: Trainable values of its network, where they are known.

    Raises:
        ReportError: The primary metric, the test figures or the weights are missing.
    """
    if run.outcome is not None:
        return
    run.finish(parameters=parameters)
    key, is_given = evaluates.removesuffix("?"), not evaluates.endswith("?")
    if is_given and run.test_metrics is not None:
        run.outcome = None
        raise ReportError(
            f"the training reported test figures, but {key} computes them. Report them in one of the two places."
        )
    if is_given and not run.weights.exists():
        run.outcome = None
        beside = sorted(path.name for path in run.folder.glob(f"{run.weights.name}*"))
        hint = f" There is {beside[0]!r}: some functions add a suffix to the name." if beside else ""
        raise ReportError(f"the training left nothing at {run.weights}, which {key} needs.{hint}")
    if not is_given and run.test_metrics is None:
        run.outcome = None
        name = run.spec.metric_name
        raise ReportError(
            f"the training ended without test figures. Either give {key}, which runs on winners alone, or report "
            f'them: run.test({name}=…) in a function, {{"test": {{"{name}": …}}}} as a line of a command.'
        )
    if run.test_metrics is not None:
        run.test_metrics = checked_test(run, run.test_metrics)


def checked_test(run: Run, metrics: Mapping[str, float]) -> Mapping[str, float]:
    """Return test figures that are complete, and agree with the examples or predictions that were kept.

    Raises:
        ReportError: The primary metric is missing, a value is no finite number, or the figures disagree.
    """
    name = run.spec.metric_name
    if name not in metrics:
        raise ReportError(
            f"the test reported {sorted(metrics)}, but not the primary metric {name!r}.{nearest(name, metrics)}"
        )
    for key, value in metrics.items():
        run.check_bounds(f"the test reported {key} = {value!r}", key, value)
    values = {key: float(value) for key, value in metrics.items()}
    if (kept := run.folder / TEST_PREDICTIONS).is_file():
        from study.ledger.predictions import load

        predictions = load(kept)
        for metric in run.metrics.values():
            if metric.name in values:
                check_score(metric, values[metric.name], predictions.labels, predictions.logits)
    if (kept := run.folder / EXAMPLES).is_file():
        import numpy as np

        with np.load(kept) as stored:
            mean = float(np.mean(stored["values"]))
        if not math.isclose(mean, values[name], rel_tol=1e-6, abs_tol=1e-6):
            raise ReportError(
                f"{name} was reported as {values[name]!r}, but the mean of run.examples is {mean!r}."
            )
    return values


def items_of(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of nested tables with their values, those of tables themselves included."""
    for key, value in config.items():
        yield prefix + key, value
        if isinstance(value, Mapping):
            yield from items_of(value, f"{prefix}{key}.")


def keys_of(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the dotted keys of nested tables, those of tables themselves included."""
    return (key for key, _ in items_of(config))


def plain(value: Any) -> Any:
    """Return a configuration as dicts and lists of its own, which a training may change."""
    if isinstance(value, Mapping):
        return {key: plain(below) for key, below in value.items()}
    return [plain(below) for below in value] if isinstance(value, list | tuple) else value


def matched(patterns: Iterable[str], root: Path, key: str) -> Iterator[tuple[str, Path]]:
    """Yield the files that patterns match, a folder standing for all below it, by a name free of this machine."""
    found: dict[str, Path] = {}
    for pattern in patterns:
        parts = Path(pattern).parts
        fixed = Path(*parts[: _first_magic(parts)]) if Path(pattern).is_absolute() else root
        matches = sorted(glob.glob(str(root / pattern), recursive=True))  # noqa: PTH207 - absolute ones too
        below = [path for match in matches for path in (Path(match), *sorted(Path(match).rglob("*")))]
        files = [path for path in below if path.is_file()]
        if not files:
            raise InputError(f"{key}: {pattern!r} matches no file. It is relative to {root}.")
        found |= {os.path.relpath(path, fixed.parent if fixed.is_file() else fixed): path for path in files}
    yield from sorted(found.items())


def _first_magic(parts: Sequence[str]) -> int:
    return next((place for place, part in enumerate(parts) if glob.has_magic(part)), len(parts))


def _digests(
    named: Mapping[str, Path], cache: Path, progress: Callable[[int, int], None] | None
) -> dict[str, str]:
    """Return the digest of each file's content by its name; unchanged files are not read again."""
    known: dict[str, list[Any]] = {}
    with suppress(OSError, json.JSONDecodeError):
        known = json.loads(cache.read_bytes())
    found, fresh = {}, {}
    for number, (name, path) in enumerate(named.items(), start=1):
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        entry = known.get(str(path))
        content = entry[2] if entry and entry[:2] == stamp else file_digest(path)
        found[name] = content
        if time.time() - status.st_mtime > SETTLED_S:
            fresh[str(path)] = [*stamp, content]
        if progress is not None:
            progress(number, len(named))
    if any(known.get(path) != entry for path, entry in fresh.items()):
        with suppress(OSError):  # the cache saves time and nothing else
            write(cache, json.dumps(known | fresh))
    return found
