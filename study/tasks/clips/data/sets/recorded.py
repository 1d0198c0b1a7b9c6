"""A data set made of recorded clips: what every layout gives to training once its lists are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from study.config.registry import Legacy, LocalPath, Range
from study.errors import InputError
from study.hashing import digest, seed_of
from study.seeds import HELD_OUT
from study.task import Progress
from study.tasks.clips.data.contract import Channels, Clips, ClipShape, Frames, Pixels, Split, Views
from study.tasks.clips.data.files.frames import READER, ClipCheck, Decoder
from study.tasks.clips.data.files.listing import Entry, Fold, Listing, SkippedRow, some
from study.tasks.clips.data.files.packs import open_pack
from study.tasks.clips.data.files.source import Raw, Source
from study.tasks.clips.data.sampling import Sampling, SamplingKind, Short, TestViews

_NAMED = 3
"""Of many clips that cannot be used, so many are explained."""

Folds = Annotated[list[int], "official folds, all five for a published figure"]
SelectOn = Literal["held-out", "test"]


@dataclass(frozen=True)
class Recording:
    """Parameters that every recorded data set has: how it is divided and read."""

    frames: Frames = 16
    size: Annotated[int, Range(16, 512), "height and width in pixels, by antialiased bilinear resizing"] = 32
    channels: Channels = 1
    validation_share: Annotated[float, Range(0.01, 0.5), "share of the train list that chooses epochs"] = 0.15
    validation_seed: Annotated[int, Range(0), "another seed holds out other clips"] = 0
    select_on: Annotated[SelectOn, Legacy("held-out"), "test: optimistic, yields no verdict"] = "held-out"
    sampling: Annotated[SamplingKind, Legacy("uniform"), "a frame of each segment, or a window of frames"] = (
        "uniform"
    )
    stride: Annotated[int, Range(1, 64), Legacy(1), "frames from one to the next of a window"] = 1
    views: Annotated[TestViews, Legacy("1x1"), "readings of a clip that are averaged in test"] = "1x1"
    short: Annotated[Short, Legacy("even"), "which frames a clip with too few of them repeats"] = "even"
    decoder: Annotated[Decoder, Legacy("pillow"), "what decodes JPEG frames"] = "pillow"
    skip_bad: Annotated[bool, Legacy(False), "leave out rows and clips that cannot be used, and say so"] = (
        False
    )
    cache: Annotated[str, LocalPath(), "folder that keeps what is known of files; empty for none"] = ""
    pack: Annotated[str, LocalPath(), "a pack of these clips, read in place of their files"] = ""


@dataclass(frozen=True)
class Protocols:
    """How a recorded data set is divided and read."""

    validation_share: float
    validation_seed: int
    select_on: SelectOn
    sampling: Sampling
    skip_bad: bool


@dataclass(frozen=True)
class Recorded:
    """A `study.tasks.clips.data.contract.Dataset` made of a `Listing` and of the place its frames come from."""

    listing: Listing
    source: Source
    shape: ClipShape
    decoder: Decoder
    protocols: Protocols
    _verdicts: dict[str, ClipCheck] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the labels."""
        return self.listing.classes

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that the configuration asks for; empty where the data set has one split."""
        return tuple(fold for fold in self.listing.folds if fold is not None)

    @property
    def is_synthetic(self) -> bool:
        """Whether `study.tasks.clips.data.make` wrote the tree."""
        return self.listing.is_synthetic

    @property
    def is_optimistic(self) -> bool:
        """Whether epochs are chosen on the test split."""
        return self.protocols.select_on == "test"

    @property
    def facts(self) -> Mapping[str, str]:
        """What the clips are, how they are divided, and how they are read."""
        sampling, protocols = self.protocols.sampling, self.protocols
        if protocols.select_on == "test":
            validation = "the test split itself: optimistic"
        elif any("validation" in parts for parts in self.listing.folds.values()):
            validation = "the data set's own"
        else:
            share = f"{100 * protocols.validation_share:g} % of train"
            known = any(entry.source != entry.id for entry in self.listing.entries.values())
            by = "by class and source" if known else "by class, sources not known"
            validation = f"{share}, {by}, seed {protocols.validation_seed}"
        return {
            **self.listing.facts,
            **({"folds": ", ".join(map(str, self.folds))} if self.folds else {}),
            **({"in both train and test": _shared(self.listing)} if self.listing.shared_sources else {}),
            **({"doubtful labels": " ".join(self.listing.doubts)} if self.listing.doubts else {}),
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
        return tuple(map(str, [*self.listing.left, *self._unusable]))

    def inspect(self, progress: Progress | None = None) -> Mapping[str, ClipCheck]:
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
    def _unusable(self) -> list[SkippedRow]:
        entries = self.listing.entries
        return [
            SkippedRow(entries[i].where, i, verdict.error)
            for i, verdict in self.inspect().items()
            if not verdict.is_sound
        ]

    @cached_property
    def digest(self) -> str:
        """The digest of the one fold asked for, or of all of them.

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
        if not self.protocols.skip_bad and (bad := self._unusable):
            raise InputError(self._refusal(bad))
        content = {
            part: [[e.id, e.label, e.source, verdicts[e.id].digest] for e in entries]
            for part, entries in self._parts(fold).items()
        }
        own = {entry.id for entries in self._parts(fold).values() for entry in entries}
        return digest(
            {
                "reader": READER,
                "data": self.listing.name,
                "classes": self.classes,
                "content": content,
                "skipped": sorted(i for i in own if not verdicts[i].is_sound),
                "left": [[left.where, left.clip] for left in self.listing.left if left.fold == fold],
                "shape": self.shape,
                "protocols": asdict(replace(self.protocols, skip_bad=False)),
                "decoder": self.decoder,
            }
        )

    def _refusal(self, bad: Sequence[SkippedRow]) -> str:
        name, root, total = self.listing.name, self.listing.root, len(self.listing.entries)
        shown = "; ".join(
            f"{root / left.where}: clip {left.clip}: {left.reason.removesuffix('.')}" for left in bad[:_NAMED]
        )
        count = (
            f"{some([left.clip for left in bad])} of {total} listed cannot be used: " if len(bad) > 1 else ""
        )
        return f"{name}: {count}{shown}. skip_bad = true leaves such clips out and says so."

    def split(self, name: Split, fold: int | None = None) -> Clips:
        """Return one split of a fold, in the order of its list.

        Raises:
            InputError: The configuration does not ask for this fold, or the split is empty.
        """
        entries = self._entries(name, fold)
        if not entries:
            of = f" of fold {fold}" if fold is not None else ""
            raise InputError(f"{self.listing.name}: the {name} split{of} is empty.")
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

    def _parts(self, fold: Fold) -> Mapping[Literal["train", "validation", "test"], tuple[Entry, ...]]:
        if fold not in self.listing.folds:
            raise InputError(
                f"{self.listing.name}: fold {fold!r} is not asked for; folds = {list(self.folds)}."
            )
        return self.listing.folds[fold]

    def _entries(self, name: Split, fold: Fold) -> tuple[Entry, ...]:
        parts = self._parts(fold)
        optimistic = self.protocols.select_on == "test"
        if name == "test" or (name == "validation" and optimistic):
            chosen = parts["test"]
        elif optimistic or "validation" in parts:
            chosen = parts[name]
        else:
            listed = {entry.id: entry.label for entry in parts["train"]}
            sources = {entry.id: entry.source for entry in parts["train"]}
            apart = held_out(listed, sources, self.protocols.validation_share, self.protocols.validation_seed)
            chosen = tuple(e for e in parts["train"] if (e.id in apart) == (name == "validation"))
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
        return self._read([(e, self.sampling.one(self.source.count(e), generator)) for e in entries])

    def views(self) -> Views | None:
        """Return the readings by which the split is judged; None where that is one a clip."""
        if self.sampling.views == "1x1":
            return None
        mirrored = (False, True) if self.sampling.views == "2x2" else (False,)
        views = [
            (clip, indices, mirror)
            for clip, entry in enumerate(self.entries)
            for indices in self.sampling.judged(self.source.count(entry))
            for mirror in mirrored
        ]
        return Views(np.array([clip for clip, _, _ in views], dtype=np.int64), partial(self._view, views))

    def _view(
        self, views: Sequence[tuple[int, NDArray[np.int64], bool]], numbers: NDArray[np.int64]
    ) -> Pixels:
        asked = [views[int(number)] for number in numbers]
        pixels = self._read([(self.entries[clip], indices) for clip, indices, _ in asked])
        mirrored = np.array([mirror for _, _, mirror in asked], dtype=bool)
        pixels[mirrored] = pixels[mirrored, ..., ::-1]
        return pixels

    def _read(self, asked: Sequence[tuple[Entry, NDArray[np.int64]]]) -> Pixels:
        pixels = np.empty((len(asked), *self.shape), dtype=np.uint8)
        for number, (entry, indices) in enumerate(asked):
            pixels[number] = self.source.read(entry, indices).swapaxes(0, 1)
        return pixels


def held_out(
    listed: Mapping[str, int],
    source_of: Mapping[str, str],
    share: float,
    seed: int,
    part: str = HELD_OUT,
) -> frozenset[str]:
    """Return the ids of a list that are held out: whole sources, classes near their share.

    Sources come in an order that depends on `seed`, `part` and on their own names alone. Each is taken if that
    brings the numbers of held-out clips a class closer, in sum, to ``share`` times the numbers in the list.
    """
    members: dict[str, list[str]] = {}
    for i in listed:
        members.setdefault(source_of.get(i, i), []).append(i)
    missing = {label: share * count for label, count in Counter(listed.values()).items()}
    apart: set[str] = set()
    for source in sorted(members, key=lambda name: seed_of(part, seed, name)):
        brought = Counter(listed[i] for i in members[source])
        if sum(abs(missing[c] - n) - abs(missing[c]) for c, n in brought.items()) < 0:
            apart.update(members[source])
            for label, count in brought.items():
                missing[label] -= count
    return frozenset(apart)


def recorded(listing: Listing, recording: Recording) -> Recorded:
    """Return the data set of a listing, read from its files or, where `pack` names one, from a pack of them.

    Raises:
        InputError: The pack is not of these clips.
    """
    given = recording
    shape = ClipShape(given.channels, given.frames, given.size, given.size)
    kept = Path(given.cache).expanduser() if given.cache else None
    if given.pack:
        source: Source = open_pack(Path(given.pack).expanduser(), listing, shape, given.decoder, kept)
    else:
        source = Raw(listing, shape, given.decoder, kept)
    sampling = Sampling(given.frames, given.sampling, given.stride, given.short, given.views)
    protocols = Protocols(
        given.validation_share, given.validation_seed, given.select_on, sampling, given.skip_bad
    )
    return Recorded(listing, source, shape, given.decoder, protocols)


def _shared(listing: Listing) -> str:
    names = sorted({name for shared in listing.shared_sources.values() for name in shared})
    more = ", …" if len(names) > _NAMED else ""
    return f"{len(names)} of the people or films: {', '.join(names[:_NAMED])}{more}"
