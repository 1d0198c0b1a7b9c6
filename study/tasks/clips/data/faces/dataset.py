"""The embedded data set: procedural clips of moving faces whose every action unit is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from study.config.registry import Legacy, LocalPath, Range, component
from study.errors import InputError
from study.hashing import digest, seed_of
from study.seeds import FACES, GRAIN, SPLITS
from study.tasks.clips.data.contract import Channels, Clips, ClipShape, Frames, Pixels, Split
from study.tasks.clips.data.faces.acting import (
    ACTIONS,
    EMOTIONS,
    FRONT_COURSE,
    FRONT_LOOK,
    FRONTS,
    LIGHTING,
    POSES,
    PROPORTIONS,
    SCENERY,
    Floats,
    Play,
    Strengths,
    labels_of,
    mislabelled,
    play,
)
from study.tasks.clips.data.faces.drawing import Scene, draw
from study.tasks.clips.data.files.store import CachedRows

GENERATOR = 1
"""Counts up whenever the same parameters would give other clips; named in CHANGELOG.md under Changes numbers."""
_EVEN_BYTES, _EVEN_PAIRS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_DEVIATION_OF_FOUR_BYTES = 147.8
"""Square root of 4 (256² - 1) / 12."""


@dataclass(frozen=True)
class Faces:
    """A `study.tasks.clips.data.contract.Dataset` of procedural faces; all clips are made when they are asked for."""

    clips: Mapping[Split, int]
    clips_per_person: int
    shape: ClipShape
    seed: int
    strengths: Strengths
    view: Literal["clip", "still"]
    cache: Path | None
    imbalance: float = 0.0
    label_noise: float = 0.0

    @property
    def is_synthetic(self) -> bool:
        """They are."""
        return True

    @property
    def is_optimistic(self) -> bool:
        """The validation split is held apart."""
        return False

    @property
    def facts(self) -> Mapping[str, str]:
        """What was made worse on purpose; nothing where nothing was."""
        told = {
            "in front of the face": (
                self.strengths.occlusion,
                "glasses, hair, a hand or a post in {:.0%} of the clips",
            ),
            "class shares": (self.imbalance, "{:.0%} of the way from equal ones to DFEW's, in every split"),
            "training labels": (self.label_noise, "{:.0%} replaced by another class, each clip's by chance"),
        }
        return {name: text.format(value) for name, (value, text) in told.items() if value}

    @property
    def skipped(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The seven emotions, in DFEW's order."""
        return EMOTIONS

    @property
    def folds(self) -> tuple[int, ...]:
        """None: there is one split."""
        return ()

    @cached_property
    def digest(self) -> str:
        """The generator's version and every parameter but the place of the cache.

        Parameters that were added later are named only where they are not neutral.
        """
        parameters = asdict(self)
        del parameters["cache"]
        parameters["clips"] = {SPLITS[name]: number for name, number in self.clips.items()}
        for table, name in (
            (parameters["strengths"], "occlusion"),
            (parameters, "imbalance"),
            (parameters, "label_noise"),
        ):
            if not table[name]:
                del table[name]
        return digest({"faces": GENERATOR, **parameters})

    def digest_of(self, fold: int | None) -> str:
        """Return the digest: there are no folds."""
        return self.digest

    def split(self, name: Split, fold: int | None = None) -> Clips:
        """Return one split, in which clip i is the same whatever the number of clips.

        ``truth`` holds ``intensity`` and ``occlusion``, how far something is in front of the face, (n, T), and
        ``label``, (n,), which differs from ``labels`` where those of train were made wrong.

        Raises:
            InputError: `fold` is not None.
        """
        if fold is not None:
            raise InputError(f"faces: it has no folds. Got fold {fold!r}.")
        indexes = np.arange(self.clips[name])
        labels = labels_of(name, len(indexes), seed=self.seed, imbalance=self.imbalance)
        shown = play(
            name,
            indexes,
            labels,
            seed=self.seed,
            frames=self.shape.frames,
            clips_per_person=self.clips_per_person,
            strengths=self.strengths,
        )
        path = self.cache / f"faces-{self.digest}-{name}.npy" if self.cache else None
        rows = CachedRows((len(indexes), *self.shape), lambda i: self._render(name, shown, i), path)
        curves = {"intensity": shown.intensity, "occlusion": shown.front_course[:, :, -1]}
        if self.view == "still":
            peak = shown.peak_frame[:, None]
            curves = {
                of: np.take_along_axis(curve, peak, axis=1).repeat(self.shape.frames, 1)
                for of, curve in curves.items()
            }
        truth = {of: values.astype(np.float32) for of, values in {**curves, "label": labels}.items()}
        return Clips(
            ids=tuple(f"{name}-{i:06d}" for i in indexes),
            sources=tuple(f"{name}-person-{i:05d}" for i in indexes // self.clips_per_person),
            labels=self._labels(name, labels),
            read=lambda indexes, _: rows.read(indexes),
            truth=truth,
        )

    def _labels(self, split: Split, true: NDArray[np.int64]) -> NDArray[np.int64]:
        if split != "train" or not self.label_noise:
            return true
        return mislabelled(true, split, seed=self.seed, share=self.label_noise)

    def _render(self, split: Split, shown: Play, index: int) -> Pixels:
        """Return one clip, (C, T, H, W)."""
        channels, frames, size, _ = self.shape
        grain = _grain(self.seed, split, index, (frames, size, size)) * np.float32(self.strengths.noise)
        scene = _scene(shown, index)
        if self.view == "still":
            peak = int(shown.peak_frame[index])
            picture = _rounded(draw(scene.frames(slice(peak, peak + 1)), size, channels) + grain[peak])
            return np.repeat(picture, frames, axis=1)
        return _rounded(draw(scene, size, channels) + grain)


def _scene(shown: Play, index: int) -> Scene:
    def named(names: Iterable[str], values: Floats) -> dict[str, Any]:
        return dict(zip(names, values, strict=True))

    return Scene(
        actions=named(ACTIONS, shown.actions[index].T.astype(np.float32)),
        poses=named(POSES, shown.poses[index].T.astype(np.float32)),
        proportions=named(PROPORTIONS, shown.proportions[index].tolist()),
        scenery=named(SCENERY, shown.scenery[index].tolist()),
        lighting=named(LIGHTING, shown.lighting[index].tolist()),
        front=FRONTS[shown.front[index]] if shown.front[index] >= 0 else "",
        front_course=named(FRONT_COURSE, shown.front_course[index].T.astype(np.float32)),
        front_look=named(FRONT_LOOK, shown.front_look[index].tolist()),
    )


def _grain(seed: int, split: Split, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return noise of mean 0 and standard deviation 1: sums of four random bytes, near enough to a normal."""
    count = math.prod(shape)
    key = seed_of(FACES, seed, GRAIN, SPLITS[split], index)
    raw = np.random.Philox(key=key).random_raw((count + 1) // 2)
    pairs = (raw & _EVEN_BYTES) + (raw >> np.uint64(8) & _EVEN_BYTES)
    fours = (pairs & _EVEN_PAIRS) + (pairs >> np.uint64(16) & _EVEN_PAIRS)
    total = fours.astype("<u8").view("<u4")[:count].astype(np.float32)
    grain: NDArray[np.float32] = ((total - 510.0) / np.float32(_DEVIATION_OF_FOUR_BYTES)).reshape(shape)
    return grain


def _rounded(levels: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


@component("dataset")
def faces(
    *,
    train_clips: Annotated[int, Range(1), "clips to learn from"] = 3000,
    validation_clips: Annotated[int, Range(1), "clips that choose epochs and hyper-parameters"] = 600,
    test_clips: Annotated[int, Range(1), "clips that are read once, at the end"] = 1000,
    clips_per_person: Annotated[int, Range(1), "consecutive clips that show one person"] = 20,
    frames: Frames = 16,
    size: Annotated[int, Range(32, 224), "height and width in pixels"] = 32,
    channels: Channels = 1,
    seed: Annotated[int, Range(0), "another seed gives other people and other clips"] = 0,
    dilution: Annotated[float, Range(0, 1), "mean share of a clip that carries no expression"] = 0.5,
    motion: Annotated[float, Range(0, 1), "talking, blinks, gaze, head drift and tilt"] = 0.5,
    resting: Annotated[float, Range(0, 1), "how far a person's neutral face looks like an emotion"] = 0.8,
    background: Annotated[float, Range(0, 1), "how much the surroundings differ"] = 0.5,
    light: Annotated[
        float, Range(0, 1), "how much exposure, direction and contrast of the light differ"
    ] = 0.5,
    noise: Annotated[float, Range(0, 64), "standard deviation of the pixel noise, in grey levels"] = 6.0,
    occlusion: Annotated[
        float,
        Range(0, 1),
        Legacy(0.0),
        "share of clips with glasses, hair, a hand or a post before the face",
    ] = 0.0,
    imbalance: Annotated[
        float,
        Range(0, 1),
        Legacy(0.0),
        "0: classes equally frequent, 1: as unequal as in DFEW, in every split",
    ] = 0.0,
    label_noise: Annotated[
        float, Range(0, 1), Legacy(0.0), "share of training labels that are replaced by another class"
    ] = 0.0,
    view: Annotated[Literal["clip", "still"], "still: the most expressive frame, repeated"] = "clip",
    cache: Annotated[str, LocalPath(), "folder that keeps rendered clips; empty for none"] = "",
) -> Faces:
    """Procedural clips of moving faces, seven emotions, ground truth known; needs no download."""
    return Faces(
        clips={"train": train_clips, "validation": validation_clips, "test": test_clips},
        clips_per_person=clips_per_person,
        shape=ClipShape(channels, frames, size, size),
        seed=seed,
        strengths=Strengths(dilution, motion, resting, background, light, noise, occlusion),
        view=view,
        cache=Path(cache) if cache else None,
        imbalance=imbalance,
        label_noise=label_noise,
    )
