"""``study new``: write a commented study, with a training to replace where the task has one."""

from __future__ import annotations

import json
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, Literal, get_args

import typer

from study.cli.context import read_settings
from study.errors import ErrorCode, file_error, missing_value, quoted, wrong_value
from study.terminal.program import program

Task = Literal["function", "command", "clips"]
TASKS: dict[Task, str] = {
    "function": "a Python function of yours trains",
    "command": "a program of yours trains",
    "clips": "video classification from built-in components",
}
QUESTIONS: dict[Task, str] = {
    "function": "Does layer normalisation help?",
    "command": "Is tanh better than ReLU?",
    "clips": "Does content-aware splitting (ISSM) beat the even/odd split?",
}


def new(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The study's name, that of its file without .toml.")
    ] = None,
    task: Annotated[Task | None, typer.Option("--task", help="What trains; see below.")] = None,
    question: Annotated[str | None, typer.Option("--question", help="The question that it answers.")] = None,
    folder: Annotated[Path, typer.Option("--folder", help="Where the files are written.")] = Path(),
) -> None:
    """Write a study that runs as it is, with comments; asks on a terminal for what is not given.

    Tasks: function (a Python function trains), command (any program), clips (built-in video networks). For the first
    two a small training is written too, to be replaced. No file is ever overwritten.
    """
    name = _checked(name if name is not None else _asked("Name of the study", "NAME", "study1"))
    if task is None:
        described = "; ".join(f"{key}: {text}" for key, text in TASKS.items())
        task = _task(_asked(f"What trains ({described})", "--task", "function"))
    if question is None:
        question = _asked("Question", "--question", QUESTIONS[task]) if _is_asking() else QUESTIONS[task]
    study = folder / f"{name}.toml"
    contents = {study: _template(f"{task}.toml")}
    script = folder / f"train_{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_') or 'study'}.py"
    if task != "clips":
        contents[script] = _template(f"{task}.py.in")
    if existing := [path for path in contents if path.exists() or path.is_symlink()]:
        raise file_error(
            quoted(map(str, existing)),
            "exists, and is not overwritten. Choose another NAME.",
            ErrorCode.FILE_EXISTS,
        )
    values = {
        "name": name,
        "file": str(study),
        "title": _toml_text(name.replace("-", " ").replace("_", " ")),
        "question": _toml_text(question),
        "module": script.stem,
        "script": _toml_text(_as_run(script)),
        "program": program(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, template in contents.items():
            with path.open("x", encoding="utf-8") as file:
                file.write(template.substitute(values))
    except OSError as error:
        raise file_error(error.filename or folder, f"cannot be written: {error.strerror}.") from None
    print(f"Written: {' and '.join(map(str, contents))}. Every step in seconds, then the whole study:")
    print(f"  {program()} run {study} --preset smoke\n  {program()} run {study}")


def _checked(name: str) -> str:
    """Return the name of a study; raise InputError where a file or a module cannot have it."""
    from study.config.study import name_of
    from study.names import checked_name

    name = checked_name(name.removesuffix(".toml"), "NAME")
    return name_of(Path(f"{name}.toml"))


def _task(answer: str) -> Task:
    for task in get_args(Task):
        if answer == task:
            return task  # type: ignore[no-any-return]
    raise wrong_value("--task", f"must be {quoted(get_args(Task))}.", answer)


def _is_asking() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _asked(prompt: str, option: str, default: str) -> str:
    """Return the answer to a prompt, the default if it is empty; raise InputError without a terminal."""
    if not _is_asking():
        raise missing_value(option, "is missing, and there is no terminal to ask on.")
    return str(typer.prompt(prompt, default=default)).strip()


def _template(name: str) -> Template:
    return Template(files("study.cli").joinpath("templates", name).read_text(encoding="utf-8"))


def _toml_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _as_run(script: Path) -> str:
    """Return the path of a script for a command, which runs in the folder of study.toml."""
    root, absolute = read_settings().root, script.absolute()
    return str(absolute.relative_to(root) if absolute.is_relative_to(root) else absolute)
