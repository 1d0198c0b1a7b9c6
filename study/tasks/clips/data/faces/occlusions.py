"""Paints what may be in front of a procedural face."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from study.tasks.clips.data.faces.canvas import (
    Canvas,
    Scene,
    by_frame,
    capsule,
    ellipse,
    hair_colour,
    scaled,
    skin_colour,
    zigzag,
)


def _glasses(canvas: Canvas, scene: Scene) -> None:
    """Paint spectacles or sunglasses, which move with the head."""
    p, look = scene.proportions, scene.front_look
    u, y = canvas.u, canvas.y_feature + 0.16
    centre = p["eye_distance"]
    width, height = 0.19 + 0.05 * look["size"], 0.15 + 0.07 * look["detail"]
    lens = ellipse(u - centre, y, width, height)
    dark = (0.10 + 0.25 * look["tone"], 0.09 + 0.2 * look["tone"], 0.10 + 0.15 * look["tone"])
    tint = min(max(2.4 * look["position"] - 0.9, 0.06), 0.96)
    canvas.paint(tint * canvas.inside(-lens), scaled(dark, 0.7))
    glint = np.maximum(1.0 - np.abs(u - centre + 0.7 * y + 0.06) * 14.0, 0.0)
    canvas.shade(-0.30 * glint * canvas.inside(-lens - 0.03))
    thick = 0.018 + 0.016 * look["angle"]
    rim = canvas.inside(thick - np.abs(lens))
    bridge = canvas.inside(thick - np.abs(y + 0.03)) * canvas.inside(centre - width - u)
    temple = canvas.inside(thick - np.abs(y + 0.04)) * canvas.inside(u - centre - width)
    ends = canvas.inside(p["face_width"] - np.abs(canvas.head_x))
    canvas.paint(np.maximum(rim, np.maximum(bridge, temple * ends)), dark)


def _strand(canvas: Canvas, scene: Scene) -> None:
    """Paint hair over the forehead and one eye, which swings behind the head's movement."""
    p, look = scene.proportions, scene.front_look
    sway = by_frame(scene.front_course)["x"]
    y = canvas.y
    toward = 1.0 if look["side"] < 0.5 else -1.0
    x = toward * canvas.head_x + sway * np.maximum(y + 0.8, 0.0)
    edge = -0.42 + 0.22 * look["size"] + (0.5 + 0.45 * look["position"]) * x
    tips = 0.05 * zigzag(3.5 * x) + 0.02 * zigzag(9.0 * x)
    crown = ellipse(np.abs(canvas.head_x), y + 0.10, p["face_width"] + 0.07, 0.99)
    covered = canvas.inside(edge + tips - y, 0.03) * canvas.inside(-crown)
    canvas.paint(covered, hair_colour(scene))
    canvas.shade(0.22 * covered * zigzag(7.0 * x - 2.0 * y))


def _hand(canvas: Canvas, scene: Scene) -> None:
    """Paint a hand that comes up from below, rests on the face, moving with the head, and leaves."""
    look, course = scene.front_look, by_frame(scene.front_course)
    toward = 1.0 if look["side"] < 0.5 else -1.0
    size = 0.85 + 0.3 * look["size"]
    lowered = 1.0 - course["visible"]
    x = toward * (canvas.x - course["x"]) - (0.45 * look["detail"] - 0.05) - 0.6 * lowered
    y = canvas.y_feature - course["y"] - (0.75 - 0.65 * look["position"]) - 1.7 * lowered
    half = 0.10 + 0.35 * look["angle"]
    cosine, sine = (1.0 - half * half) / (1.0 + half * half), 2.0 * half / (1.0 + half * half)
    along = (cosine * y - sine * x) * np.float32(1.0 / size)
    across = (cosine * x + sine * y) * np.float32(1.0 / size)

    skin = skin_colour(scene)
    arm = np.maximum(np.abs(across) - 0.16 - 0.05 * np.maximum(along, 0.0), 0.15 - along)
    palm = ellipse(across, along, 0.25, 0.29)
    thumb = capsule(across + 0.06, along - 0.02, -0.30, -0.22, 0.062)
    depth = np.minimum(np.minimum(arm, palm), thumb)
    for root, length in ((-0.175, 0.44), (-0.06, 0.52), (0.06, 0.50), (0.17, 0.38)):
        finger = capsule(across - root, along + 0.15, 0.25 * root, -length, 0.058)
        canvas.shade(0.35 * canvas.inside(0.03 - np.abs(finger), 0.03) * canvas.inside(-0.1 - along))
        depth = np.minimum(depth, finger)
    canvas.shade(0.25 * canvas.inside(0.05 - depth, 0.10))
    covered = canvas.inside(-depth)
    canvas.paint(covered, scaled(skin, 0.93))
    edge = np.maximum(1.0 + depth * 12.0, 0.0)
    canvas.shade(0.28 * covered * edge)
    between = np.maximum(1.0 - np.abs(np.abs(np.abs(across) - 0.06) - 0.06) * 40.0, 0.0)
    canvas.shade(0.22 * covered * between * canvas.inside(-0.16 - along, 0.05) * canvas.inside(along + 0.6))


def _bar(canvas: Canvas, scene: Scene) -> None:
    """Paint a post between camera and person, which crosses the picture independently of the head."""
    look, course = scene.front_look, by_frame(scene.front_course)
    lean = 0.8 * (look["angle"] - 0.5)
    away = np.abs(canvas.screen_x - course["x"] - lean * canvas.screen_y)
    half = 0.07 + 0.13 * look["size"]
    tone = 0.06 + 0.8 * look["tone"]
    covered = canvas.inside(half - away)
    canvas.paint(covered, (tone, 0.97 * tone, 0.93 * tone))
    canvas.shade(0.30 * covered * np.maximum(away * np.float32(1.0 / half) - 0.4, 0.0))


OCCLUSIONS: Mapping[str, Callable[[Canvas, Scene], None]] = {
    "glasses": _glasses,
    "hair": _strand,
    "hand": _hand,
    "bar": _bar,
}
"""The painter of each of `study.tasks.clips.data.faces.acting.FRONTS`."""
