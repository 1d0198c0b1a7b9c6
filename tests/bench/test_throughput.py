"""The benchmark of data loaders: every loader reads the same clips, and the ratios are computed correctly."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from study.bench import throughput
from study.bench.throughput import (
    BATCH,
    FRAMES,
    PACK_LOADER,
    PIL_LOADER,
    PilClips,
    Throughput,
    conclusions,
    frames_dataset,
    pil_batches,
    read_all,
    render,
    study_batches,
)
from study.tasks.clips.data.sets.packing import pack

CLIPS = 16


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench") / "frames"
    render(root, CLIPS)
    return root


def test_pil_files_and_packs_give_the_same_pixels(frames: Path, tmp_path: Path) -> None:
    pil_clips = PilClips(sorted(frames.iterdir()), CLIPS)
    raw = frames_dataset(frames)
    pack(raw, tmp_path / "pack")
    packed = frames_dataset(frames, packed=tmp_path / "pack")
    indexes = np.array([0, 9, 15])
    expected = np.stack([pil_clips[index].numpy() for index in indexes])
    for data in (raw, packed):
        np.testing.assert_array_equal(data.split("train").read(indexes, None), expected)


def test_no_decoded_frame_is_cached(frames: Path, tmp_path: Path) -> None:
    shutil.copytree(frames / "0000", tmp_path / "clips" / "0000")
    clips = frames_dataset(tmp_path / "clips").split("train")
    before = clips.read(np.array([0]), None)
    assert before.any()
    for file in (tmp_path / "clips" / "0000").iterdir():
        with Image.open(file) as image:
            size = image.size
        Image.new("RGB", size).save(file)
    assert not clips.read(np.array([0]), None).any()


@pytest.mark.parametrize("workers", [0, 2])
def test_as_many_clips_are_counted_as_are_read(frames: Path, workers: int) -> None:
    assert read_all(partial(study_batches, frames_dataset(frames)), workers, 20) == 2 * BATCH
    assert read_all(partial(pil_batches, frames), workers, 20) == 2 * BATCH


def test_each_loader_is_compared_at_its_own_best_number_of_workers() -> None:
    rates = {
        PIL_LOADER: Throughput({0: 100.0, 1: 80.0, 2: 150.0}),
        "study, raw, pillow": Throughput({0: 160.0, 1: 90.0, 2: 180.0}),
        "study, raw, simplejpeg-scaled": Throughput({0: 200.0, 1: 300.0, 2: 210.0}),
        PACK_LOADER: Throughput({0: 1200.0, 1: 400.0, 2: 900.0}),
    }
    packed, raw = conclusions(rates)
    assert "study, packed: 1200 clips/s" in packed
    assert "150 clips/s; ratio 8.00 (aim: at least 9): MISSED" in packed
    assert raw.startswith("study, raw, simplejpeg-scaled: 300 clips/s")
    assert "ratio 2.00 (aim: at least 1.5): reached" in raw


def test_it_prints_every_loader_and_both_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg", reason="two of the decoders are of the extra 'video'")
    import typer

    monkeypatch.setattr(throughput, "WORKERS", (0,))
    app = typer.Typer()
    app.command()(throughput.main)
    result = CliRunner().invoke(app, ["--clips", str(CLIPS), "--rounds", "1", "--seconds", "0.01"])
    assert result.exit_code == 0, result.exception
    for loader in (PIL_LOADER, "study, raw, pillow", "study, raw, simplejpeg-scaled", PACK_LOADER):
        assert loader in result.output
    assert result.output.count("aim: at least") == 2
    assert f"{CLIPS} clips of {FRAMES} JPEGs" in result.output
