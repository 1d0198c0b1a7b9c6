"""Renders one clip of a procedural face: soft shapes, painted over one another from the background to the lashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from study.tasks.clips.data.faces.canvas import (
    Canvas,
    Scene,
    by_frame,
    ellipse,
    hair_colour,
    scaled,
    skin_colour,
    tones,
    zigzag,
)
from study.tasks.clips.data.faces.occlusions import OCCLUSIONS

_PIXELS_AT_ONCE = 1 << 15


def render(scene: Scene, size: int, channels: int) -> NDArray[np.float32]:
    """Return the clip as (channels, T, size, size), grey levels in [0, 255] before noise and rounding."""
    frames = len(scene.actions["AU1"])
    step = max(1, _PIXELS_AT_ONCE // size**2)
    parts = [
        _render_frames(scene.frames(slice(at, at + step)), size, channels) for at in range(0, frames, step)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _render_frames(scene: Scene, size: int, channels: int) -> NDArray[np.float32]:
    canvas = Canvas(scene, size, channels)
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
        OCCLUSIONS[scene.front](canvas, scene)
    return _lit(canvas, scene)


def _background(canvas: Canvas, scene: Scene) -> None:
    scenery = scene.scenery
    x, y = canvas.screen_x, canvas.screen_y
    tone = 0.45 + 0.35 * scenery["backdrop"]
    across = x * scenery["stripe_angle"] + y * (1.0 - abs(scenery["stripe_angle"]))
    stripes = zigzag(2.0 * across)
    dx, dy = x - 1.1 * scenery["blob_x"], y - 1.1 * scenery["blob_y"]
    blob = np.maximum(1.0 - (dx * dx + dy * dy) * 4.0, 0.0)
    grey = tone + 0.15 * scenery["backdrop_slope"] * y + 0.14 * scenery["stripe_tone"] * stripes
    grey = grey + 0.45 * scenery["blob_tone"] * blob
    for channel, value in enumerate(tones((0.98, 1.0, 1.04), len(canvas.image))):
        canvas.image[channel] = np.clip(grey, 0.02, 0.98) * np.float32(value)


def _behind(canvas: Canvas, scene: Scene) -> None:
    """Paint neck, shoulders, hair and ears."""
    p, skin, hair = scene.proportions, skin_colour(scene), hair_colour(scene)
    x, y, width = np.abs(canvas.head_x), canvas.y, p["face_width"]
    if p["hair_length"] > 0.4:
        side = width + 0.13 - 0.06 * y * y
        long = (
            canvas.inside(side - x, 0.05) * canvas.inside(y + 0.2) * canvas.inside(p["hair_length"] - y, 0.15)
        )
        canvas.paint(long, hair)
    canvas.paint(canvas.inside(0.42 - x) * canvas.inside(y - 0.55), scaled(skin, 0.72))
    cloth = p["hair"]
    canvas.paint(canvas.inside(y - 1.02 - 0.22 * x * x), (0.25 + 0.3 * cloth, 0.25, 0.55 - 0.4 * cloth))
    crown = ellipse(x, y + 0.12, width + 0.10, 1.0)
    canvas.paint(canvas.inside(-crown) * canvas.inside(0.25 - y, 0.2), hair)
    ears = ellipse(x - width, y - 0.02, 0.09, 0.2)
    canvas.paint(canvas.inside(-ears), scaled(skin, 0.85))


def _face(canvas: Canvas, scene: Scene) -> None:
    p, act = scene.proportions, by_frame(scene.actions)
    x, y = np.abs(canvas.head_x), canvas.y
    chin = 0.97 + 0.16 * act["AU26"] - 0.03 * act["AU17"]
    low = np.maximum(y, 0.0)
    narrowed = p["face_width"] * (1.0 - p["jaw"] * low * low)
    face = ellipse(x, y, narrowed, np.where(y > 0.0, chin, np.float32(0.98)))
    covered = canvas.inside(-face) * canvas.inside(y + p["hairline"] - 0.22 * x * x, 0.05)
    canvas.paint(covered, skin_colour(scene))
    rim = np.maximum(face + 0.42, 0.0)
    canvas.shade(0.55 * covered * rim * rim)
    if p["beard"] > 0.0:
        jaw_line = canvas.inside(canvas.y_feature - 0.36 - 0.18 * canvas.u, 0.25) * covered
        canvas.paint(p["beard"] * jaw_line, hair_colour(scene))


def _cheeks(canvas: Canvas, scene: Scene) -> None:
    act = by_frame(scene.actions)
    apple_y = 0.24 - 0.07 * act["AU6"]
    apple = canvas.disc(0.40, apple_y, 0.26, 0.20, across=canvas.u)
    canvas.shade(-(0.05 + 0.16 * np.maximum(act["AU6"], 0.5 * act["AU12"])) * apple)


def _eyes(canvas: Canvas, scene: Scene) -> None:
    p, act = scene.proportions, by_frame(scene.actions)
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
    gaze = 0.045 * by_frame(scene.poses)["gaze"] * canvas.side
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


def _brows(canvas: Canvas, scene: Scene) -> None:
    p, act = scene.proportions, by_frame(scene.actions)
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
    lines = np.maximum(zigzag(11.0 * (y + 0.10 * canvas.u * canvas.u)), 0.0)
    forehead = (
        canvas.inside(0.44 - canvas.u, 0.2) * canvas.inside(-0.53 - y, 0.06) * canvas.inside(y + 0.78, 0.1)
    )
    canvas.shade(0.34 * p["age"] * raised * lines * forehead)


def _nose(canvas: Canvas, scene: Scene) -> None:
    p, act = scene.proportions, by_frame(scene.actions)
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
    lines = np.maximum(zigzag(14.0 * (y - 0.7 * u)), 0.0)
    canvas.shade(0.50 * raised * bridge * lines)


def _mouth(canvas: Canvas, scene: Scene) -> None:
    p, act = scene.proportions, by_frame(scene.actions)
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
    visible = np.minimum(1.0, act["AU25"] + 0.3 * act["AU10"])
    canvas.paint(0.9 * visible * teeth, (0.88, 0.87, 0.83))
    canvas.shade((0.55 + 0.2 * tight) * canvas.between(line - 0.010, line + 0.014) * window * (1.0 - opening))
    pits = canvas.disc(half + 0.015, middle + corner, 0.055, 0.055, across=u)
    canvas.shade((0.18 + 0.30 * np.maximum(smile, np.maximum(frown, stretch))) * pits)
    below = lower + 0.045
    canvas.shade(0.20 * canvas.between(below - 0.03, below + 0.02, 0.06) * np.maximum(1.0 - 1.5 * bow, 0.0))
    boss = canvas.disc(0.0, 0.82, 0.20, 0.13, across=canvas.x)
    dimples = zigzag(13.0 * (canvas.x + 0.6 * y))
    canvas.shade(0.30 * act["AU17"] * boss * dimples)
    canvas.shade(0.10 * tight * canvas.between(upper - 0.05, upper, 0.04) * window)


def _lit(canvas: Canvas, scene: Scene) -> NDArray[np.float32]:
    light = scene.lighting
    x, y = canvas.screen_x, canvas.screen_y
    field = (1.0 + 0.35 * light["gain"]) * (1.0 + 0.45 * light["side"] * x + 0.25 * light["top"] * y)
    lit = canvas.image * np.maximum(field, np.float32(0.1))
    contrast = 1.0 + 0.35 * light["contrast"]
    out: NDArray[np.float32] = ((lit - 0.45) * np.float32(contrast) + 0.45) * np.float32(255.0)
    return out
