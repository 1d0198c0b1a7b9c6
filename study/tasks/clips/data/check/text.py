"""Words a check's report, for people and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from study.tasks.clips.data.check.report import Count, Item, Remark, RemarkKind, Report
from study.tasks.clips.data.sampling import SHORT_CLIPS

SCHEMA = 1
WIDEST_TABLE = 12
"""Classes that are shown side by side."""
NAMED = 5
"""Items of a remark that the text names; JSON names all."""


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as a JSON object.

    Its keys are ``schema`` (1), ``sound``, ``mistakes`` and ``warnings``, and the fields of `Report` but ``remarks``.
    Mistakes and warnings are lists of objects of ``kind`` (`RemarkKind.group`), ``code`` (`RemarkKind`), ``summary``
    and ``named``, which names every list row and clip.
    """
    fields = asdict(report)
    del fields["remarks"]
    remarks = {
        name: [
            {
                "kind": remark.kind.group,
                "code": remark.kind.value,
                "summary": summary(remark),
                "named": [item_text(remark.kind, item) for item in remark.items],
            }
            for remark in of
        ]
        for name, of in (("mistakes", report.mistakes), ("warnings", report.warnings))
    }
    return {"schema": SCHEMA, "sound": report.is_sound, **fields, **remarks}


def described(report: Report) -> str:
    """Return the report as text: mistakes and warnings first, then facts and numbers of clips."""
    root = f" in {report.root}" if report.root else ""
    mistakes = len(report.mistakes)
    verdict = f"NOT SOUND: {mistakes} thing{'s' * (mistakes != 1)} to fix" if mistakes else "sound"
    lines = [f"{report.name}{root}: {verdict}"]
    for title, remarks in (("To fix", report.mistakes), ("To know", report.warnings)):
        if remarks:
            lines += ["", f"{title}:"]
        for remark in remarks:
            lines.append(f"  [{remark.kind.group}] {_on_one_line(summary(remark))}")
            lines += [f"      {_on_one_line(item_text(remark.kind, item))}" for item in remark.items[:NAMED]]
            more = len(remark.items) - NAMED
            lines += [f"      … and {more} more (--json names all)"] if more > 0 else []
    lines += ["", *_fact_lines(report), "", *_table_lines(report)]
    return "\n".join(lines)


def _on_one_line(text: str) -> str:
    """Return a text with the line breaks of names in it as ``\ufffd``, as other control characters are shown."""
    return "\ufffd".join(text.splitlines())


def sentence(remark: Remark) -> str:
    """Return a remark as one sentence that names its first items."""
    first = [item_text(remark.kind, item) for item in remark.items[:NAMED]]
    more = f"; and {len(remark.items) - NAMED} more" if len(remark.items) > NAMED else ""
    named = f": {'; '.join(first)}{more}" if first else ""
    text = summary(remark).removesuffix(".") + named
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def summary(remark: Remark) -> str:
    """Return one line that says what a remark is about."""
    return remark.error or _SUMMARIES[remark.kind](remark)


def item_text(kind: RemarkKind, item: Item) -> str:
    """Return one item of a remark as a line."""
    return _ITEMS.get(kind, _clip_text)(item)


def _clips(count: int) -> str:
    return f"{count} clip{'s' * (count != 1)}"


def _items(remark: Remark, verb: str = "") -> str:
    """Return how many of the clips a remark is about, with ``be`` or ``have`` in the right number."""
    verbs = {"be": ("is", "are"), "have": ("has", "have")}
    count = len(remark.items)
    words = [_clips(count)]
    if remark.total is not None:
        words.append(f"of {remark.total}")
    if verb:
        words.append(verbs[verb][count != 1])
    return " ".join(words)


def _skipped(remark: Remark) -> str:
    return " and left out" if remark.is_skipped else ""


_SUMMARIES: Mapping[RemarkKind, Callable[[Remark], str]] = {
    RemarkKind.ROWS_UNUSABLE: lambda r: (
        f"{len(r.items)} row{'s' * (len(r.items) != 1)} of the lists cannot be used{_skipped(r)}"
    ),
    RemarkKind.LABELS_DOUBTFUL: lambda r: "labels that look misspelt",
    RemarkKind.CLIPS_MISSING: lambda r: f"{_items(r, 'be')} missing{_skipped(r)}",
    RemarkKind.CLIPS_EMPTY: lambda r: f"{_items(r, 'be')} without content{_skipped(r)}",
    RemarkKind.CLIPS_UNREADABLE: lambda r: f"{_items(r, 'be')} unreadable{_skipped(r)}",
    RemarkKind.PACK_OUTDATED: lambda r: f"the frames of {_items(r)} are not those that were packed",
    RemarkKind.TEST_CLIPS_IN_TRAIN: lambda r: (
        f"{len(r.items)} clips of train have the content of a test clip"
    ),
    RemarkKind.COPIES_WITH_OTHER_LABEL: lambda r: "the same content is listed with different labels",
    RemarkKind.COPIES: lambda r: f"{len(r.items)} contents are listed more than once",
    RemarkKind.COUNTS_NOT_OFFICIAL: lambda r: "these are not the official numbers of clips",
    RemarkKind.CLASSES_NOT_TRAINED: lambda r: "train has no clip of these classes",
    RemarkKind.CLASSES_NOT_EVALUATED: lambda r: "these classes are not evaluated: UAR leaves them out",
    RemarkKind.FRAME_COUNT_WRONG: lambda r: (
        f"{_items(r)} of the version with {r.needed_frames} frames a clip "
        f"{'has' if len(r.items) == 1 else 'have'} another number"
    ),
    RemarkKind.FRAMES_TOO_FEW: lambda r: (
        f"{_items(r)} with fewer than {r.needed_frames} frames: {SHORT_CLIPS[r.short or 'even']}"
    ),
    RemarkKind.FRAME_NUMBERS_REPEATED: lambda r: (
        f"{_items(r, 'have')} frames with the same number: their order is ambiguous"
    ),
    RemarkKind.FRAME_NUMBERS_ABSENT: lambda r: (
        f"{_items(r, 'have')} frames without numbers: their order is unknown"
    ),
    RemarkKind.FRAME_NUMBERS_WITH_GAPS: lambda r: f"{_items(r, 'have')} gaps in the numbers of their frames",
    RemarkKind.CLIPS_OF_SEVERAL_SIZES: lambda r: f"{_items(r, 'have')} frames of several sizes",
    RemarkKind.FRAME_SIZES_DIFFER: lambda r: "frames have different sizes; all are resized",
    RemarkKind.FRAMES_NOT_SQUARE: lambda r: f"{_items(r, 'be')} not square: whole frames in place of faces?",
    RemarkKind.SOURCES_SHARED: lambda r: "people or films are in both train and test",
    RemarkKind.FRAMES_TRANSPARENT: lambda r: (
        f"{_items(r, 'have')} transparent pixels: images are read on white, videos opaque; a viewer may differ"
    ),
    RemarkKind.PROFILE_NOT_APPLIED: lambda r: (
        f"{_items(r, 'have')} a colour profile other than sRGB, which is not applied; browsers show other colours"
    ),
    RemarkKind.FRAMES_IN_CMYK: lambda r: f"{_items(r, 'be')} in CMYK, converted without a colour profile",
    RemarkKind.VIDEOS_IN_HDR: lambda r: (
        f"{_items(r, 'be')} in HDR (PQ or HLG), whose brightness is not mapped; browsers show other colours"
    ),
    RemarkKind.JPEGS_NOT_VERIFIED: lambda r: (
        f"{_items(r)} could not be searched for damage inside JPEGs: pip install 'ablation-study[video]'"
    ),
    RemarkKind.FILES_NOT_OF_MANIFEST: lambda r: (
        f"{len(r.items)} file{'s' * (len(r.items) != 1)} of {r.total} are not as in the manifest"
    ),
}


def _clip_text(item: Item) -> str:
    """Return where a clip is listed, the clip, and why it cannot be used."""
    return ": ".join(part for part in (item.where, item.clip and f"clip {item.clip}", item.reason) if part)


def _copies_text(item: Item) -> str:
    return " = ".join(
        f"{_clip_text(copy)} ({copy.name})" if copy.name else _clip_text(copy) for copy in item.copies
    )


def _official_text(item: Item) -> str:
    fold = f"fold {item.fold}: " if item.fold is not None else ""
    clips = f"{item.count} {item.split} clips" if item.split else f"{item.count} clips of {item.name}"
    return f"{fold}{clips}, official are {item.official}"


def _class_text(item: Item) -> str:
    fold = f" of fold {item.fold}" if item.fold is not None else ""
    return f"{item.split}{fold}: no clip of {item.name}"


_ITEMS: Mapping[RemarkKind, Callable[[Item], str]] = {
    RemarkKind.TEST_CLIPS_IN_TRAIN: _copies_text,
    RemarkKind.COPIES_WITH_OTHER_LABEL: _copies_text,
    RemarkKind.COPIES: _copies_text,
    RemarkKind.COUNTS_NOT_OFFICIAL: _official_text,
    RemarkKind.CLASSES_NOT_TRAINED: _class_text,
    RemarkKind.CLASSES_NOT_EVALUATED: _class_text,
    RemarkKind.FRAME_COUNT_WRONG: lambda item: f"clip {item.clip}: {item.count}",
    RemarkKind.FRAMES_TOO_FEW: lambda item: f"clip {item.clip}: {item.count}",
    RemarkKind.FRAME_NUMBERS_REPEATED: lambda item: f"clip {item.clip}: {' and '.join(item.files)}",
    RemarkKind.FRAME_NUMBERS_ABSENT: lambda item: f"clip {item.clip}: {', '.join(item.files)}",
    RemarkKind.FRAME_NUMBERS_WITH_GAPS: lambda item: f"clip {item.clip}: no frame {item.absent_frame}",
    RemarkKind.CLIPS_OF_SEVERAL_SIZES: lambda item: (
        f"clip {item.clip}: {', '.join(f'{width}x{height}' for width, height in item.sizes)}"
    ),
    RemarkKind.FRAME_SIZES_DIFFER: lambda item: f"{item.name}: {_clips(item.count or 0)}",
    RemarkKind.SOURCES_SHARED: lambda item: (
        f"fold {item.fold}: {item.name}" if item.fold is not None else item.name
    ),
}
"""The words of an item by the kind of its remark; `_clip_text` for every other kind."""


def _fact_lines(report: Report) -> list[str]:
    facts = {"digest": report.digest or "none: not all clips can be used", **report.facts}
    if report.frames:
        numbers = report.frames
        facts["frames a clip"] = f"{numbers['least']:g} to {numbers['most']:g}, median {numbers['median']:g}"
    if report.sizes:
        sizes = list(report.sizes.items())
        facts["frame sizes"] = ", ".join(f"{size} ({_clips(count)})" for size, count in sizes[:NAMED])
        facts["frame sizes"] += ", …" if len(sizes) > NAMED else ""
    if report.skipped:
        facts["left out"] = f"{len(report.skipped)} rows and clips"
    width = max(map(len, facts))
    return [f"  {name:<{width}}  {fact}" for name, fact in facts.items()]


def _table_lines(report: Report) -> list[str]:
    """Return the numbers of clips of each split of each fold, by class; the longer side goes down the page."""
    rows = [["", "clips", "official", *report.classes]]
    for count in report.counts:
        fold = f"fold {count.fold} " if count.fold is not None else ""
        numbers = [str(count.classes[name]) for name in report.classes]
        rows.append([f"{fold}{count.split}", str(count.clips), _official_cell(count), *numbers])
    if report.official_classes:
        numbers = [str(report.official_classes[name]) for name in report.classes]
        rows.append(["train and test, official", "", "", *numbers])
    if not any(row[2] for row in rows[1:]):
        rows = [[*row[:2], *row[3:]] for row in rows]
    if len(report.classes) > WIDEST_TABLE:
        rows = [list(column) for column in zip(*rows, strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"  {row[0]:<{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def _official_cell(count: Count) -> str:
    """Return a split's official number of clips; train and validation are one list."""
    if count.official is None:
        return ""
    return f"{count.official} with validation" if count.split == "train" else str(count.official)
