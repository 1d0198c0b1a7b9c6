"""Packs: training on one is the same as training on the frames it was made from."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from study.cli.app import app
from study.config.registry import Registry
from study.errors import InputError, StudyError
from study.records import RunSpec
from study.tasks.clips.data.contract import SPLITS
from study.tasks.clips.data.files import packs
from study.tasks.clips.data.files.packs import Pack, open_pack
from study.tasks.clips.data.make import LAYOUTS, make
from study.tasks.clips.data.sets.packing import PackResult, pack
from study.tasks.clips.data.sets.recorded import Recorded
from study.tasks.work import train

FRAMES = 5
CLIPS = 70
FRAME_BYTES = 3 * 24 * 24
"""Bytes of a frame in the packs of these tests: colour, 24 pixels on a side."""
FOOTAGE = {
    "dfew": "Clip",
    "ferv39k": "2_ClipsforFaceCrop",
    "mafw": "data",
    "clips": "clips",
}


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("trees")
    for layout in LAYOUTS:
        parameters = {"clips_per_person": 7, "frames": FRAMES}
        make(root / layout, layout=layout, clips=CLIPS, size=32, parameters=parameters)
    return {layout: root / layout for layout in LAYOUTS}


@pytest.fixture
def tree(trees: dict[str, Path], tmp_path: Path) -> Path:
    """Return a copy of the tree in DFEW's layout, to be changed."""
    return Path(shutil.copytree(trees["dfew"], tmp_path / "tree"))


def build(name: str, root: Path, **parameters: Any) -> Recorded:
    folds = {"folds": [1]} if name in ("dfew", "mafw") else {}
    config = {"name": name, "root": str(root), "frames": 4, "size": 24, "channels": 3, **folds, **parameters}
    registry = Registry()
    data: Recorded = registry.build("dataset", registry.resolve("dataset", config, name))
    return data


def pack_small(data: Recorded, out: Path, **options: Any) -> PackResult:
    """Pack in shards of six clips."""
    return pack(data, out, shard_bytes=6 * FRAMES * FRAME_BYTES, **options)


def everything(data: Recorded) -> list[NDArray[Any]]:
    fold = next(iter(data.folds), None)
    found: list[NDArray[Any]] = []
    for name in SPLITS:
        clips = data.split(name, fold)
        every = np.arange(len(clips.ids))
        found += [clips.read(every, None), clips.read(every, np.random.default_rng(3)), clips.labels]
        found += [clips.views.read(np.arange(len(clips.views.clip)))] if clips.views else []
    return found


def assert_same(first: Recorded, second: Recorded) -> None:
    assert first.digest == second.digest
    for a, b in zip(everything(first), everything(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_packed_clips_are_the_raw_ones_also_where_the_frames_are_gone(
    trees: dict[str, Path], tmp_path: Path, layout: str
) -> None:
    root = Path(shutil.copytree(trees[layout], tmp_path / layout))
    raw = build(layout, root)
    made = pack_small(raw, tmp_path / "OUT")
    assert (made.clips, made.frames, made.kept) == (CLIPS, CLIPS * FRAMES, 0)
    assert made.shards == -(-CLIPS // 6)
    expected = everything(raw)
    footage = root / FOOTAGE[layout]
    if footage.is_dir():
        shutil.rmtree(footage)
    else:
        raise AssertionError(f"{sorted(p.name for p in root.iterdir())}")
    packed = build(layout, root, pack=str(tmp_path / "OUT"))
    assert packed.digest == raw.digest
    for a, b in zip(everything(packed), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "parameters",
    [
        {"sampling": "window", "stride": 2, "frames": 2},
        {"sampling": "window", "views": "windows", "frames": 2},
        {"views": "2x2"},
        {"frames": 8, "short": "last"},
        {"folds": [2, 3]},
    ],
    ids=str,
)
def test_one_pack_serves_every_sampling_and_every_fold(
    trees: dict[str, Path], tmp_path: Path, parameters: dict[str, Any]
) -> None:
    root = trees["dfew"]
    pack(build("dfew", root), tmp_path / "OUT")
    assert_same(
        build("dfew", root, **parameters), build("dfew", root, pack=str(tmp_path / "OUT"), **parameters)
    )


@pytest.mark.parametrize("decoder", ["simplejpeg", "simplejpeg-scaled"])
def test_a_pack_holds_what_its_decoder_makes(trees: dict[str, Path], tmp_path: Path, decoder: str) -> None:
    pytest.importorskip("simplejpeg", reason="the decoder is of the extra 'video'")
    pack(build("dfew", trees["dfew"], decoder=decoder, channels=1), tmp_path / "OUT")
    parameters = {"decoder": decoder, "channels": 1}
    assert_same(
        build("dfew", trees["dfew"], **parameters),
        build("dfew", trees["dfew"], pack=str(tmp_path / "OUT"), **parameters),
    )


def test_a_training_on_a_pack_is_the_same_run_with_the_same_weights(
    trees: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "training"))
    root, out = trees["dfew"], tmp_path / "OUT"
    data = build("dfew", root)
    pack_small(data, out)
    registry = Registry(["support.tiny_parts"])
    local_paths = {"dataset.root": str(root), "dataset.cache": "", "dataset.pack": ""}
    table = registry.resolve(
        "dataset", {"name": "dfew", "root": str(root), "frames": 4, "size": 24, "channels": 3}, ""
    )
    recipe = {
        "epochs": 1, "batch_size": 8, "lr": 1e-2, "weight_decay": 0.0, "warmup_epochs": 0.0, "clip_norm": 1.0,
        "mixup": 0.0, "cutmix": 0.0, "mix_probability": 1.0, "ema": 0.0, "stream": 0, "labels": "true",
    }  # fmt: skip
    config = {
        "dataset": {key: value for key, value in table.items() if f"dataset.{key}" not in local_paths},
        "network": {"name": "two-layers", "width": 4},
        "loss": {"name": "cross-entropy-context"},
        "augmentation": {"name": "none"},
        "optimizer": {"name": "adamw"},
        "schedule": {"name": "cosine"},
        "train": recipe,
    }
    weights = {}
    ids = set()
    for name, pack_path, workers in (("raw", "", 0), ("packed", str(out), 0), ("by workers", str(out), 2)):
        run = RunSpec(
            config, 1, data.digest, "code", fold=1, local_paths={**local_paths, "dataset.pack": pack_path},
            modules=("support.tiny_parts",), loader_workers=workers, metric={"name": "war"},
        )  # fmt: skip
        ids.add(run.id)
        train(run, tmp_path / name, lambda epoch: None)
        weights[name] = (tmp_path / name / "weights.safetensors").read_bytes()
    assert len(ids) == 1
    assert weights["raw"] == weights["packed"] == weights["by workers"]


PACKS = """
import time
from pathlib import Path
from study.tasks.clips.data.sets.dfew import dfew
from study.tasks.clips.data.sets.recorded import Recording
from study.tasks.clips.data.sets.packing import pack

def report(done, total):
    print(done, flush=True)
    time.sleep(0.01)

data = dfew(root={root!r}, folds=[1], recording=Recording(frames=4, size=24, channels=3))
pack(data, Path({out!r}), shard_bytes={shard_bytes}, progress=report)
"""


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("killed_at", [3, 44])
def test_a_pack_that_was_killed_is_resumed_and_ends_the_same(
    tree: Path, tmp_path: Path, killed_at: int
) -> None:
    out = tmp_path / "OUT"
    script = PACKS.format(root=str(tree), out=str(out), shard_bytes=6 * FRAMES * FRAME_BYTES)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= killed_at:
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    with pytest.raises(InputError, match=r"is not a pack: (packing was interrupted|it has no pack\.json)"):
        build("dfew", tree, pack=str(out))
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.npy")}
    seen: list[int] = []
    made = pack_small(build("dfew", tree), out, progress=lambda done, total: seen.append(done))
    assert made.kept >= (killed_at - 1) // 6
    again = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.npy")}
    assert sum(again[name] == time for name, time in times.items()) == made.kept
    assert seen == list(range(6 * made.kept + 1, CLIPS + 1))
    pack_small(build("dfew", tree), tmp_path / "at once")
    assert files(out) == files(tmp_path / "at once")
    assert_same(build("dfew", tree), build("dfew", tree, pack=str(out)))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("remembers", [False, True], ids=["no cache", "cache"])
def test_a_damaged_file_is_found_before_training_and_written_again(
    tree: Path, tmp_path: Path, remembers: bool
) -> None:
    out = tmp_path / "OUT"
    raw = build("dfew", tree)
    pack_small(raw, out)
    cache = {"cache": str(tmp_path / "cache")} if remembers else {}
    assert build("dfew", tree, pack=str(out), **cache).digest == raw.digest
    damage(out / "shard-00002.npy")
    with pytest.raises(InputError, match=r"shard-00002\.npy is damaged"):
        assert build("dfew", tree, pack=str(out), **cache).digest
    made = pack_small(raw, out)
    assert (made.kept, made.shards) == (11, 12)
    assert_same(raw, build("dfew", tree, pack=str(out), **cache))


def test_checksums_are_compared_once_where_a_cache_stores_them(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "OUT"
    pack_small(build("dfew", tree), out)
    compared: list[str] = []
    matches = packs.is_whole

    def recording(out: Path, shard: packs.Shard) -> bool:
        compared.append(shard.file)
        return matches(out, shard)

    monkeypatch.setattr(packs, "is_whole", recording)
    kept = {"pack": str(out), "cache": str(tmp_path / "cache")}
    assert build("dfew", tree, **kept).digest
    assert build("dfew", tree, **kept).digest
    assert len(compared) == 12
    os.utime(out / "shard-00003.npy", ns=(1, 1))
    assert build("dfew", tree, **kept).digest
    assert compared[12:] == ["shard-00003.npy"]
    (cache_file,) = (tmp_path / "cache").glob("pack-*.json")
    for content in ("[]", "[" * 100_000, "{"):  # a damaged cache costs another comparison, no more
        del compared[:]
        cache_file.write_text(content)
        assert build("dfew", tree, **kept).digest
        assert len(compared) == 12


def test_a_shard_that_is_gone_is_named(tree: Path, tmp_path: Path) -> None:
    pack_small(build("dfew", tree), tmp_path / "OUT")
    (tmp_path / "OUT" / "shard-00001.npy").unlink()
    with pytest.raises(InputError, match=r"shard-00001\.npy is missing"):
        build("dfew", tree, pack=str(tmp_path / "OUT"))


@pytest.mark.parametrize(
    ("parameters", "difference"),
    [
        ({"size": 16}, "its size is 24, not 16"),
        ({"channels": 1}, "its channels is 3, not 1"),
        ({"decoder": "simplejpeg"}, "its decoder is 'pillow', not 'simplejpeg'"),
        ({"version": "original"}, "its version of the frames is '16f"),
    ],
    ids=str,
)
def test_a_pack_of_something_else_is_refused(
    trees: dict[str, Path], tmp_path: Path, parameters: dict[str, Any], difference: str
) -> None:
    pack_small(build("dfew", trees["dfew"]), tmp_path / "OUT")
    with pytest.raises(InputError) as caught:
        build("dfew", trees["dfew"], pack=str(tmp_path / "OUT"), **parameters)
    assert difference in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_pack_of_another_data_set_is_refused(trees: dict[str, Path], tmp_path: Path) -> None:
    pack_small(build("clips", trees["clips"]), tmp_path / "OUT")
    with pytest.raises(InputError, match="its data set is 'clips', not 'dfew'"):
        build("dfew", trees["dfew"], pack=str(tmp_path / "OUT"))


def test_clips_that_the_pack_does_not_have_are_named(tree: Path, tmp_path: Path) -> None:
    path = tree / "EmoLabel_DataSplit/test(single-labeled)/set_1.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join(rows[:-1]))
    pack_small(build("dfew", tree), tmp_path / "OUT")
    path.write_text("\n".join(rows))
    with pytest.raises(InputError, match=rf"lacks 1 clip \({rows[-1].split(',')[0]}\)"):
        build("dfew", tree, pack=str(tmp_path / "OUT"))


def test_a_pack_is_not_taken_for_one_of_frames_that_have_changed(tree: Path, tmp_path: Path) -> None:
    """Packing again is refused; the digest of a pack is that of the frames it was made from."""
    before = build("dfew", tree)
    pack_small(before, tmp_path / "OUT")
    Image.new("RGB", (32, 32)).save(tree / "Clip/clip_224x224_16f/00009/2.jpg")
    after = build("dfew", tree)
    with pytest.raises(InputError, match=r"holds another pack: 1 clip \(00009\) with other frames"):
        pack_small(after, tmp_path / "OUT")
    assert build("dfew", tree, pack=str(tmp_path / "OUT")).digest == before.digest != after.digest


def test_only_the_clip_that_lost_a_frame_is_named_and_not_those_behind_it(tree: Path, tmp_path: Path) -> None:
    pack_small(build("dfew", tree), tmp_path / "OUT")
    (tree / "Clip/clip_224x224_16f/00009/2.jpg").unlink()
    with pytest.raises(InputError, match=r"holds another pack: 1 clip \(00009\) with other frames"):
        pack_small(build("dfew", tree), tmp_path / "OUT")


def test_a_clip_that_was_skipped_is_skipped_in_the_pack_too(tree: Path, tmp_path: Path) -> None:
    (tree / "Clip/clip_224x224_16f/00003/2.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match="00003"):
        pack_small(build("dfew", tree), tmp_path / "OUT")
    assert not (tmp_path / "OUT").exists()
    raw = build("dfew", tree, skip_bad=True)
    made = pack_small(raw, tmp_path / "OUT")
    assert made.clips == CLIPS - 1
    assert len(made.skipped) == 1
    packed = build("dfew", tree, skip_bad=True, pack=str(tmp_path / "OUT"))
    assert packed.skipped == raw.skipped
    assert_same(raw, packed)
    with pytest.raises(InputError, match="00003"):
        assert build("dfew", tree, pack=str(tmp_path / "OUT")).digest


def test_a_folder_that_holds_something_else_is_left_alone(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "OUT"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an empty folder"):
        pack_small(build("dfew", tree), out)
    assert files(out) == {"thesis.txt": b"years of work"}


def test_too_little_space_is_reported_before_anything_is_written(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StudyError, match=r"needs 0\.0 GB more") as caught:
        pack_small(build("dfew", tree), tmp_path / "OUT")
    assert caught.value.exit_code == 1
    assert not list((tmp_path / "OUT").iterdir())


def fails_at(number: int, error: OSError) -> Callable[..., Any]:
    """Return a stand-in for os.fdopen whose files fail at the write of that number."""
    real, written = os.fdopen, [0]

    def opened(handle: int, mode: str) -> Any:
        file = real(handle, mode)
        write = file.write

        class Failing:
            def __enter__(self) -> Failing:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(self, content: Any) -> int:
                written[0] += 1
                if written[0] == number:
                    raise error
                return int(write(content))

            def flush(self) -> None:
                file.flush()

            def fileno(self) -> int:
                return int(file.fileno())

        return Failing()

    return opened


def test_a_disk_that_is_full_on_the_way_is_one_line_and_loses_nothing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", fails_at(30, full))
        with pytest.raises(
            StudyError, match=r"OUT: No space left on device; complete shards are kept"
        ) as caught:
            pack_small(build("dfew", tree), tmp_path / "OUT")
    assert caught.value.exit_code == 1
    assert not list((tmp_path / "OUT").glob(".*"))
    assert pack_small(build("dfew", tree), tmp_path / "OUT").kept > 0


def test_a_folder_that_is_not_writable_is_an_input_error(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        pack_small(build("dfew", tree), tmp_path / "file" / "OUT")

    def refuse(self: Path, **_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match=r"OUT cannot be written: Permission denied"):
        pack_small(build("dfew", tree), tmp_path / "OUT")


def test_a_pack_of_a_pack_is_refused(tree: Path, tmp_path: Path) -> None:
    pack_small(build("dfew", tree), tmp_path / "OUT")
    with pytest.raises(InputError, match="from the frames themselves"):
        pack_small(build("dfew", tree, pack=str(tmp_path / "OUT")), tmp_path / "other")


def test_a_newer_pack_is_refused(tree: Path, tmp_path: Path) -> None:
    pack_small(build("dfew", tree), tmp_path / "OUT")
    manifest = tmp_path / "OUT" / "pack.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    with pytest.raises(InputError, match="has format 99"):
        build("dfew", tree, pack=str(tmp_path / "OUT"))
    manifest.write_text("{")
    with pytest.raises(InputError, match="not the manifest of a pack"):
        build("dfew", tree, pack=str(tmp_path / "OUT"))


def test_neighbouring_frames_are_mapped_and_not_copied(tree: Path, tmp_path: Path) -> None:
    pack_small(build("dfew", tree), tmp_path / "OUT")
    data = build("dfew", tree, pack=str(tmp_path / "OUT"))
    assert isinstance(data.source, Pack)
    entry = data.listing.folds[1]["test"][0]
    assert not data.source.read(entry, np.arange(1, 4)).flags.owndata
    np.testing.assert_array_equal(
        data.source.read(entry, np.array([1, 2, 3])), data.source.read(entry, np.array([3, 2, 1]))[::-1]
    )
    assert open_pack(tmp_path / "OUT", data.listing, data.shape, "pillow").count(entry) == FRAMES


def test_the_command_packs_verifies_and_prints_how_to_train(
    trees: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["data", "pack", "mafw", str(trees["mafw"]), str(tmp_path / "OUT"), "--set", "size=24"]
    output = CliRunner().invoke(app, arguments).output
    assert f"{CLIPS} clips, {CLIPS * FRAMES} frames" in output
    assert f'base.dataset.pack="{tmp_path / "OUT"}"' in output
    assert "already complete: 1" in CliRunner().invoke(app, arguments).output
    (tmp_path / "study.toml").write_text(f'[data.mafw]\npack = "{tmp_path / "OUT"}"\n')
    monkeypatch.chdir(tmp_path)  # where a study reads the pack, the command still reads the frames
    assert "already complete: 1" in CliRunner().invoke(app, arguments).output
    synthetic = CliRunner().invoke(app, ["data", "pack", "faces", str(tmp_path), str(tmp_path / "no")])
    assert isinstance(synthetic.exception, InputError)


def test_a_check_needs_no_setting_of_the_pack_that_study_toml_names(
    trees: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "OUT"
    (tmp_path / "study.toml").write_text(f'[data.mafw]\nroot = "{trees["mafw"]}"\npack = "{out}"\n')
    monkeypatch.chdir(tmp_path)
    before = CliRunner().invoke(app, ["data", "check", "mafw"])
    assert before.exit_code == 0
    assert f"the pack {out} of study.toml does not exist yet" in before.output
    packing = ["data", "pack", "mafw", str(trees["mafw"]), str(out), "--set", "size=24"]
    assert CliRunner().invoke(app, packing).exit_code == 0
    after = CliRunner().invoke(app, ["data", "check", "mafw"])
    assert after.exit_code == 0
    assert "is not there yet" not in after.output
    other = CliRunner().invoke(app, ["data", "check", "mafw", "--set", "size=32"])
    assert isinstance(other.exception, InputError)
    assert "its size is 24, not 32" in str(other.exception)
