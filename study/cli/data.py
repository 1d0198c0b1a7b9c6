"""``study data``: make, check, pack and show data sets."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from study.cli.context import Changes, Quiet, open_registry, read_settings, resumable
from study.cli.usage import commands_about
from study.errors import ErrorCode, conflict
from study.terminal.program import as_typed

if TYPE_CHECKING:
    from study.tasks.clips.data.contract import Dataset


data = typer.Typer(
    help="Data sets: make, check, pack and show them.",
    cls=commands_about(ErrorCode.DATA, "NAME"),
    no_args_is_help=True,
)

DataName = Annotated[str, typer.Argument(metavar="NAME", help="The data set.")]
Root = Annotated[
    Path | None, typer.Argument(metavar="ROOT", help="Its folder, if study.toml does not name it.")
]
SKIP_BAD = "skip_bad=true"


@data.command()
def make(
    name: Annotated[Literal["faces"], typer.Argument(help="The data set to render.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A folder that does not exist yet, or is empty.")
    ],
    layout: Annotated[
        Literal["dfew", "ferv39k", "mafw", "clips"], typer.Option(help="The layout to write.")
    ] = "dfew",
    clips: Annotated[int, typer.Option(min=70, help="Number of clips.")] = 700,
    size: Annotated[int, typer.Option(min=32, max=224, help="Height and width in pixels.")] = 64,
    folds: Annotated[
        int, typer.Option(min=2, max=10, help="Number of folds, with a train and a test list each.")
    ] = 5,
    video: Annotated[bool, typer.Option("--video", help="Videos in place of frames; needs PyAV.")] = False,
    set_: Changes = None,
    quiet: Quiet = False,
) -> None:
    """Write a synthetic data set as files, in the layout of a real one."""
    from study.config.tables import parse_setting
    from study.tasks.clips.data.make import make as write_clips
    from study.terminal.display import progress_bar

    parameters = dict(parse_setting(change) for change in set_ or [])
    with progress_bar(f"Writing {name}", "clips") as progress:
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
    out: Annotated[Path, typer.Argument(metavar="OUT.png", help="The image to write, .png or .jpg.")],
    n: Annotated[
        int | None, typer.Option("--n", min=1, max=200, help="Clips to show; one of each class if left out.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Its folder, if study.toml does not name it.")] = None,
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="The split.")] = "train",
    fold: Annotated[int | None, typer.Option(help="The fold; the first if left out.")] = None,
    set_: Changes = None,
) -> None:
    """Write a contact sheet: clips of each class over time, as a network receives them."""
    from study.tasks.clips.data.sheet import check_format, write_sheet

    check_format(out)
    sheet = write_sheet(_dataset(name, root, set_ or []), name, out, rows=n, split=split, fold=fold)
    print(f"{out}: {sheet.rows} clips" + (f"; none of {', '.join(sheet.missing)}" if sheet.missing else ""))


@data.command()
def check(
    name: DataName,
    root: Root = None,
    set_: Changes = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Accept clips and rows that cannot be used: runs skip them.")
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(help="SHA-256 of every file: written if it does not exist, else compared."),
    ] = None,
    quiet: Quiet = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Read a whole data set once and list what is wrong with it; exit code 0 only if it can be trained on."""
    import json

    from study.tasks.clips.data.check.checks import check_dataset
    from study.tasks.clips.data.check.text import as_json, described
    from study.terminal.display import progress_bar

    changes = set_ or []
    with (
        resumable(),
        contextlib.redirect_stdout(sys.stderr),
        progress_bar(f"Reading {name}", "clips") as progress,
    ):
        report = check_dataset(
            name,
            lambda skip: _dataset(name, root, [*changes, SKIP_BAD] if skip else changes),
            skip_bad=skip_bad,
            progress=progress,
            manifest=manifest,
        )
    print(json.dumps(as_json(report), indent=1, ensure_ascii=False) if json_ else described(report))
    if not report.is_sound:
        raise typer.Exit(1)


@data.command()
def pack(
    name: DataName,
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The data set's folder.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new folder, or the same pack, finished or not.")
    ],
    set_: Changes = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip clips and rows that cannot be used.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Decode and resize all frames once, into memory-mapped files; an interrupted pack is continued."""
    from study.tasks.clips.data.sets.packing import pack as write_pack
    from study.tasks.clips.data.sets.recorded import Recorded
    from study.terminal.display import progress_bar

    with resumable():
        dataset = _dataset(name, root, [*(set_ or []), *([SKIP_BAD] if skip_bad else [])])
        if not isinstance(dataset, Recorded):
            raise conflict(
                "NAME", f"the data set {name!r}: its clips are rendered; there are no frames to pack."
            )
        with progress_bar("Reading", "clips") as progress:
            dataset.inspect(progress)
        with progress_bar("Packing", "clips") as progress:
            made = write_pack(dataset, out, progress=progress)
    kept = f" (already complete: {made.kept})" if made.kept else ""
    print(
        f"{made.out}: {made.clips} clips, {made.frames} frames, {made.bytes / 1e6:,.0f} MB in {made.shards} "
        f"files{kept}."
    )
    if made.skipped:
        print(as_typed(f"{len(made.skipped)} rows and clips were skipped; `study data check` names them."))
    print(f"Train on it with\n  --set 'base.dataset.pack=\"{made.out}\"'")


def _pack_settings(pack: Path, name: str) -> dict[str, object]:
    """Return the settings of the pack that study.toml names, so that they need not be repeated there."""
    from study.tasks.clips.data.files.packs import pack_parameters

    if pack.exists():
        return {"pack": str(pack), **pack_parameters(pack)}
    print(f"{name}: the pack {pack} of study.toml does not exist yet; the files are read.", file=sys.stderr)
    return {}


def _dataset(name: str, root: Path | None, changes: list[str]) -> Dataset:
    """Build a data set by its name, with the settings of study.toml and the changes of the command line."""
    from study.config.tables import parse_setting

    settings = read_settings()
    registry = open_registry(settings)
    declared = registry.get("dataset", name).parameters
    configured: dict[str, object] = {
        key: value for key, value in settings.data.get(name, {}).items() if key in declared
    }
    if "root" not in declared:
        configured.pop("cache", None)  # a cache renders whole splits, and a command may need a few clips only
    pack = str(configured.pop("pack", ""))
    if root:
        configured["root"] = str(root)
    elif pack:  # with a root given, its files are read
        configured = {**_pack_settings(Path(pack).expanduser(), name), **configured}
    config = registry.resolve(
        "dataset", {"name": name, **configured, **dict(parse_setting(change) for change in changes)}, name
    )
    dataset: Dataset = registry.build("dataset", config)
    return dataset
