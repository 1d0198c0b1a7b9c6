"""The scene of one clip, and the canvas that its soft shapes are painted on.

Coordinates are those of the face: x to the right and y down from the bridge of the nose, the chin near
y = 1. Most of a face is the same on both sides, so shapes are functions of ``u = |x|``, painted once for both.
Edges are as soft as a pixel is wide, in place of supersampling. Only square roots and elementary
arithmetic are used, so that two machines agree on every pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
"""One float32 for each pixel of each frame, (T, H, W), or an array that broadcasts to it."""
Colour = tuple[float, float, float]

HALF_PICTURE = 1.06
"""Half the picture's side in face coordinates."""
_LUMA = (0.299, 0.587, 0.114)
"""Rec. 601: a grey clip is the luma of the coloured one."""


@dataclass(frozen=True)
class Scene:
    """The content of one clip of T frames."""

    actions: Mapping[str, NDArray[np.float32]]
    """Action unit to (T,), in [0, 1]."""
    poses: Mapping[str, NDArray[np.float32]]
    """`study.tasks.clips.data.faces.acting.POSES` to (T,)."""
    proportions: Mapping[str, float]
    scenery: Mapping[str, float]
    lighting: Mapping[str, float]
    front: str = ""
    """One of `study.tasks.clips.data.faces.acting.FRONTS`, empty if nothing is in front of the face."""
    front_course: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """`study.tasks.clips.data.faces.acting.FRONT_COURSE` to (T,)."""
    front_look: Mapping[str, float] = field(default_factory=dict)

    def frames(self, chosen: slice) -> Scene:
        """Return the scene with only the chosen frames."""
        return replace(
            self,
            actions={name: values[chosen] for name, values in self.actions.items()},
            poses={name: values[chosen] for name, values in self.poses.items()},
            front_course={name: values[chosen] for name, values in self.front_course.items()},
        )


class Canvas:
    """The picture so far, with the face coordinates of its pixels."""

    def __init__(self, scene: Scene, size: int, channels: int) -> None:
        frames = len(scene.actions["AU1"])
        axis = (((np.arange(size) + 0.5) * 2.0 / size - 1.0) * HALF_PICTURE).astype(np.float32)
        self.screen_x, self.screen_y = axis[None, None, :], axis[None, :, None]
        pose = {name: values[:, None, None] for name, values in scene.poses.items()}
        half_turn = pose["roll"]
        cosine = (1.0 - half_turn * half_turn) / (1.0 + half_turn * half_turn)
        sine = 2.0 * half_turn / (1.0 + half_turn * half_turn)
        grown = 1.0 + pose["zoom"]
        x, y = (self.screen_x - pose["x"]) / grown, (self.screen_y - 0.02 - pose["y"]) / grown
        self.head_x: Plane = cosine * x + sine * y
        self.y: Plane = cosine * y - sine * x
        self.x: Plane = self.head_x - 0.10 * pose["yaw"]
        self.y_feature: Plane = self.y - 0.06 * pose["pitch"]
        self.side: Plane = np.sign(self.x)
        self.u: Plane = np.abs(self.x) * (1.0 + 0.12 * pose["yaw"] * self.side)
        self.image = np.zeros((channels, frames, size, size), dtype=np.float32)
        self.pixel = 2.0 * HALF_PICTURE / size

    def window(self, reach: float, top: float, bottom: float) -> Canvas:
        """Return a view of the least rectangle that holds, in every frame, |x| < reach and top < y < bottom."""
        y_ends, x_ends = self.y_feature[:, :, [0, -1]], self.x[:, [0, -1], :]
        rows = _span(((y_ends > top) & (y_ends < bottom)).any(axis=(0, 2)))
        columns = _span((np.abs(x_ends) < reach).any(axis=(0, 1)))
        view = object.__new__(Canvas)
        view.pixel = self.pixel
        view.image = self.image[:, :, rows, columns]
        for name in ("screen_x", "screen_y", "head_x", "y", "x", "y_feature", "side", "u"):
            plane: Plane = getattr(self, name)
            part = plane[
                :, rows if plane.shape[1] > 1 else slice(None), columns if plane.shape[2] > 1 else slice(None)
            ]
            setattr(view, name, np.ascontiguousarray(part))
        return view

    def inside(self, depth: Plane, softness: float = 0.0) -> Plane:
        """Return how much of each pixel a shape covers, `depth` being the distance within its edge."""
        covered: Plane = depth * np.float32(1.0 / max(self.pixel, softness))
        covered += np.float32(0.5)
        return covered.clip(np.float32(0.0), np.float32(1.0), out=covered)

    def between(self, top: Plane, bottom: Plane, softness: float = 0.0) -> Plane:
        """Return the coverage of what lies below `top` and above `bottom`; thin lines keep their weight."""
        y = self.y_feature
        covered = self.inside(y - top, softness) - self.inside(y - bottom, softness)
        np.maximum(covered, 0.0, out=covered)
        return covered

    def disc(
        self, x: Plane | float, y: Plane | float, width: float, height: float, *, across: Plane
    ) -> Plane:
        """Return a soft spot, 1 at its centre and 0 from its edge on; `across` is what `x` is measured on."""
        dx, dy = (across - x) * np.float32(1.0 / width), (self.y_feature - y) * np.float32(1.0 / height)
        near: Plane = np.maximum(1.0 - dx * dx - dy * dy, 0.0)
        return near * near

    def paint(self, coverage: Plane, colour: Colour) -> None:
        """Paint a colour over the picture."""
        for channel, value in enumerate(tones(colour, len(self.image))):
            change: Plane = np.float32(value) - self.image[channel]
            change *= coverage
            self.image[channel] += change

    def shade(self, amount: Plane) -> None:
        """Darken the picture by `amount`, lighten it where that is negative."""
        self.image *= 1.0 - amount


def tones(colour: Colour, channels: int) -> tuple[float, ...]:
    """Return a colour's value in each channel."""
    if channels == 3:
        return colour
    return (sum(weight * value for weight, value in zip(_LUMA, colour, strict=True)),)


def skin_colour(scene: Scene) -> Colour:
    """Return the colour of the person's skin."""
    tone = scene.proportions["skin"]
    return 1.12 * tone, 0.96 * tone, 0.84 * tone - 0.02


def hair_colour(scene: Scene) -> Colour:
    """Return the colour of the person's hair."""
    return scaled((1.10, 0.95, 0.80), scene.proportions["hair"])


def scaled(colour: Colour, factor: float) -> Colour:
    """Return a colour multiplied by a factor."""
    return factor * colour[0], factor * colour[1], factor * colour[2]


def _span(wanted: Any) -> slice:
    """Return the least slice that holds every index at which `wanted` is true."""
    indices = np.flatnonzero(wanted)
    return slice(int(indices[0]), int(indices[-1]) + 1) if indices.size else slice(0, 0)


def ellipse(x: Plane, y: Plane, width: Plane | float, height: Plane | float) -> Plane:
    """Return approximately the distance outside an ellipse: exact on the axes, negative inside."""
    dx, dy = x / width, y / height
    return (np.sqrt(dx * dx + dy * dy) - 1.0) * width


def capsule(x: Plane, y: Plane, end_x: float, end_y: float, radius: float) -> Plane:
    """Return the distance outside a rod from the origin to its end, rounded at both; negative inside."""
    way = (x * end_x + y * end_y) * np.float32(1.0 / (end_x * end_x + end_y * end_y))
    way = np.minimum(np.maximum(way, 0.0), 1.0)
    dx, dy = x - way * end_x, y - way * end_y
    return np.sqrt(dx * dx + dy * dy) - np.float32(radius)


def zigzag(phase: Plane) -> Plane:
    """Return a triangle wave of period 1 between -1, at whole numbers, and 1."""
    return 1.0 - 4.0 * np.abs(phase - np.floor(phase) - 0.5)


def by_frame(values: Mapping[str, NDArray[np.float32]]) -> dict[str, Plane]:
    """Return values over time as planes, (T, 1, 1)."""
    return {name: value[:, None, None] for name, value in values.items()}
