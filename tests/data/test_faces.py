"""What would break for a user of the procedural faces."""

from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from study.config.registry import Registry
from study.errors import InputError
from study.tasks.clips.data.contract import Clips
from study.tasks.clips.data.emotions import EMOTIONS
from study.tasks.clips.data.faces.acting import ACTIONS, PROTOTYPES
from study.tasks.clips.data.faces.dataset import Faces, faces

TRUTH_SHA256 = "0b1e7cc63f9c48033ffb2df4e7e0f67faa606f0333310562d6b4cf00b9e129b4"
"""The digest of the truth of 50 clips. Additions, multiplications, divisions and comparisons of IEEE doubles give the
same bits on every machine, so any difference means that the generator changed: raise `GENERATOR`, then this."""
STRENGTHS = (
    "dilution",
    "motion",
    "resting",
    "background",
    "light",
    "noise",
    "occlusion",
    "imbalance",
    "label_noise",
)


def small(**parameters: Any) -> Faces:
    return faces(
        **{"train_clips": 21, "validation_clips": 14, "test_clips": 14, "clips_per_person": 7, **parameters}
    )


def pixels(clips: Clips, *indexes: int) -> NDArray[np.uint8]:
    return clips.read(np.array(indexes or range(len(clips.ids))), None)


def test_a_clip_does_not_depend_on_the_batch_it_is_read_in() -> None:
    data = small()
    together = pixels(data.split("train"))
    backwards = pixels(data.split("train"), *reversed(range(21)))
    np.testing.assert_array_equal(backwards[::-1], together)
    for index in (0, 8, 20):
        np.testing.assert_array_equal(pixels(data.split("train"), index)[0], together[index])


def test_a_clip_does_not_depend_on_the_number_of_clips() -> None:
    few, many = small(train_clips=8).split("train"), small(train_clips=21).split("train")
    np.testing.assert_array_equal(pixels(few), pixels(many, *range(8)))
    np.testing.assert_array_equal(few.truth["intensity"], many.truth["intensity"][:8])
    assert few.ids == many.ids[:8]


def _digest_of_clip(index: int) -> str:
    return hashlib.sha256(pixels(small().split("test"), index).tobytes()).hexdigest()


def test_a_clip_does_not_depend_on_the_process_that_renders_it() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        elsewhere = list(pool.map(_digest_of_clip, [3, 9]))
    assert elsewhere == [_digest_of_clip(3), _digest_of_clip(9)]


def test_no_person_is_shared_between_splits() -> None:
    data = faces(train_clips=100, validation_clips=40, test_clips=40)
    people = [set(data.split(name).sources) for name in ("train", "validation", "test")]
    assert [len(p) for p in people] == [5, 2, 2]
    assert len(set.union(*people)) == 9


def test_splits_show_different_faces_even_at_equal_positions() -> None:
    data = small()
    assert not np.array_equal(pixels(data.split("train"), 0), pixels(data.split("test"), 0))


def test_the_truth_is_the_same_on_every_machine() -> None:
    truth = faces(train_clips=50).split("train").truth["intensity"]
    assert truth.dtype == np.float32
    assert truth.shape == (50, 16)
    assert hashlib.sha256(truth.astype("<f4").tobytes()).hexdigest() == TRUTH_SHA256


def test_the_truth_rises_and_falls_within_the_clip_and_is_zero_for_neutral() -> None:
    clips = faces(train_clips=140, frames=64).split("train")
    truth = clips.truth["intensity"]
    neutral = clips.labels == EMOTIONS.index("neutral")
    assert not truth[neutral].any()
    assert ((truth >= 0) & (truth <= 1)).all()
    peaks = truth[~neutral].max(axis=1)
    assert peaks.min() > 0.35
    assert peaks.max() > 0.9
    for curve in truth[~neutral]:
        top = int(curve.argmax())
        assert (np.diff(curve[: top + 1]) >= 0).all()
        assert (np.diff(curve[top:]) <= 0).all()


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("frames", [8, 16, 40])
def test_any_size_and_length_gives_clips_with_contrast(size: int, frames: int) -> None:
    data = small(size=size, frames=frames)
    clip = pixels(data.split("train"), 4)
    assert clip.dtype == np.uint8
    assert clip.shape == (1, *data.shape) == (1, 1, frames, size, size)
    assert clip.std() > 15
    assert clip.min() < 60
    assert clip.max() > 120


def test_a_larger_picture_shows_the_same_face() -> None:
    clips = [pixels(small(size=size, noise=0.0).split("train")).astype(float) for size in (32, 128)]
    shrunk = clips[1].reshape(21, 1, 16, 32, 4, 32, 4).mean(axis=(4, 6))
    assert np.abs(shrunk - clips[0]).mean() < 3.0


def test_a_longer_clip_shows_the_same_course() -> None:
    few, many = (small(frames=frames).split("train").truth["intensity"] for frames in (8, 40))
    assert np.abs(many.reshape(21, 8, 5)[:, :, 2] - few).max() < 1e-6


def test_a_grey_clip_is_the_luma_of_the_coloured_one() -> None:
    grey, colour = (pixels(small(channels=c, light=0.0, noise=0.0).split("train")) for c in (1, 3))
    luma = np.tensordot([0.299, 0.587, 0.114], colour.astype(float), axes=(0, 1))
    np.testing.assert_allclose(grey[:, 0], luma, atol=1.0)


def test_classes_come_equally_often_and_in_dfew_order() -> None:
    data = faces(train_clips=70)
    assert data.classes == ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
    assert np.bincount(data.split("train").labels).tolist() == [10] * 7


def test_prototypes_name_only_action_units_that_are_rendered() -> None:
    assert set(PROTOTYPES) == set(EMOTIONS)
    assert {unit for prototype in PROTOTYPES.values() for unit in prototype} <= set(ACTIONS)


def test_dilution_is_the_share_of_the_clip_without_expression() -> None:
    for dilution in (0.0, 0.3, 0.6):
        clips = faces(train_clips=700, frames=100, dilution=dilution).split("train")
        active = (clips.truth["intensity"] > 0)[clips.labels != EMOTIONS.index("neutral")]
        assert abs(active.mean() - (1 - dilution)) < 0.03


def test_without_motion_and_noise_a_neutral_clip_does_not_move() -> None:
    clips = small(motion=0.0, noise=0.0).split("train")
    neutral = np.flatnonzero(clips.labels == EMOTIONS.index("neutral"))
    still = pixels(clips, *neutral)
    assert (still == still[:, :, :1]).all()


def test_a_neutral_clip_moves_too() -> None:
    clips = small(noise=0.0).split("train")
    neutral = np.flatnonzero(clips.labels == EMOTIONS.index("neutral"))
    moving = pixels(clips, *neutral).astype(float)
    assert (moving.std(axis=2).mean(axis=(1, 2, 3)) > 1.0).all()


def test_a_resting_face_shows_in_every_frame_of_a_neutral_clip() -> None:
    plain, resting = (small(motion=0.0, noise=0.0, resting=r).split("train") for r in (0.0, 1.0))
    neutral = np.flatnonzero(plain.labels == EMOTIONS.index("neutral"))
    added = pixels(resting, *neutral).astype(float) - pixels(plain, *neutral)
    assert (np.abs(added).max(axis=(1, 3, 4)) > 20).all()
    assert (added == added[:, :, :1]).all()


def test_noise_is_in_grey_levels() -> None:
    quiet, noisy = (pixels(small(noise=n).split("train")).astype(float) for n in (0.0, 10.0))
    unclipped = (quiet > 40) & (quiet < 215)
    assert (noisy - quiet)[unclipped].std() == pytest.approx(10.0, rel=0.02)
    assert (noisy - quiet)[unclipped].mean() == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("strength", ["background", "light"])
def test_a_strength_of_zero_makes_all_clips_alike(strength: str) -> None:
    def spread(value: float) -> float:
        clips = pixels(small(**{strength: value}, motion=0.0, noise=0.0).split("train")).astype(float)
        corner = clips[:, 0, 0, :4, :2].mean(axis=(1, 2))
        return float(corner.std())

    other = {"background": "light", "light": "background"}[strength]
    silent = pixels(small(**{strength: 0.0, other: 0.0}, motion=0.0, noise=0.0).split("train"))
    assert len(np.unique(silent[:, 0, :, :4, 0])) <= 2
    assert spread(1.0) > spread(0.0)


def test_a_still_repeats_the_frame_that_shows_most() -> None:
    moving, still = small().split("train"), small(view="still").split("train")
    shown = pixels(still)
    assert (shown == shown[:, :, :1]).all()
    top = moving.truth["intensity"].argmax(axis=1)
    expressive = np.flatnonzero(moving.labels != EMOTIONS.index("neutral"))
    np.testing.assert_array_equal(shown[expressive, :, 0], pixels(moving)[expressive, :, top[expressive]])
    np.testing.assert_array_equal(still.truth["intensity"][:, 0], moving.truth["intensity"].max(axis=1))


def test_the_digest_follows_every_parameter_but_the_cache(tmp_path: Path) -> None:
    parameters = Registry().get("dataset", "faces").parameters
    other: dict[str, Any] = {"view": "still", "channels": 3, "size": 40, "frames": 9, "seed": 1, "noise": 1.5}
    digests = {faces().digest, faces(cache=str(tmp_path)).digest}
    assert len(digests) == 1
    for name, parameter in parameters.items():
        if name != "cache":
            changed = other.get(name, 0.25 if name in STRENGTHS else 77)
            assert changed != parameter.default
            digests.add(faces(**{name: changed}).digest)
    assert len(digests) == len(parameters)


def test_a_cached_split_is_identical_to_a_fresh_one_and_is_not_rendered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = pixels(small().split("test"))
    np.testing.assert_array_equal(pixels(small(cache=str(tmp_path)).split("test")), fresh)
    assert [path.name for path in tmp_path.iterdir()] == [f"faces-{small().digest}-test.npy"]
    monkeypatch.setattr("study.tasks.clips.data.faces.dataset.render", None)
    np.testing.assert_array_equal(pixels(small(cache=str(tmp_path)).split("test")), fresh)


def test_a_damaged_cache_is_rendered_again(tmp_path: Path) -> None:
    clips = small(cache=str(tmp_path))
    fresh = pixels(clips.split("test"))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    np.testing.assert_array_equal(pixels(clips.split("test")), fresh)


def _digest_of_cached_split(cache: str) -> str:
    return hashlib.sha256(pixels(small(cache=cache).split("train")).tobytes()).hexdigest()


def test_processes_that_render_at_once_do_not_hurt_each_other(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        digests = set(pool.map(_digest_of_cached_split, [str(tmp_path)] * 4))
    assert len(digests) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_render_that_fails_leaves_nothing_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.tasks.clips.data.faces.dataset.render", None)
    with pytest.raises(TypeError):
        pixels(small(cache=str(tmp_path)).split("test"))
    assert list(tmp_path.iterdir()) == []


def test_faces_have_no_folds() -> None:
    assert small().folds == ()
    with pytest.raises(InputError, match="no folds"):
        small().split("train", 1)
