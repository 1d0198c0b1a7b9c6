"""The picture in the documentation of the procedural faces: what people show, and what a clip looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from study.data.clips import Pixels
from study.data.faces import faces

_PEOPLE = (1, 3, 5)
_GAP = 4
_HEADING = 14


def sheet(path: Path) -> None:
    """Write a PNG: above, three people's apexes without distraction; below, one clip an emotion at the defaults."""
    plain = faces(
        size=112, view="still", clips_per_person=7, motion=0.0, resting=0.0, noise=0.0, dilution=0.0
    )
    top = plain.split("train").read(np.concatenate([np.arange(7) + 7 * person for person in _PEOPLE]), None)
    wild = faces(size=64).split("train").read(np.arange(7) + 7 * 6, None)
    upper = _grid(top[:, 0, 0].reshape(len(_PEOPLE), 7, 112, 112))
    lower = _grid(wild[:, 0, ::2].reshape(7, 8, 64, 64))
    canvas = Image.new(
        "L", (max(upper.width, lower.width + 60), upper.height + lower.height + 3 * _HEADING), 255
    )
    draw = ImageDraw.Draw(canvas)
    for column, name in enumerate(plain.classes):
        draw.text((column * (112 + _GAP) + 30, 1), name, fill=0)
    canvas.paste(upper, (0, _HEADING))
    start = _HEADING + upper.height + _HEADING
    for row, name in enumerate(plain.classes):
        draw.text((2, start + row * (64 + _GAP) + 26), name, fill=0)
    canvas.paste(lower, (60, start))
    canvas.save(path, optimize=True)


def _grid(pictures: Pixels) -> Image.Image:
    """Return (rows, columns, H, W) laid out with gaps."""
    framed = np.pad(pictures, ((0, 0), (0, 0), (0, _GAP), (0, _GAP)), constant_values=255)
    rows, columns, height, width = framed.shape
    return Image.fromarray(framed.transpose(0, 2, 1, 3).reshape(rows * height, columns * width))
