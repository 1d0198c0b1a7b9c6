"""Renders contact sheets of any data set: a row for each clip, time from left to right."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from study.errors import InputError, nearest, quoted
from study.files import write
from study.tasks.clips.data.contract import Clips, Dataset, Pixels, Split

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
COLUMNS = 8
"""Frames shown of a clip, evenly spaced from its first to its last."""

CURVES = {
    "intensity": ("intensity of the expression, 0 to 1", (31, 97, 168)),
    "occlusion": ("something in front of the face", (200, 92, 20)),
}
"""Ground truth that is plotted below a clip: its label in words, and its colour."""
_INK, _FAINT, _WRONG, _PAPER, _LINE = (
    (28, 28, 32),
    (118, 120, 128),
    (178, 34, 34),
    (255, 255, 255),
    (224, 225, 229),
)
_LEAST_TILE, _MOST_TILE = 96, 160
_GAP, _BETWEEN, _MARGIN, _CURVE = 3, 12, 16, 30
_FINER = 4
"""Curves are plotted so many times larger, then shrunk, as antialiasing."""

Picture = Image.Image


@dataclass(frozen=True)
class Sheet:
    """The content of a contact sheet."""

    rows: int
    missing: tuple[str, ...]
    """Classes without a clip on the sheet."""


def check_format(out: Path) -> None:
    """Raise InputError if the suffix of the file names no format of pictures."""
    if out.suffix.lower() not in FORMATS:
        raise InputError(
            f"{out}: unknown format {out.suffix!r}.{nearest(out.suffix.lower(), FORMATS)} Allowed: {quoted(FORMATS)}."
        )


def write_sheet(
    dataset: Dataset,
    name: str,
    out: Path,
    *,
    rows: int | None = None,
    split: Split = "train",
    fold: int | None = None,
) -> Sheet:
    """Write a contact sheet of one split: the classes in turn, each by clips from all over the split.

    Pixels are the input of a network before augmentation; small frames are enlarged without smoothing.

    Args:
        dataset: Any data set.
        name: The title.
        out: A PNG or JPEG file; it is replaced atomically.
        rows: The number of clips; by default one of each class.
        split: The split.
        fold: The fold; the first one by default.

    Raises:
        InputError: The format or the fold is unknown, the split has no clips, or a clip cannot be read.
    """
    check_format(out)
    if fold is None:
        fold = next(iter(dataset.folds), None)
    clips = dataset.split(split, fold)
    chosen = choose(clips.labels, len(dataset.classes), len(dataset.classes) if rows is None else rows)
    if not len(chosen):
        raise InputError(f"{name}: the {split} split has no clip to show.")
    where = split if fold is None else f"{split}, fold {fold}"
    channels, frames, height, width = dataset.shape
    title = (
        f"{frames} frames of {height} × {width} pixels, {'grey' if channels == 1 else 'colour'} · {where}, "
        f"{len(clips.ids)} clips"
    )
    picture = _render(dataset, clips, chosen, name, title)
    content = io.BytesIO()
    picture.save(content, FORMATS[out.suffix.lower()], optimize=True, quality=92)
    try:
        write(out, content.getvalue())
    except (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"{out} cannot be written: {error.strerror}.") from None
    shown_labels = {int(label) for label in clips.labels[chosen]}
    return Sheet(
        len(chosen), tuple(n for label, n in enumerate(dataset.classes) if label not in shown_labels)
    )


def choose(labels: NDArray[np.int64], classes: int, rows: int) -> NDArray[np.int64]:
    """Return at most `rows` clips, by class: classes in turn, the clips of one class evenly spread over the split."""
    members = [np.flatnonzero(labels == label) for label in range(classes)]
    turns = sorted((turn, label) for label, of in enumerate(members) for turn in range(len(of)))[:rows]
    chosen: list[int] = []
    for label, of in enumerate(members):
        count = sum(taken == label for _, taken in turns)
        offset = (label + 0.5) / classes
        chosen += [int(of[int((k + offset) / count * len(of))]) for k in range(count)]
    return np.array(chosen, dtype=np.int64)


def _render(dataset: Dataset, clips: Clips, chosen: NDArray[np.int64], name: str, title: str) -> Picture:
    pixels = clips.read(chosen, None)
    frames = pixels.shape[2]
    frame_indices = np.unique(np.linspace(0, frames - 1, min(COLUMNS, frames)).round().astype(np.int64))
    curves = {
        of: clips.truth[of][chosen] for of in CURVES if of in clips.truth and clips.truth[of][chosen].any()
    }
    tiles = [[_tile(clip[:, frame]) for frame in frame_indices] for clip in pixels]
    wide, high = tiles[0][0].size

    plain, small, bold, large = _font(12), _font(10), _font(13, bold=True), _font(17, bold=True)
    names = [dataset.classes[label] for label in clips.labels[chosen]]
    true_classes = [_true_class(dataset, clips, int(index)) for index in chosen]
    ids = [_shortened(clips.ids[index]) for index in chosen]
    text_width = 12 + max(
        72,
        *(math.ceil(bold.getlength(text)) for text in names),
        *(math.ceil(small.getlength(text)) for text in (*ids, *true_classes)),
    )
    first = _MARGIN + text_width
    strip = len(frame_indices) * (wide + _GAP) - _GAP
    step = high + (_GAP + _CURVE if curves else 0) + _BETWEEN
    top = 78
    legend = _legend(dataset, tuple(curves))
    least = max(
        plain.getlength(title), sum(plain.getlength(text) + 16 for text, _ in legend), large.getlength(name)
    )
    size = (
        max(first + strip, _MARGIN + math.ceil(least)) + _MARGIN,
        top + step * len(chosen) + (24 if legend else 0) + _MARGIN // 2,
    )
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 10), name, _INK, large)
    draw.text((_MARGIN, 34), title, _FAINT, plain)
    draw.text((_MARGIN, top - 18), "frame", _FAINT, small)
    centres = [first + column * (wide + _GAP) + wide / 2 for column in range(len(frame_indices))]
    for centre, frame in zip(centres, frame_indices, strict=True):
        draw.text((centre, top - 18), str(frame + 1), _FAINT, small, anchor="ma")
    for row, of_clip in enumerate(tiles):
        y = top + row * step
        for centre, tile in zip(centres, of_clip, strict=True):
            sheet.paste(tile, (round(centre - wide / 2), y))
        draw.text((_MARGIN, y + high / 2 - 16), names[row], _INK, bold)
        draw.text((_MARGIN, y + high / 2 + 2), ids[row], _FAINT, small)
        draw.text((_MARGIN, y + high / 2 + 16), true_classes[row], _WRONG, small)
        if curves:
            of_row = {of: values[row] for of, values in curves.items()}
            plot = _plot(of_row, frame_indices, (strip, _CURVE), wide / 2)
            sheet.paste(plot, (first, y + high + _GAP))
    x = float(_MARGIN)
    for text, colour in legend:
        draw.text((x, top + step * len(chosen) + 4), text, colour, plain)
        x += plain.getlength(text) + 16
    return sheet


def _true_class(dataset: Dataset, clips: Clips, index: int) -> str:
    """Return the true class of a clip in words if its label is known to be another."""
    if "label" not in clips.truth or int(clips.truth["label"][index]) == clips.labels[index]:
        return ""
    return f"shows {dataset.classes[int(clips.truth['label'][index])]}"


def _legend(dataset: Dataset, curves: tuple[str, ...]) -> list[tuple[str, tuple[int, int, int]]]:
    keys = [(f"— {CURVES[of][0]}", CURVES[of][1]) for of in curves]
    warning = [("Synthetic: no evidence about real faces.", _FAINT)] if dataset.is_synthetic else []
    return keys + warning


def _tile(frame: Pixels) -> Picture:
    """Return one frame, (C, H, W), enlarged by a whole factor if it is small, shrunk if it is large."""
    planes = np.repeat(frame, 3, axis=0) if len(frame) == 1 else frame
    picture = Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))
    side = max(picture.size)
    if side < _LEAST_TILE:
        factor = math.ceil(_LEAST_TILE / side)
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    if side > _MOST_TILE:
        factor_down = _MOST_TILE / side
        small = (max(1, round(picture.width * factor_down)), max(1, round(picture.height * factor_down)))
        return picture.resize(small, Image.Resampling.LANCZOS)
    return picture


def _plot(
    curves: dict[str, NDArray[np.float32]],
    frame_indices: NDArray[np.int64],
    size: tuple[int, int],
    inset: float,
) -> Picture:
    """Plot values in [0, 1] over all frames of a clip; a dot marks each frame shown above."""
    width, height = size[0] * _FINER, size[1] * _FINER
    plot = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(plot, "RGBA")
    low, high, inset = height - 3 * _FINER, 4 * _FINER, inset * _FINER
    draw.line([(0, low), (width, low)], _LINE, _FINER)
    for of, values in curves.items():
        colour = CURVES[of][1]
        x = np.interp(
            np.arange(len(values)), frame_indices, np.linspace(inset, width - inset, len(frame_indices))
        )
        y = low - (low - high) * values
        points = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
        if of == next(iter(curves)):
            draw.polygon([(points[0][0], low), *points, (points[-1][0], low)], (*colour, 36))
        draw.line(points, colour, round(1.5 * _FINER), joint="curve")
        for frame in frame_indices:
            a, b = points[int(frame)]
            draw.ellipse((a - 2.5 * _FINER, b - 2.5 * _FINER, a + 2.5 * _FINER, b + 2.5 * _FINER), colour)
    return plot.resize(size, Image.Resampling.LANCZOS)


def _shortened(text: str, most: int = 22) -> str:
    return text if len(text) <= most else f"…{text[1 - most :]}"


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    file = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / file, size)
