"""``study weights``: import released weights, export trained ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from study.cli.usage import commands_about
from study.errors import ErrorCode

weights = typer.Typer(
    help="Weights: import published ones, export trained ones.",
    cls=commands_about(ErrorCode.UNREADABLE_FILE, "PATH"),
    no_args_is_help=True,
)

Source = Annotated[Path, typer.Argument(help="The file to read.")]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; it must not exist.")]


Head = Annotated[
    Literal["kept", "fresh"],
    typer.Option(help="fresh leaves the classifier out: it is initialised from the seed, for any classes."),
]


@weights.command(name="import")
def import_(released: Source, out: Target, head: Head = "kept") -> None:
    """Import a published checkpoint of IFDD (any configuration), Former-DFER, M3DFEL or MAE-DFER."""
    from study.tasks.clips.nets.checkpoints import import_checkpoint

    print(import_checkpoint(released, out, head))


@weights.command()
def export(path: Source, out: Target) -> None:
    """Write the weights of a run, or imported ones, as a checkpoint for the authors' code."""
    from study.tasks.clips.nets.ifdd.exchange import export_released

    print(export_released(path, out))


@weights.command()
def kinetics(
    out: Target,
    path: Annotated[
        Path | None, typer.Option("--from", help="torchvision's file; downloaded if left out.")
    ] = None,
) -> None:
    """Import torchvision's Kinetics-400 weights of mvit_v2_s for the backbone mfvit-xs."""
    from study.tasks.clips.nets.ifdd.exchange import import_kinetics

    print(import_kinetics(out, path))
