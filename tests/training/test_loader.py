from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from support.training_jobs import MakeSpec, train
from torch import nn

from study.errors import InputError
from study.ledger.predictions import load
from study.tasks.clips.data.contract import Clips, Views
from study.tasks.clips.nets.contract import Output
from study.tasks.clips.training.batches import predict, training_batches
from study.tasks.clips.training.loader import LoaderProcesses
from study.tasks.clips.training.resident import reader_of

CLIPS, BATCH = 22, 4
RUNNING_S = 60.0
CPU = torch.device("cpu")


def sampled_clips(views: Any = None) -> Any:
    """Return clips that show their number, and what the sampling generator drew for them."""

    def read(indexes: Any, generator: Any) -> Any:
        pixels = np.zeros((len(indexes), 1, 2, 3, 4), np.uint8)
        pixels[:, 0, 0] = indexes[:, None, None]
        if generator is not None:
            pixels[:, 0, 1] = generator.integers(0, 256, (len(indexes), 3, 4))
        return pixels

    names = tuple(map(str, range(CLIPS)))
    return Clips(names, names, np.arange(CLIPS) % 3, read, views)


def sampled_split(split: Any) -> Any:
    return sampled_clips()


def epoch_of(source: Any, workers: Any, seeds: Any = (1, 2), batch: int = BATCH) -> Any:
    clips = source("train")
    with LoaderProcesses(source, workers) if workers else nullcontext() as loader:
        batches = training_batches(clips, clips.labels, batch, seeds, reader_of(clips, "train", loader, CPU))
        return [(pixels.numpy(), labels) for pixels, labels in batches]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_loader_workers_changes_no_clip(workers: Any) -> None:
    alone, with_workers = epoch_of(sampled_split, 0), epoch_of(sampled_split, workers)
    assert len(alone) == len(with_workers) == CLIPS // BATCH
    for (pixels, labels), (other_pixels, other_labels) in zip(alone, with_workers, strict=True):
        np.testing.assert_array_equal(pixels, other_pixels)
        np.testing.assert_array_equal(labels, other_labels)


def test_sampling_differs_from_step_to_step_and_follows_its_own_seed_alone() -> None:
    first, second = (np.stack([p for p, _ in epoch_of(sampled_split, 0, (1, s))]) for s in (2, 3))
    np.testing.assert_array_equal(first[:, :, :, 0], second[:, :, :, 0])
    assert (first[:, :, :, 1] != second[:, :, :, 1]).mean() > 0.9
    assert (first[0, :, :, 1] != first[1, :, :, 1]).mean() > 0.9


@pytest.mark.parametrize("workers", [1, 2])
def test_a_training_ends_the_same_with_loader_workers(spec: MakeSpec, tmp_path: Path, workers: Any) -> None:
    """Loader workers do not change the random numbers of dropout."""
    plain = spec(epochs=2, network={"dropout": 0.5})
    with_workers = replace(plain, loader_workers=workers)
    assert plain.id == with_workers.id
    for name, run in (("alone", plain), ("with_workers", with_workers)):
        train(run, tmp_path / name, lambda epoch: None)
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("alone", "with_workers")]
    assert weights[0] == weights[1]
    predictions = [load(tmp_path / name / "validation.npz").logits for name in ("alone", "with_workers")]
    np.testing.assert_array_equal(*predictions)  # type: ignore[arg-type]


def unreadable_split(split: Any) -> Any:
    def read(indexes: Any, generator: Any) -> Any:
        if 13 in indexes:
            raise InputError("clips: 13.jpg cannot be read as an image.")
        return np.zeros((len(indexes), 1, 1, 1, 1), np.uint8)

    return replace(sampled_clips(), read=read)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_clip_that_cannot_be_read_is_one_line(workers: Any) -> None:
    with pytest.raises(InputError, match=r"^clips: 13.jpg cannot be read as an image.$"):
        epoch_of(unreadable_split, workers, batch=1)


def wait_until(condition: Any) -> None:
    end = time.monotonic() + RUNNING_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def is_running(process: Any) -> Any:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


READS_FOR_EVER = """
import os, time
from pathlib import Path
import numpy as np
import torch
from study.tasks.clips.data.contract import Clips
from study.tasks.clips.training.batches import training_batches
from study.tasks.clips.training.loader import LoaderProcesses
from study.tasks.clips.training.resident import reader_of

def source(split):
    def read(indexes, generator):
        Path(__file__).with_name(f"pid-{os.getpid()}").touch()
        time.sleep(0.05)
        return np.zeros((len(indexes), 1, 1, 1, 1), np.uint8)

    names = tuple(map(str, range(10_000)))
    return Clips(names, names, np.zeros(len(names), np.int64), read)

if __name__ == "__main__":
    clips = source("train")
    with LoaderProcesses(source, 2) as loader:
        read = reader_of(clips, "train", loader, torch.device("cpu"))
        for _ in training_batches(clips, clips.labels, 1, (1, 2), read):
            print("read", flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_loader_worker_is_left_behind_or_speaks_when_its_training_is_ended(
    tmp_path: Path, ending: Any
) -> None:
    script = tmp_path / "reads.py"
    script.write_text(READS_FOR_EVER)
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        for _ in range(20):
            assert process.stdout.readline() == "read\n"  # type: ignore[union-attr]
        workers = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
        assert len(workers) == 2
        assert process.pid not in workers
        if ending == signal.SIGINT:  # as a terminal sends it: to all of them
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(ending)
        _, stderr = process.communicate(timeout=RUNNING_S)
        wait_until(lambda: not any(is_running(worker) for worker in workers))
        assert stderr.count("Traceback") == (1 if ending == signal.SIGINT else 0)
        assert "Process" not in stderr
    finally:
        process.kill()


def test_workers_end_when_an_epoch_is_left_early() -> None:
    before = set(multiprocessing.active_children())
    with LoaderProcesses(sampled_split, 2) as loader:
        clips = sampled_clips()
        batches = training_batches(clips, clips.labels, 1, (1, 2), reader_of(clips, "train", loader, CPU))
        next(batches)
        assert len(set(multiprocessing.active_children()) - before) == 2
    assert not set(multiprocessing.active_children()) - before


def test_an_epoch_can_follow_one_that_was_left_early() -> None:
    with LoaderProcesses(sampled_split, 2) as loader:
        clips = sampled_clips()
        read = reader_of(clips, "train", loader, CPU)
        left = training_batches(clips, clips.labels, 1, (1, 2), read)
        next(left)
        left.close()  # type: ignore[attr-defined]
        whole = [pixels for pixels, _ in training_batches(clips, clips.labels, BATCH, (3, 4), read)]
    for pixels, (expected, _) in zip(whole, epoch_of(sampled_split, 0, (3, 4)), strict=True):
        np.testing.assert_array_equal(pixels.numpy(), expected)


@pytest.mark.filterwarnings("error")
def test_loader_workers_start_in_a_process_with_threads_without_a_fork_of_it() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert len(epoch_of(sampled_split, 1)) == CLIPS // BATCH
    finally:
        done.set()
        thread.join()


class ThreeClasses(nn.Module):
    """Logits of a clip of one pixel: (v, 0, -v), v its grey level."""

    def forward(self, clips: Any, details: Any = None) -> Any:
        level = clips.flatten(1).mean(1) * 255
        return Output(torch.stack([level, torch.zeros_like(level), -level], 1))


def viewed_split(split: Any) -> Any:
    return viewed([0, 1, 0, 2, 2, 0], [3, 1, 0, 2, 7, 1])


def viewed(clip: Any, levels: Any) -> Any:
    views = Views(np.array(clip), lambda numbers: np.array(levels, np.uint8)[numbers].reshape(-1, 1, 1, 1, 1))
    labels = np.zeros(max(clip) + 1, np.int64)
    names = tuple(map(str, labels))
    return Clips(
        names, names, labels, lambda indexes, generator: pytest.fail("read without its views"), views
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_the_probabilities_of_a_clips_views_are_averaged(workers: Any) -> None:
    """Against scipy, view by view; the views of one clip need not lie together, nor be as many as another's."""
    clip, levels = [0, 1, 0, 2, 2, 0], [3, 1, 0, 2, 7, 1]
    with LoaderProcesses(viewed_split, workers) if workers else nullcontext() as loader:
        read = reader_of(viewed(clip, levels), "test", loader, CPU)
        predictions = predict(ThreeClasses(), viewed(clip, levels), 2, torch.device("cpu"), read)
    for number in range(3):
        own = np.array([[v, 0, -v] for c, v in zip(clip, levels, strict=True) if c == number], float)
        mean = np.exp(log_softmax(own, axis=1)).mean(0)
        np.testing.assert_allclose(np.exp(predictions.logits[number]), mean, rtol=1e-6)


def test_the_logits_of_a_clips_views_are_averaged_on_request() -> None:
    clip, levels = [0, 1, 0, 0], [3, 1, 6, 0]
    clips = viewed(clip, levels)
    clips = replace(clips, views=replace(clips.views, average="logits"))
    predictions = predict(ThreeClasses(), clips, 2, torch.device("cpu"))
    np.testing.assert_allclose(predictions.logits, [[3, 0, -3], [1, 0, -1]], rtol=1e-6)


def test_a_class_that_no_view_believes_in_keeps_a_finite_logit() -> None:
    """A probability of exp(-500) is 0 as a number; its logarithm is not."""
    predictions = predict(ThreeClasses(), viewed([0, 0], [250, 252]), 2, torch.device("cpu"))
    expected = logsumexp(log_softmax([[250, 0, -250], [252, 0, -252]], axis=1), axis=0) - np.log(2)
    np.testing.assert_allclose(predictions.logits[0], expected, rtol=1e-6)


def test_without_views_the_logits_are_the_networks_own() -> None:
    clips = replace(sampled_clips(), read=lambda indexes, _: indexes.astype(np.uint8).reshape(-1, 1, 1, 1, 1))
    predictions = predict(ThreeClasses(), clips, 4, torch.device("cpu"))
    np.testing.assert_allclose(predictions.logits[:, 0], np.arange(CLIPS), atol=1e-5)
