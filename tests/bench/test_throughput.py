"""Whether the benchmark of the loaders compares what it says: the same clips, read in other ways."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from study.bench import throughput
from study.bench.throughput import (
    BATCH,
    FIELD,
    FRAMES,
    PACKED,
    FieldsClips,
    Rate,
    conclusions,
    data_of,
    draw,
    fields,
    ours,
    read_all,
)
from study.tasks.clips.data.files.source import Raw
from study.tasks.clips.data.sets.packing import pack

CLIPS = 16


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench") / "frames"
    draw(root, CLIPS)
    return root


def test_the_fields_way_ours_and_the_pack_read_the_same_pixels(frames: Path, tmp_path: Path) -> None:
    field = FieldsClips(sorted(frames.iterdir()), CLIPS)
    raw = data_of(frames)
    pack(raw, tmp_path / "pack")
    packed = data_of(frames, packed=tmp_path / "pack")
    indexes = np.array([0, 9, 15])
    expected = np.stack([field[index].numpy() for index in indexes])
    for data in (raw, packed):
        np.testing.assert_array_equal(data.split("train").read(indexes, None), expected)


def test_nothing_decoded_is_kept_from_one_reading_to_the_next(frames: Path) -> None:
    data = data_of(frames)
    assert isinstance(data.source, Raw)
    data.split("train").read(np.arange(4), None)
    assert not data.source._frames


@pytest.mark.parametrize("workers", [0, 2])
def test_as_many_clips_are_counted_as_are_read(frames: Path, workers: int) -> None:
    assert read_all(partial(ours, data_of(frames)), workers, 20) == 2 * BATCH
    assert read_all(partial(fields, frames), workers, 20) == 2 * BATCH


def test_each_way_is_judged_at_its_own_best_number_of_workers() -> None:
    rates = {
        FIELD: Rate({0: 100.0, 1: 80.0, 2: 150.0}),
        "ours, raw, pillow": Rate({0: 160.0, 1: 90.0, 2: 180.0}),
        "ours, raw, simplejpeg-scaled": Rate({0: 200.0, 1: 300.0, 2: 210.0}),
        PACKED: Rate({0: 1200.0, 1: 400.0, 2: 900.0}),
    }
    packed, raw = conclusions(rates)
    assert "ours, packed: 1200 clips/s" in packed
    assert "150 clips/s; ratio 8.00 (aim: at least 9): MISSED" in packed
    assert raw.startswith("ours, raw, simplejpeg-scaled: 300 clips/s")
    assert "ratio 2.00 (aim: at least 1.5): reached" in raw


def test_it_prints_every_way_and_both_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg", reason="two of the decoders are of the extra 'video'")
    import typer

    monkeypatch.setattr(throughput, "WORKERS", (0,))
    app = typer.Typer()
    app.command()(throughput.main)
    told = CliRunner().invoke(app, ["--clips", str(CLIPS), "--rounds", "1", "--seconds", "0.01"])
    assert told.exit_code == 0, told.exception
    for way in (FIELD, "ours, raw, pillow", "ours, raw, simplejpeg-scaled", PACKED):
        assert way in told.output
    assert told.output.count("aim: at least") == 2
    assert f"{CLIPS} clips of {FRAMES} JPEGs" in told.output
