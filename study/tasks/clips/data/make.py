"""Writes procedural faces to disk in the layout of a real data set.

Every layout holds the same clips under the same numbers. Where a layout has one split, its test clips are those
of fold 1 in a layout with several. ``about.json`` in the root marks the clips as procedural.
"""

from __future__ import annotations

import importlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from study.config.registry import Registry
from study.errors import InputError, nearest, quoted
from study.files import PARTIAL_SUFFIX, write
from study.task import Progress
from study.tasks.clips.data.contract import Clips
from study.tasks.clips.data.faces.dataset import Faces
from study.tasks.clips.data.files.listing import SYNTHETIC

_JPEG_QUALITY = 95
_FRAMES_A_SECOND = 25
_VIDEO_QUALITY = {"crf": "10", "threads": "1"}
_CLIPS_AT_ONCE = 16
_CLIPS_PER_PERSON = 7
"""Each person shows each emotion once, so that a small set has enough people for its folds, too."""

SCENES = (
    "Action",
    "Argue",
    "Business",
    "Conflict",
    "Contest",
    "Crime",
    "Crisis",
    "DailyLife",
    "ElegantArt",
    "Experiment",
    "History",
    "Interview",
    "Liveshow",
    "Medicine",
    "OfficialEvent",
    "ScholarReport",
    "School",
    "Social",
    "Speech",
    "Talkshow",
    "Terror",
    "War",
)
"""Scenes of FERV39k; people are assigned to them in turn, which does not change their clips."""
_MAFW_NAMES = {"happy": "happiness", "sad": "sadness", "angry": "anger"}
"""MAFW's names of emotions where they differ from DFEW's. Four of its eleven classes do not occur."""


@dataclass(frozen=True)
class WrittenTree:
    """The result of `make`."""

    out: Path
    clips: int
    frames: int
    """Frames of one clip."""
    people: int
    folds: int
    """0 if the layout has one split."""
    setting: str = field(default="", compare=False)
    """The argument of ``--set`` to run a study on it."""


@dataclass(frozen=True)
class _Clip:
    number: int
    """From 1."""
    label: int
    emotion: str
    person: str
    scene: str
    fold: int
    """The fold whose test list it is in, from 1."""


@dataclass(frozen=True)
class Layout:
    """Paths of the frames, videos and lists of a data set, relative to its root."""

    frames: Callable[[_Clip], str]
    """Returns the folder of a clip's frames."""
    frame: str
    """Format of a frame's file name, from its number, from 1."""
    video: Callable[[_Clip], str] | None
    lists: Callable[[Sequence[_Clip], int, str], Mapping[str, str]]
    """Returns paths and contents from clips, number of folds and suffix of the clips' paths."""
    has_folds: bool
    parameters: str = ""
    """Parameters, in TOML, with which its reader reads what was written, besides the root."""
    of_video: str = ""
    """The same, if videos were written."""


def _fold_splits(clips: Sequence[_Clip], fold: int) -> Iterator[tuple[str, list[_Clip]]]:
    yield "train", [clip for clip in clips if clip.fold != fold]
    yield "test", [clip for clip in clips if clip.fold == fold]


def _dfew_lists(clips: Sequence[_Clip], folds: int, suffix: str) -> Mapping[str, str]:
    """Return DFEW's lists, and one that DFEW does not have: the person of each clip."""
    root = "EmoLabel_DataSplit"
    sources = "".join(f"{clip.number:05d},{clip.person}\n" for clip in clips)
    return {f"{root}/sources.csv": f"video_name,source\n{sources}"} | {
        f"{root}/{split}(single-labeled)/set_{fold}.csv": "video_name,label\n"
        + "".join(f"{clip.number:05d},{clip.label + 1}\n" for clip in of)
        for fold in range(1, folds + 1)
        for split, of in _fold_splits(clips, fold)
    }


def _ferv39k_folder(clip: _Clip) -> str:
    return f"{clip.scene}/{clip.emotion.capitalize()}/{clip.number:04d}"


def _ferv39k_lists(clips: Sequence[_Clip], folds: int, suffix: str) -> Mapping[str, str]:
    return {
        f"4_setups/All_scenes/{split}_All.csv": "".join(
            f"{_ferv39k_folder(clip)} {clip.emotion.capitalize()}\n" for clip in of
        )
        for split, of in _fold_splits(clips, 1)
    }


def _mafw_lists(clips: Sequence[_Clip], folds: int, suffix: str) -> Mapping[str, str]:
    return {
        f"Train & Test Set/single/no_caption/set_{fold}/{split}.txt": "".join(
            f"{clip.number:05d}.mp4 {_MAFW_NAMES.get(clip.emotion, clip.emotion)}\n" for clip in of
        )
        for fold in range(1, folds + 1)
        for split, of in _fold_splits(clips, fold)
    }


def _clips_list(clips: Sequence[_Clip], folds: int, suffix: str) -> Mapping[str, str]:
    split_of = {clip.number: split for split, of in _fold_splits(clips, 1) for clip in of}
    rows = [
        f"clips/{clip.number:05d}{suffix},{clip.emotion},{clip.person},{split_of[clip.number]}\n"
        for clip in clips
    ]
    return {"clips.csv": "path,label,source,split\n" + "".join(rows)}


LAYOUTS: Mapping[str, Layout] = {
    "dfew": Layout(
        frames=lambda clip: f"Clip/clip_224x224_16f/{clip.number:05d}",
        frame="{}.jpg",
        video=lambda clip: f"Clip/original/{clip.number}.mp4",
        lists=_dfew_lists,
        has_folds=True,
        parameters="folds=[1]",
        of_video='folds=[1], version="video"',
    ),
    "ferv39k": Layout(
        frames=lambda clip: f"2_ClipsforFaceCrop/{_ferv39k_folder(clip)}",
        frame="{:05d}.jpg",
        video=None,
        lists=_ferv39k_lists,
        has_folds=False,
    ),
    "mafw": Layout(
        frames=lambda clip: f"data/frames/{clip.number:05d}",
        frame="{:05d}.png",
        video=lambda clip: f"data/clips/{clip.number:05d}.mp4",
        lists=_mafw_lists,
        has_folds=True,
        parameters="folds=[1]",
        of_video='folds=[1], version="video"',
    ),
    "clips": Layout(
        frames=lambda clip: f"clips/{clip.number:05d}",
        frame="{}.jpg",
        video=lambda clip: f"clips/{clip.number:05d}.mp4",
        lists=_clips_list,
        has_folds=False,
    ),
}


def make(
    out: Path,
    *,
    layout: str = "dfew",
    clips: int = 700,
    size: int = 64,
    folds: int = 5,
    video: bool = False,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> WrittenTree:
    """Write procedural clips as frames or videos, with split lists, in the official layout of a data set.

    The folds' test lists share no person and together hold every clip. Everything is written beside `out`
    and takes its name in the end, so that a half-written tree is never found there.

    Args:
        out: The folder to write; it must not exist, or be empty.
        layout: One of `LAYOUTS`.
        clips: How many clips.
        size: Height and width of the frames in pixels.
        folds: How many train and test lists; where the layout has one split, one of so many people is in test.
        video: Write H.264 videos in place of folders of frames.
        parameters: Further parameters of the data set ``faces``.
        progress: Called with the number of clips that are written, and of all clips.

    Raises:
        InputError: `out` is in use, the layout is unknown or has no videos, PyAV is not installed, a parameter is
            wrong, there are fewer people than folds.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}.{nearest(layout, LAYOUTS)} Allowed: {quoted(LAYOUTS)}.")
    form = LAYOUTS[layout]
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder; name another one.")
    if video:
        _check_video(layout, size)
    own = {"channels": 3, "clips_per_person": _CLIPS_PER_PERSON, **(parameters or {})}
    config = {"name": "faces", **own, "train_clips": clips, "size": size}
    registry = Registry()
    data: Faces = registry.build("dataset", registry.resolve("dataset", config, "faces"))
    if data.label_noise:
        raise InputError(
            "faces.label_noise: must be 0 here: a clip that one fold trains on is tested by another, by its true label."
        )
    faces_clips = data.split("train")
    people = list(dict.fromkeys(faces_clips.sources))
    if not 2 <= folds <= len(people):
        raise InputError(f"folds must be from 2 to the number of people, {len(people)}. Got {folds} instead.")
    members = _members(faces_clips, data.classes, people, folds)

    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=PARTIAL_SUFFIX))
    try:
        for clip, frames in _read(faces_clips, members, progress):
            if video and form.video:
                _write_video(aside / form.video(clip), frames)
            else:
                _write_frames(aside / form.frames(clip), form.frame, frames)
        for path, content in form.lists(members, folds, ".mp4" if video else "").items():
            write(aside / path, content)
        about = {
            "made": SYNTHETIC,
            "digest": data.digest,
            "parameters": config,
        }
        write(aside / "about.json", json.dumps(about, indent=1) + "\n")
        aside.chmod(0o755)
        if out.exists():
            out.rmdir()
        aside.rename(out)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    further = form.of_video if video else form.parameters
    return WrittenTree(
        out=out,
        clips=clips,
        frames=data.shape.frames,
        people=len(people),
        folds=folds if form.has_folds else 0,
        setting=f'base.dataset={{name="{layout}", root={_toml(str(out.absolute()))}'
        + (f", {further}}}" if further else "}"),
    )


def _toml(text: str) -> str:
    """Return a TOML string; JSON's escapes are valid in TOML."""
    return json.dumps(text, ensure_ascii=False)


def _members(faces_clips: Clips, classes: Sequence[str], people: Sequence[str], folds: int) -> list[_Clip]:
    number_of = {person: number for number, person in enumerate(people)}
    return [
        _Clip(
            number=i + 1,
            label=int(label),
            emotion=classes[int(label)],
            person=faces_clips.sources[i],
            scene=SCENES[number_of[faces_clips.sources[i]] % len(SCENES)],
            fold=1 + number_of[faces_clips.sources[i]] % folds,
        )
        for i, label in enumerate(faces_clips.labels)
    ]


def _read(
    faces_clips: Clips, members: Sequence[_Clip], progress: Progress | None
) -> Iterator[tuple[_Clip, NDArray[np.uint8]]]:
    """Yield each clip and its frames, (T, H, W, C)."""
    total = len(members)
    for start in range(0, total, _CLIPS_AT_ONCE):
        indexes = np.arange(start, min(start + _CLIPS_AT_ONCE, total))
        for index, clip in zip(indexes.tolist(), faces_clips.read(indexes, None), strict=True):
            yield members[index], clip.transpose(1, 2, 3, 0)
        if progress:
            progress(min(start + _CLIPS_AT_ONCE, total), total)


def _write_frames(folder: Path, name: str, frames: NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, start=1):
        path = folder / name.format(number)
        Image.fromarray(frame.squeeze()).save(path, quality=_JPEG_QUALITY)  # ignored for PNG


def _check_video(layout: str, size: int) -> None:
    if LAYOUTS[layout].video is None:
        others = quoted(name for name, form in LAYOUTS.items() if form.video)
        raise InputError(f"the layout {layout!r} has no videos; layouts with videos: {others}.")
    if size % 2:
        raise InputError(f"size must be even for videos. Got {size} instead.")
    try:
        importlib.import_module("av")
    except ImportError:
        raise InputError(
            "videos need PyAV, which is not installed: pip install 'ablation-study[video]'."
        ) from None


def _write_video(path: Path, frames: NDArray[np.uint8]) -> None:
    av: Any = importlib.import_module("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_FRAMES_A_SECOND, options=_VIDEO_QUALITY)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            colour = np.ascontiguousarray(np.broadcast_to(frame, (*frame.shape[:2], 3)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(colour, format="rgb24")))
        container.mux(stream.encode(None))
