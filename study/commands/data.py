"""``study data``: make, check, pack and show data sets."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from study.commands.here import Changes, open_registry, read_settings

if TYPE_CHECKING:
    from study.data.clips import Dataset

data = typer.Typer(help="Data sets: make one on disk.", no_args_is_help=True)


@data.command()
def make(
    name: Annotated[Literal["faces"], typer.Argument(help="The data set to render.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A folder that does not exist yet, or is empty.")
    ],
    layout: Annotated[
        Literal["dfew", "ferv39k", "mafw", "clips"], typer.Option(help="The layout to write.")
    ] = "dfew",
    clips: Annotated[int, typer.Option(min=70, help="Clips in all.")] = 700,
    size: Annotated[int, typer.Option(min=32, max=224, help="Pixels on a side.")] = 64,
    folds: Annotated[int, typer.Option(min=2, max=10, help="Train and test lists.")] = 5,
    video: Annotated[bool, typer.Option("--video", help="Videos in place of frames; needs PyAV.")] = False,
    set_: Changes = None,
) -> None:
    """Write a procedural data set as files, in the layout of a real one."""
    from study.data.make import make as write_clips
    from study.progress import counting
    from study.spec.tables import parse_setting

    parameters = dict(parse_setting(change) for change in set_ or [])
    with counting(f"Writing {name}", "clips") as progress:
        made = write_clips(
            out,
            layout=layout,
            clips=clips,
            size=size,
            folds=folds,
            video=video,
            parameters=parameters,
            progress=progress,
        )
    split = f"{made.folds} folds" if made.folds else f"one split, every {folds}th person in test"
    study = "ablations/issm.toml" if Path("ablations/issm.toml").is_file() else "STUDY.toml"
    print(
        f"{made.out}: {made.clips} clips of {made.frames} frames, {made.people} people, {split}, "
        f"in the layout of {layout}.\nRun a study on it with\n"
        f"  {shlex.join(['study', 'run', study, '--set', made.setting])}"
    )


@data.command()
def show(
    name: Annotated[str, typer.Argument(help="The data set.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.png", help="The picture to write, .png or .jpg.")],
    n: Annotated[
        int | None, typer.Option("--n", min=1, max=200, help="Clips to show; one of each class if left out.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where the data set lies, if study.toml does not say.")
    ] = None,
    split: Annotated[Literal["train", "selection", "test"], typer.Option(help="The split.")] = "train",
    fold: Annotated[int | None, typer.Option(help="The fold; the first if left out.")] = None,
    set_: Changes = None,
) -> None:
    """Write a contact sheet: clips of each class over time, as a network is given them."""
    from study.data.sheet import check_format
    from study.data.sheet import show as draw

    check_format(out)
    sheet = draw(_dataset(name, root, set_ or []), name, out, rows=n, split=split, fold=fold)
    print(f"{out}: {sheet.rows} clips" + (f"; none of {', '.join(sheet.missing)}" if sheet.missing else ""))


def _dataset(name: str, root: Path | None, changes: list[str]) -> Dataset:
    """Return a data set by its name, with what study.toml says of it and what the command line changes."""
    from study.spec.tables import parse_setting

    settings = read_settings()
    registry = open_registry(settings)
    declared = registry.get("dataset", name).parameters
    known = {key: value for key, value in settings.data.get(name, {}).items() if key in declared}
    if "root" not in declared:
        known.pop("cache", None)  # a few clips are drawn sooner than a whole split is
    given = {"root": str(root)} if root else {}
    config = registry.resolve(
        "dataset", {"name": name, **known, **given, **dict(parse_setting(change) for change in changes)}, name
    )
    dataset: Dataset = registry.build("dataset", config)
    return dataset
