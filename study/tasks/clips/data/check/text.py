"""A check's report as text."""

from __future__ import annotations

from study.tasks.clips.data.check.report import Count, Report

WIDEST_TABLE = 12
"""Classes that go side by side."""
NAMED = 5
"""Of the clips that a remark is about, so many are named to a person; machines get all of them."""


def described(report: Report) -> str:
    """Return the report for a person: what is wrong first, then what is there."""
    where = f" in {report.root}" if report.root else ""
    told = (
        f"NOT SOUND: {len(report.mistakes)} thing{'s' * (len(report.mistakes) != 1)} to mend"
        if report.mistakes
        else "sound"
    )
    lines = [f"{report.name}{where}: {told}"]
    for title, remarks in (("To mend", report.mistakes), ("To know", report.warnings)):
        if remarks:
            lines += ["", f"{title}:"]
        for remark in remarks:
            lines.append(f"  [{remark.kind}] {remark.summary}")
            lines += [f"      {name}" for name in remark.named[:NAMED]]
            if more := len(remark.named) - NAMED:
                lines += [f"      … and {more} more (--json names all)"] if more > 0 else []
    lines += ["", *_facts(report), "", *_table(report)]
    return "\n".join(lines)


def _facts(report: Report) -> list[str]:
    facts = {"digest": report.digest or "none: not all clips can be used", **report.facts}
    if report.frames:
        numbers = report.frames
        facts["frames a clip"] = f"{numbers['least']:g} to {numbers['most']:g}, median {numbers['median']:g}"
    if report.sizes:
        shown = list(report.sizes.items())
        facts["frame sizes"] = ", ".join(f"{size} ({n_clips(n)})" for size, n in shown[:NAMED])
        facts["frame sizes"] += ", …" if len(shown) > NAMED else ""
    if report.skipped:
        facts["left out"] = f"{len(report.skipped)} rows and clips"
    width = max(map(len, facts))
    return [f"  {name:<{width}}  {fact}" for name, fact in facts.items()]


def _table(report: Report) -> list[str]:
    """Return the numbers of clips of each split of each fold, by class; the longer side goes down the page."""
    rows = [["", "clips", "official", *report.classes]]
    for count in report.counts:
        fold = f"fold {count.fold} " if count.fold is not None else ""
        numbers = [str(count.classes[name]) for name in report.classes]
        rows.append([f"{fold}{count.split}", str(count.clips), _official_of(count), *numbers])
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


def _official_of(count: Count) -> str:
    """Return a split's official number of clips; train and validation are one list."""
    if count.official is None:
        return ""
    return f"{count.official} with validation" if count.split == "train" else str(count.official)


def n_clips(count: int) -> str:
    """Return words for a number of clips."""
    return f"{count} clip{'s' * (count != 1)}"


def n_rows(count: int) -> str:
    """Return words for a number of clips."""
    return f"{count} row{'s' * (count != 1)}"


def are(count: int) -> str:
    """Return words for a number of clips."""
    return "is" if count == 1 else "are"


def have(count: int) -> str:
    """Return words for a number of clips."""
    return "has" if count == 1 else "have"


def left_out(skip_bad: bool) -> str:
    """Return words for a number of clips."""
    return " and left out" if skip_bad else ""
