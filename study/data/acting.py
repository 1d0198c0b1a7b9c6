"""What the people of the procedural data set do: who they are, what they show, and when.

Everything here is a function of draws that a counter-based generator makes for one person or one clip, by
additions, multiplications, divisions and comparisons alone. IEEE arithmetic fixes the result of each of
these, so the ground truth is the same to the last bit on every machine, in every batch and process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.data.clips import Split
from study.hashing import seed_of

Floats = NDArray[np.float64]

EMOTIONS = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
"""In DFEW's order."""

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
"""The action units (FACS; Ekman, Friesen and Hager, 2002) that a face is drawn from."""

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
"""Least and greatest value of what makes a person's face their own; lengths in half face heights."""

SCENERY = ("backdrop", "backdrop_slope", "stripe_angle", "stripe_tone", "blob_x", "blob_y", "blob_tone")
LIGHTING = ("gain", "side", "top", "contrast")
_KNOTS_OF_SPEECH = 14
_KNOTS_OF_HEAD = 4
_BLINKS = 2
_LEAST_SHARE = 0.15


@dataclass(frozen=True)
class Strengths:
    """How wild the clips are: each in [0, 1], `noise` in grey levels; `study/data/faces.md` says what they do."""

    dilution: float
    motion: float
    resting: float
    background: float
    light: float
    noise: float


@dataclass(frozen=True)
class Play:
    """What n clips of T frames show, before anything is drawn."""

    intensity: Floats
    """(n, T): the expression's intensity in [0, 1]; 0 throughout for a neutral clip."""
    peak_frame: NDArray[np.int64]
    """(n,): the frame that shows most; for a neutral clip, where it would have been."""
    actions: Floats
    """(n, T, len(ACTIONS)): what each action unit does, in [0, 1]."""
    poses: Floats
    """(n, T, len(POSES))."""
    proportions: Floats
    """(n, len(PROPORTIONS)): of the person in the clip."""
    scenery: Floats
    """(n, len(SCENERY)), each in [-1, 1] times the strength of the background."""
    lighting: Floats
    """(n, len(LIGHTING)), each in [-1, 1] times the strength of the light."""


class _Draws:
    """Uniform numbers in [0, 1), one row a clip or person, handed out column by column."""

    def __init__(self, count: int, seed: int, kind: str, split: Split, indexes: NDArray[np.int64]) -> None:
        rows = [
            np.random.Philox(key=seed_of("faces", seed, kind, split, int(i))).random_raw(count)
            for i in indexes
        ]
        raw = np.asarray(rows, dtype=np.uint64).reshape(len(indexes), count)
        self._columns = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
        self._used = 0

    def next(self, columns: int) -> Floats:
        self._used += columns
        if self._used > self._columns.shape[1]:
            raise IndexError("more draws asked for than were made")
        return self._columns[:, self._used - columns : self._used]

    def one(self) -> Floats:
        return self.next(1)[:, 0]


def play(
    split: Split,
    indexes: NDArray[np.int64],
    *,
    seed: int,
    frames: int,
    clips_per_person: int,
    strengths: Strengths,
) -> Play:
    """Return what the clips `indexes` of a split show; a clip's rows depend on its own index alone."""
    draws = _Draws(160, seed, "clip", split, indexes)
    faces, person_of = np.unique(indexes // clips_per_person, return_inverse=True)
    people = _Draws(64, seed, "person", split, faces)
    time = (np.arange(frames) + 0.5) / frames

    curve = _expression_curve(draws, time, strengths.dilution)
    peak = 0.4 + 0.6 * draws.one()
    labels = labels_of(indexes)
    expressive = labels != EMOTIONS.index("neutral")
    intensity = curve * (peak * expressive)[:, None]

    own_style, proportions, resting = _people(people)
    prototypes = np.array([[PROTOTYPES[e].get(action, 0.0) for action in ACTIONS] for e in EMOTIONS])
    style = (0.75 + 0.35 * draws.next(len(ACTIONS))) * own_style[person_of]
    shown = intensity[:, :, None] * (prototypes[labels] * style)[:, None, :]
    at_rest = strengths.resting * (resting[:, 0, None] * prototypes[resting[:, 1].astype(np.int64)])
    moving, poses = _irrelevant_motion(draws, time, strengths.motion)
    actions = np.clip(at_rest[person_of][:, None, :] + shown + moving, 0.0, 1.0)
    return Play(
        intensity=intensity,
        peak_frame=curve.argmax(axis=1),
        actions=actions,
        poses=poses,
        proportions=proportions[person_of],
        scenery=strengths.background * (2.0 * draws.next(len(SCENERY)) - 1.0),
        lighting=strengths.light * (2.0 * draws.next(len(LIGHTING)) - 1.0),
    )


def labels_of(indexes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels of the clips `indexes`: the emotions in turn, so that all are equally frequent."""
    return indexes % len(EMOTIONS)


def _expression_curve(draws: _Draws, time: Floats, dilution: float) -> Floats:
    """Onset, apex and offset of each clip's expression, (n, T), its greatest possible value 1."""
    share = np.maximum(_LEAST_SHARE, 1.0 - dilution * (0.7 + 0.6 * draws.one()))
    start = draws.one() * (1.0 - share)
    onset = 0.2 + 0.2 * draws.one()
    offset = 0.2 + 0.2 * draws.one()
    position = (time - start[:, None]) / share[:, None]
    rising = _smoothstep(position / onset[:, None])
    falling = _smoothstep((1.0 - position) / offset[:, None])
    return np.minimum(rising, falling)


def _people(draws: _Draws) -> tuple[Floats, Floats, Floats]:
    """Return styles (P, A), proportions (P, len(PROPORTIONS)) and resting faces (P, 2): strength, emotion."""
    bounds = np.array(list(PROPORTIONS.values()))
    style = 0.8 + 0.2 * draws.next(len(ACTIONS))
    proportions = bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * draws.next(len(PROPORTIONS))
    strength = 0.5 + 0.5 * draws.one()
    emotional = [i for i, emotion in enumerate(EMOTIONS) if PROTOTYPES[emotion]]
    emotion = np.array(emotional)[(draws.one() * len(emotional)).astype(np.int64)]
    return style, proportions, np.stack([strength, emotion.astype(np.float64)], axis=1)


def _irrelevant_motion(draws: _Draws, time: Floats, motion: float) -> tuple[Floats, Floats]:
    """Return what a face does that says nothing of the emotion: actions (n, T, A) and poses (n, T, len(POSES))."""
    talkative = motion * _smoothstep(1.5 * draws.one() - 0.25)[:, None]
    phrase = _smoothstep(2.0 * _wander(draws.next(_KNOTS_OF_HEAD), time) - 0.4)
    jaw = talkative * phrase * _wander(draws.next(_KNOTS_OF_SPEECH), time)
    lips = talkative * phrase * _wander(draws.next(_KNOTS_OF_SPEECH), time)
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
    for place, pose in enumerate(POSES):
        poses[:, :, place] = motion * reach[pose] * (2.0 * _wander(draws.next(_KNOTS_OF_HEAD), time) - 1.0)
    return actions, poses


def _smoothstep(value: Floats) -> Floats:
    """0 below 0, 1 above 1, a cubic between."""
    inside = np.minimum(1.0, np.maximum(0.0, value))
    return inside * inside * (3.0 - 2.0 * inside)


def _wander(knots: Floats, time: Floats) -> Floats:
    """Return (n, T): a smooth way through the (n, K) knots, which lie evenly over the clip."""
    position = time * (knots.shape[1] - 1)
    before = np.minimum(position.astype(np.int64), knots.shape[1] - 2)
    weight = _smoothstep(position - before)
    return knots[:, before] + (knots[:, before + 1] - knots[:, before]) * weight


def _bump(time: Floats, centre: Floats, half_width: Floats) -> Floats:
    """Return (n, T): a smooth event of height 1 around `centre`, over after `half_width`."""
    away = (time - centre[:, None]) / half_width[:, None]
    inside = np.maximum(0.0, 1.0 - away * away)
    return inside * (2.0 - inside)
