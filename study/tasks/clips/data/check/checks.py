"""Checks whether training on a data set would be sound: its lists, its files and its splits, read once."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from study.errors import InputError, StudyError
from study.task import Progress
from study.tasks.clips.data.check.manifest import compare
from study.tasks.clips.data.check.order import doubt_of_order
from study.tasks.clips.data.check.report import Count, Item, Remark, RemarkKind, Report
from study.tasks.clips.data.contract import SPLITS, Dataset, Split
from study.tasks.clips.data.files.frames import IMAGES, ClipVerdict, existing
from study.tasks.clips.data.files.listing import Fold, Official, RowProblem, SkippedRow
from study.tasks.clips.data.files.packs import Pack
from study.tasks.clips.data.files.pictures import PictureNote
from study.tasks.clips.data.files.source import Raw
from study.tasks.clips.data.sets.recorded import Recorded


def check_dataset(
    name: str,
    build: Callable[[bool], Dataset],
    *,
    skip_bad: bool = False,
    progress: Progress | None = None,
    manifest: Path | None = None,
) -> Report:
    """Read all of a data set once and return what is wrong with it, mistakes first.

    Args:
        name: The data set's component.
        build: Returns the data set; its argument is whether to leave out what cannot be used.
        skip_bad: Clips and rows that cannot be used will be left out in training: they are then no mistakes.
        progress: Called with the number of clips that have been read, and of all clips.
        manifest: A file of checksums that the data set's files must have; written if it does not exist.

    Raises:
        InputError: A mistake in the configuration, or no list or manifest can be read.
    """
    refusal = None
    try:
        data = build(skip_bad)
    except InputError as error:
        data, refusal = _build_without_refused(error, build), error
    if manifest and not (isinstance(data, Recorded) and isinstance(data.source, Raw)):
        raise InputError(
            f"--manifest: {name} is not read from its own files; a pack has checksums of its own."
        )
    if not isinstance(data, Recorded):
        return _synthetic_report(name, data)
    if refusal is not None and not data.listing.skipped_rows:
        raise refusal
    report = _recorded_report(data, skip_bad, progress)
    return report if manifest is None else _with_manifest(report, data, manifest, progress)


def _with_manifest(report: Report, data: Recorded, path: Path, progress: Progress | None) -> Report:
    """Return a report with the files that are not as in the manifest; of unreadable clips none is written."""
    unreadable = {RemarkKind.CLIPS_MISSING, RemarkKind.CLIPS_EMPTY, RemarkKind.CLIPS_UNREADABLE}
    if not path.exists() and any(
        remark.kind in unreadable and remark.is_mistake for remark in report.remarks
    ):
        return report
    compared = compare(path, data.listing, progress)
    facts = {**report.facts, "manifest": f"{path}, {'written' if compared.is_new else 'compared'}"}
    remarks = report.remarks
    if compared.differences:
        changed = Remark(RemarkKind.FILES_NOT_OF_MANIFEST, True, compared.differences, compared.files)
        remarks = (changed, *remarks)
    return replace(report, facts=facts, remarks=remarks)


def known_report(data: Recorded) -> Report:
    """Return what the reading of a data set has found; nothing is decoded again, and packs are not compared."""
    return _recorded_report(data, data.protocols.skip_bad, None, compares_pack=False)


def _build_without_refused(error: InputError, build: Callable[[bool], Dataset]) -> Dataset:
    """Return the data set without the rows that were refused, so that all of them are reported, not the first."""
    try:
        return build(True)
    except InputError:
        raise error from None


def _synthetic_report(name: str, data: Dataset) -> Report:
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


def _recorded_report(
    data: Recorded, skip_bad: bool, progress: Progress | None, *, compares_pack: bool = True
) -> Report:
    listing = data.listing
    remarks = [*_unusable_rows(listing.skipped_rows, skip_bad)]
    if listing.doubts:
        doubts = tuple(Item(reason=doubt) for doubt in listing.doubts)
        remarks.append(Remark(RemarkKind.LABELS_DOUBTFUL, False, doubts))
    try:
        verdicts = dict(data.inspect(progress))
    except InputError as error:  # a damaged pack, or a decoder that is not installed
        is_pack = isinstance(data.source, Pack)
        kind = RemarkKind.PACK_DAMAGED if is_pack else RemarkKind.DATA_UNREADABLE
        remarks.append(Remark(kind, True, error=str(error)))
        verdicts = {}
    remarks += _unusable_clips(data, verdicts, skip_bad)
    sound = {i: verdict for i, verdict in verdicts.items() if verdict.is_sound}
    counts, refusals = _counts(data)
    remarks += refusals
    for found in (
        _outdated_pack(data, sound, progress) if compares_pack else (),
        _duplicates(data, sound),
        _counts_not_official(data, skip_bad),
        _absent_classes(data, counts),
        _frame_counts(data, sound),
        _frame_order(data, sound),
        _frame_sizes(data, sound),
        _shared_sources(data),
        _picture_notes(sound),
    ):
        remarks += found
    is_usable = bool(verdicts) and (skip_bad or not (listing.skipped_rows or len(sound) < len(verdicts)))
    official = _official(data)
    return Report(
        name=listing.name,
        root=str(listing.root),
        digest=data.digest if is_usable else None,
        digests={str(f): data.digest_of(f) for f in data.folds} if is_usable else {},
        facts=dict(data.facts),
        classes=data.classes,
        remarks=tuple(sorted(remarks, key=lambda remark: not remark.is_mistake)),
        counts=tuple(counts),
        official_classes=dict(zip(data.classes, official.classes, strict=False)) if official else {},
        frames=_frame_statistics([verdict.frames for verdict in sound.values()]),
        sizes=_size_counts(sound.values()),
        skipped=data.skipped if skip_bad and verdicts else (),
    )


def _frame_statistics(frames: Sequence[int]) -> dict[str, float]:
    if not frames:
        return {}
    return {
        "clips": len(frames),
        "least": min(frames),
        "median": statistics.median(frames),
        "most": max(frames),
    }


def _unusable_rows(skipped_rows: Sequence[SkippedRow], skip_bad: bool) -> Iterator[Remark]:
    """Yield what is wrong in lists, one remark for each sort of problem."""
    by_problem: dict[RowProblem, list[Item]] = defaultdict(list)
    for row in skipped_rows:
        by_problem[row.problem].append(Item(row.clip, row.where, reason=row.reason))
    for items in by_problem.values():
        yield Remark(RemarkKind.ROWS_UNUSABLE, not skip_bad, tuple(items), is_skipped=skip_bad)


def _unusable_clips(data: Recorded, verdicts: Mapping[str, ClipVerdict], skip_bad: bool) -> Iterator[Remark]:
    """Yield what is missing, empty or unreadable."""
    entries = data.listing.entries
    by_kind: dict[RemarkKind, list[Item]] = defaultdict(list)
    for i, verdict in verdicts.items():
        if not verdict.is_sound:
            path = existing(data.listing.footage / entries[i].path, data.listing.places)
            kind = _unusable_kind(path)
            by_kind[kind].append(Item(i, entries[i].where, reason=verdict.error))
    for kind in (RemarkKind.CLIPS_MISSING, RemarkKind.CLIPS_EMPTY, RemarkKind.CLIPS_UNREADABLE):
        if items := by_kind[kind]:
            yield Remark(kind, not skip_bad, tuple(items), len(verdicts), is_skipped=skip_bad)


def _unusable_kind(path: Path) -> RemarkKind:
    unreadable, empty = RemarkKind.CLIPS_UNREADABLE, RemarkKind.CLIPS_EMPTY
    try:
        if path.is_dir():
            return unreadable if any(p.suffix.lower() in IMAGES for p in path.iterdir()) else empty
        if not path.exists():
            return RemarkKind.CLIPS_MISSING
        return unreadable if path.stat().st_size else empty
    except OSError:  # no permission
        return unreadable


def _outdated_pack(
    data: Recorded, packed: Mapping[str, ClipVerdict], progress: Progress | None
) -> Iterator[Remark]:
    """Compare a pack with the files it was made from, where they are still present."""
    source, listing = data.source, data.listing
    if not isinstance(source, Pack) or not listing.footage.is_dir():
        return
    entries = {i: listing.entries[i] for i in packed}
    raw = Raw(listing, data.shape, data.decoder, source.cache).inspect(list(entries.values()), progress)
    changed = tuple(
        Item(i, entry.where)
        for (i, entry), verdict in zip(entries.items(), raw, strict=True)
        if verdict.digest != packed[i].digest
    )
    if changed:
        yield Remark(RemarkKind.PACK_OUTDATED, True, changed)


def _duplicates(data: Recorded, sound: Mapping[str, ClipVerdict]) -> Iterator[Remark]:
    """Yield clips of the same content: in train and test, with two labels, or listed twice."""
    seen: set[str] = set()
    repeated: set[str] = set()
    for verdict in sound.values():
        (repeated if verdict.digest in seen else seen).add(verdict.digest)
    by_digest: dict[str, list[str]] = defaultdict(list)
    for i, verdict in sound.items():
        if verdict.digest in repeated:
            by_digest[verdict.digest].append(i)
    copies = list(by_digest.values())
    if not copies:
        return
    entries = data.listing.entries
    leaks: dict[str, str] = {}
    """A test clip of the same content, by train clip."""
    for splits in data.listing.folds.values():
        tested = {entry.id for entry in splits["test"]}
        trained = {entry.id for split, of in splits.items() if split != "test" for entry in of}
        for ids in copies:
            test_clip = next((i for i in ids if i in tested), None)
            if test_clip is not None:
                leaks.update((i, test_clip) for i in ids if i in trained and i != test_clip)
    if leaks:
        pairs = tuple(Item(copies=tuple(Item(i, entries[i].where) for i in pair)) for pair in leaks.items())
        yield Remark(RemarkKind.TEST_CLIPS_IN_TRAIN, True, pairs)
    groups = tuple(
        Item(copies=tuple(Item(i, name=data.classes[entries[i].label]) for i in ids)) for ids in copies
    )
    if any(len({entries[i].label for i in ids}) > 1 for ids in copies):
        yield Remark(RemarkKind.COPIES_WITH_OTHER_LABEL, False, groups)
    elif not leaks:
        yield Remark(RemarkKind.COPIES, False, groups)


def _counts_not_official(data: Recorded, skip_bad: bool) -> Iterator[Remark]:
    """Compare the numbers of clips with those that the authors give."""
    official = _official(data)
    if official is None:
        return
    items: list[Item] = []
    for fold, splits in data.listing.folds.items():
        train, test = len(splits["train"]) + len(splits.get("validation", ())), len(splits["test"])
        official_train, official_test = official.clips.get(fold, (train, test))
        if train != official_train:
            items.append(Item(fold=fold, split="train", count=train, official=official_train))
        if test != official_test:
            items.append(Item(fold=fold, split="test", count=test, official=official_test))
        labels = Counter(entry.label for entries in splits.values() for entry in entries)
        items += [
            Item(fold=fold, name=data.classes[label], count=labels[label], official=count)
            for label, count in enumerate(official.classes)
            if labels[label] != count
        ]
    if items:
        yield Remark(RemarkKind.COUNTS_NOT_OFFICIAL, not skip_bad, tuple(items))


def _counts(data: Recorded) -> tuple[list[Count], list[Remark]]:
    """Return the numbers of clips of every split, and a remark for each split that is empty."""
    counts, refusals = [], []
    for fold in data.listing.folds:
        for split in SPLITS:
            try:
                counts.append(_count(data, fold, split))
            except StudyError as error:
                refusals.append(Remark(RemarkKind.SPLIT_EMPTY, True, error=str(error)))
    return counts, refusals


def _count(data: Dataset, fold: Fold, split: Split) -> Count:
    labels = Counter(data.split(split, fold).labels.tolist())
    official_clips = None
    if isinstance(data, Recorded) and (official := _official(data)) and split != "validation":
        train, test = official.clips.get(fold, (None, None))
        official_clips = train if split == "train" else test
    classes = {name: labels[label] for label, name in enumerate(data.classes)}
    return Count(fold, split, sum(classes.values()), official_clips, classes)


def _official(data: Recorded) -> Official | None:
    """Return the official numbers of clips; None for synthetic clips."""
    return None if data.is_synthetic else data.listing.official


def _absent_classes(data: Recorded, counts: Iterable[Count]) -> Iterator[Remark]:
    """Yield classes of which a split has no clip, but those that have none in the official lists.

    Where a fold has the official numbers of clips, its authors left a rare class out of train: that is no mistake.
    """
    official = _official(data)
    official_counts = official.classes if official else ()
    nowhere = {name for name, clips in zip(data.classes, official_counts, strict=False) if not clips}
    absent = [
        Item(fold=count.fold, split=count.split, name=name)
        for count in counts
        for name, clips in count.classes.items()
        if not clips and name not in nowhere
    ]
    for is_official in (False, True):
        in_train = tuple(
            item
            for item in absent
            if item.split == "train" and _has_official_counts(data, item.fold) == is_official
        )
        if in_train:
            is_mistake = not (is_official or data.is_synthetic)
            yield Remark(RemarkKind.CLASSES_NOT_TRAINED, is_mistake, in_train)
    if evaluated := tuple(item for item in absent if item.split != "train"):
        yield Remark(RemarkKind.CLASSES_NOT_EVALUATED, False, evaluated)


def _has_official_counts(data: Recorded, fold: Fold) -> bool:
    """Return whether the lists of a fold name as many clips as the authors give."""
    official, splits = _official(data), data.listing.folds[fold]
    train, test = len(splits["train"]) + len(splits.get("validation", ())), len(splits["test"])
    return official is not None and official.clips.get(fold) == (train, test)


def _frame_counts(data: Recorded, sound: Mapping[str, ClipVerdict]) -> Iterator[Remark]:
    """Yield clips with too few frames, or with another number of them than their version has."""
    sampling = data.protocols.sampling
    needed = sampling.span if sampling.kind == "window" else sampling.frames
    short = tuple(Item(i, count=verdict.frames) for i, verdict in sound.items() if verdict.frames < needed)
    if short:
        yield Remark(RemarkKind.FRAMES_TOO_FEW, False, short, len(sound), needed, sampling.short)
    expected = data.listing.frames_per_clip
    if expected is not None and not data.is_synthetic:
        items = tuple(
            Item(i, count=verdict.frames) for i, verdict in sound.items() if verdict.frames != expected
        )
        if items:
            yield Remark(RemarkKind.FRAME_COUNT_WRONG, True, items, needed_frames=expected)


def _frame_order(data: Recorded, sound: Mapping[str, ClipVerdict]) -> Iterator[Remark]:
    """Yield clips whose frames have no unambiguous order by their file names; a pack keeps no file names."""
    if not isinstance(data.source, Raw):
        return
    listing = data.listing
    by_kind: dict[RemarkKind, list[Item]] = defaultdict(list)
    for i in sound:
        if doubt := doubt_of_order(data.source.file_names(listing.entries[i])):
            by_kind[doubt.kind].append(replace(doubt.example, clip=i))
    for kind, is_mistake in (
        (RemarkKind.FRAME_NUMBERS_REPEATED, True),
        (RemarkKind.FRAME_NUMBERS_ABSENT, True),
        (RemarkKind.FRAME_NUMBERS_WITH_GAPS, False),
    ):
        if items := by_kind[kind]:
            yield Remark(kind, is_mistake, tuple(items), len(sound))


def _frame_sizes(data: Recorded, sound: Mapping[str, ClipVerdict]) -> Iterator[Remark]:
    """Yield sizes that differ inside a clip or between clips, and frames that are not square."""
    mixed = tuple(Item(i, sizes=verdict.sizes) for i, verdict in sound.items() if len(verdict.sizes) > 1)
    if mixed:
        yield Remark(RemarkKind.CLIPS_OF_SEVERAL_SIZES, False, mixed)
    sizes = _size_counts(sound.values())
    if len(sizes) > 1:
        items = tuple(Item(name=size, count=clips) for size, clips in sizes.items())
        yield Remark(RemarkKind.FRAME_SIZES_DIFFER, False, items)
    wide = tuple(
        Item(i) for i, verdict in sound.items() if any(width != height for width, height in verdict.sizes)
    )
    if wide and not data.listing.is_video:
        yield Remark(RemarkKind.FRAMES_NOT_SQUARE, False, wide, len(sound))


def _size_counts(verdicts: Iterable[ClipVerdict]) -> dict[str, int]:
    counts = Counter(f"{width}x{height}" for verdict in verdicts for width, height in verdict.sizes)
    return dict(counts.most_common())


def _shared_sources(data: Recorded) -> Iterator[Remark]:
    """Yield people or films that are in both train and test, where the data set has sources."""
    items = tuple(
        Item(fold=fold, name=source)
        for fold, sources in data.listing.shared_sources.items()
        for source in sources
    )
    if items:
        yield Remark(RemarkKind.SOURCES_SHARED, False, items)


_NOTES: Mapping[PictureNote, RemarkKind] = {
    PictureNote.TRANSPARENT: RemarkKind.FRAMES_TRANSPARENT,
    PictureNote.PROFILE: RemarkKind.PROFILE_NOT_APPLIED,
    PictureNote.CMYK: RemarkKind.FRAMES_IN_CMYK,
    PictureNote.HDR: RemarkKind.VIDEOS_IN_HDR,
    PictureNote.NOT_VERIFIED: RemarkKind.JPEGS_NOT_VERIFIED,
}


def _picture_notes(sound: Mapping[str, ClipVerdict]) -> Iterator[Remark]:
    """Yield clips whose frames a viewer may show otherwise, or whose damage could not be searched for."""
    for note, kind in _NOTES.items():
        if items := tuple(Item(i) for i, verdict in sound.items() if note in verdict.notes):
            yield Remark(kind, False, items, len(sound))
