"""The data set of recorded clips that every layout builds from its lists."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from study.config.registry import Legacy, LocalPath, Range
from study.errors import InputError
from study.hashing import digest, seed_of
from study.seeds import HELD_OUT
from study.task import Progress
from study.tasks.clips.data.contract import (
    DOUBTFUL_LABELS,
    SHARED_SOURCES,
    Average,
    Channels,
    Clips,
    ClipShape,
    Frames,
    Pixels,
    Split,
    Views,
)
from study.tasks.clips.data.files.frames import READER, ClipVerdict
from study.tasks.clips.data.files.listing import Entry, Fold, Listing, RowProblem, SkippedRow, some_clips
from study.tasks.clips.data.files.packs import open_pack
from study.tasks.clips.data.files.pictures import Decoder
from study.tasks.clips.data.files.places import names_in
from study.tasks.clips.data.files.source import Raw, Source
from study.tasks.clips.data.sampling import Sampling, SamplingKind, Short, TestViews

_NAMED = 3
"""Clips that a refusal explains, at most."""

Folds = Annotated[list[int], "official folds, all five for a published figure"]
SelectOn = Literal["held-out", "test"]


@dataclass(frozen=True)
class Recording:
    """Parameters of every recorded data set: how it is split and read."""

    frames: Frames = 16
    size: Annotated[int, Range(16, 512), "height and width in pixels, by antialiased bilinear resizing"] = 32
    channels: Channels = 1
    validation_share: Annotated[float, Range(0.01, 0.5), "share of the train list that chooses epochs"] = 0.15
    validation_seed: Annotated[int, Range(0), "another seed holds out other clips"] = 0
    select_on: Annotated[SelectOn, Legacy("held-out"), "test: optimistic, yields no verdict"] = "held-out"
    sampling: Annotated[
        SamplingKind,
        Legacy("uniform"),
        "frames of equal segments (tested on their middle or their starts), at equal distances, or of a window",
    ] = "uniform"
    neighbours: Annotated[int, Range(1, 16), Legacy(1), "consecutive frames of each segment"] = 1
    stride: Annotated[int, Range(1, 64), Legacy(1), "frames from one to the next of a window"] = 1
    views: Annotated[
        Literal[TestViews, "ifdd"],
        Legacy("1x1"),
        "readings of a clip that are averaged in test; ifdd: those of its release, logits averaged",
    ] = "1x1"
    average: Annotated[Average, Legacy("probabilities"), "what is averaged over the views"] = "probabilities"
    short: Annotated[Short, Legacy("even"), "which frames a clip with too few of them repeats"] = "last"
    decoder: Annotated[Decoder, Legacy("pillow"), "what decodes JPEG frames"] = "pillow"
    skip_bad: Annotated[
        bool, Legacy(False), "leave out rows and clips that cannot be used, and report them"
    ] = False
    allow: Annotated[
        list[str] | str, LocalPath(), "folders outside of the root that links and paths may lead to"
    ] = ""
    cache: Annotated[str, LocalPath(), "folder that keeps what is known of files; empty for none"] = ""
    pack: Annotated[str, LocalPath(), "a pack of these clips, read in place of their files"] = ""

    @property
    def allowed(self) -> tuple[str, ...]:
        """The folders of `allow`; a run's record joins them, as ``PATH`` does."""
        folders = self.allow.split(os.pathsep) if isinstance(self.allow, str) else self.allow
        return tuple(filter(None, folders))


@dataclass(frozen=True)
class Protocols:
    """How a recorded data set is split and read: a part of its digest, by the names of these fields."""

    validation_share: float
    validation_seed: int
    select_on: SelectOn
    sampling: Sampling
    skip_bad: bool


@dataclass(frozen=True)
class Recorded:
    """A `study.tasks.clips.data.contract.Dataset` of a `Listing` and the source of its frames."""

    listing: Listing
    source: Source
    shape: ClipShape
    decoder: Decoder
    protocols: Protocols
    _verdicts: dict[str, ClipVerdict] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the labels."""
        return self.listing.classes

    @property
    def folds(self) -> tuple[int, ...]:
        """The requested folds; empty where the data set has one split."""
        return tuple(fold for fold in self.listing.folds if fold is not None)

    @property
    def is_synthetic(self) -> bool:
        """Whether `study.tasks.clips.data.make` wrote the tree."""
        return self.listing.is_synthetic

    @property
    def is_optimistic(self) -> bool:
        """Whether the epoch is selected on the test split."""
        return self.protocols.select_on == "test"

    @property
    def facts(self) -> Mapping[str, str]:
        """What the clips are, how they are split, and how they are read."""
        sampling, protocols = self.protocols.sampling, self.protocols
        if protocols.select_on == "test":
            validation = "the test split itself: optimistic"
        elif any("validation" in splits for splits in self.listing.folds.values()):
            validation = "the data set's own"
        else:
            share = f"{100 * protocols.validation_share:g} % of train"
            known = any(entry.source != entry.id for entry in self.listing.entries.values())
            by = "by class and source" if known else "by class, sources not known"
            validation = f"{share}, {by}, seed {protocols.validation_seed}"
        return {
            **self.listing.facts,
            **({"folds": ", ".join(map(str, self.folds))} if self.folds else {}),
            **({SHARED_SOURCES: _shared_sources_text(self.listing)} if self.listing.shared_sources else {}),
            **({DOUBTFUL_LABELS: " ".join(self.listing.doubts)} if self.listing.doubts else {}),
            "validation split": validation,
            "sampling": sampling.described,
            "test views": sampling.views_described,
            "short clips": sampling.short_described,
            "decoder": self.decoder,
        }

    @property
    def skipped(self) -> tuple[str, ...]:
        """Every row and clip that was left out, with the reason."""
        if not self.protocols.skip_bad:
            return ()
        return tuple(map(str, [*self.listing.skipped_rows, *self._unusable_clips]))

    def inspect(self, progress: Progress | None = None) -> Mapping[str, ClipVerdict]:
        """Return what is known of every listed clip, by its id: everything is read once, in parallel.

        Raises:
            InputError: The clips are videos and PyAV is not installed.
        """
        if not self._verdicts:
            entries = self.listing.entries
            self._verdicts.update(
                zip(entries, self.source.inspect(list(entries.values()), progress), strict=True)
            )
        return self._verdicts

    @property
    def _unusable_clips(self) -> list[SkippedRow]:
        entries = self.listing.entries
        return [
            SkippedRow(entries[i].where, i, RowProblem.UNREADABLE_CLIP, verdict.error)
            for i, verdict in self.inspect().items()
            if not verdict.is_sound
        ]

    @cached_property
    def digest(self) -> str:
        """The digest of the one requested fold, or of all of them.

        Raises:
            InputError: Clips cannot be used, and are not to be skipped.
        """
        digests = [self.digest_of(fold) for fold in self.listing.folds]
        return digests[0] if len(digests) == 1 else digest(digests)

    def digest_of(self, fold: int | None) -> str:
        """Return the digest of all that one fold's runs depend on: clips, labels, their order, how they are read.

        Raises:
            InputError: Clips cannot be used, and are not to be skipped.
        """
        verdicts = self.inspect()
        if not self.protocols.skip_bad and (bad := self._unusable_clips):
            raise InputError(self._refusal_message(bad))
        content = {
            split: [[e.id, e.label, e.source, verdicts[e.id].digest] for e in entries]
            for split, entries in self._listed(fold).items()
        }
        own = {entry.id for entries in self._listed(fold).values() for entry in entries}
        return digest(
            {
                "reader": READER,
                "data": self.listing.name,
                "classes": self.classes,
                "content": content,
                "skipped": sorted(i for i in own if not verdicts[i].is_sound),
                "left": [
                    [_portable(row.where), row.clip] for row in self.listing.skipped_rows if row.fold == fold
                ],
                "shape": self.shape,
                "protocols": {
                    **asdict(replace(self.protocols, skip_bad=False)),
                    "sampling": self.protocols.sampling.counted,
                },
                "decoder": self.decoder,
            }
        )

    def _refusal_message(self, bad: Sequence[SkippedRow]) -> str:
        name, root, total = self.listing.name, self.listing.root, len(self.listing.entries)
        reasons = "; ".join(
            f"{root / row.where}: clip {row.clip}: {row.reason.removesuffix('.')}" for row in bad[:_NAMED]
        )
        count = (
            f"{some_clips([row.clip for row in bad])} of {total} listed cannot be used: "
            if len(bad) > 1
            else ""
        )
        footage = self.listing.footage
        if len(bad) == total and footage.is_dir():
            there = ", ".join(map(repr, names_in(footage, name)[:_NAMED])) or "nothing"
            hint = f"{footage} holds {there}, …: is the folder of the clips another one?"
        else:
            hint = "skip_bad = true leaves such clips out and reports them."
        return f"{name}: {count}{reasons}. {hint}"

    def split(self, name: Split, fold: int | None = None) -> Clips:
        """Return one split of a fold, in the order of its list.

        Raises:
            InputError: The fold was not requested, or the split is empty.
        """
        entries = self._entries(name, fold)
        if not entries:
            of = f" of fold {fold}" if fold is not None else ""
            raise InputError(
                f"{self.listing.name}: the {name} split{of} is empty. {self._remedy(name, fold)}"
            )
        reading = Reading(entries, self.source, self.protocols.sampling, self.shape)
        scenes = tuple(entry.scene for entry in entries)
        return Clips(
            ids=tuple(entry.id for entry in entries),
            sources=tuple(entry.source for entry in entries),
            labels=np.array([entry.label for entry in entries], dtype=np.int64),
            read=reading.clips,
            views=None if name == "train" else reading.views(),
            scenes=scenes if any(scenes) else (),
        )

    def _remedy(self, name: Split, fold: Fold) -> str:
        """Return what fills an empty split, in words."""
        listed = self._listed(fold)
        if name in self.listing.remedies:
            return self.listing.remedies[name]
        if self.protocols.select_on == "test" or "validation" in listed or name == "test":
            return f"No clip of it can be used; {len(listed.get(name, ()))} are listed."
        labels = {entry.id: entry.label for entry in listed["train"]}
        sources = {entry.id: entry.source for entry in listed["train"]}
        share, seed = self.protocols.validation_share, self.protocols.validation_seed
        filling = [
            other / 100
            for other in range(1, 51)
            if 0 < len(held_out(labels, sources, other / 100, seed)) < len(labels)
        ]
        described = f"validation_share = {share:g} divides {len(labels)} clips of {len(set(sources.values()))} sources"
        if not filling:
            return f"{described}, and no other share fills both: name the clips of validation, in a column split."
        nearest_share = min(filling, key=lambda other: abs(other - share))
        return f"{described}; validation_share = {nearest_share:g} leaves clips to train and validation."

    def _listed(self, fold: Fold) -> Mapping[Split, tuple[Entry, ...]]:
        """Return the clips of one fold by the lists that name them."""
        if fold not in self.listing.folds:
            raise InputError(
                f"{self.listing.name}: fold {fold!r} was not requested; folds = {list(self.folds)}."
            )
        return self.listing.folds[fold]

    def _entries(self, name: Split, fold: Fold) -> tuple[Entry, ...]:
        """Return the clips of one split, those that cannot be used left out if that is requested."""
        listed = self._listed(fold)
        optimistic = self.protocols.select_on == "test"
        if name == "test" or (name == "validation" and optimistic):
            chosen = listed["test"]
        elif optimistic or "validation" in listed:
            chosen = listed[name]
        else:
            labels = {entry.id: entry.label for entry in listed["train"]}
            sources = {entry.id: entry.source for entry in listed["train"]}
            validation = held_out(
                labels, sources, self.protocols.validation_share, self.protocols.validation_seed
            )
            chosen = tuple(e for e in listed["train"] if (e.id in validation) == (name == "validation"))
        if not self.protocols.skip_bad:
            return chosen
        verdicts = self.inspect()
        return tuple(entry for entry in chosen if verdicts[entry.id].is_sound)


@dataclass(frozen=True)
class Reading:
    """Reads the clips of one split; can be sent to other processes."""

    entries: tuple[Entry, ...]
    source: Source
    sampling: Sampling
    shape: ClipShape

    def clips(self, indexes: NDArray[np.int64], generator: np.random.Generator | None) -> Pixels:
        """Return one reading of each clip, (n, C, T, H, W)."""
        entries = [self.entries[int(index)] for index in indexes]
        return self._read([(e, self.sampling.indices(self.source.count(e), generator)) for e in entries])

    def views(self) -> Views | None:
        """Return the readings of the split in evaluation; None for one reading a clip."""
        if self.sampling.views == "1x1":
            return None
        mirrored = (False, True) if self.sampling.views == "2x2" else (False,)
        views = [
            (clip, indices, mirror)
            for clip, entry in enumerate(self.entries)
            for indices in self.sampling.evaluation_indices(self.source.count(entry), entry.id)
            for mirror in mirrored
        ]
        return Views(
            np.array([clip for clip, _, _ in views], dtype=np.int64),
            partial(self._read_views, views),
            self.sampling.average,
        )

    def _read_views(
        self, views: Sequence[tuple[int, NDArray[np.int64], bool]], numbers: NDArray[np.int64]
    ) -> Pixels:
        chosen = [views[int(number)] for number in numbers]
        pixels = self._read([(self.entries[clip], indices) for clip, indices, _ in chosen])
        mirrored = np.array([mirror for _, _, mirror in chosen], dtype=bool)
        pixels[mirrored] = pixels[mirrored, ..., ::-1]
        return pixels

    def _read(self, clips: Sequence[tuple[Entry, NDArray[np.int64]]]) -> Pixels:
        pixels = np.empty((len(clips), *self.shape), dtype=np.uint8)
        for number, (entry, indices) in enumerate(clips):
            pixels[number] = self.source.read(entry, indices).swapaxes(0, 1)
        return pixels


def held_out(
    label_of: Mapping[str, int],
    source_of: Mapping[str, str],
    share: float,
    seed: int,
    name: str = HELD_OUT,
) -> frozenset[str]:
    """Return the ids of a list that are held out: whole sources, each class near the same share.

    The order of the sources depends on `seed`, `name` and their own names alone. Each is held out if that
    brings the numbers of held-out clips per class closer, in sum, to ``share`` times the numbers in the list.
    """
    members: dict[str, list[str]] = {}
    for i in label_of:
        members.setdefault(source_of.get(i, i), []).append(i)
    missing = {label: share * count for label, count in Counter(label_of.values()).items()}
    held: set[str] = set()
    for source in sorted(members, key=lambda source: seed_of(name, seed, source)):
        counts = Counter(label_of[i] for i in members[source])
        if sum(abs(missing[c] - n) - abs(missing[c]) for c, n in counts.items()) < 0:
            held.update(members[source])
            for label, count in counts.items():
                missing[label] -= count
    return frozenset(held)


def recorded(
    listing: Listing, recording: Recording, released_views: TestViews = "complete-windows"
) -> Recorded:
    """Return the data set of a listing, read from its files, or from the pack that `recording` names.

    Args:
        listing: The clips.
        recording: How they are split and read.
        released_views: The views with which IFDD's release tests this data set.

    Raises:
        InputError: The pack is not of these clips.
    """
    shape = ClipShape(recording.channels, recording.frames, recording.size, recording.size)
    cache = Path(recording.cache).expanduser() if recording.cache else None
    if recording.pack:
        source: Source = open_pack(
            Path(recording.pack).expanduser(), listing, shape, recording.decoder, cache
        )
    else:
        source = Raw(listing, shape, recording.decoder, cache)
    sampling = Sampling(
        recording.frames,
        recording.sampling,
        recording.stride,
        recording.short,
        released_views if recording.views == "ifdd" else recording.views,
        recording.neighbours,
        "logits" if recording.views == "ifdd" else recording.average,
    )
    protocols = Protocols(
        recording.validation_share,
        recording.validation_seed,
        recording.select_on,
        sampling,
        recording.skip_bad,
    )
    return Recorded(listing, source, shape, recording.decoder, protocols)


def _portable(where: str) -> str:
    """Return the position of a row without the folder of a list that lies outside of the root."""
    path = PurePath(where)
    return path.name if path.is_absolute() else where


def _shared_sources_text(listing: Listing) -> str:
    names = sorted({name for shared in listing.shared_sources.values() for name in shared})
    more = ", …" if len(names) > _NAMED else ""
    return f"{len(names)} of the people or films: {', '.join(names[:_NAMED])}{more}"
