"""Benchmark of data loaders in clips a second: ``python -m study.bench.throughput``.

Renders a folder of JPEG frames, 224 pixels and 16 frames a clip, and reads it as uint8 clips of 16 x 112 x 112 in
colour and in batches of 16, with several loaders: the usual one, a dataset that opens every frame by PIL inside a
DataLoader; that of this package from the files, once for each decoder; that of this package from a pack. Each loader is
measured with 0, 1 and 2 workers in rounds, the loaders in turn, so that other load on the machine affects all of them;
its throughput is the median of its rounds, at its best number of workers.

The files are in the system's cache, as they are from the second epoch on if memory allows. The loaders of this package
keep no decoded frame from one reading to the next.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
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

from study.bench.result import Measured, in_turn, on_this_machine
from study.config.registry import Registry
from study.machine import cpu_cores
from study.tasks.clips.data.contract import Clips, ClipShape, Pixels, Split
from study.tasks.clips.data.files.listing import Entry, Listing
from study.tasks.clips.data.files.pictures import Decoder
from study.tasks.clips.data.files.source import Raw, Source
from study.tasks.clips.data.sets.packing import pack
from study.tasks.clips.data.sets.recorded import Reading, Recorded, Recording, recorded
from study.tasks.clips.training.batches import training_batches
from study.tasks.clips.training.loader import LoaderProcesses
from study.tasks.clips.training.resident import reader_of
from study.terminal.display import progress_bar

FRAMES, STORED_PIXELS, PIXELS, BATCH = 16, 224, 112, 16
WORKERS = (0, 1, 2)
PIL_LOADER, PACK_LOADER = "PIL in a DataLoader", "study, packed"
AIMS = {PACK_LOADER: 9.0, "study, raw": 1.5}
JPEG_QUALITY = 90
NOISE_LEVELS = 2.0
"""Low enough that a frame takes about as many bytes as one of a real data set."""
SHIFTS = 8
"""Copies written of each rendered clip, each shifted sideways by another amount: rendering is slower than writing."""

Reader = Callable[[int, int], int]
"""Takes a number of workers and a least number of clips, reads clips, and returns how many."""


@dataclass(frozen=True)
class Throughput:
    """The throughput of one loader: the median of its rounds."""

    by_workers: Mapping[int, float]
    """Clips a second at each number of workers."""

    @property
    def workers(self) -> int:
        """The number of workers with the highest throughput."""
        return max(self.by_workers, key=lambda workers: self.by_workers[workers])

    @property
    def best(self) -> float:
        """Clips a second at the best number of workers."""
        return self.by_workers[self.workers]


class PilClips(Dataset[Tensor]):
    """Clips read in the usual way: every frame is opened, converted and resized by PIL, then stacked."""

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


def render(root: Path, clips: int) -> None:
    """Render clips and write each as a folder of frames, ``0000/1.jpg`` to ``0000/16.jpg`` and so on."""
    registry = Registry()
    config = {
        "name": "faces",
        "size": STORED_PIXELS,
        "frames": FRAMES,
        "channels": 3,
        "noise": NOISE_LEVELS,
        "train_clips": -(-clips // SHIFTS),
    }
    faces: Clips = registry.build("dataset", registry.resolve("dataset", config, "faces")).split("train")

    def write(number: int, frames: Pixels) -> None:
        folder = root / f"{number:04d}"
        folder.mkdir(parents=True)
        for number_in_clip, frame in enumerate(frames, start=1):
            Image.fromarray(frame).save(folder / f"{number_in_clip}.jpg", quality=JPEG_QUALITY)

    with progress_bar("Rendering", "clips") as progress, ThreadPoolExecutor(os.cpu_count()) as threads:
        for first in range(0, clips, SHIFTS):
            clip = faces.read(np.array([first // SHIFTS]), None)[0].transpose(1, 2, 3, 0)
            numbers = range(first, min(first + SHIFTS, clips))
            shifted = [np.roll(clip, 5 * (number - first), axis=2) for number in numbers]
            list(threads.map(write, numbers, shifted))
            progress(numbers[-1] + 1, clips)


def frames_dataset(root: Path, decoder: Decoder = "pillow", packed: Path | None = None) -> Recorded:
    """Return the folder of frames as a data set of this package, read from its files or from a pack."""
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


def study_batches(data: Recorded, workers: int, clips: int) -> Iterator[Tensor]:
    """Yield training batches of this package's loader with at least `clips` clips; clips repeat as needed."""
    source = Repeated(data, -(-clips // BATCH) * BATCH)
    split = source("train")
    with LoaderProcesses(source, workers) if workers else nullcontext() as loader:
        read = reader_of(split, "train", loader, torch.device("cpu"))
        for pixels, _ in training_batches(split, split.labels, BATCH, (0, 1), read):
            yield pixels


@dataclass(frozen=True)
class Repeated:
    """Opens the training clips of a data set, repeated up to a number of clips."""

    data: Recorded
    length: int

    def __call__(self, split: Split) -> Clips:
        """Return the clips."""
        entries = self.data.listing.folds[None][split]
        reader = Reading(entries, _fresh(self.data.source), self.data.protocols.sampling, self.data.shape)

        def read(indexes: NDArray[np.int64], generator: np.random.Generator | None) -> Pixels:
            return reader.clips(indexes % len(entries), generator)

        names, labels = ("",) * self.length, np.zeros(self.length, np.int64)
        return Clips(names, names, labels, read)


def _fresh(source: Source) -> Source:
    """Return the source without its cached facts about files, as a training process starts with it."""
    return replace(source) if isinstance(source, Raw) else source


def pil_batches(root: Path, workers: int, clips: int) -> Iterator[Tensor]:
    """Yield batches of a DataLoader over `PilClips` with at least `clips` clips."""
    length = -(-clips // BATCH) * BATCH
    dataset = PilClips(sorted(root.iterdir()), length)
    yield from DataLoader(dataset, BATCH, shuffle=True, num_workers=workers)


def read_all(batches: Callable[[int, int], Iterator[Pixels | Tensor]], workers: int, clips: int) -> int:
    """Read batches to their end; return the number of clips in them."""
    shape = ClipShape(3, FRAMES, PIXELS, PIXELS)
    read = 0
    for batch in batches(workers, clips):
        assert tuple(batch.shape) == (BATCH, *shape)
        read += len(batch)
    return read


def measure(readers: Mapping[str, Reader], rounds: int, seconds: float) -> dict[str, Throughput]:
    """Return each reader's throughput; a measurement takes about `seconds` seconds."""
    cells = [(name, workers) for name in readers for workers in WORKERS]
    clips = dict.fromkeys(cells, 2 * BATCH)
    rates: dict[tuple[str, int], list[float]] = {cell: [] for cell in cells}
    with progress_bar("Measuring", "rounds") as progress:
        for number in range(rounds + 1):
            for cell in cells if number % 2 else reversed(cells):
                name, workers = cell
                spent, rate = 0.0, 0.0
                while (
                    spent < seconds / 2
                ):  # the warm-up grows the number of clips until they take long enough
                    began = time.perf_counter()
                    read = readers[name](workers, clips[cell])
                    spent = time.perf_counter() - began
                    rate = read / spent
                    if number > 0:
                        break
                    clips[cell] = max(BATCH, int(rate * seconds))
                if number > 0:  # the first round warms up
                    rates[cell].append(rate)
            progress(number, rounds)
    return {
        name: Throughput({workers: statistics.median(rates[name, workers]) for workers in WORKERS})
        for name in readers
    }


def all_readers(root: Path, packed: Path) -> dict[str, Reader]:
    """Return every reader of a folder of frames; packs the frames first."""
    with progress_bar("Packing", "clips") as progress:
        pack(frames_dataset(root), packed, progress=progress)
    readers: dict[str, Reader] = {PIL_LOADER: partial(read_all, partial(pil_batches, root))}
    for decoder in get_args(Decoder):
        readers[f"study, raw, {decoder}"] = partial(
            read_all, partial(study_batches, frames_dataset(root, decoder))
        )
    readers[PACK_LOADER] = partial(read_all, partial(study_batches, frames_dataset(root, packed=packed)))
    return readers


def results_table(rates: Mapping[str, Throughput]) -> Table:
    """Return the measurements, one row a loader."""
    table = Table("clips a second", *(f"{workers} workers" for workers in WORKERS), "best", "ratio")
    for name, rate in rates.items():
        ratio = rate.best / rates[PIL_LOADER].best
        cells = [f"{rate.by_workers[workers]:.0f}" for workers in WORKERS]
        table.add_row(name, *cells, f"{rate.best:.0f} with {rate.workers}", f"{ratio:.2f}")
    return table


def conclusions(rates: Mapping[str, Throughput]) -> list[str]:
    """Return one line for each aim: both throughputs, their ratio, and the aim."""
    baseline = rates[PIL_LOADER].best
    lines = []
    for prefix, aim in AIMS.items():
        name = max((name for name in rates if name.startswith(prefix)), key=lambda name: rates[name].best)
        ratio = rates[name].best / baseline
        lines.append(
            f"{name}: {rates[name].best:.0f} clips/s; {PIL_LOADER}: {baseline:.0f} clips/s; ratio {ratio:.2f} "
            f"(aim: at least {aim:g}): {'reached' if ratio >= aim else 'MISSED'}"
        )
    return lines


def loader(repeats: int = 3, clips: int = 64, seconds: float = 1.0) -> list[Measured]:
    """Measure every loader against PIL in a DataLoader, and rendered clips against those of the cache.

    Args:
        repeats: Measurements of each loader and number of workers.
        clips: Clips to render and write as JPEGs.
        seconds: About how long a measurement takes.
    """
    torch.set_num_threads(1)
    device, versions = on_this_machine()
    rate = partial(
        Measured, unit="clips/s", lower_is_better=False, repeats=repeats, device=device, versions=versions
    )
    with tempfile.TemporaryDirectory(prefix="loader-") as folder:
        root = Path(folder, "frames")
        render(root, clips)
        rates = measure(all_readers(root, Path(folder, "pack")), repeats, seconds)
        drawn = _drawn(Path(folder, "cache"), repeats, clips)
    baseline = rates.pop(PIL_LOADER).best
    size = f"{FRAMES} x {PIXELS} x {PIXELS} x 3"
    return [
        *(
            rate(f"{name}, {size}", before=baseline, after=of.best, baseline=PIL_LOADER)
            for name, of in rates.items()
        ),
        rate(
            "faces from the cache",
            before=drawn["drawn"],
            after=drawn["cached"],
            baseline="drawn at each read",
        ),
    ]


def _drawn(cache: Path, repeats: int, clips: int) -> dict[str, float]:
    """Return how many clips of faces are drawn a second, and read from the cache."""
    registry = Registry()
    table = registry.resolve("dataset", {"name": "faces", "train_clips": clips}, "faces")
    indexes = np.arange(clips)

    def rate(cache: str) -> float:
        split = registry.build("dataset", {**table, "cache": cache}).split("train")
        began = time.perf_counter()
        split.read(indexes, None)
        return clips / (time.perf_counter() - began)

    return in_turn({"drawn": lambda: rate(""), "cached": lambda: rate(str(cache))}, repeats)


def main(
    clips: Annotated[int, typer.Option(min=16, help="Clips to render.")] = 256,
    rounds: Annotated[
        int, typer.Option(min=1, help="Measurements of each loader and number of workers.")
    ] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="About how long a measurement takes.")] = 2.0,
) -> None:
    """Measure how fast clips are read by PIL in a DataLoader, by this package from files, and from a pack."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        root = Path(folder, "frames")
        render(root, clips)
        size_kb = statistics.mean(path.stat().st_size for path in root.glob("*/*.jpg")) / 1000
        rates = measure(all_readers(root, Path(folder, "pack")), rounds, seconds)
    print(
        f"\n{clips} clips of {FRAMES} JPEGs, {STORED_PIXELS} pixels, {size_kb:.1f} kB each, read as "
        f"{FRAMES} x {PIXELS} x {PIXELS} x 3 in batches of {BATCH}; "
        f"{len(cpu_cores())} cores, "
        f"{platform.machine()}; median of {rounds} rounds of {seconds:g} s"
    )
    Console(width=max(100, Console().width)).print(results_table(rates))
    print("\n".join(conclusions(rates)))


if __name__ == "__main__":
    typer.run(main)
