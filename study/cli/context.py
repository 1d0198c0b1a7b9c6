"""What every command begins with: this machine's settings, its ledger, the components, the study asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from study.api import Study
    from study.config.registry import Registry
    from study.config.settings import Settings
    from study.ledger.store import Ledger

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended."""

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's TOML file.")]
StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="The study's TOML file, or its name in the ledger.")
]
Preset = Annotated[str | None, typer.Option("--preset", help="A preset of the study, such as smoke.")]
AcceptCode = Annotated[
    bool,
    typer.Option("--accept-code", help="Keep runs of earlier code: its changes since then alter no number."),
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value; may be repeated.")
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad", help="Leave out clips that cannot be read; as --set base.dataset.skip_bad=true."
    ),
]
SKIPPING = "base.dataset.skip_bad=true"


def read_settings() -> Settings:
    """Return what the nearest study.toml says of this machine."""
    from study.config.settings import settings

    return settings(Path.cwd())


def open_ledger(settings: Settings) -> Ledger:
    """Return this machine's ledger; nothing is written."""
    from study.ledger.store import Ledger

    return Ledger(settings.ledger)


def study_name(study: str, preset: str | None, changes: list[str], ledger: Ledger) -> str:
    """Return the name that the ledger has a study under, whether or not its file is still there.

    Args:
        study: The study's file, or its name.
        preset: Names another study of the same file, as `changes` do.
        changes: ``key=value`` each.
        ledger: Has carried the study out.

    Raises:
        InputError: It never has.
    """
    from study.config.study import name_of
    from study.errors import InputError, nearest

    name = name_of(Path(study if study.endswith(".toml") else f"{study}.toml"), preset, changes)
    known = ledger.studies()
    if name not in known:
        raise InputError(
            f"the ledger {ledger.root} has no study {name!r}.{nearest(name, known)} "
            "A study is in it once `study run` has begun it; `study status` lists them."
        )
    return name


def with_skipping(skip_bad: bool, study: Path, preset: str | None, changes: list[str]) -> list[str]:
    """Return the changes to a study, ``--skip-bad`` among them where it is given.

    Raises:
        InputError: The study's data set has no examples that could be left out.
    """
    from study.config.registry import Registry
    from study.config.study import load
    from study.errors import InputError

    if not skip_bad or SKIPPING in changes:
        return changes
    if study.is_file():
        settings = read_settings()
        spec = load(study, preset, changes)
        registry = Registry(settings.components, str(spec.task["name"]))
        if "dataset" not in registry.kinds:
            raise InputError("--skip-bad: the study's task has no data sets that could leave anything out.")
        dataset = spec.base.get("dataset", registry.kinds["dataset"].default)
        name = dataset if isinstance(dataset, str) else dataset.get("name", "")
        if "dataset" in spec.factors:
            raise InputError(
                "--skip-bad: the study varies its data set; write skip_bad = true at its levels."
            )
        if name in registry.names("dataset") and "skip_bad" not in registry.get("dataset", name).parameters:
            raise InputError(
                f"--skip-bad: the clips of the data set {name!r} are not read from recorded files, so that "
                "none can be left out. Leave the option out."
            )
    return [*changes, SKIPPING]


def open_registry(settings: Settings) -> Registry:
    """Return the components that a study of the built-in task may name here."""
    from study.api import put_on_path
    from study.config.registry import Registry

    put_on_path(settings.root)
    return Registry(settings.components)


def compiled(study: Path, preset: str | None, changes: list[str]) -> Study:
    """Return the study as it would be carried out; nothing is written."""
    from study.api import load

    with ExitStack() as stack:
        return load(study, preset, changes, progress=_reading(stack))


def _reading(stack: ExitStack) -> Callable[[int, int], None]:
    """Return what shows how many examples have been read, from the first one on."""
    from study.cli.display import counting

    bar: list[Callable[[int, int], None]] = []

    def show(done: int, total: int) -> None:
        if not bar:
            bar.append(stack.enter_context(counting("Reading the data set once", "clips")))
        bar[0](done, total)

    return show
