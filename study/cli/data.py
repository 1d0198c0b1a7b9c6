"""``study data``: make, check, pack and show data sets."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from study.cli.context import INTERRUPTED, Changes, open_registry, read_settings

if TYPE_CHECKING:
    from study.tasks.clips.data.contract import Dataset

data = typer.Typer(help="Data sets: make, check, pack and show them.", no_args_is_help=True)

DataName = Annotated[str, typer.Argument(metavar="NAME", help="The data set.")]
Root = Annotated[
    Path | None, typer.Argument(metavar="ROOT", help="Where it lies, if study.toml does not say.")
]
SKIP = "skip_bad=true"


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
    from study.cli.display import counting
    from study.config.tables import parse_setting
    from study.tasks.clips.data.make import make as write_clips

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
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="The split.")] = "train",
    fold: Annotated[int | None, typer.Option(help="The fold; the first if left out.")] = None,
    set_: Changes = None,
) -> None:
    """Write a contact sheet: clips of each class over time, as a network is given them."""
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
        bool, typer.Option("--skip-bad", help="Clips and rows that cannot be used will be left out.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Read all of a data set once and say what is wrong with it; exit code 0 only if training would be sound."""
    import json

    from study.cli.display import counting
    from study.tasks.clips.data.check.checks import check_dataset
    from study.tasks.clips.data.check.text import as_json, described

    changes = set_ or []
    with (
        _resumable(),
        contextlib.redirect_stdout(sys.stderr),
        counting(f"Reading {name}", "clips") as progress,
    ):
        report = check_dataset(
            name,
            lambda skip: _dataset(name, root, [*changes, SKIP] if skip else changes),
            skip_bad=skip_bad,
            progress=progress,
        )
    print(json.dumps(as_json(report), indent=1, ensure_ascii=False) if json_ else described(report))
    if not report.is_sound:
        raise typer.Exit(1)


@data.command()
def pack(
    name: DataName,
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Where the data set lies.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new folder, or the same pack, finished or not.")
    ],
    set_: Changes = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out clips and rows that cannot be used.")
    ] = False,
) -> None:
    """Decode and resize all frames once, into files that training maps; goes on where it was interrupted."""
    from study.cli.display import counting
    from study.errors import InputError
    from study.tasks.clips.data.sets.packing import pack as write_pack
    from study.tasks.clips.data.sets.recorded import Recorded

    with _resumable():
        dataset = _dataset(name, root, [*(set_ or []), *([SKIP] if skip_bad else [])])
        if not isinstance(dataset, Recorded):
            raise InputError(f"{name}: a program draws its clips; there are no frames to pack.")
        with counting("Reading", "clips") as progress:
            dataset.inspect(progress)
        with counting("Packing", "clips") as progress:
            made = write_pack(dataset, out, progress=progress)
    kept = f" ({made.kept} there before, and whole)" if made.kept else ""
    print(
        f"{made.out}: {made.clips} clips, {made.frames} frames, {made.bytes / 1e6:,.0f} MB in {made.shards} "
        f"files{kept}."
    )
    if made.skipped:
        print(f"{len(made.skipped)} rows and clips were left out; `study data check` names them.")
    print(f"Train on it with\n  --set 'base.dataset.pack=\"{made.out}\"'")


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    """Answer Ctrl-C with the way to go on."""
    try:
        yield
    except KeyboardInterrupt:
        again = shlex.join(["study", *sys.argv[1:]])
        print(
            f"\nInterrupted; whatever was finished is kept. Go on with the same command:\n  {again}",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None


def _packed(pack: Path, name: str) -> dict[str, object]:
    """Return what study.toml means by naming a pack: none of its settings need be said again."""
    from study.tasks.clips.data.files.packs import pack_parameters

    if pack.exists():
        return {"pack": str(pack), **pack_parameters(pack)}
    print(f"{name}: the pack {pack} of study.toml is not there yet; the files are read.", file=sys.stderr)
    return {}


def _dataset(name: str, root: Path | None, changes: list[str]) -> Dataset:
    """Return a data set by its name, with what study.toml says of it and what the command line changes."""
    from study.config.tables import parse_setting

    settings = read_settings()
    registry = open_registry(settings)
    declared = registry.get("dataset", name).parameters
    known: dict[str, object] = {
        key: value for key, value in settings.data.get(name, {}).items() if key in declared
    }
    if "root" not in declared:
        known.pop("cache", None)  # a few clips are drawn sooner than a whole split is
    given = {"root": str(root)} if root else {}
    pack = str(known.pop("pack", ""))
    if pack and not root:  # else the files at that root are meant
        known = {**_packed(Path(pack).expanduser(), name), **known}
    config = registry.resolve(
        "dataset", {"name": name, **known, **given, **dict(parse_setting(change) for change in changes)}, name
    )
    dataset: Dataset = registry.build("dataset", config)
    return dataset
