"""``study data``: make, check, pack and show data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

data = typer.Typer(help="Data sets: make one on disk.", no_args_is_help=True)


@data.command()
def make(
    name: Annotated[Literal["faces"], typer.Argument(help="The data set to render.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A folder that does not exist yet, or is empty.")
    ],
    layout: Annotated[Literal["dfew"], typer.Option(help="The layout to write.")] = "dfew",
    clips: Annotated[int, typer.Option(min=70, help="Clips in all.")] = 700,
    size: Annotated[int, typer.Option(min=32, max=224, help="Pixels on a side.")] = 64,
    folds: Annotated[int, typer.Option(min=2, max=10, help="Train and test lists.")] = 5,
) -> None:
    """Write a procedural data set as files, in the layout of a real one."""
    from study.data.make import make as write_clips
    from study.progress import counting

    with counting(f"Writing {name}", "clips") as progress:
        made = write_clips(out, layout=layout, clips=clips, size=size, folds=folds, progress=progress)
    print(
        f"{made.out}: {made.clips} clips of {made.frames} frames, {made.people} people, {made.folds} folds, "
        f"in the layout of {layout}.\nRun a study on it with\n"
        f'  --set \'base.dataset={{name="{layout}", root="{out}", folds=[1]}}\''
    )
