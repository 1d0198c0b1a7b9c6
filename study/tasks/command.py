"""The task `command`: a program of the user trains, and writes its figures as lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from study.config.registry import component
from study.config.revisions import CODE, is_junk
from study.errors import InputError, missing_value, shown, wrong_value
from study.files import remove, write
from study.ledger.layout import EXAMPLES, LOG, OWN_CONFIG, OWN_METRICS, OWN_OUTPUT, TEST_PREDICTIONS
from study.nested import walk
from study.records import RunSpec
from study.reported import ReportError
from study.run import Run
from study.task import Config, Sources
from study.tasks.options import Options
from study.tasks.own.outside import watched
from study.tasks.own.placeholders import check_placeholders, expand, keys_in
from study.tasks.own.processes import POLL_S, check_exit_code, find_program, program, search_path
from study.tasks.own.references import check_imports
from study.tasks.own.training import (
    LAST_LINES,
    OwnTask,
    begin_attempt,
    deep_copy,
    end_training,
    matching_files,
    validated_test,
)

if TYPE_CHECKING:
    from study.config.registry import Registry

VISIBLE = "CUDA_VISIBLE_DEVICES"
LARGEST_SOURCE_BYTES = 1_000_000
QUOTED_CHARACTERS = 120
"""The most characters of a line that a message repeats."""


@component("task")
def command(
    registry: Registry,
    *,
    command: Annotated[list[str], "what trains: a program and its arguments, with placeholders such as {lr}"],
    evaluate_command: Annotated[list[str] | None, "what computes the test figures, likewise"] = None,
    reads_config: Annotated[bool, "whether the program reads the configuration from $STUDY_CONFIG"] = False,
    options: Options,
) -> CommandTask:
    """Any program trains; it writes its figures to $STUDY_METRICS."""
    return CommandTask(command, evaluate_command, reads_config, options)


class CommandTask(OwnTask):
    """A program of the user as a task; see `Task`."""

    def __init__(
        self, command: list[str], evaluate_command: list[str] | None, reads_config: bool, options: Options
    ) -> None:
        super().__init__(options)
        self._commands: dict[str, list[str]] = {"task.command": _arguments(command, "task.command")}
        if evaluate_command is not None:
            self._commands["task.evaluate_command"] = _arguments(evaluate_command, "task.evaluate_command")
        self._reads_config = reads_config

    def _identity(self) -> Mapping[str, Any]:
        return {
            "command": self._commands["task.command"],
            "evaluate_command": self._commands.get("task.evaluate_command"),
        }

    @property
    def _all_commands(self) -> Iterator[list[str]]:
        yield from self._commands.values()
        if isinstance(self.options.prepare, list):
            yield self.options.prepare

    def validate(self, configs: Sequence[Config]) -> None:
        """Check the commands against all configurations of a study, without running them.

        Raises:
            InputError: A program that does not exist, a placeholder that is no key, or a key that no placeholder uses.
        """
        self.check_keys(configs)
        for reference in self.references():
            reference.validate()
        self.prepare_command()
        items = [item for config in configs for item in walk(config)]
        keys = {key for key, _ in items}
        values = {key for key, value in items if not isinstance(value, Mapping)}
        check_placeholders(self._commands, keys, values - {CODE}, self._reads_config)
        for config in configs:
            for key in self._commands:
                self._expand(key, config, {})
        for key, arguments in self._commands.items():
            if not keys_in(arguments[:1]):
                find_program(arguments[0], {**os.environ, **self.options.env}, self.options.folder, key)

    def check(self, run: RunSpec) -> None:
        """Import the metrics' functions; raise InputError where one cannot be imported."""
        if references := self.references():
            check_imports(references, self.environment)

    def sources(self, config: Config) -> Sources:
        """Return the commands' Python scripts, whose imports are followed, or else all text files in their folder."""
        listed = self.listed_sources()
        modules = [reference.module for reference in self.references()]
        root, files = self.options.code, list(listed)
        scripts = list(dict.fromkeys(self._scripts()))
        if python := [script for script in scripts if script.suffix == ".py"]:
            root = python[0].parent
            for script in python:
                if script.parent == root and script.stem.isidentifier():
                    modules.append(script.stem)
                else:
                    files += [path for path in sorted(script.parent.glob("*.py")) if path not in files]
        modules += [name for arguments in self._all_commands for name in _modules(arguments)]
        if not modules:
            folder = scripts[0].parent if scripts else self.options.folder
            files += [path for path in self._text_files(folder) if path not in files]
        return Sources(
            modules=tuple(dict.fromkeys(modules)), files=tuple(files), root=root, version=self.options.version
        )

    def _scripts(self) -> Iterator[Path]:
        """Yield the resolved paths of files below the code's folder that the commands name."""
        code = self.options.code.resolve()
        for arguments in self._all_commands:
            for argument in arguments:
                path = (self.options.folder / argument).resolve()
                if argument and not keys_in([argument]) and path.is_file() and code in path.parents:
                    yield path

    def _text_files(self, folder: Path) -> Iterator[Path]:
        """Yield the text files below a folder, except outputs, data, studies and hidden files."""
        skipped = {(self.options.code / name).resolve() for name in (*self.options.outputs, "reports")}
        skipped |= {path.resolve() for path in self._data_files()}
        for parent, folders, names in os.walk(folder):
            folders[:] = sorted(
                name
                for name in folders
                if not is_junk(Path(parent, name)) and Path(parent, name).resolve() not in skipped
            )
            for path in (Path(parent, name) for name in sorted(names)):
                if (
                    not is_junk(path)
                    and path.resolve() not in skipped
                    and _is_text(path)
                    and not _is_study(path)
                ):
                    yield path

    def _data_files(self) -> Iterator[Path]:
        with contextlib.suppress(InputError):
            yield from (
                path for _, path in matching_files(self.options.data, self.options.root_folder, "task.data")
            )

    def train(self, run: Run) -> None:
        """Run the command, and report the figures that it writes while it runs.

        Raises:
            RunStopped: The search stops the trial, or the training diverged: the command is terminated.
            ProgramError: The command failed.
            ReportError: The command wrote malformed lines or impossible figures.
        """
        begin_attempt(run)
        remove(run.folder / OWN_METRICS)
        self._run_command("task.command", run)
        key = "task.evaluate_command"
        end_training(run, key, has_evaluation=key in self._commands)

    def evaluate(self, run: Run) -> Mapping[str, float]:
        """Run the command for the test, and return the figures of its ``{"test": …}`` line.

        Raises:
            ProgramError: The command failed.
            ReportError: It wrote no such line, or impossible figures.
        """
        key = "task.evaluate_command"
        if key not in self._commands:
            raise missing_value(key, "is missing; this command reports its test figures itself.")
        for name in (TEST_PREDICTIONS, EXAMPLES):
            remove(run.folder / name)
        self._run_command(key, run)
        if run.test_metrics is None:
            name = run.spec.metric_name
            raise ReportError(f'{key} ended without a line {{"test": {{"{name}": …}}}} in $STUDY_METRICS.')
        return validated_test(run, run.test_metrics)

    def _expand(self, key: str, config: Config, run_values: Mapping[str, Any]) -> list[str]:
        return expand(self._commands[key], config, run_values, key)

    def _run_command(self, key: str, run: Run) -> None:
        """Run a command to its end, and report the lines that it writes."""
        config = deep_copy(run.config)
        write(run.folder / OWN_CONFIG, json.dumps(config, indent=1))
        run_values = {
            "seed": run.seed,
            "fold": run.fold,
            "folder": str(run.folder.absolute()),
            "checkpoint": str(run.checkpoint.absolute()),
            "weights": str(run.weights.absolute()),
            "config": str((run.folder / OWN_CONFIG).absolute()),
        }
        arguments = self._expand(key, config, run_values)
        variables = self._variables(run, run_values)
        reader = _NewLines(run.folder / OWN_METRICS)
        with (
            _output(run.folder) as (output, log),
            watched(run, self.options),
            program(arguments, self.options.folder, variables, output, key) as process,
        ):
            began = log.stat().st_size
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
                _report_lines(reader, run)
            _report_lines(
                reader, run
            )  # before the exit code: a value that is not finite may explain the failure
            check_exit_code(process.returncode, _last_lines(log, began))
            _report_lines(reader, run, has_ended=True)

    def _variables(self, run: Run, run_values: Mapping[str, Any]) -> dict[str, str]:
        """Return the whole environment of a command."""
        own = {f"STUDY_{name.upper()}": str(value) for name, value in run_values.items() if value is not None}
        variables = {
            **os.environ,
            "PATH": search_path(os.environ),
            "PYTHONHASHSEED": str(run.seed % 2**32),
            "PYTHONUNBUFFERED": "1",
            **own,
            "STUDY_METRICS": str((run.folder / OWN_METRICS).absolute()),
            "STUDY_HOME": str(self.options.root_folder),
            **self.environment,
        }
        if set(os.environ.get(VISIBLE, "-").split(",")) <= set(variables.get(VISIBLE, "").split(",")):
            variables[VISIBLE] = os.environ[VISIBLE]  # the worker's share of the devices that the task names
        if run.device == "cpu":
            variables[VISIBLE] = ""
        if run.fold is None:
            variables.pop("STUDY_FOLD", None)
        return variables


class _NewLines:
    """The lines that another process appends to a file from now on."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._number = path, 0, 0
        with contextlib.suppress(FileNotFoundError):
            earlier = path.read_bytes()
            self._offset, self._number = len(earlier), earlier.count(b"\n")

    def read(self, has_ended: bool) -> Iterator[tuple[int, bytes]]:
        """Yield each new line with its number from 1; an incomplete one only after the writer `has_ended`."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return
        for line in text.splitlines(keepends=True):
            if not line.endswith(b"\n") and not has_ended:
                return
            self._offset += len(line)
            self._number += 1
            if line.strip():
                yield self._number, line.strip()


def _report_lines(lines: _NewLines, run: Run, has_ended: bool = False) -> None:
    """Report the figures that a command wrote; raise ReportError, with the line's number, for a malformed line."""
    for number, text in lines.read(has_ended):
        excerpt = text.decode(errors="replace")
        if len(excerpt) > QUOTED_CHARACTERS:
            excerpt = excerpt[: QUOTED_CHARACTERS - 1] + "…"
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict):
            raise ReportError(f"line {number} of {OWN_METRICS} is no JSON object: {excerpt}")
        test = line.pop("test", None)
        if "epoch" not in line and test is None:
            raise ReportError(f"line {number} of {OWN_METRICS} has neither 'epoch' nor 'test': {excerpt}")
        if test is not None and not isinstance(test, dict):
            raise ReportError(
                f"line {number} of {OWN_METRICS}: 'test' must hold an object of figures: {excerpt}"
            )
        try:
            if "epoch" in line:
                run.report(**line)
            if test is not None:
                run.test(**test)
        except (ReportError, TypeError) as error:
            raise ReportError(f"line {number} of {OWN_METRICS}: {error}") from None


@contextlib.contextmanager
def _output(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield the descriptor and the file of a command's output: the run's log, or else a file in the run's folder."""
    own = os.fstat(1)
    for log in folder.glob(LOG.format("*")):
        if os.path.samestat(own, log.stat()):
            sys.stdout.flush()
            yield 1, log
            return
    with (folder / OWN_OUTPUT).open("ab") as file:
        yield file.fileno(), folder / OWN_OUTPUT


def _last_lines(log: Path, began: int) -> str:
    with log.open("rb") as file:
        file.seek(began)
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-LAST_LINES:])


def _arguments(given: Any, key: str) -> list[str]:
    if not isinstance(given, list) or not given or not all(isinstance(part, str) for part in given):
        raise wrong_value(
            key,
            f'must be a program and its arguments as a list of strings, such as ["python", "train.py"]. '
            f"Got {shown(given)} instead.",
        )
    return given


def _modules(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the modules that Python runs by ``-m``."""
    for option, name in pairwise(arguments):
        if option == "-m" and name.replace(".", "_").isidentifier():
            yield name


def _is_text(path: Path) -> bool:
    try:
        if path.stat().st_size > LARGEST_SOURCE_BYTES:
            return False
        with path.open("rb") as file:
            return b"\0" not in file.read(8192)
    except OSError:
        return False


def _is_study(path: Path) -> bool:
    """Return whether a file is study.toml or a study, which is no code."""
    if path.suffix != ".toml":
        return False
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return path.name == "study.toml" or ("task" in table and "factors" in table)
