"""What every command begins with: this machine's settings, its ledger, the components, the study asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from study.ledger.record import StudyRecord
    from study.ledger.store import Ledger
    from study.registry import Registry
    from study.spec.settings import Settings
    from study.spec.study import StudySpec

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's TOML file.")]
Profile = Annotated[str | None, typer.Option("--profile", help="A profile of the study, such as smoke.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value; may be repeated.")
]


def read_settings() -> Settings:
    """Return what the nearest study.toml says of this machine."""
    from study.spec.settings import settings

    return settings(Path.cwd())


def open_ledger(settings: Settings) -> Ledger:
    """Return this machine's ledger; nothing is written."""
    from study.ledger.store import Ledger

    return Ledger(settings.ledger)


def open_registry(settings: Settings) -> Registry:
    """Return the components that a study may name here."""
    from study.registry import Registry

    if str(settings.home) not in sys.path:  # the user's own component modules lie beside study.toml
        sys.path.insert(0, str(settings.home))
    return Registry(settings.components)


def prepared(
    study: Path, profile: str | None, changes: list[str], settings: Settings
) -> tuple[StudySpec, StudyRecord]:
    """Return the study as it was written and as it would be carried out; nothing is written."""
    from study.executors.devices import choose_device, cuda_devices
    from study.prepare import prepare
    from study.spec.study import load

    registry = open_registry(settings)
    spec = load(study, profile, changes)
    device = choose_device(settings.device, () if settings.device == "cpu" else cuda_devices())
    return spec, prepare(spec, registry, settings, device)
