"""What a check of a data set finds, as codes and fields; `study.tasks.clips.data.check.text` words them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from study.tasks.clips.data.contract import Split
from study.tasks.clips.data.sampling import Short


class RemarkKind(StrEnum):
    """What a remark is about."""

    ROWS_UNUSABLE = "rows-unusable"
    LABELS_DOUBTFUL = "labels-doubtful"
    CLIPS_MISSING = "clips-missing"
    CLIPS_EMPTY = "clips-empty"
    CLIPS_UNREADABLE = "clips-unreadable"
    DATA_UNREADABLE = "data-unreadable"
    PACK_DAMAGED = "pack-damaged"
    PACK_OUTDATED = "pack-outdated"
    TEST_CLIPS_IN_TRAIN = "test-clips-in-train"
    COPIES_WITH_OTHER_LABEL = "copies-with-other-label"
    COPIES = "copies"
    COUNTS_NOT_OFFICIAL = "counts-not-official"
    SPLIT_EMPTY = "split-empty"
    CLASSES_NOT_TRAINED = "classes-not-trained"
    CLASSES_NOT_EVALUATED = "classes-not-evaluated"
    FRAME_COUNT_WRONG = "frame-count-wrong"
    FRAMES_TOO_FEW = "frames-too-few"
    FRAME_NUMBERS_REPEATED = "frame-numbers-repeated"
    FRAME_NUMBERS_ABSENT = "frame-numbers-absent"
    FRAME_NUMBERS_WITH_GAPS = "frame-numbers-with-gaps"
    CLIPS_OF_SEVERAL_SIZES = "clips-of-several-sizes"
    FRAME_SIZES_DIFFER = "frame-sizes-differ"
    FRAMES_NOT_SQUARE = "frames-not-square"
    SOURCES_SHARED = "sources-shared"
    FRAMES_TRANSPARENT = "frames-transparent"
    PROFILE_NOT_APPLIED = "profile-not-applied"
    FRAMES_IN_CMYK = "frames-in-cmyk"
    VIDEOS_IN_HDR = "videos-in-hdr"
    JPEGS_NOT_VERIFIED = "jpegs-not-verified"
    FILES_NOT_OF_MANIFEST = "files-not-of-manifest"

    @property
    def group(self) -> str:
        """The ``kind`` of the remark in JSON, which several kinds share."""
        return _GROUPS[self]


_GROUPS: Mapping[RemarkKind, str] = {
    RemarkKind.ROWS_UNUSABLE: "lists",
    RemarkKind.LABELS_DOUBTFUL: "lists",
    RemarkKind.CLIPS_MISSING: "missing",
    RemarkKind.CLIPS_EMPTY: "empty",
    RemarkKind.CLIPS_UNREADABLE: "unreadable",
    RemarkKind.DATA_UNREADABLE: "data",
    RemarkKind.PACK_DAMAGED: "pack",
    RemarkKind.PACK_OUTDATED: "pack",
    RemarkKind.TEST_CLIPS_IN_TRAIN: "duplicates",
    RemarkKind.COPIES_WITH_OTHER_LABEL: "duplicates",
    RemarkKind.COPIES: "duplicates",
    RemarkKind.COUNTS_NOT_OFFICIAL: "counts",
    RemarkKind.SPLIT_EMPTY: "counts",
    RemarkKind.CLASSES_NOT_TRAINED: "classes",
    RemarkKind.CLASSES_NOT_EVALUATED: "classes",
    RemarkKind.FRAME_COUNT_WRONG: "frames",
    RemarkKind.FRAMES_TOO_FEW: "short",
    RemarkKind.FRAME_NUMBERS_REPEATED: "order",
    RemarkKind.FRAME_NUMBERS_ABSENT: "order",
    RemarkKind.FRAME_NUMBERS_WITH_GAPS: "order",
    RemarkKind.CLIPS_OF_SEVERAL_SIZES: "sizes",
    RemarkKind.FRAME_SIZES_DIFFER: "sizes",
    RemarkKind.FRAMES_NOT_SQUARE: "sizes",
    RemarkKind.SOURCES_SHARED: "sources",
    RemarkKind.FRAMES_TRANSPARENT: "colours",
    RemarkKind.PROFILE_NOT_APPLIED: "colours",
    RemarkKind.FRAMES_IN_CMYK: "colours",
    RemarkKind.VIDEOS_IN_HDR: "colours",
    RemarkKind.JPEGS_NOT_VERIFIED: "damage",
    RemarkKind.FILES_NOT_OF_MANIFEST: "damage",
}


@dataclass(frozen=True)
class Item:
    """One clip, row, class, size or source that a remark is about; fields that do not apply are empty."""

    clip: str = ""
    where: str = ""
    """List and row, below the root."""
    fold: int | None = None
    split: Split | None = None
    name: str = ""
    """A class, a source, or ``WIDTHxHEIGHT``."""
    count: int | None = None
    """Clips, or frames of the clip."""
    official: int | None = None
    """The official number in place of `count`."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of the clip's frames, in pixels."""
    files: tuple[str, ...] = ()
    absent_frame: int | None = None
    copies: tuple[Item, ...] = ()
    """Clips of the same content."""
    reason: str = ""
    """Why it cannot be used, as its reader words it."""


@dataclass(frozen=True)
class Remark:
    """One thing that a user must fix or know before training."""

    kind: RemarkKind
    is_mistake: bool
    """Training would not be sound; otherwise it is a warning."""
    items: tuple[Item, ...] = ()
    total: int | None = None
    """Clips among which the items were found."""
    needed_frames: int | None = None
    short: Short | None = None
    """How clips with fewer than `needed_frames` are filled up."""
    is_skipped: bool = False
    """The items are left out in training."""
    error: str = ""
    """The message of the error that stopped the check."""


@dataclass(frozen=True)
class Count:
    """The clips of one split."""

    fold: int | None
    split: Split
    clips: int
    official: int | None
    """The official number of clips, for train with those of validation; None where no official count is known."""
    classes: Mapping[str, int]


@dataclass(frozen=True)
class Report:
    """What a check found."""

    name: str
    root: str | None
    """None for a procedural data set."""
    digest: str | None
    """None where clips cannot be used; `digests` is then empty."""
    digests: Mapping[str, str]
    """By fold."""
    facts: Mapping[str, str]
    classes: tuple[str, ...]
    """In the order of the labels."""
    remarks: tuple[Remark, ...]
    counts: tuple[Count, ...]
    official_classes: Mapping[str, int]
    """Clips of each class, train and test together."""
    frames: Mapping[str, float]
    """``clips``, and the ``least``, ``median`` and ``most`` frames of one."""
    sizes: Mapping[str, int]
    """Clips by the ``WIDTHxHEIGHT`` of their frames."""
    skipped: tuple[str, ...]
    """Rows and clips that are left out."""

    @property
    def is_sound(self) -> bool:
        """Whether training on the data would be sound."""
        return not self.mistakes

    @property
    def mistakes(self) -> tuple[Remark, ...]:
        """What must be fixed before training."""
        return tuple(remark for remark in self.remarks if remark.is_mistake)

    @property
    def warnings(self) -> tuple[Remark, ...]:
        """What a user should know of the data."""
        return tuple(remark for remark in self.remarks if not remark.is_mistake)
