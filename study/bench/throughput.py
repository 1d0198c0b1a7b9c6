"""How fast clips come: ``python -m study.bench.throughput``.

Draws a folder of JPEG frames, 224 pixels and 16 frames a clip, and reads it as uint8 clips of 16 x 112 x 112 in colour
and in batches of 16: as code of the field does, a dataset that opens every frame by PIL inside a DataLoader; by our
loader from the files, once for each decoder; by our loader from a pack. Each way is measured with 0, 1 and 2 loader
workers in rounds, the ways in turn, so that whatever else the machine does meets all of them; its rate is the median
of its rounds, at the number of workers that serves it best.

The files are in the system's cache, as they are from the second epoch on where memory allows. Our ways keep no decoded
frame from one reading to the next.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from study.cli.display import counting
from study.config.registry import Registry
from study.machine import cpu_cores
from study.tasks.clips.data.contract import Clips, ClipShape, Pixels
from study.tasks.clips.data.files.frames import Decoder
from study.tasks.clips.data.files.listing import Entry, Listing
from study.tasks.clips.data.files.source import Raw, Source
from study.tasks.clips.data.sets.packing import pack
from study.tasks.clips.data.sets.recorded import Reading, Recorded, Recording, recorded
from study.tasks.clips.training.batches import training_batches

FRAMES, STORED_PIXELS, PIXELS, BATCH = 16, 224, 112, 16
WORKERS = (0, 1, 2)
FIELD, PACKED = "the field's way: PIL in a DataLoader", "ours, packed"
AIMS = {PACKED: 9.0, "ours, raw": 1.5}
JPEG_QUALITY = 90
NOISE_LEVELS = 2.0
"""Little enough that a frame takes about as many bytes as one of a real data set."""
SHIFTS = 8
"""A drawn clip is written so often, moved sideways by other amounts: drawing takes longer than writing."""

Way = Callable[[int, int], int]
"""Reads clips with a number of workers, at least so many, and returns how many it read."""


@dataclass(frozen=True)
class Rate:
    """Clips a second of one way, at each number of workers: the median of its rounds."""

    at: Mapping[int, float]

    @property
    def workers(self) -> int:
        """The number of workers that serves it best."""
        return max(self.at, key=lambda workers: self.at[workers])

    @property
    def best(self) -> float:
        """Clips a second with that many."""
        return self.at[self.workers]


class FieldsClips(Dataset[Tensor]):
    """Clips as code of the field reads them: every frame opened, converted and resized by PIL, then stacked."""

    def __init__(self, folders: list[Path], length: int) -> None:
        self._files = [[folder / f"{n}.jpg" for n in range(1, FRAMES + 1)] for folder in folders]
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Tensor:
        frames = []
        for file in self._files[index % len(self._files)]:
            with Image.open(file) as image:
                frames.append(image.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BILINEAR))
        return torch.from_numpy(np.stack([np.asarray(frame) for frame in frames])).permute(3, 0, 1, 2)


def draw(root: Path, clips: int) -> None:
    """Write ``clips`` folders of frames, ``0000/1.jpg`` to ``0000/16.jpg`` and so on."""
    registry = Registry()
    config = {
        "name": "faces",
        "size": STORED_PIXELS,
        "frames": FRAMES,
        "channels": 3,
        "noise": NOISE_LEVELS,
        "train_clips": -(-clips // SHIFTS),
    }
    shown: Clips = registry.build("dataset", registry.resolve("dataset", config, "faces")).split("train")

    def write(number: int, frames: Pixels) -> None:
        folder = root / f"{number:04d}"
        folder.mkdir(parents=True)
        for place, frame in enumerate(frames, start=1):
            Image.fromarray(frame).save(folder / f"{place}.jpg", quality=JPEG_QUALITY)

    with counting("Drawing", "clips") as progress, ThreadPoolExecutor(os.cpu_count()) as threads:
        for first in range(0, clips, SHIFTS):
            drawn = shown.read(np.array([first // SHIFTS]), None)[0].transpose(1, 2, 3, 0)
            numbers = range(first, min(first + SHIFTS, clips))
            moved = [np.roll(drawn, 5 * (number - first), axis=2) for number in numbers]
            list(threads.map(write, numbers, moved))
            progress(numbers[-1] + 1, clips)


def data_of(root: Path, decoder: Decoder = "pillow", packed: Path | None = None) -> Recorded:
    """Return the folder of frames as a data set of ours, read from its files or from a pack."""
    names = sorted(path.name for path in root.iterdir())
    entries = tuple(Entry(name, i % 7, name, f"list:{i + 1}", name) for i, name in enumerate(names))
    listing = Listing(
        "clips", root, root, tuple("abcdefg"), {None: {"train": entries, "test": entries}}, facts={}
    )
    recording = Recording(
        frames=FRAMES,
        size=PIXELS,
        channels=3,
        validation_share=0.1,
        select_on="test",
        decoder=decoder,
        pack=str(packed or ""),
    )
    data = recorded(listing, recording)
    return (
        replace(data, source=replace(data.source, memory_bytes=0)) if isinstance(data.source, Raw) else data
    )


def ours(data: Recorded, workers: int, clips: int) -> Iterator[Pixels]:
    """Yield training batches of at least so many clips, all clips as often as needed, from our loader."""
    entries = data.listing.folds[None]["train"]
    reading = Reading(entries, _fresh(data.source), data.protocols.sampling, data.shape)
    length = -(-clips // BATCH) * BATCH

    def read(indexes: NDArray[np.int64], generator: np.random.Generator | None) -> Pixels:
        return reading.clips(indexes % len(entries), generator)

    names, labels = ("",) * length, np.zeros(length, np.int64)
    for pixels, _ in training_batches(Clips(names, names, labels, read), labels, BATCH, (0, 1), workers):
        yield pixels


def _fresh(source: Source) -> Source:
    """Return the source without what it has learnt of its files, as a training process starts with."""
    return replace(source) if isinstance(source, Raw) else source


def fields(root: Path, workers: int, clips: int) -> Iterator[Tensor]:
    """Yield batches of at least so many clips as code of the field reads them."""
    length = -(-clips // BATCH) * BATCH
    dataset = FieldsClips(sorted(root.iterdir()), length)
    yield from DataLoader(dataset, BATCH, shuffle=True, num_workers=workers)


def read_all(batches: Callable[[int, int], Iterator[Pixels | Tensor]], workers: int, clips: int) -> int:
    """Read batches to their end; return the number of clips in them."""
    shape = ClipShape(3, FRAMES, PIXELS, PIXELS)
    read = 0
    for batch in batches(workers, clips):
        assert tuple(batch.shape) == (BATCH, *shape)
        read += len(batch)
    return read


def measure(ways: Mapping[str, Way], rounds: int, seconds: float) -> dict[str, Rate]:
    """Return each way's rate; a measurement takes about so many seconds."""
    cells = [(name, workers) for name in ways for workers in WORKERS]
    clips = dict.fromkeys(cells, 2 * BATCH)
    rates: dict[tuple[str, int], list[float]] = {cell: [] for cell in cells}
    with counting("Measuring", "rounds") as progress:
        for number in range(rounds + 1):
            for cell in cells if number % 2 else reversed(cells):
                name, workers = cell
                spent, rate = 0.0, 0.0
                while (
                    spent < seconds / 2
                ):  # until so many clips take long enough, which is known from then on
                    began = time.perf_counter()
                    read = ways[name](workers, clips[cell])
                    spent = time.perf_counter() - began
                    rate = read / spent
                    if number > 0:
                        break
                    clips[cell] = max(BATCH, int(rate * seconds))
                if number > 0:  # the first round warms up
                    rates[cell].append(rate)
            progress(number, rounds)
    return {
        name: Rate({workers: statistics.median(rates[name, workers]) for workers in WORKERS}) for name in ways
    }


def ways_of(root: Path, packed: Path) -> dict[str, Way]:
    """Return all ways of reading a folder of frames; a pack of them is made first."""
    with counting("Packing", "clips") as progress:
        pack(data_of(root), packed, progress=progress)
    ways: dict[str, Way] = {FIELD: partial(read_all, partial(fields, root))}
    for decoder in get_args(Decoder):
        ways[f"ours, raw, {decoder}"] = partial(read_all, partial(ours, data_of(root, decoder)))
    ways[PACKED] = partial(read_all, partial(ours, data_of(root, packed=packed)))
    return ways


def table_of(rates: Mapping[str, Rate]) -> Table:
    """Return what was measured, one row a way."""
    table = Table("clips a second", *(f"{workers} workers" for workers in WORKERS), "best", "ratio")
    for name, rate in rates.items():
        ratio = rate.best / rates[FIELD].best
        cells = [f"{rate.at[workers]:.0f}" for workers in WORKERS]
        table.add_row(name, *cells, f"{rate.best:.0f} with {rate.workers}", f"{ratio:.2f}")
    return table


def conclusions(rates: Mapping[str, Rate]) -> list[str]:
    """Return one line for each aim: both sides, their ratio, and what was aimed at."""
    field = rates[FIELD].best
    lines = []
    for prefix, aim in AIMS.items():
        name = max((name for name in rates if name.startswith(prefix)), key=lambda name: rates[name].best)
        ratio = rates[name].best / field
        lines.append(
            f"{name}: {rates[name].best:.0f} clips/s; {FIELD}: {field:.0f} clips/s; ratio {ratio:.2f} "
            f"(aim: at least {aim:g}): {'reached' if ratio >= aim else 'MISSED'}"
        )
    return lines


def main(
    clips: Annotated[int, typer.Option(min=16, help="Clips to draw.")] = 256,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each way and number of workers.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="What a measurement takes, about.")] = 2.0,
) -> None:
    """Measure how fast clips are read: the field's way, ours from files, ours from a pack."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        root = Path(folder, "frames")
        draw(root, clips)
        size_kb = statistics.mean(path.stat().st_size for path in root.glob("*/*.jpg")) / 1000
        rates = measure(ways_of(root, Path(folder, "pack")), rounds, seconds)
    print(
        f"\n{clips} clips of {FRAMES} JPEGs, {STORED_PIXELS} pixels, {size_kb:.1f} kB each, read as "
        f"{FRAMES} x {PIXELS} x {PIXELS} x 3 in batches of {BATCH}; "
        f"{len(cpu_cores())} cores, "
        f"{platform.machine()}; median of {rounds} rounds of {seconds:g} s"
    )
    Console(width=max(100, Console().width)).print(table_of(rates))
    print("\n".join(conclusions(rates)))


if __name__ == "__main__":
    typer.run(main)
