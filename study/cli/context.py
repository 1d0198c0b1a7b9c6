"""What every command begins with: this machine's settings, its ledger, the components, the study asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from study.ledger.record import StudyRecord
    from study.ledger.store import Ledger
    from study.config.registry import Registry
    from study.config.settings import Settings
    from study.config.study import StudySpec

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended."""

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's TOML file.")]
StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="The study's TOML file, or its name in the ledger.")
]
Profile = Annotated[str | None, typer.Option("--profile", help="A profile of the study, such as smoke.")]
AcceptCode = Annotated[
    bool,
    typer.Option("--accept-code", help="Keep runs of older code: its changes since then alter no number."),
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


def study_name(study: str, profile: str | None, changes: list[str], ledger: Ledger) -> str:
    """Return the name that the ledger has a study under, whether or not its file is still there.

    Args:
        study: The study's file, or its name.
        profile: Names another study of the same file, as `changes` do.
        changes: ``key=value`` each.
        ledger: Has carried the study out.

    Raises:
        InputError: It never has.
    """
    from study.errors import InputError, nearest
    from study.engine.status import studies
    from study.config.study import name_of

    name = name_of(Path(study if study.endswith(".toml") else f"{study}.toml"), profile, changes)
    known = studies(ledger)
    if name not in known:
        raise InputError(
            f"the ledger {ledger.root} has no study {name!r}.{nearest(name, known)} "
            "A study is in it once `study run` has begun it; `study status` lists them."
        )
    return name


def with_skipping(
    skip_bad: bool, study: Path, profile: str | None, changes: list[str], settings: Settings
) -> list[str]:
    """Return the changes to a study, ``--skip-bad`` among them where it is given.

    Raises:
        InputError: The study's data set has no clips that could be left out.
    """
    from study.errors import InputError
    from study.config.study import load

    if not skip_bad or SKIPPING in changes:
        return changes
    if study.is_file():
        spec, registry = load(study, profile, changes), open_registry(settings)
        dataset = spec.base["dataset"]
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
    """Return the components that a study may name here."""
    from study.config.registry import Registry

    if str(settings.home) not in sys.path:  # the user's own component modules lie beside study.toml
        sys.path.insert(0, str(settings.home))
    return Registry(settings.components)


def prepared(
    study: Path, profile: str | None, changes: list[str], settings: Settings
) -> tuple[StudySpec, StudyRecord]:
    """Return the study as it was written and as it would be carried out; nothing is written.

    Code that its author has let stand for today's is kept.
    """
    from study.executors.devices import choose_device, cuda_devices
    from study.config.compile import prepare
    from study.engine.cache import accepted, keep
    from study.config.study import load

    registry = open_registry(settings)
    spec = load(study, profile, changes)
    device = choose_device(settings.device, () if settings.device == "cpu" else cuda_devices())
    with ExitStack() as stack:
        record = prepare(spec, registry, settings, device, _reading(stack))
    return spec, keep(record, accepted(record, open_ledger(settings)))


def _reading(stack: ExitStack) -> Callable[[int, int], None]:
    """Return what shows how many clips have been read, from the first one on: mostly there is none to read."""
    from study.cli.display import counting

    bar: list[Callable[[int, int], None]] = []

    def tell(done: int, total: int) -> None:
        if not bar:
            bar.append(stack.enter_context(counting("Reading the data set once", "clips")))
        bar[0](done, total)

    return tell


def with_older_code(record: StudyRecord, ledger: Ledger) -> StudyRecord:
    """Return the study with the runs of older code that it could keep, and say so; nothing is written."""
    from study.engine.cache import acceptable, keep, told

    found = acceptable(record, ledger)
    print("\n".join(told(record, ledger, found)) or "There are no runs of other code to keep.")
    return keep(record, found)
