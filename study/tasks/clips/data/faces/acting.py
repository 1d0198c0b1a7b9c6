"""Computes the ground truth of the procedural data set: persons, expressions, poses, and their course over time.

Every value is a function of random numbers that a counter-based generator yields for one person or one clip, by
additions, multiplications, divisions and comparisons only. IEEE arithmetic fixes the result of each of
these, so the ground truth is the same to the last bit on every machine, in every batch and process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.hashing import seed_of
from study.seeds import FACES
from study.seeds import SPLITS as SPLIT_SEEDS
from study.tasks.clips.data.contract import Split
from study.tasks.clips.data.emotions import DFEW_CLIPS, EMOTIONS

Floats = NDArray[np.float64]

PROTOTYPES: Mapping[str, Mapping[str, float]] = {
    "happy": {"AU6": 0.9, "AU12": 1.0, "AU25": 0.5},
    "sad": {"AU1": 1.0, "AU4": 0.5, "AU15": 1.0, "AU17": 0.5},
    "neutral": {},
    "angry": {"AU4": 1.0, "AU5": 0.4, "AU7": 0.8, "AU23": 1.0},
    "surprise": {"AU1": 1.0, "AU2": 1.0, "AU5": 0.9, "AU25": 0.6, "AU26": 1.0},
    "disgust": {"AU4": 0.3, "AU9": 1.0, "AU10": 0.9, "AU17": 0.6},
    "fear": {"AU1": 1.0, "AU2": 0.5, "AU4": 0.7, "AU5": 1.0, "AU20": 1.0, "AU25": 0.6, "AU26": 0.3},
}
"""Action units of each emotion at full intensity, after EMFACS (Friesen and Ekman, 1983)."""

ACTIONS = (
    "AU1",  # inner brow raiser
    "AU2",  # outer brow raiser
    "AU4",  # brow lowerer
    "AU5",  # upper lid raiser
    "AU6",  # cheek raiser
    "AU7",  # lid tightener
    "AU9",  # nose wrinkler
    "AU10",  # upper lip raiser
    "AU12",  # lip corner puller
    "AU15",  # lip corner depressor
    "AU17",  # chin raiser
    "AU18",  # lip pucker
    "AU20",  # lip stretcher
    "AU23",  # lip tightener
    "AU25",  # lips part
    "AU26",  # jaw drop
    "AU45",  # blink
)
"""The action units (FACS; Ekman, Friesen and Hager, 2002) that a face is rendered from."""

POSES = ("x", "y", "roll", "yaw", "pitch", "zoom", "gaze")
"""Head position in half pictures, roll in half radians, turns and gaze in [-1, 1], relative growth."""

PROPORTIONS: Mapping[str, tuple[float, float]] = {
    "face_width": (0.70, 0.80),
    "jaw": (0.10, 0.30),
    "brow_height": (-0.05, 0.05),
    "brow_slope": (-0.05, 0.05),
    "brow_thickness": (0.055, 0.10),
    "brow_tone": (0.10, 0.35),
    "eye_distance": (0.31, 0.36),
    "eye_width": (0.15, 0.185),
    "eye_opening": (0.8, 1.15),
    "nose_length": (0.15, 0.23),
    "nose_width": (0.10, 0.15),
    "mouth_height": (0.48, 0.55),
    "mouth_width": (0.24, 0.31),
    "mouth_corner": (-0.025, 0.025),
    "lip_thickness": (0.7, 1.3),
    "skin": (0.36, 0.82),
    "hair": (0.05, 0.60),
    "hairline": (0.66, 0.84),
    "hair_length": (-0.2, 1.6),
    "beard": (-1.2, 0.6),
    "age": (0.3, 1.0),
}
"""Least and greatest value of each proportion of a person's face; lengths in half face heights."""

FRONTS = ("glasses", "hair", "hand", "bar")
"""Kinds of occlusion in front of a face."""
FRONT_COURSE = ("x", "y", "visible")
"""Offset of the occlusion in half face heights, and how far it has come, in [0, 1]."""
FRONT_LOOK = ("position", "size", "tone", "angle", "side", "detail")
"""Parameters of the look of an occlusion."""

SCENERY = ("backdrop", "backdrop_slope", "stripe_angle", "stripe_tone", "blob_x", "blob_y", "blob_tone")
LIGHTING = ("gain", "side", "top", "contrast")
_KNOTS_OF_SPEECH = 14
_KNOTS_OF_HEAD = 4
_BLINKS = 2
_LEAST_SHARE = 0.15


@dataclass(frozen=True)
class Strengths:
    """Strengths of the distractions: each in [0, 1], `noise` in grey levels; ``faces.md`` explains them."""

    dilution: float
    motion: float
    resting: float
    background: float
    light: float
    noise: float
    occlusion: float = 0.0


@dataclass(frozen=True)
class GroundTruth:
    """What n clips of T frames show, before rendering."""

    intensity: Floats
    """(n, T): the expression's intensity in [0, 1]; 0 throughout for a neutral clip."""
    peak_frame: NDArray[np.int64]
    """(n,): the most expressive frame; for a neutral clip, the one at the same point of its course."""
    actions: Floats
    """(n, T, len(ACTIONS)): the intensity of each action unit, in [0, 1]."""
    poses: Floats
    """(n, T, len(POSES))."""
    proportions: Floats
    """(n, len(PROPORTIONS)): proportions of the person in the clip."""
    scenery: Floats
    """(n, len(SCENERY)), each in [-1, 1] times the strength of the background."""
    lighting: Floats
    """(n, len(LIGHTING)), each in [-1, 1] times the strength of the light."""
    front: NDArray[np.int64]
    """(n,): index into `FRONTS` of the occlusion, -1 for none."""
    front_course: Floats
    """(n, T, len(FRONT_COURSE)), 0 where there is no occlusion."""
    front_look: Floats
    """(n, len(FRONT_LOOK)), in [0, 1)."""


class _UniformColumns:
    """Uniform random numbers in [0, 1), a row for each clip or person, consumed column by column."""

    def __init__(self, count: int, seed: int, kind: str, split: Split, indexes: NDArray[np.int64]) -> None:
        rows = [
            np.random.Philox(key=seed_of(FACES, seed, kind, SPLIT_SEEDS[split], int(i))).random_raw(count)
            for i in indexes
        ]
        raw = np.asarray(rows, dtype=np.uint64).reshape(len(indexes), count)
        self._columns = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
        self._used = 0

    def next(self, columns: int) -> Floats:
        self._used += columns
        if self._used > self._columns.shape[1]:
            raise IndexError("more random numbers are requested than were generated")
        return self._columns[:, self._used - columns : self._used]

    def one(self) -> Floats:
        return self.next(1)[:, 0]


def ground_truth(
    split: Split,
    indexes: NDArray[np.int64],
    labels: NDArray[np.int64],
    *,
    seed: int,
    frames: int,
    clips_per_person: int,
    strengths: Strengths,
) -> GroundTruth:
    """Return the ground truth of the clips `indexes` of a split; a clip's rows depend only on its index and label."""
    draws = _UniformColumns(160, seed, "clip", split, indexes)
    faces, person_of = np.unique(indexes // clips_per_person, return_inverse=True)
    people = _UniformColumns(64, seed, "person", split, faces)
    time = (np.arange(frames) + 0.5) / frames

    curve = _expression_curve(draws, time, strengths.dilution)
    peak = 0.4 + 0.6 * draws.one()
    expressive = labels != EMOTIONS.index("neutral")
    intensity = curve * (peak * expressive)[:, None]

    own_style, proportions, resting = _people(people)
    prototypes = np.array([[PROTOTYPES[e].get(action, 0.0) for action in ACTIONS] for e in EMOTIONS])
    style = (0.75 + 0.35 * draws.next(len(ACTIONS))) * own_style[person_of]
    expression = intensity[:, :, None] * (prototypes[labels] * style)[:, None, :]
    at_rest = strengths.resting * (resting[:, 0, None] * prototypes[resting[:, 1].astype(np.int64)])
    moving, poses = _irrelevant_motion(draws, time, strengths.motion)
    actions = np.clip(at_rest[person_of][:, None, :] + expression + moving, 0.0, 1.0)
    front, front_course, front_look = _occlusions(split, indexes, seed, time, strengths.occlusion)
    return GroundTruth(
        intensity=intensity,
        peak_frame=curve.argmax(axis=1),
        actions=actions,
        poses=poses,
        proportions=proportions[person_of],
        scenery=strengths.background * (2.0 * draws.next(len(SCENERY)) - 1.0),
        lighting=strengths.light * (2.0 * draws.next(len(LIGHTING)) - 1.0),
        front=front,
        front_course=front_course,
        front_look=front_look,
    )


def labels_of(split: Split, count: int, *, seed: int, imbalance: float) -> NDArray[np.int64]:
    """Return the emotions of a split's first `count` clips.

    Balanced, they alternate. Otherwise each clip has the emotion that is furthest below its share of the clips
    so far, so that a clip's emotion does not depend on the number of clips, and the classes of any number of
    clips are near their shares. The deficits at the start are random, by the seed and the split.
    """
    if imbalance == 0.0:
        return np.arange(count, dtype=np.int64) % len(EMOTIONS)
    dfew = np.array(DFEW_CLIPS) / sum(DFEW_CLIPS)
    share = (1.0 - imbalance) / len(EMOTIONS) + imbalance * dfew
    deficit = (
        _UniformColumns(len(EMOTIONS), seed, "classes", split, np.zeros(1, np.int64)).next(len(EMOTIONS))[0]
        - 0.5
    )
    labels = np.empty(count, dtype=np.int64)
    for clip in range(count):
        deficit = deficit + share
        labels[clip] = deficit.argmax()
        deficit[labels[clip]] -= 1.0
    return labels


def mislabelled(labels: NDArray[np.int64], split: Split, *, seed: int, share: float) -> NDArray[np.int64]:
    """Return `labels` with about a share of them replaced, each by any other emotion, all equally likely."""
    draws = _UniformColumns(2, seed, "label", split, np.arange(len(labels)))
    wrong = draws.one() < share
    others = len(EMOTIONS) - 1
    step = 1 + np.minimum((draws.one() * others).astype(np.int64), others - 1)
    return np.where(wrong, (labels + step) % len(EMOTIONS), labels)


def _expression_curve(draws: _UniformColumns, time: Floats, dilution: float) -> Floats:
    """Return onset, apex and offset of each clip's expression, (n, T), at most 1."""
    share = np.maximum(_LEAST_SHARE, 1.0 - dilution * (0.7 + 0.6 * draws.one()))
    start = draws.one() * (1.0 - share)
    onset = 0.2 + 0.2 * draws.one()
    offset = 0.2 + 0.2 * draws.one()
    position = (time - start[:, None]) / share[:, None]
    rising = _smoothstep(position / onset[:, None])
    falling = _smoothstep((1.0 - position) / offset[:, None])
    return np.minimum(rising, falling)


def _people(draws: _UniformColumns) -> tuple[Floats, Floats, Floats]:
    """Return styles (P, A), proportions (P, len(PROPORTIONS)) and resting faces (P, 2): strength, emotion."""
    bounds = np.array(list(PROPORTIONS.values()))
    style = 0.8 + 0.2 * draws.next(len(ACTIONS))
    proportions = bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * draws.next(len(PROPORTIONS))
    strength = 0.5 + 0.5 * draws.one()
    emotional = [i for i, emotion in enumerate(EMOTIONS) if PROTOTYPES[emotion]]
    emotion = np.array(emotional)[(draws.one() * len(emotional)).astype(np.int64)]
    return style, proportions, np.stack([strength, emotion.astype(np.float64)], axis=1)


def _irrelevant_motion(draws: _UniformColumns, time: Floats, motion: float) -> tuple[Floats, Floats]:
    """Return motion that is independent of the emotion: actions (n, T, A) and poses (n, T, len(POSES))."""
    talkative = motion * _smoothstep(1.5 * draws.one() - 0.25)[:, None]
    phrase = _smoothstep(2.0 * _smooth_curve(draws.next(_KNOTS_OF_HEAD), time) - 0.4)
    jaw = talkative * phrase * _smooth_curve(draws.next(_KNOTS_OF_SPEECH), time)
    lips = talkative * phrase * _smooth_curve(draws.next(_KNOTS_OF_SPEECH), time)
    blinking = np.zeros_like(jaw)
    for _ in range(_BLINKS):
        happens = (draws.one() < motion)[:, None]
        blinking = np.maximum(blinking, happens * _bump(time, draws.one(), 0.045 + 0.02 * draws.one()))
    emphasis = motion * _bump(time, draws.one(), 0.1 + 0.1 * draws.one()) * draws.one()[:, None]

    actions = np.zeros((*jaw.shape, len(ACTIONS)))
    for action, amount in {
        "AU1": 0.5 * emphasis,
        "AU2": 0.5 * emphasis,
        "AU18": 0.9 * lips,
        "AU25": np.minimum(1.0, 1.6 * jaw),
        "AU26": 0.9 * jaw,
        "AU45": blinking,
    }.items():
        actions[:, :, ACTIONS.index(action)] = amount

    poses = np.zeros((*jaw.shape, len(POSES)))
    reach = {"x": 0.12, "y": 0.10, "roll": 0.12, "yaw": 0.8, "pitch": 0.7, "zoom": 0.08, "gaze": 1.0}
    for index, pose in enumerate(POSES):
        poses[:, :, index] = (
            motion * reach[pose] * (2.0 * _smooth_curve(draws.next(_KNOTS_OF_HEAD), time) - 1.0)
        )
    return actions, poses


def _occlusions(
    split: Split, indexes: NDArray[np.int64], seed: int, time: Floats, occlusion: float
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return the occlusion of each face (n,), its course (n, T, 3) and its look (n, 6).

    Its random numbers are its own: more occlusion adds some to clips that had none and changes no other clip.
    """
    course = np.zeros((len(indexes), len(time), len(FRONT_COURSE)))
    if occlusion == 0.0:
        return np.full(len(indexes), -1), course, np.zeros((len(indexes), len(FRONT_LOOK)))
    draws = _UniformColumns(32, seed, "front", split, indexes)
    happens = draws.one() < occlusion
    kind = (draws.one() * len(FRONTS)).astype(np.int64)
    look = draws.next(len(FRONT_LOOK))

    span = 0.4 + 0.6 * draws.one()
    start = draws.one() * (1.0 - span)
    position = (time - start[:, None]) / span[:, None]
    raised = np.minimum(_smoothstep(5.0 * position), _smoothstep(5.0 * (1.0 - position)))
    x, y = (2.0 * _smooth_curve(draws.next(_KNOTS_OF_HEAD), time) - 1.0 for _ in range(2))
    ends = 2.2 * draws.next(2) - 1.1
    passing = ends[:, 0, None] + (ends[:, 1] - ends[:, 0])[:, None] * time

    is_hair, is_hand, is_bar = (happens & (kind == FRONTS.index(name)) for name in FRONTS[1:])
    course[:, :, 0] = (0.04 * is_hair + 0.05 * is_hand)[:, None] * x + is_bar[:, None] * passing
    course[:, :, 1] = (0.05 * is_hand)[:, None] * y
    course[:, :, 2] = np.where(is_hand[:, None], raised, happens[:, None])
    return np.where(happens, kind, -1), course, look


def _smoothstep(value: Floats) -> Floats:
    """Return 0 below 0, 1 above 1, and a cubic between."""
    inside = np.minimum(1.0, np.maximum(0.0, value))
    return inside * inside * (3.0 - 2.0 * inside)


def _smooth_curve(knots: Floats, time: Floats) -> Floats:
    """Return (n, T): a smooth curve through the (n, K) knots, which are evenly spaced over the clip."""
    position = time * (knots.shape[1] - 1)
    before = np.minimum(position.astype(np.int64), knots.shape[1] - 2)
    weight = _smoothstep(position - before)
    return knots[:, before] + (knots[:, before + 1] - knots[:, before]) * weight


def _bump(time: Floats, centre: Floats, half_width: Floats) -> Floats:
    """Return (n, T): a smooth event of height 1 around `centre`, over after `half_width`."""
    away = (time - centre[:, None]) / half_width[:, None]
    inside = np.maximum(0.0, 1.0 - away * away)
    return inside * (2.0 - inside)
