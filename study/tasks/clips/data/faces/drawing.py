"""Draws one clip of a procedural face: soft shapes, laid over one another from the background to the lashes.

Coordinates are those of the face: x to the right and y down from the bridge of the nose, the chin near
y = 1. Most of a face is the same on both sides, so shapes are written in ``u = |x|`` and drawn once for both.
Edges are as soft as a pixel is wide, which stands for supersampling. Only square roots and elementary
arithmetic are used, so that two machines agree on every pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
"""One float32 for each pixel of each frame, (T, H, W), or something that spreads to it."""
Colour = tuple[float, float, float]

HALF_PICTURE = 1.06
"""Half the picture's side in face coordinates."""
_LUMA = (0.299, 0.587, 0.114)
"""Rec. 601: a grey clip is the luma of the coloured one."""
_PIXELS_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Scene:
    """All that one clip of T frames shows."""

    actions: Mapping[str, NDArray[np.float32]]
    """Action unit to (T,), in [0, 1]."""
    poses: Mapping[str, NDArray[np.float32]]
    """`study.tasks.clips.data.faces.acting.POSES` to (T,)."""
    proportions: Mapping[str, float]
    scenery: Mapping[str, float]
    lighting: Mapping[str, float]
    front: str = ""
    """One of `study.tasks.clips.data.faces.acting.FRONTS`, empty where nothing is in front of the face."""
    front_course: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """`study.tasks.clips.data.faces.acting.FRONT_COURSE` to (T,)."""
    front_look: Mapping[str, float] = field(default_factory=dict)

    def frames(self, part: slice) -> Scene:
        """Return the scene with some of its frames."""
        return replace(
            self,
            actions={name: values[part] for name, values in self.actions.items()},
            poses={name: values[part] for name, values in self.poses.items()},
            front_course={name: values[part] for name, values in self.front_course.items()},
        )


def draw(scene: Scene, size: int, channels: int) -> NDArray[np.float32]:
    """Return the clip as (channels, T, size, size), grey levels in [0, 255] before noise and rounding."""
    frames = len(scene.actions["AU1"])
    step = max(1, _PIXELS_AT_ONCE // size**2)
    parts = [_draw(scene.frames(slice(at, at + step)), size, channels) for at in range(0, frames, step)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _draw(scene: Scene, size: int, channels: int) -> NDArray[np.float32]:
    canvas = _Canvas(scene, size, channels)
    _background(canvas, scene)
    _behind(canvas, scene)
    _face(canvas, scene)
    _cheeks(canvas, scene)
    upper = canvas.window(0.74, -0.85, 0.13)
    _eyes(upper, scene)
    _brows(upper, scene)
    _nose(canvas.window(0.34, -0.40, 0.42), scene)
    _mouth(canvas.window(0.52, 0.05, 1.06), scene)
    if scene.front:
        _FRONTS[scene.front](canvas, scene)
    return _lit(canvas, scene)


class _Canvas:
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

    def window(self, reach: float, top: float, bottom: float) -> _Canvas:
        """Return a view of the least rectangle that holds, in every frame, |x| < reach and top < y < bottom."""
        y_ends, x_ends = self.y_feature[:, :, [0, -1]], self.x[:, [0, -1], :]
        rows = _span(((y_ends > top) & (y_ends < bottom)).any(axis=(0, 2)))
        columns = _span((np.abs(x_ends) < reach).any(axis=(0, 1)))
        view = object.__new__(_Canvas)
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
        """Lay a colour over the picture."""
        for channel, value in enumerate(_tones(colour, len(self.image))):
            change: Plane = np.float32(value) - self.image[channel]
            change *= coverage
            self.image[channel] += change

    def shade(self, amount: Plane) -> None:
        """Darken the picture by `amount`, lighten it where that is negative."""
        self.image *= 1.0 - amount


def _tones(colour: Colour, channels: int) -> tuple[float, ...]:
    if channels == 3:
        return colour
    return (sum(weight * value for weight, value in zip(_LUMA, colour, strict=True)),)


def _skin(scene: Scene) -> Colour:
    tone = scene.proportions["skin"]
    return 1.12 * tone, 0.96 * tone, 0.84 * tone - 0.02


def _hair(scene: Scene) -> Colour:
    return _scaled((1.10, 0.95, 0.80), scene.proportions["hair"])


def _scaled(colour: Colour, factor: float) -> Colour:
    return factor * colour[0], factor * colour[1], factor * colour[2]


def _background(canvas: _Canvas, scene: Scene) -> None:
    place = scene.scenery
    x, y = canvas.screen_x, canvas.screen_y
    tone = 0.45 + 0.35 * place["backdrop"]
    across = x * place["stripe_angle"] + y * (1.0 - abs(place["stripe_angle"]))
    stripes = _zigzag(2.0 * across)
    dx, dy = x - 1.1 * place["blob_x"], y - 1.1 * place["blob_y"]
    blob = np.maximum(1.0 - (dx * dx + dy * dy) * 4.0, 0.0)
    grey = tone + 0.15 * place["backdrop_slope"] * y + 0.14 * place["stripe_tone"] * stripes
    grey = grey + 0.45 * place["blob_tone"] * blob
    for channel, value in enumerate(_tones((0.98, 1.0, 1.04), len(canvas.image))):
        canvas.image[channel] = np.clip(grey, 0.02, 0.98) * np.float32(value)


def _behind(canvas: _Canvas, scene: Scene) -> None:
    """Lay neck, shoulders, hair and ears."""
    p, skin, hair_colour = scene.proportions, _skin(scene), _hair(scene)
    x, y, width = np.abs(canvas.head_x), canvas.y, p["face_width"]
    if p["hair_length"] > 0.4:
        side = width + 0.13 - 0.06 * y * y
        long = (
            canvas.inside(side - x, 0.05) * canvas.inside(y + 0.2) * canvas.inside(p["hair_length"] - y, 0.15)
        )
        canvas.paint(long, hair_colour)
    canvas.paint(canvas.inside(0.42 - x) * canvas.inside(y - 0.55), _scaled(skin, 0.72))
    cloth = p["hair"]
    canvas.paint(canvas.inside(y - 1.02 - 0.22 * x * x), (0.25 + 0.3 * cloth, 0.25, 0.55 - 0.4 * cloth))
    crown = _ellipse(x, y + 0.12, width + 0.10, 1.0)
    canvas.paint(canvas.inside(-crown) * canvas.inside(0.25 - y, 0.2), hair_colour)
    ears = _ellipse(x - width, y - 0.02, 0.09, 0.2)
    canvas.paint(canvas.inside(-ears), _scaled(skin, 0.85))


def _face(canvas: _Canvas, scene: Scene) -> None:
    p, act = scene.proportions, _by_frame(scene.actions)
    x, y = np.abs(canvas.head_x), canvas.y
    chin = 0.97 + 0.16 * act["AU26"] - 0.03 * act["AU17"]
    low = np.maximum(y, 0.0)
    narrowed = p["face_width"] * (1.0 - p["jaw"] * low * low)
    face = _ellipse(x, y, narrowed, np.where(y > 0.0, chin, np.float32(0.98)))
    covered = canvas.inside(-face) * canvas.inside(y + p["hairline"] - 0.22 * x * x, 0.05)
    canvas.paint(covered, _skin(scene))
    rim = np.maximum(face + 0.42, 0.0)
    canvas.shade(0.55 * covered * rim * rim)
    if p["beard"] > 0.0:
        jaw_line = canvas.inside(canvas.y_feature - 0.36 - 0.18 * canvas.u, 0.25) * covered
        canvas.paint(p["beard"] * jaw_line, _hair(scene))


def _cheeks(canvas: _Canvas, scene: Scene) -> None:
    act = _by_frame(scene.actions)
    apple_y = 0.24 - 0.07 * act["AU6"]
    apple = canvas.disc(0.40, apple_y, 0.26, 0.20, across=canvas.u)
    canvas.shade(-(0.05 + 0.16 * np.maximum(act["AU6"], 0.5 * act["AU12"])) * apple)


def _eyes(canvas: _Canvas, scene: Scene) -> None:
    p, act = scene.proportions, _by_frame(scene.actions)
    centre, half = p["eye_distance"], p["eye_width"]
    height = -0.17
    s = (canvas.u - centre) * np.float32(1.0 / half)
    arch = np.maximum(1.0 - s * s, 0.0)
    tilt = 0.02 * s

    blink = np.minimum(1.0, act["AU45"])
    squint = np.maximum(act["AU7"], 0.7 * act["AU6"])
    open_up = p["eye_opening"] * (0.085 + 0.075 * act["AU5"] - 0.030 * squint - 0.03 * act["AU9"])
    open_low = p["eye_opening"] * (0.065 + 0.015 * act["AU5"] - 0.055 * squint - 0.025 * act["AU9"])
    droop = 0.02 * act["AU1"] * (1.0 - act["AU2"]) * np.maximum(s, 0.0)
    lid = height - tilt + droop - arch * (open_up - blink * (open_up + open_low))
    lower = height - tilt + arch * open_low

    socket = canvas.disc(centre - 0.02, height - 0.02, 0.30, 0.24, across=canvas.u)
    canvas.shade((0.20 + 0.08 * act["AU4"]) * socket)
    window = canvas.inside(half - np.abs(canvas.u - centre))
    opening = canvas.between(lid, lower) * window
    canvas.paint(opening, (0.93, 0.92, 0.92))
    gaze = 0.045 * _by_frame(scene.poses)["gaze"] * canvas.side
    dx, dy = canvas.u - centre - gaze, canvas.y_feature - (height - 0.012)
    away = np.sqrt(dx * dx + dy * dy)
    canvas.paint(opening * canvas.inside(0.082 - away), (0.24, 0.20, 0.17))
    canvas.paint(opening * canvas.inside(0.036 - away), (0.03, 0.03, 0.03))
    lashes = canvas.between(lid - 0.022, lid + 0.012) * window
    canvas.paint(0.85 * lashes, (0.09, 0.07, 0.07))
    canvas.shade(0.30 * canvas.between(lower - 0.004, lower + 0.018) * window)
    crease = lid - 0.055 + 0.02 * act["AU5"]
    canvas.shade(0.22 * canvas.between(crease - 0.012, crease + 0.012) * window * arch)

    bags = lower + 0.035 + 0.05 * arch
    tight = np.maximum(act["AU6"], 0.6 * act["AU7"])
    canvas.shade(0.35 * tight * canvas.between(bags - 0.016, bags + 0.016, 0.04) * window)
    feet = canvas.inside(canvas.u - centre - half - 0.01) * canvas.inside(centre + half + 0.13 - canvas.u)
    fan = (canvas.y_feature - height + 0.01) * 9.0 / np.maximum(canvas.u - centre, 0.05)
    rays = np.maximum(1.0 - np.abs(np.abs(fan) - 1.6), 0.0)
    canvas.shade(0.35 * p["age"] * act["AU6"] * rays * feet)


def _brows(canvas: _Canvas, scene: Scene) -> None:
    p, act = scene.proportions, _by_frame(scene.actions)
    inner = 0.14 - 0.05 * act["AU4"]
    outer = p["eye_distance"] + p["eye_width"] + 0.06
    s = (canvas.u - inner) / (outer - inner)
    inside = np.minimum(np.maximum(s, 0.0), 1.0)
    toward_nose, toward_temple = (1.0 - inside) * (1.0 - inside), inside * inside
    arch = 4.0 * inside * (1.0 - inside)
    height = -0.40 + p["brow_height"] - 0.045 * arch + p["brow_slope"] * (inside - 0.5)
    height = height - act["AU1"] * (0.135 * toward_nose + 0.02 * arch)
    height = height - act["AU2"] * (0.12 * toward_temple + 0.06 * arch)
    height = height + act["AU4"] * (0.10 * toward_nose + 0.055) + 0.05 * act["AU9"]
    thick = 0.5 * p["brow_thickness"] * (1.0 - 0.6 * toward_temple)
    ends = canvas.inside(canvas.u - inner) * canvas.inside(outer - canvas.u)
    tone = p["brow_tone"] * min(1.0, 0.5 + p["hair"])
    canvas.paint(0.92 * canvas.between(height - thick, height + thick) * ends, (tone, 0.9 * tone, 0.8 * tone))

    y = canvas.y_feature
    glabella = canvas.inside(0.10 - np.abs(y + 0.36), 0.10)
    furrow = np.maximum(1.0 - np.abs(canvas.u - 0.055) * (1.0 / 0.035), 0.0)
    canvas.shade((0.25 + 0.25 * p["age"]) * act["AU4"] * furrow * glabella)
    raised = np.maximum(act["AU1"] * np.maximum(1.0 - 1.6 * canvas.u, 0.0), 0.8 * act["AU2"])
    lines = np.maximum(_zigzag(11.0 * (y + 0.10 * canvas.u * canvas.u)), 0.0)
    forehead = (
        canvas.inside(0.44 - canvas.u, 0.2) * canvas.inside(-0.53 - y, 0.06) * canvas.inside(y + 0.78, 0.1)
    )
    canvas.shade(0.34 * p["age"] * raised * lines * forehead)


def _nose(canvas: _Canvas, scene: Scene) -> None:
    p, act = scene.proportions, _by_frame(scene.actions)
    u, y = canvas.u, canvas.y_feature
    raised = act["AU9"]
    tip = p["nose_length"] - 0.05 * raised
    half = p["nose_width"] + 0.02 * raised
    down = np.minimum(np.maximum((y + 0.25) / (tip + 0.25), 0.0), 1.0)
    flank = 0.05 + (half - 0.02) * down * down
    along = canvas.inside(y + 0.25, 0.1) * canvas.inside(tip - y, 0.06)
    edge = np.maximum(1.0 - np.abs(u - flank) * (1.0 / 0.05), 0.0)
    canvas.shade(0.20 * edge * along - 0.10 * canvas.inside(0.045 - u, 0.05) * along)
    wings = canvas.disc(half - 0.01, tip + 0.01, 0.065, 0.06, across=u)
    canvas.shade(0.14 * wings)
    nostrils = canvas.disc(0.5 * half, tip + 0.045, 0.05, 0.034, across=u)
    canvas.shade(0.75 * nostrils)
    canvas.shade(0.22 * canvas.disc(0.0, tip + 0.075, p["nose_width"] + 0.05, 0.05, across=canvas.x))
    bridge = canvas.inside(0.12 - u, 0.08) * canvas.inside(0.11 - np.abs(y + 0.13), 0.06)
    lines = np.maximum(_zigzag(14.0 * (y - 0.7 * u)), 0.0)
    canvas.shade(0.50 * raised * bridge * lines)


def _mouth(canvas: _Canvas, scene: Scene) -> None:
    p, act = scene.proportions, _by_frame(scene.actions)
    u, y = canvas.u, canvas.y_feature
    smile, frown, stretch = act["AU12"], act["AU15"], act["AU20"]
    pucker, tight = act["AU18"], act["AU23"]
    half = (
        p["mouth_width"] + 0.10 * smile + 0.085 * stretch - 0.10 * pucker - 0.035 * tight - 0.03 * act["AU26"]
    )
    s = np.minimum(u / half, 1.3)
    bow = s * s
    inner = np.maximum(1.0 - bow, 0.0)
    corner = p["mouth_corner"] - 0.125 * smile + 0.115 * frown + 0.03 * stretch + 0.035 * act["AU10"]
    middle = p["mouth_height"] - 0.03 * act["AU17"] + 0.015 * smile - 0.04 * act["AU10"]
    line = middle + corner * bow
    gap_up = 0.022 * act["AU25"] + 0.035 * act["AU10"] + 0.012 * act["AU26"]
    gap_low = 0.055 * act["AU25"] + 0.19 * act["AU26"] + 0.02 * stretch
    top = line - gap_up * inner
    bottom = line + gap_low * inner
    full = p["lip_thickness"] * (1.0 - 0.62 * tight + 0.30 * pucker - 0.18 * smile - 0.22 * stretch)
    rounded = np.minimum(inner * 2.2, 1.0)
    upper = top - 0.062 * full * rounded * (1.0 + 0.35 * act["AU10"] - 0.45 * (1.0 - s) * (1.0 - s))
    lower = bottom + 0.088 * full * rounded * (1.0 - 0.25 * act["AU17"])

    raise_fold = np.maximum(np.maximum(smile, 0.9 * act["AU10"]), 0.8 * act["AU9"])
    down = np.minimum(np.maximum((y - 0.16) * 2.6, 0.0), 1.0)
    fold = (
        p["nose_width"]
        + 0.03
        + (half - 0.02 - p["nose_width"]) * down
        + 0.06 * smile * down * (1.0 - down) * 4.0
    )
    folded = canvas.inside(y - 0.14, 0.06) * canvas.inside(middle + 0.02 + corner - y, 0.08)
    crease = np.maximum(1.0 - np.abs(u - fold) * (1.0 / 0.045), 0.0)
    canvas.shade((0.06 + 0.36 * raise_fold) * (0.5 + 0.5 * p["age"]) * crease * folded)

    window = canvas.inside(half - u)
    tone = p["skin"]
    red = (0.88 * tone, 0.58 * tone, 0.55 * tone)
    canvas.paint(0.85 * canvas.between(upper, lower) * window, red)
    opening = canvas.between(top, bottom) * window
    canvas.paint(opening, (0.13, 0.05, 0.05))
    teeth = canvas.between(top, np.minimum(bottom, top + 0.075)) * window * canvas.inside(0.8 * half - u)
    shown = np.minimum(1.0, act["AU25"] + 0.3 * act["AU10"])
    canvas.paint(0.9 * shown * teeth, (0.88, 0.87, 0.83))
    canvas.shade((0.55 + 0.2 * tight) * canvas.between(line - 0.010, line + 0.014) * window * (1.0 - opening))
    pits = canvas.disc(half + 0.015, middle + corner, 0.055, 0.055, across=u)
    canvas.shade((0.18 + 0.30 * np.maximum(smile, np.maximum(frown, stretch))) * pits)
    below = lower + 0.045
    canvas.shade(0.20 * canvas.between(below - 0.03, below + 0.02, 0.06) * np.maximum(1.0 - 1.5 * bow, 0.0))
    boss = canvas.disc(0.0, 0.82, 0.20, 0.13, across=canvas.x)
    dimples = _zigzag(13.0 * (canvas.x + 0.6 * y))
    canvas.shade(0.30 * act["AU17"] * boss * dimples)
    canvas.shade(0.10 * tight * canvas.between(upper - 0.05, upper, 0.04) * window)


def _glasses(canvas: _Canvas, scene: Scene) -> None:
    """Lay spectacles or sunglasses, which sit on the head."""
    p, look = scene.proportions, scene.front_look
    u, y = canvas.u, canvas.y_feature + 0.16
    centre = p["eye_distance"]
    width, height = 0.19 + 0.05 * look["size"], 0.15 + 0.07 * look["detail"]
    lens = _ellipse(u - centre, y, width, height)
    dark = (0.10 + 0.25 * look["tone"], 0.09 + 0.2 * look["tone"], 0.10 + 0.15 * look["tone"])
    tint = min(max(2.4 * look["place"] - 0.9, 0.06), 0.96)
    canvas.paint(tint * canvas.inside(-lens), _scaled(dark, 0.7))
    glint = np.maximum(1.0 - np.abs(u - centre + 0.7 * y + 0.06) * 14.0, 0.0)
    canvas.shade(-0.30 * glint * canvas.inside(-lens - 0.03))
    thick = 0.018 + 0.016 * look["angle"]
    rim = canvas.inside(thick - np.abs(lens))
    bridge = canvas.inside(thick - np.abs(y + 0.03)) * canvas.inside(centre - width - u)
    temple = canvas.inside(thick - np.abs(y + 0.04)) * canvas.inside(u - centre - width)
    ends = canvas.inside(p["face_width"] - np.abs(canvas.head_x))
    canvas.paint(np.maximum(rim, np.maximum(bridge, temple * ends)), dark)


def _strand(canvas: _Canvas, scene: Scene) -> None:
    """Lay hair that falls over the forehead and one eye, and swings behind the head's movement."""
    p, look = scene.proportions, scene.front_look
    sway = _by_frame(scene.front_course)["x"]
    y = canvas.y
    toward = 1.0 if look["side"] < 0.5 else -1.0
    x = toward * canvas.head_x + sway * np.maximum(y + 0.8, 0.0)
    edge = -0.42 + 0.22 * look["size"] + (0.5 + 0.45 * look["place"]) * x
    tips = 0.05 * _zigzag(3.5 * x) + 0.02 * _zigzag(9.0 * x)
    crown = _ellipse(np.abs(canvas.head_x), y + 0.10, p["face_width"] + 0.07, 0.99)
    covered = canvas.inside(edge + tips - y, 0.03) * canvas.inside(-crown)
    canvas.paint(covered, _hair(scene))
    canvas.shade(0.22 * covered * _zigzag(7.0 * x - 2.0 * y))


def _hand(canvas: _Canvas, scene: Scene) -> None:
    """Lay a hand that comes up from below, rests on the face and leaves; it goes with the head while it is there."""
    look, course = scene.front_look, _by_frame(scene.front_course)
    toward = 1.0 if look["side"] < 0.5 else -1.0
    size = 0.85 + 0.3 * look["size"]
    lowered = 1.0 - course["shown"]
    x = toward * (canvas.x - course["x"]) - (0.45 * look["detail"] - 0.05) - 0.6 * lowered
    y = canvas.y_feature - course["y"] - (0.75 - 0.65 * look["place"]) - 1.7 * lowered
    half = 0.10 + 0.35 * look["angle"]
    cosine, sine = (1.0 - half * half) / (1.0 + half * half), 2.0 * half / (1.0 + half * half)
    along = (cosine * y - sine * x) * np.float32(1.0 / size)
    across = (cosine * x + sine * y) * np.float32(1.0 / size)

    skin = _skin(scene)
    arm = np.maximum(np.abs(across) - 0.16 - 0.05 * np.maximum(along, 0.0), 0.15 - along)
    palm = _ellipse(across, along, 0.25, 0.29)
    thumb = _capsule(across + 0.06, along - 0.02, -0.30, -0.22, 0.062)
    depth = np.minimum(np.minimum(arm, palm), thumb)
    for root, length in ((-0.175, 0.44), (-0.06, 0.52), (0.06, 0.50), (0.17, 0.38)):
        finger = _capsule(across - root, along + 0.15, 0.25 * root, -length, 0.058)
        canvas.shade(0.35 * canvas.inside(0.03 - np.abs(finger), 0.03) * canvas.inside(-0.1 - along))
        depth = np.minimum(depth, finger)
    canvas.shade(0.25 * canvas.inside(0.05 - depth, 0.10))
    covered = canvas.inside(-depth)
    canvas.paint(covered, _scaled(skin, 0.93))
    edge = np.maximum(1.0 + depth * 12.0, 0.0)
    canvas.shade(0.28 * covered * edge)
    between = np.maximum(1.0 - np.abs(np.abs(np.abs(across) - 0.06) - 0.06) * 40.0, 0.0)
    canvas.shade(0.22 * covered * between * canvas.inside(-0.16 - along, 0.05) * canvas.inside(along + 0.6))


def _bar(canvas: _Canvas, scene: Scene) -> None:
    """Lay a post that stands between camera and person; it passes in the picture, whatever the head does."""
    look, course = scene.front_look, _by_frame(scene.front_course)
    lean = 0.8 * (look["angle"] - 0.5)
    away = np.abs(canvas.screen_x - course["x"] - lean * canvas.screen_y)
    half = 0.07 + 0.13 * look["size"]
    tone = 0.06 + 0.8 * look["tone"]
    covered = canvas.inside(half - away)
    canvas.paint(covered, (tone, 0.97 * tone, 0.93 * tone))
    canvas.shade(0.30 * covered * np.maximum(away * np.float32(1.0 / half) - 0.4, 0.0))


_FRONTS: Mapping[str, Callable[[_Canvas, Scene], None]] = {
    "glasses": _glasses,
    "hair": _strand,
    "hand": _hand,
    "bar": _bar,
}


def _lit(canvas: _Canvas, scene: Scene) -> NDArray[np.float32]:
    light = scene.lighting
    x, y = canvas.screen_x, canvas.screen_y
    field = (1.0 + 0.35 * light["gain"]) * (1.0 + 0.45 * light["side"] * x + 0.25 * light["top"] * y)
    lit = canvas.image * np.maximum(field, np.float32(0.1))
    contrast = 1.0 + 0.35 * light["contrast"]
    out: NDArray[np.float32] = ((lit - 0.45) * np.float32(contrast) + 0.45) * np.float32(255.0)
    return out


def _span(wanted: Any) -> slice:
    """Return the least slice that holds every wanted place."""
    indices = np.flatnonzero(wanted)
    return slice(int(indices[0]), int(indices[-1]) + 1) if indices.size else slice(0, 0)


def _ellipse(x: Plane, y: Plane, width: Plane | float, height: Plane | float) -> Plane:
    """Return about the distance outside an ellipse: exact on the axes, negative within."""
    dx, dy = x / width, y / height
    return (np.sqrt(dx * dx + dy * dy) - 1.0) * width


def _capsule(x: Plane, y: Plane, end_x: float, end_y: float, radius: float) -> Plane:
    """Return the distance outside a rod from the origin to its end, rounded at both; negative within."""
    way = (x * end_x + y * end_y) * np.float32(1.0 / (end_x * end_x + end_y * end_y))
    way = np.minimum(np.maximum(way, 0.0), 1.0)
    dx, dy = x - way * end_x, y - way * end_y
    return np.sqrt(dx * dx + dy * dy) - np.float32(radius)


def _zigzag(phase: Plane) -> Plane:
    """Return a triangle wave of period 1 between -1, at whole numbers, and 1."""
    return 1.0 - 4.0 * np.abs(phase - np.floor(phase) - 0.5)


def _by_frame(values: Mapping[str, NDArray[np.float32]]) -> dict[str, Plane]:
    return {name: value[:, None, None] for name, value in values.items()}
