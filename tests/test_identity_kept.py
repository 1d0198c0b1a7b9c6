"""Ids that must stay as they are, and ids that must change: compared with a table that an earlier version wrote.

Each case is a copy of the program and of a user's files with some edits. All of them are compiled by one process that
imports the libraries once and forks for each copy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import study

PROGRAM = Path(study.__file__).parent
KEPT = Path(__file__).parent / "ledgers" / "identity"
IDS: Mapping[str, Mapping[str, str]] = json.loads((KEPT / "ids.json").read_text())

CLIPS = {("clips", name) for name in IDS["clips"]}
MINE = {("clips", "mine")}
BUILT_IN = CLIPS - MINE
ISSM = {("clips", "issm(receptive_field=1.5)")}
FUNCTION = {("function", name) for name in IDS["function"]}
COMMAND = {("command", name) for name in IDS["command"]}

COMPILE = """
import json, os, sys, traceback
import numpy, pydantic
from pathlib import Path
for line in sys.stdin:
    program, project = map(Path, json.loads(line))
    if not (process := os.fork()):
        code = 1
        try:
            sys.path[:0] = [str(program), str(project)]
            import make, study
            assert Path(study.__file__).is_relative_to(program)
            (project / "found.json").write_text(json.dumps(make.ids(project)))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.waitpid(process, 0)
"""


class Copy:
    """A copy of the program and of a user's files, whose texts a test may edit."""

    def __init__(self, folder: Path) -> None:
        self.program, self.project = folder / "program", folder / "project"
        ignored = shutil.ignore_patterns("__pycache__", "*.png", ".study")
        shutil.copytree(PROGRAM, self.program / "study", ignore=ignored)
        shutil.copytree(KEPT, self.project, ignore=ignored)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text, which must be there once, in a file below the folder of either."""
        path = self.path(file)
        text = path.read_text()
        assert text.count(old) == 1, f"{file}: {text.count(old)} times {old!r}"
        path.write_text(text.replace(old, new))

    def append(self, file: str, text: str) -> None:
        path = self.path(file)
        path.write_text(path.read_text() + text)

    def path(self, file: str) -> Path:
        return (self.program if file.startswith("study/") else self.project) / file


CLIPS_TASK = "study/tasks/clips"
SPLITTERS = f"{CLIPS_TASK}/nets/ifdd/splitters.py"


def add_a_kind(copy: Copy) -> None:
    copy.edit(
        f"{CLIPS_TASK}/task.py",
        '    Kind("metric",',
        '    Kind("noise", (), "noise in clips", default="quiet", legacy_default="quiet"),\n    Kind("metric",',
    )
    copy.edit(
        f"{CLIPS_TASK}/task.py",
        '    "study.tasks.clips.training.optim.schedules",\n',
        '    "study.tasks.clips.training.optim.schedules",\n    "study.tasks.clips.training.noise",\n',
    )
    copy.path(f"{CLIPS_TASK}/training/noise.py").write_text(
        "from typing import Annotated\n"
        "from study.config.registry import component\n"
        '@component("noise")\n'
        "def quiet(*, level: Annotated[float, 'of the noise'] = 0.0):\n"
        '    """None."""\n'
        "    return level\n"
    )


def add_a_kind_that_counts(copy: Copy) -> None:
    add_a_kind(copy)
    copy.edit(f"{CLIPS_TASK}/task.py", ', default="quiet", legacy_default="quiet"', ', default="quiet"')


def add_a_metric(copy: Copy) -> None:
    text = (
        '\n\n@component("metric", label="kappa")\n'
        "def kappa(labels: Labels, logits: Logits) -> float:\n"
        '    """Kappa."""\n'
        "    return 0.0\n"
    )
    copy.append(f"{CLIPS_TASK}/metrics.py", text)


def add_an_optimizer(copy: Copy) -> None:
    text = (
        '\n\n@component("optimizer")\n'
        'def lion(parameters, lr, weight_decay, *, beta: Annotated[float, "of the mean"] = 0.9):\n'
        '    """Lion."""\n'
        "    return None\n"
    )
    copy.append(f"{CLIPS_TASK}/training/optim/optimizers.py", text)


def add_settings(copy: Copy) -> None:
    """Add a key of ``[train]`` and a parameter of a component, each at its legacy value."""
    field = "    accumulate: Annotated[int, Range(1), Legacy(1)] = 1\n"
    added = '    dropped: Annotated[float, Range(0.0), Legacy(0.0)] = 0.0\n    """Share."""\n'
    copy.edit(f"{CLIPS_TASK}/training/settings.py", field, added + field)
    frozen = '    frozen: Annotated[bool, "keep every offset at zero: resampling without content"] = False,\n'
    added = '    sharpness: Annotated[float, Legacy(1.0), "of the similarity"] = 1.0,\n'
    copy.edit(SPLITTERS, frozen, frozen + added)
    declares = "from study.config.registry import Range, component\n"
    copy.edit(SPLITTERS, declares, declares.replace("import ", "import Legacy, "))


def add_settings_that_count(copy: Copy) -> None:
    """Add a parameter whose default is not what runs had before."""
    add_settings(copy)
    copy.edit(SPLITTERS, "Legacy(1.0)", "Legacy(0.5)")


def reword(copy: Copy) -> None:
    """Reword errors, comments and docstrings, in the program and in the user's files."""
    errors = copy.path("study/errors.py")
    assert "Did you mean" in errors.read_text()
    errors.write_text(errors.read_text().replace("Did you mean", "Do you mean"))
    copy.edit(SPLITTERS, "needs an even number of time steps, at least 4,", "takes 4, 6, 8, … time steps")
    files = [*copy.program.rglob("*.py"), *copy.project.rglob("*.py")]
    for file in files:
        text = file.read_text()
        worded = text.replace('"""', '"""Reworded: ', 1) if text.startswith('"""') else text
        file.write_text(f"# A comment.\n\n{worded}\n\n# Another.\n")


def edit_the_loop(copy: Copy) -> None:
    """Change the log's interval and the text of what counts by `ENGINE` alone."""
    copy.edit(f"{CLIPS_TASK}/training/batches.py", "LOG_EVERY_S = 10.0", "LOG_EVERY_S = 30.0")
    for name in ("train", "evaluation/evaluate", "state", "batches", "optim/schedules", "checkpoint"):
        copy.append(f"{CLIPS_TASK}/training/{name}.py", "\nANOTHER = 1\n")
    for module in ("records/run", "config/registry", "engine/plan", "task", "run", "reported", "nested"):
        copy.append(f"study/{module}.py", "\nANOTHER = 1\n")


def edit_what_no_run_names(copy: Copy) -> None:
    """Change code and files of the user that no run uses."""
    copy.append(f"{CLIPS_TASK}/data/sets/dfew.py", "\nANOTHER = 1\n")
    (copy.project / "notes.txt").write_text("unrelated\n")
    (copy.project / "lab" / "unused.py").write_text("A = 1\n")


def raise_engine(copy: Copy) -> None:
    copy.edit(f"{CLIPS_TASK}/task.py", "\nENGINE = ", "\nENGINE = 1000 + ")


def appended(file: str, text: str = "\nANOTHER = 1\n"):
    def edit(copy: Copy) -> None:
        copy.append(file, text)

    return edit


def other_env(study: str):
    def edit(copy: Copy) -> None:
        copy.edit(f"{study}.toml", 'MODE = "plain"', 'MODE = "other"')

    return edit


@dataclass(frozen=True)
class Case:
    """Edits, and the runs that are others after them."""

    edits: tuple
    changed: frozenset = frozenset()


def case(changed: set, *edits) -> Case:
    return Case(edits, frozenset(changed))


HARMLESS = (
    add_a_kind,
    add_a_metric,
    add_an_optimizer,
    add_settings,
    reword,
    edit_the_loop,
    edit_what_no_run_names,
)
CASES = {
    "nothing": case(set()),
    "additions, other words, another log interval, another text of the loop": case(set(), *HARMLESS),
    "the code of a component": case(BUILT_IN, appended(SPLITTERS)),
    "a helper of components": case(CLIPS, appended(f"{CLIPS_TASK}/nets/resampling.py")),
    "a new kind that runs did not have": case(CLIPS, add_a_kind_that_counts),
    "a new parameter at another value than runs had": case(ISSM, add_settings_that_count),
    "the data set's code": case(CLIPS, appended(f"{CLIPS_TASK}/data/faces/dataset.py")),
    "ENGINE": case(CLIPS, raise_engine),
    "the user's component": case(MINE, appended("my_parts.py")),
    "what the user's component imports": case(MINE, appended("my_helper.py")),
    "the user's function": case(FUNCTION, appended("lab/training.py")),
    "what the user's function imports": case(FUNCTION, appended("lab/steps.py")),
    "an import in a folder without __init__.py": case(FUNCTION, appended("loose/part.py")),
    "an import by import_module": case(FUNCTION, appended("late.py")),
    "a listed source": case(FUNCTION, appended("labels.txt", "bird\n")),
    "declared data": case(FUNCTION, appended("data/points.csv", "3,4\n")),
    "another file of declared data": case(
        FUNCTION, lambda copy: (copy.project / "data" / "more.csv").write_text("1\n")
    ),
    "the environment of a function": case(FUNCTION, other_env("function")),
    "the environment of a command": case(COMMAND, other_env("command")),
    "a command's script": case(COMMAND, appended("script.py")),
    "what a command's script imports": case(COMMAND, appended("script_helper.py")),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the homes of all cases, each with the ids that were found in it."""
    copies = {}
    for number, (name, made) in enumerate(CASES.items()):
        copies[name] = Copy(tmp_path_factory.mktemp(f"case{number}"))
        for edit in made.edits:
            edit(copies[name])
    lines = "".join(json.dumps([str(copy.program), str(copy.project)]) + "\n" for copy in copies.values())
    process = subprocess.run(
        [sys.executable, "-c", COMPILE],
        input=lines,
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])},
        capture_output=True,
        text=True,
        check=True,
    )
    for copy in copies.values():
        (copy.project / "log.txt").write_text(process.stderr)
    return {name: copy.project for name, copy in copies.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_run_has_another_id_exactly_where_its_numbers_may_be_others(
    found: dict[str, Path], name: str
) -> None:
    project = found[name]
    assert (project / "found.json").is_file(), (project / "log.txt").read_text()
    now = json.loads((project / "found.json").read_text())
    assert {study: set(ids) for study, ids in now.items()} == {study: set(ids) for study, ids in IDS.items()}
    others = {(study, v) for study, ids in now.items() for v, new in ids.items() if new != IDS[study][v]}
    assert others == CASES[name].changed


def test_every_kept_id_is_of_this_version_and_of_one_run() -> None:
    kept = [run for ids in IDS.values() for run in ids.values()]
    assert len(kept) == len(set(kept)) == 7
    assert all(run.startswith("r2-") for run in kept)
