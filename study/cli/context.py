"""Shared by the commands: option types, this machine's settings, its ledger, the components, the study."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from study.errors import conflict, missing_value
from study.terminal.program import program
from study.terminal.quiet import IS_QUIET

if TYPE_CHECKING:
    from study.analysis.findings import Findings
    from study.api import Study
    from study.config.registry import Registry
    from study.config.settings import Settings
    from study.ledger.store import Ledger

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C interrupted."""

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's TOML file.")]
StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="The study's TOML file, or its name in the ledger.")
]
Preset = Annotated[str | None, typer.Option("--preset", help="A preset of the study, such as smoke.")]
AcceptCode = Annotated[
    bool,
    typer.Option("--accept-code", help="Keep runs of earlier code: its changes since then alter no number."),
]
AcceptData = Annotated[
    bool,
    typer.Option("--accept-data", help="Train on data that are not sound; the report says why they are not."),
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
EngineName = Annotated[
    str,
    typer.Option("--engine", metavar="NAME", help="Where trainings run: local, in-process or a cluster's."),
]
RequireClaims = Annotated[
    Literal["not-refuted", "strict"] | None,
    typer.Option(
        "--require-claims",
        metavar="[=strict]",
        help="Exit with code 3 if a claim is refuted; =strict: with code 4 if one is not supported.",
    ),
]


def _set_quiet(quiet: bool) -> bool:
    IS_QUIET.set(quiet)
    return quiet


Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", callback=_set_quiet, help="Print results, no progress."),
]
"""Progress is shown by `study.terminal.display`, which reads what the option sets; a command takes it alone."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts; errors too.")]
REFUTED, UNDECIDED = 3, 4
"""Exit codes of a command that requires the claims."""
SKIPPING = "base.dataset.skip_bad=true"


def read_settings() -> Settings:
    """Return the settings of the nearest study.toml."""
    from study.config.settings import settings

    return settings(Path.cwd())


def open_ledger(settings: Settings) -> Ledger:
    """Return this machine's ledger; writes nothing."""
    from study.ledger.store import Ledger

    return Ledger(settings.ledger)


def format_ledger(settings: Settings, study: Path | None = None) -> str:
    """Return which ledger is in use and why, with a warning where a study lies in a project of its own.

    Args:
        settings: This machine's settings.
        study: The study's file; None if the command takes a name.
    """
    from study.config.settings import FILE, root_of

    file = settings.root / FILE
    why = f"settings of {file}" if file.is_file() else f"no {FILE} in {settings.root} or above"
    line = f"Ledger: {settings.ledger} ({why})"
    if (
        study is None
        or (own := root_of(Path(os.path.realpath(study)).parent)) == settings.root
        or not (own / FILE).is_file()
    ):
        return line
    return (
        f"{line}\nWarning: {own / FILE}, which is nearer to {study}, is not read: settings are those of the working "
        f"folder. To use its ledger, run the command in {own}."
    )


def study_name(study: str, preset: str | None, changes: list[str], ledger: Ledger) -> str:
    """Return the name of a study in the ledger; its file need not exist any more.

    Args:
        study: The study's file, or its name.
        preset: A preset of the file, which is a study of its own.
        changes: Changed values, ``key=value`` each, which make another study too.
        ledger: Where the study is looked up.

    Raises:
        InputError: The ledger has no such study.
    """
    from study.config.study import name_of
    from study.errors import unknown_name

    name = name_of(Path(study if study.endswith(".toml") else f"{study}.toml"), preset, changes)
    known = ledger.studies()
    if name not in known:
        raise unknown_name(
            "STUDY",
            f"the ledger {ledger.root} has no study {name!r}",
            name,
            known,
            "A study is added when `study run` starts it; `study status` lists them.",
        )
    require_own_record(Path(study), name, ledger)
    return name


def require_own_record(study: Path, name: str, ledger: Ledger, question: str | None = None) -> None:
    """Raise InputError if the ledger's record of a name is another study file's.

    The file is not read: one in place of a file that is gone is another study's only if `question` differs.
    """
    if not study.is_file() or name not in ledger.studies():
        return
    root, file, record = read_settings().root, Path(os.path.realpath(study)), ledger.study(name)
    named = str(file.relative_to(root) if file.is_relative_to(root) else file)
    asked = record.question if question is None else question
    ledger.require_same_study(replace(record, file=named, root=str(root), question=asked))


def with_skipping(skip_bad: bool, study: Path, preset: str | None, changes: list[str]) -> list[str]:
    """Return the changes to a study, with that of ``--skip-bad`` if the option is set.

    Raises:
        InputError: The study's data set does not support skipping.
    """
    from study.config.registry import Registry, component_table
    from study.config.study import load

    if not skip_bad or SKIPPING in changes:
        return changes
    if study.is_file():
        settings = read_settings()
        spec = load(study, preset, changes)
        registry = Registry(settings.components, str(spec.task["name"]))
        if "dataset" not in registry.kinds:
            raise conflict("--skip-bad", "the study's task has no data sets.")
        dataset = spec.base.get("dataset", registry.kinds["dataset"].default)
        name = (component_table(dataset) or {}).get("name", "")
        if "dataset" in spec.factors:
            raise conflict(
                "--skip-bad", "the study varies its data set; write skip_bad = true at its levels."
            )
        if name in registry.names("dataset") and "skip_bad" not in registry.get("dataset", name).parameters:
            raise conflict(
                "--skip-bad",
                f"the clips of the data set {name!r} are not read from recorded files, so none can be "
                "skipped. Leave the option out.",
            )
    return [*changes, SKIPPING]


def open_registry(settings: Settings) -> Registry:
    """Return the components that a study of the built-in task may name on this machine."""
    from study.api import put_on_path
    from study.config.registry import Registry

    put_on_path(settings.root)
    return Registry(settings.components)


def compiled(
    study: Path,
    preset: str | None,
    changes: list[str],
    *,
    accept_data: bool = False,
    engine: str = "local",
    engine_options: Mapping[str, Any] = MappingProxyType({}),
) -> Study:
    """Compile a study, with a progress bar while its data set is read; writes nothing."""
    from study.api import load
    from study.terminal.display import progress_from_first

    with progress_from_first("Reading the data set once", "clips") as progress:
        return load(
            study,
            preset,
            changes,
            progress=progress,
            accept_data=accept_data,
            engine=engine,
            engine_options=engine_options,
        )


@contextmanager
def resumable() -> Iterator[None]:
    """On Ctrl-C, print the command that continues the work and exit with `INTERRUPTED`."""
    try:
        yield
    except KeyboardInterrupt:
        command = f"{program()} {shlex.join(sys.argv[1:])}"
        print(
            f"\nInterrupted; finished work is kept. Continue with the same command:\n  {command}",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None


class RequiringClaims(TyperCommand):
    """A command whose option ``--require-claims`` may lack its value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give the option without a value its default one."""
        bare = "--require-claims"
        return super().parse_args(ctx, [f"{bare}=not-refuted" if arg == bare else arg for arg in args])


def require_claims_in(claims: Collection[object], required: str | None) -> None:
    """Raise InputError if claims are required and there are none."""
    if required and not claims:
        raise missing_value("--require-claims", "there is no claim. A study states them as [[claims]].")


def exit_unless_claims_hold(findings: Findings, required: str | None) -> None:
    """Exit with code `REFUTED` or `UNDECIDED` if a required claim does not hold."""
    if not required:
        return
    refuted = [claim for claim in findings.claims if claim.verdict == "refuted"]
    open_ = [claim for claim in findings.claims if claim.verdict not in ("refuted", "supported")]
    for claim in (*refuted, *(open_ if required == "strict" else ())):
        print(f"Claim {claim.verdict}: {claim.text}", file=sys.stderr)
    if refuted:
        raise typer.Exit(REFUTED)
    if open_ and required == "strict":
        raise typer.Exit(UNDECIDED)
