"""What would break for a user of the procedural faces when parameters are added to them, and what those promise."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from study.config.registry import Registry
from study.tasks.clips.data.contract import Clips, Split
from study.tasks.clips.data.faces.acting import FRONTS, ground_truth, labels_of
from study.tasks.clips.data.faces.dataset import Faces, faces

DATA = Path(__file__).parents[2] / "study" / "tasks" / "clips" / "data" / "faces"
EXAMPLES = Path(__file__).parents[2] / "reports" / "examples"

FIRST_VERSION: list[tuple[dict[str, Any], str, list[str], list[str]]] = [
    (
        {},
        "0992be6a0b7c9b3d",
        ["370e5e960f4197dd", "493f4253704ca632", "f9a36db6bfaefb93"],
        ["50cc3097c95705ac", "a8aa3fcd47c04385", "b604eb6ea34a4d51"],
    ),
    (
        {"view": "still"},
        "bc907064157a7e9e",
        ["5248366d2b9e433f", "15b0c13de6758691", "91e60a348d8690ec"],
        ["9e4bed15c664d752", "97ad37b87af7aef8", "dd5d7ceb0a4aca50"],
    ),
    (
        {"channels": 3, "size": 48},
        "1649e404ca7e02fc",
        ["b4419ed57c3b765b", "d534e47d64e1d0f0", "77282067590f833a"],
        ["50cc3097c95705ac", "a8aa3fcd47c04385", "b604eb6ea34a4d51"],
    ),
    (
        {"motion": 1.0, "dilution": 0.0, "seed": 3, "frames": 8},
        "4cae3b0964081430",
        ["42c47a5fcb168921", "d5165a78fc10fa01", "8b9a4cb748d43b40"],
        ["9d10e8b510b15e66", "9c115e2ee61b11fd", "eb403af1da523d4d"],
    ),
]
"""Parameters, the data set's digest, and of train, validation and test the SHA-256 of the pixels and of the truth.

Written down from the commit before `occlusion`, `imbalance` and `label_noise` were added, on x86-64."""
LABELS_SHA256 = ["991a14bbee127265", "81845a01dafa45c9", "81845a01dafa45c9"]


def small(**parameters: Any) -> Faces:
    return faces(
        **{"train_clips": 21, "validation_clips": 7, "test_clips": 7, "clips_per_person": 7, **parameters}
    )


def splits(data: Faces) -> list[Clips]:
    return [data.split("train"), data.split("validation"), data.split("test")]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@pytest.mark.parametrize(
    ("parameters", "digest", "pixels", "truth"), FIRST_VERSION, ids=[str(p) for p, *_ in FIRST_VERSION]
)
def test_clips_and_digests_of_the_first_version_stay(
    parameters: dict[str, Any], digest: str, pixels: list[str], truth: list[str]
) -> None:
    data = small(**parameters)
    assert data.digest == digest
    parts = splits(data)
    assert [sha256(c.labels.astype("<i8").tobytes()) for c in parts] == LABELS_SHA256
    assert [sha256(c.truth["intensity"].astype("<f4").tobytes()) for c in parts] == truth
    assert [sha256(c.read(np.arange(len(c.ids)), None).tobytes()) for c in parts] == pixels


def test_runs_that_were_recorded_before_are_of_the_same_clips() -> None:
    """What `occlusion`, `imbalance` and `label_noise` are by default changes the digest of no recorded data."""
    registry, count = Registry(), 0
    for file in EXAMPLES.glob("*/ledger/runs/*/run.json"):
        recorded = json.loads(file.read_text())
        table = registry.resolve("dataset", recorded["config"]["dataset"], "dataset")
        assert registry.build("dataset", table).digest == recorded["data_digest"]
        count += 1
    assert count >= 24


def read(clips: Clips) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return clips.read(np.arange(len(clips.ids)), None)


def test_occlusion_is_the_share_of_clips_and_more_of_it_changes_no_other_clip() -> None:
    plain, some, more = (small(train_clips=210, occlusion=o).split("train") for o in (0.0, 0.3, 0.7))
    shown = {o: c.truth["occlusion"].any(axis=1) for o, c in ((0.3, some), (0.7, more))}
    for share, seen in shown.items():
        assert abs(seen.mean() - share) < 4 * np.sqrt(share * (1 - share) / 210)
    assert not plain.truth["occlusion"].any()
    assert (shown[0.3] <= shown[0.7]).all()
    pictures = [read(c) for c in (plain, some, more)]
    np.testing.assert_array_equal(pictures[1][shown[0.3]], pictures[2][shown[0.3]])
    np.testing.assert_array_equal(pictures[0][~shown[0.7]], pictures[2][~shown[0.7]])
    changed = (pictures[2] != pictures[0]).any(axis=(1, 2, 3, 4))
    assert changed[shown[0.7]].mean() > 0.9  # a post may stay beside the picture, a hand below it


@pytest.mark.parametrize("channels", [1, 3])
def test_each_thing_hides_part_of_the_face_and_moves(channels: int) -> None:
    strengths = small(occlusion=1.0, background=0.0, light=0.0, noise=0.0, motion=0.0).strengths
    sizes: dict[str, Any] = {"train_clips": 60, "clips_per_person": 1, "channels": channels, "size": 48}
    calm: dict[str, Any] = {"background": 0.0, "light": 0.0, "noise": 0.0, "dilution": 0.0, "resting": 0.0}
    play_of = ground_truth(
        "train",
        np.arange(60),
        labels_of("train", 60, seed=0, imbalance=0.0),
        seed=0,
        frames=16,
        clips_per_person=1,
        strengths=strengths,
    )
    before, behind = (
        read(small(**sizes, **calm, motion=0.0, occlusion=o).split("train")).astype(float) for o in (1.0, 0.0)
    )
    hidden = np.abs(before - behind).mean(axis=1) > 8  # (n, T, H, W)
    for kind, name in enumerate(FRONTS):
        of = hidden[play_of.front == kind]
        assert len(of) > 5
        assert of.any(axis=1).mean() > 0.03, f"{name} hides next to nothing"
        assert of.all(axis=1).mean() < 0.6, f"{name} hides nearly everything"
        if name != "glasses":
            assert (of.any(axis=1) & ~of.all(axis=1)).mean() > 0.01, f"{name} stands still"


def test_glasses_and_hair_go_with_the_head() -> None:
    wild: dict[str, Any] = {"clips_per_person": 1, "train_clips": 40, "motion": 1.0, "noise": 0.0, "size": 64}
    clips = {o: small(**wild, occlusion=o).split("train") for o in (0.0, 1.0)}
    hidden = np.abs(read(clips[1.0]).astype(float) - read(clips[0.0])).mean(axis=1) > 8
    strengths = small(**wild, occlusion=1.0).strengths
    labels = labels_of("train", 40, seed=0, imbalance=0.0)
    shown = ground_truth(
        "train", np.arange(40), labels, seed=0, frames=16, clips_per_person=1, strengths=strengths
    )
    columns = np.arange(64)
    for name in ("glasses", "hair"):
        together = []
        for clip in np.flatnonzero(shown.front == FRONTS.index(name)):
            weight = hidden[clip].sum(axis=1) + 1e-9  # (T, W)
            position = (weight * columns).sum(axis=1) / weight.sum(axis=1)
            together.append(np.corrcoef(position, shown.poses[clip, :, 0])[0, 1])
        assert np.median(together) > 0.6


def test_occlusion_is_independent_of_the_emotion() -> None:
    clips = faces(train_clips=2800, occlusion=0.5, frames=2).split("train")
    seen = clips.truth["occlusion"].max(axis=1) > 0
    table = np.array(
        [[(seen & (clips.labels == c)).sum(), (~seen & (clips.labels == c)).sum()] for c in range(7)]
    )
    assert chi2_contingency(table).pvalue > 0.001


def test_a_still_shows_what_was_in_front_of_its_frame() -> None:
    still = small(view="still", occlusion=1.0).split("train")
    assert (still.truth["occlusion"] == still.truth["occlusion"][:, :1]).all()
    shown = read(still)
    assert (shown == shown[:, :, :1]).all()


@pytest.mark.parametrize("clips", [600, 1000, 3000, 11697])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_classes_are_as_unequal_as_in_dfew(clips: int, split: Split) -> None:
    official = np.array([2445, 1894, 2669, 2173, 1469, 145, 902])
    labels = labels_of(split, clips, seed=0, imbalance=1.0)
    expected = official * clips / official.sum()
    assert np.abs(np.bincount(labels, minlength=7) - expected).max() < 1.5


def test_half_of_the_imbalance_is_half_of_the_way() -> None:
    official = np.array([2445, 1894, 2669, 2173, 1469, 145, 902]) / 11697
    labels = labels_of("train", 7000, seed=5, imbalance=0.5)
    assert np.abs(np.bincount(labels) - 7000 * (official + 1 / 7) / 2).max() < 1.5


def test_an_imbalanced_clip_does_not_depend_on_the_number_of_clips() -> None:
    few, many = (small(train_clips=n, imbalance=1.0).split("train") for n in (15, 90))
    assert few.labels.tolist() == many.labels[:15].tolist()
    np.testing.assert_array_equal(read(few), many.read(np.arange(15), None))


def test_imbalance_changes_no_person_and_every_split_has_an_order_of_its_own() -> None:
    plain, wild = (small(noise=0.0, imbalance=b).split("train") for b in (0.0, 1.0))
    same = plain.labels == wild.labels
    assert 0 < same.sum() < 21
    np.testing.assert_array_equal(read(plain)[same], read(wild)[same])
    names: tuple[Split, ...] = ("train", "validation", "test")
    orders = {tuple(labels_of(name, 100, seed=s, imbalance=1.0)) for name in names for s in (0, 1)}
    assert len(orders) == 6


def test_the_rarest_class_is_shown_by_many_people() -> None:
    clips = faces(train_clips=3000, imbalance=1.0).split("train")
    disgust = np.flatnonzero(clips.labels == 5)
    assert len({clips.sources[i] for i in disgust}) > 0.9 * len(disgust)


def test_wrong_labels_stay_in_training_and_the_true_ones_are_known() -> None:
    true, noisy = (faces(train_clips=2100, frames=1, label_noise=s) for s in (0.0, 0.3))
    for name in ("validation", "test"):
        assert noisy.split(name).labels.tolist() == true.split(name).labels.tolist()
    true_labels, labels = noisy.split("train").truth["label"], noisy.split("train").labels
    assert true_labels.tolist() == true.split("train").labels.tolist()
    wrong = true_labels != labels
    assert abs(wrong.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 2100)
    steps = np.bincount((labels - true_labels.astype(int))[wrong] % 7, minlength=7)
    assert steps[0] == 0
    assert chisquare(steps[1:]).pvalue > 0.001


def test_more_label_noise_keeps_what_was_wrong_before_and_no_pixel_changes() -> None:
    some, more = (small(label_noise=s).split("train") for s in (0.3, 0.8))
    was_wrong = some.labels != some.truth["label"]
    assert was_wrong.any()
    np.testing.assert_array_equal(some.labels[was_wrong], more.labels[was_wrong])
    np.testing.assert_array_equal(read(some), read(more))
    every = small(train_clips=210, label_noise=1.0).split("train")
    assert (every.labels != every.truth["label"]).all()


def test_a_wrong_label_does_not_depend_on_the_number_of_clips() -> None:
    few, many = (small(train_clips=n, label_noise=0.5).split("train") for n in (15, 90))
    assert few.labels.tolist() == many.labels[:15].tolist()


def test_corruptions_are_among_the_facts_of_a_result() -> None:
    assert faces().facts == {}
    facts = faces(occlusion=0.25, imbalance=1.0, label_noise=0.1).facts
    assert [text.split("%")[0].split()[-1] for text in facts.values()] == ["25", "100", "10"]


def test_the_new_strengths_are_reproducible_across_versions() -> None:
    """If this fails, the same parameters give other clips: raise `GENERATOR` and name it under Changes numbers."""
    clips = faces(train_clips=70, occlusion=0.6, imbalance=0.8, label_noise=0.2).split("train")
    assert sha256(clips.truth["occlusion"].astype("<f4").tobytes()) == "5808dee7c21316a3"
    assert sha256(clips.labels.astype("<i8").tobytes()) == "eee2f0fcba1642ff"


def test_the_page_names_every_parameter_and_its_pictures_exist() -> None:
    page = (DATA / "faces.md").read_text()
    missing = [name for name in Registry().get("dataset", "faces").parameters if f"`{name}" not in page]
    assert set(missing) <= {"train_clips", "validation_clips", "test_clips", "frames", "channels", "seed"}
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)
    assert len(pictures) >= 3
    assert all(0 < (DATA / name).stat().st_size < 300_000 for name in pictures)


def test_the_three_figures_of_honesty_are_those_of_the_committed_report() -> None:
    page, report = (DATA / "faces.md").read_text(), (EXAMPLES / "honesty" / "report.md").read_text()
    for variant in ("reference", "dataset.view=still", "train.labels=shuffled"):
        found = re.search(rf"^\| {re.escape(variant)} \|.*?\| (\d+\.\d \[[^]|]+\]) \|", report, re.MULTILINE)
        assert found
        assert f"| {found[1]} |" in page
