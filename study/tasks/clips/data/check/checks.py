"""Whether training on a data set would be sound: its lists, its files and its splits, all of it read once."""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from study.errors import InputError, StudyError
from study.task import Progress
from study.tasks.clips.data.check.report import Count, Found, Kind, Remark, Report
from study.tasks.clips.data.check.text import are, have, left_out, n_clips, n_rows
from study.tasks.clips.data.contract import Dataset, Split
from study.tasks.clips.data.files.frames import IMAGES, ClipCheck, find
from study.tasks.clips.data.files.listing import Entry, Fold, Official, SkippedRow
from study.tasks.clips.data.files.packs import Pack
from study.tasks.clips.data.files.source import Raw
from study.tasks.clips.data.sets.recorded import Recorded

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def check_dataset(
    name: str, build: Callable[[bool], Dataset], *, skip_bad: bool = False, progress: Progress | None = None
) -> Report:
    """Read all of a data set once and return what is wrong with it, the worst first.

    Args:
        name: The data set's component.
        build: Returns the data set, told whether to leave out what cannot be used.
        skip_bad: Such clips and rows will be left out in training, too: they are then no mistakes.
        progress: Is told how many clips are read, and how many there are.

    Raises:
        InputError: A mistake in the configuration, or lists of which nothing can be read.
    """
    try:
        data = build(skip_bad)
        refused = None
    except InputError as error:
        data, refused = _despite(error, build)
    if not isinstance(data, Recorded):
        return _drawn(name, data)
    if refused is not None and not data.listing.left:
        raise refused
    return _recorded(data, skip_bad, progress)


def _despite(error: InputError, build: Callable[[bool], Dataset]) -> tuple[Dataset, InputError]:
    """Return the data set without what was refused, so that all such mistakes are told and not the first alone."""
    try:
        return build(True), error
    except InputError:
        raise error from None


def _drawn(name: str, data: Dataset) -> Report:
    """Return the report on a data set that has no files."""
    return Report(
        name=name,
        root=None,
        digest=data.digest,
        digests={},
        facts=dict(data.facts),
        classes=data.classes,
        remarks=(),
        counts=tuple(_count(data, fold, split) for fold in data.folds or (None,) for split in SPLITS),
        official_classes={},
        frames={},
        sizes={},
        skipped=data.skipped,
    )


def _recorded(data: Recorded, skip_bad: bool, progress: Progress | None) -> Report:
    remarks = [*_lists(data.listing.left, skip_bad)]
    if data.listing.doubts:
        remarks.append(Remark(False, "lists", "what looks like a slip of the pen", data.listing.doubts))
    try:
        verdicts = dict(data.inspect(progress))
    except InputError as error:  # a damaged pack, or a decoder that is not installed
        remarks.append(Remark(True, "pack" if isinstance(data.source, Pack) else "data", str(error)))
        verdicts = {}
    remarks += _unusable(data, verdicts, skip_bad)
    sound = {i: verdict for i, verdict in verdicts.items() if verdict.is_sound}
    counts, refusals = _counts(data)
    remarks += refusals
    for found in (
        _repacked(data, sound, progress),
        _duplicates(data, sound),
        _official(data, skip_bad),
        _classes(data, counts),
        _frames(data, sound),
        _order(data, sound),
        _sizes(data, sound),
        _sources(data),
    ):
        remarks += found
    usable = bool(verdicts) and (skip_bad or not (data.listing.left or len(sound) < len(verdicts)))
    official = _known(data)
    frames = [verdict.frames for verdict in sound.values()]
    return Report(
        name=data.listing.name,
        root=str(data.listing.root),
        digest=data.digest if usable else None,
        digests={str(f): data.digest_of(f) for f in data.folds} if usable else {},
        facts=dict(data.facts),
        classes=data.classes,
        remarks=tuple(sorted(remarks, key=lambda remark: not remark.is_mistake)),
        counts=tuple(counts),
        official_classes=dict(zip(data.classes, official.classes, strict=False)) if official else {},
        frames={
            "clips": len(frames),
            "least": min(frames),
            "median": statistics.median(frames),
            "most": max(frames),
        }
        if frames
        else {},
        sizes=_size_counts(sound.values()),
        skipped=data.skipped if skip_bad and verdicts else (),
    )


def _lists(left: Sequence[SkippedRow], skip_bad: bool) -> Found:
    """Yield what is wrong in lists, one remark for each sort of mistake."""
    sorts: dict[str, list[SkippedRow]] = defaultdict(list)
    for row in left:
        sorts[re.sub(r"'[^']*'|\S*\d\S*", "…", row.reason)].append(row)
    for rows in sorts.values():
        what = f"{n_rows(len(rows))} of the lists cannot be used{left_out(skip_bad)}"
        yield Remark(not skip_bad, "lists", what, tuple(map(str, rows)))


def _unusable(data: Recorded, verdicts: Mapping[str, ClipCheck], skip_bad: bool) -> Found:
    """Yield what is missing, empty or unreadable."""
    entries = data.listing.entries
    named: dict[Kind, list[str]] = defaultdict(list)
    for i, verdict in verdicts.items():
        if not verdict.is_sound:
            kind = _kind_of(data.listing.footage / entries[i].path)
            named[kind].append(f"{entries[i].where}: clip {i}: {verdict.error}")
    told: Mapping[Kind, str] = {
        "missing": "not there",
        "empty": "without content",
        "unreadable": "not to be read",
    }
    for kind, what in told.items():
        if clips := named[kind]:
            summary = f"{n_clips(len(clips))} of {len(verdicts)} {are(len(clips))} {what}{left_out(skip_bad)}"
            yield Remark(not skip_bad, kind, summary, tuple(clips))


def _kind_of(path: Path) -> Kind:
    try:
        if path.is_dir():
            return "unreadable" if any(p.suffix.lower() in IMAGES for p in path.iterdir()) else "empty"
        if not path.exists():
            return "missing"
        return "unreadable" if path.stat().st_size else "empty"
    except OSError:  # no permission
        return "unreadable"


def _repacked(data: Recorded, packed: Mapping[str, ClipCheck], progress: Progress | None) -> Found:
    """Compare a pack with the files it was made from, where they are still there."""
    source, listing = data.source, data.listing
    if not isinstance(source, Pack) or not listing.footage.is_dir():
        return
    entries = {i: listing.entries[i] for i in packed}
    raw = Raw(listing, data.shape, data.decoder, source.cache).inspect(list(entries.values()), progress)
    other = [
        f"{entry.where}: clip {i}"
        for (i, entry), verdict in zip(entries.items(), raw, strict=True)
        if verdict.digest != packed[i].digest
    ]
    if other:
        what = f"the frames of {n_clips(len(other))} are not those that were packed"
        yield Remark(True, "pack", what, tuple(other))


def _duplicates(data: Recorded, sound: Mapping[str, ClipCheck]) -> Found:
    """Yield clips of one content: in train and test, with two labels, or simply twice."""
    same: dict[str, list[str]] = defaultdict(list)
    for i, verdict in sound.items():
        same[verdict.digest].append(i)
    copies = [group for group in same.values() if len(group) > 1]
    if not copies:
        return
    entries = data.listing.entries
    leaks: dict[tuple[str, str], None] = {}
    for parts in data.listing.folds.values():
        tested = {entry.id for entry in parts["test"]}
        learnt = {entry.id for part, of in parts.items() if part != "test" for entry in of}
        leaks.update(
            ((a, b), None) for group in copies for a in group for b in group if a in learnt and b in tested
        )
    if leaks:
        named = tuple(f"{entries[a].where}: clip {a} = {entries[b].where}: clip {b}" for a, b in leaks)
        yield Remark(
            True, "duplicates", f"{len(leaks)} clips of train have the content of a test clip", named
        )
    named = tuple(
        " = ".join(f"clip {i} ({data.classes[entries[i].label]})" for i in group) for group in copies
    )
    if any(len({entries[i].label for i in group}) > 1 for group in copies):
        yield Remark(False, "duplicates", "the same content is listed with different labels", named)
    elif not leaks:
        yield Remark(False, "duplicates", f"{len(copies)} contents are listed more than once", named)


def _official(data: Recorded, skip_bad: bool) -> Found:
    """Compare the numbers of clips with those that the authors give."""
    official = _known(data)
    if official is None:
        return
    named = []
    for fold, parts in data.listing.folds.items():
        own = (len(parts["train"]) + len(parts.get("validation", ())), len(parts["test"]))
        of = f"fold {fold}: " if fold is not None else ""
        for part, here, theirs in zip(("train", "test"), own, official.clips.get(fold, own), strict=True):
            if here != theirs:
                named.append(f"{of}{here} {part} clips, official are {theirs}")
        labels = Counter(entry.label for entries in parts.values() for entry in entries)
        for label, theirs in enumerate(official.classes):
            if labels[label] != theirs:
                named.append(f"{of}{labels[label]} clips of {data.classes[label]}, official are {theirs}")
    if named:
        yield Remark(not skip_bad, "counts", "these are not the official numbers of clips", tuple(named))


def _counts(data: Recorded) -> tuple[list[Count], list[Remark]]:
    counts, refusals = [], []
    for fold in data.listing.folds:
        for split in SPLITS:
            try:
                counts.append(_count(data, fold, split))
            except StudyError as error:  # an empty split
                refusals.append(Remark(True, "counts", str(error)))
    return counts, refusals


def _count(data: Dataset, fold: Fold, split: Split) -> Count:
    labels = Counter(data.split(split, fold).labels.tolist())
    official = None
    if isinstance(data, Recorded) and (known := _known(data)) and split != "validation":
        train, test = known.clips.get(fold, (None, None))
        official = train if split == "train" else test
    classes = {name: labels[label] for label, name in enumerate(data.classes)}
    return Count(fold, split, sum(classes.values()), official, classes)


def _known(data: Recorded) -> Official | None:
    """Return the official numbers of clips; clips that a program drew have none."""
    return None if data.is_synthetic else data.listing.official


def _classes(data: Recorded, counts: Iterable[Count]) -> Found:
    """Yield classes that a split does not have."""
    official = _known(data)
    known = official.classes if official else ()
    nowhere = {name for name, clips in zip(data.classes, known, strict=False) if not clips}
    absent = [
        (count, name)
        for count in counts
        for name, clips in count.classes.items()
        if not clips and name not in nowhere
    ]
    for is_mistake, what in (
        (True, "nothing shows training what these classes are"),
        (False, "these classes are not judged: UAR leaves them out"),
    ):
        named = tuple(
            f"{count.split}{f' of fold {count.fold}' if count.fold is not None else ''}: no clip of {name}"
            for count, name in absent
            if (count.split == "train") == is_mistake
        )
        if named:
            yield Remark(is_mistake and not data.is_synthetic, "classes", what, named)


def _frames(data: Recorded, sound: Mapping[str, ClipCheck]) -> Found:
    """Yield clips with too few frames, or other numbers than their version has."""
    sampling = data.protocols.sampling
    needed = sampling.span if sampling.kind == "window" else sampling.frames
    short = tuple(f"clip {i}: {verdict.frames}" for i, verdict in sound.items() if verdict.frames < needed)
    if short:
        summary = f"{n_clips(len(short))} of {len(sound)} with fewer than {needed} frames: {sampling.short_described}"
        yield Remark(False, "short", summary, short)
    if data.listing.facts.get("version", "").startswith("16f") and not data.is_synthetic:
        other = tuple(f"clip {i}: {verdict.frames}" for i, verdict in sound.items() if verdict.frames != 16)
        if other:
            what = f"{n_clips(len(other))} of the version with 16 frames a clip {have(len(other))} another number"
            yield Remark(True, "frames", what, other)


def _order(data: Recorded, sound: Mapping[str, ClipCheck]) -> Found:
    """Yield clips in whose file names the order of frames is not plain; a pack has no such names any more."""
    if not isinstance(data.source, Raw):
        return
    listing = data.listing
    entries = [listing.entries[i] for i in sound]

    def names(entry: Entry) -> list[str]:
        footage = find(listing.footage / entry.path, listing.root)
        return [] if footage.is_video else [file.name for file in footage.files]

    with ThreadPoolExecutor() as threads:
        named_files = list(threads.map(names, entries))
    doubts = [(entry, doubt_of_order(found)) for entry, found in zip(entries, named_files, strict=True)]
    for is_mistake, sort, what in (
        (True, "twice", "have frames with the same number: which comes first cannot be told"),
        (True, "none", "have frames without numbers: their order cannot be told"),
        (False, "gaps", "have gaps in the numbers of their frames"),
    ):
        named = tuple(f"clip {entry.id}: {doubt[1]}" for entry, doubt in doubts if doubt and doubt[0] == sort)
        if named:
            yield Remark(is_mistake, "order", f"{n_clips(len(named))} of {len(sound)} {what}", named)


def doubt_of_order(names: Sequence[str]) -> tuple[Literal["twice", "none", "gaps"], str] | None:
    """Return why the order of these frame files is in doubt, and an example; None where it is plain."""
    if len(names) < 2:
        return None
    numbers = [tuple(map(int, re.findall(r"\d+", Path(name).stem))) for name in names]
    if not any(numbers):
        return "none", f"{names[0]}, {names[1]}"
    first = dict(zip(reversed(numbers), reversed(names), strict=True))
    for number, name in zip(numbers, names, strict=True):
        if first[number] != name:
            return "twice", f"{first[number]} and {name}"
    if len({len(number) for number in numbers}) > 1:
        return "none", f"{names[0]}, {names[-1]}"
    counters = [column for column in zip(*numbers, strict=True) if len(set(column)) > 1]
    if len(counters) > 1:
        return None
    present = set(counters[0])
    absent = next((n for n in range(min(present), max(present)) if n not in present), None)
    return None if absent is None else ("gaps", f"no frame {absent}")


def _sizes(data: Recorded, sound: Mapping[str, ClipCheck]) -> Found:
    """Yield what is odd about the frames' widths and heights."""
    mixed = tuple(
        f"clip {i}: {', '.join(f'{w}x{h}' for w, h in verdict.sizes)}"
        for i, verdict in sound.items()
        if len(verdict.sizes) > 1
    )
    if mixed:
        yield Remark(
            False,
            "sizes",
            f"{n_clips(len(mixed))} {have(len(mixed))} frames of several sizes",
            mixed,
        )
    sizes = _size_counts(sound.values())
    if len(sizes) > 1:
        shown = tuple(f"{size}: {n_clips(clips)}" for size, clips in sizes.items())
        yield Remark(False, "sizes", "frames have different sizes; all are resized", shown)
    wide = [i for i, verdict in sound.items() if any(w != h for w, h in verdict.sizes)]
    if wide and not data.listing.facts.get("version", "").startswith("video"):
        what = f"{n_clips(len(wide))} of {len(sound)} {are(len(wide))} not square: whole frames in place of faces?"
        yield Remark(False, "sizes", what, tuple(f"clip {i}" for i in wide))


def _size_counts(verdicts: Iterable[ClipCheck]) -> dict[str, int]:
    counted = Counter(f"{width}x{height}" for verdict in verdicts for width, height in verdict.sizes)
    return dict(counted.most_common())


def _sources(data: Recorded) -> Found:
    """Yield sources that are learnt from and tested on, where the data set knows sources."""
    named = tuple(
        f"fold {fold}: {source}" if fold is not None else source
        for fold, shared in data.listing.shared_sources.items()
        for source in shared
    )
    if named:
        yield Remark(False, "sources", "people or films are in both train and test", named)
