"""Benchmark of large lists: ``python -m study.bench.lists``.

Writes a data set of many clips, at a tenth of the requested number and at all of them, whose verdicts are in the cache
already, and prints the time and peak memory of `study data check`, which then decodes no frame: the cost of the lists.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from study.bench.scale import Cost, measure_command
from study.hashing import digest
from study.task import Progress
from study.tasks.clips.data.files.frames import ClipVerdict, find
from study.tasks.clips.data.files.verdicts import VerdictStore
from study.tasks.clips.data.sets.folder import clips_listing
from study.terminal.display import progress_bar

CLASSES = 7
CLIPS_PER_SOURCE = 10
CLIPS_PER_FOLDER = 1000
AIM_SECONDS, AIM_MB = 30.0, 200.0
"""For 100 000 clips."""


def build_tree(folder: Path, clips: int, frames: int, progress: Progress) -> None:
    """Write a table of clips, their frames without content, and the cache of verdicts on them."""
    root = folder / "tree"
    rows = ["path,label,source"]
    for number in range(clips):
        name = f"{number // CLIPS_PER_FOLDER:03d}/{number:06d}"
        (root / name).mkdir(parents=True)
        for frame in range(1, frames + 1):
            (root / name / f"{frame:04d}.jpg").touch()
        rows.append(f"{name},class {number % CLASSES},person {number // CLIPS_PER_SOURCE}")
        progress(number + 1, clips)
    (root / "clips.csv").write_text("\n".join(rows) + "\n")
    listing = clips_listing(str(root))
    store = VerdictStore(listing, folder / "cache")
    for entry in listing.entries.values():
        footage = find(root / entry.path, listing.places)
        store.put(entry.path, footage.stamp, ClipVerdict(digest(entry.id), frames, ((224, 224),)))
    store.save(at_least=1)
    (folder / "study.toml").write_text('mlflow = "off"\n')


def measure(folder: Path, clips: int, frames: int) -> Cost:
    """Return time and peak memory of a check of so many clips, without reading pixels."""
    folder.mkdir()
    with progress_bar(f"{clips} clips", "written") as progress:
        build_tree(folder, clips, frames, progress)
    settings = ("--set", f"frames={frames}", "--set", f"cache={folder / 'cache'}")
    return measure_command(("data", "check", "clips", str(folder / "tree"), *settings), folder)


def main(
    clips: Annotated[int, typer.Option(min=1000, help="Clips of the larger data set.")] = 100_000,
    frames: Annotated[int, typer.Option(min=1, help="Frames of a clip.")] = 2,
) -> None:
    """Measure `study data check` on large lists, without reading pixels."""
    with tempfile.TemporaryDirectory(prefix="lists-") as root:
        for number in (clips // 10, clips):
            cost = measure(Path(root, str(number)), number, frames)
            print(
                f"{number} clips of {frames} frames: {cost.seconds:.1f} s, peak memory {cost.peak_mb:.0f} MB"
            )
    print(f"Aim for 100000 clips: under {AIM_SECONDS:g} s and {AIM_MB:g} MB.")


if __name__ == "__main__":
    typer.run(main)
