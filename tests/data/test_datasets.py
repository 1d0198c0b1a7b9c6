"""Every registered data set, in every layout, keeps what training relies on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.config.registry import Registry
from study.tasks.clips.data.sets.mafw import CLASSES
from study.testing.datasets import conform

EMOTIONS = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
SMALL = {"size": 16, "frames": 4, "validation_share": 0.34}


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of 66 clips, laid out as each data set has it; every third is in test."""
    top = tmp_path_factory.mktemp("trees")
    noise = np.random.default_rng(0)
    lists: dict[str, list[str]] = {}
    for n in range(66):
        seven, eleven, part = EMOTIONS[n // 3 % 7], CLASSES[n // 3 % 11], ("train", "train", "test")[n % 3]
        scene = f"Action/{seven}/{n:04d}"
        folders = (
            f"DFEW/Clip/clip_224x224_16f/{n:05d}",
            f"FERV39k/2_ClipsforFaceCrop/{scene}",
            f"MAFW/data/frames/{n:05d}",
            f"own/{n}",
        )
        pictures = noise.integers(0, 256, (4 + n % 5, 20, 20, 3), dtype=np.uint8)
        for folder in folders:
            (top / folder).mkdir(parents=True)
            for number, picture in enumerate(pictures, start=1):
                Image.fromarray(picture).save(top / folder / f"{number}.png", compress_level=1)
        for path, row in (
            (f"DFEW/EmoLabel_DataSplit/{part}(single-labeled)/set_1.csv", f"{n},{n // 3 % 7 + 1}"),
            (f"FERV39k/4_setups/All_scenes/{part}_All.csv", f"{scene} {seven}"),
            (f"MAFW/split/single/no_caption/set_1/{part}.txt", f"{n:05d}.mp4 {eleven}"),
            ("own/clips.csv", f"{n},{seven},person {n // 6}"),
        ):
            lists.setdefault(path, ["path,label,source"] if path.startswith("own") else []).append(row)
    for path, rows in lists.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text("\n".join(rows) + "\n")
    return top


CONFIGS: dict[str, dict[str, Any]] = {
    "faces": {"train_clips": 14, "validation_clips": 7, "test_clips": 7, "frames": 4},
    "dfew": {"root": "DFEW", "folds": [1], **SMALL},
    "ferv39k": {"root": "FERV39k", **SMALL},
    "mafw": {"root": "MAFW", "folds": [1], **SMALL},
    "clips": {"root": "own", **SMALL},
}
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"views": "2x2", "short": "last"},
    {"sampling": "window", "views": "windows"},
    {"select_on": "test", "skip_bad": True},
)


def test_every_built_in_data_set_is_tested() -> None:
    assert sorted(CONFIGS) == Registry().names("dataset")


RECORDED = [(name, changes) for name in CONFIGS if name != "faces" for changes in CHANGES]


@pytest.mark.parametrize(("name", "changes"), [("faces", {}), *RECORDED], ids=str)
def test_a_data_set_keeps_what_training_relies_on(trees: Path, name: str, changes: dict[str, Any]) -> None:
    config = {"name": name, **CONFIGS[name], **changes}
    if "root" in config:
        config["root"] = str(trees / config["root"])
    registry = Registry()
    conform(lambda: registry.build("dataset", registry.resolve("dataset", config, name)))
