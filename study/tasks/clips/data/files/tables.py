"""Reads tables of clips as spreadsheets, scripts and people write them: encoding, separator, quotes, positions.

A table of sources beside the lists of a data set names the person or film that each clip is of::

    <lists>/sources.csv          not in any official release: header video_name,source

Without it each clip is a source of its own. Sources are held out of train whole, and intervals that speak for new
clips count them instead of clips.
"""

from __future__ import annotations

import codecs
import csv
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from study.errors import InputError
from study.files import read_regular
from study.tasks.clips.data.files.listing import Entry, RowFilter, RowProblem
from study.tasks.clips.data.files.places import Places, escapes_root, without_suffix

SOURCES = "sources.csv"
SOURCE_COLUMNS = ("video_name", "source")
BLANK = " "
_SEPARATORS = ("\t", ";", ",", "|", BLANK)
"""The first of those that divide most rows is a table's."""
_SAMPLED_ROWS = 200
_LONGEST_ROW_CHARACTERS = 10_000
_LONGEST_SHOWN = 80
_MARKS = (  # UTF-32 before UTF-16, whose mark it begins with
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, and the encodings that they announce."""
_SEPARATOR_LINE = re.compile(r"\s*sep=(.)\s*", re.IGNORECASE)
"""A first line by which Excel knows the separator."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table that is not empty."""

    where: str
    """Table and row, ``lists/set_1.csv:3``, below the root or absolute."""
    fields: tuple[str, ...]
    """Without blanks around them and without their quotes; empty where the row cannot be divided."""
    text: str

    @property
    def shown(self) -> str:
        """The row for a message, shortened."""
        text = self.text if len(self.text) <= _LONGEST_SHOWN else self.text[: _LONGEST_SHOWN - 1] + "…"
        return repr(text)

    def malformed(self, columns: str) -> str:
        """Return the reason why a row has not the given columns."""
        if not self.fields:
            return (
                f"its quotes do not match on this line; a field may not hold a line break. Got {self.shown}"
            )
        return f"must be {columns}. Got {self.shown} instead"


def rows(path: Path, places: Places) -> list[Row]:
    """Return the rows of a table that are not empty, its header included.

    Tab, semicolon, comma, bar or blanks divide fields: what divides most rows; an empty last field is left out.

    Raises:
        InputError: As `lines`.
    """
    listed = list(lines(path, places))
    separator = None
    if listed and (stated := _SEPARATOR_LINE.fullmatch(listed[0][1])):
        separator = stated[1]
        listed = listed[1:]
    separator = separator or _separator([text for _, text in listed[:_SAMPLED_ROWS]])
    divided = (Row(where, divide(text, separator), text) for where, text in listed)
    return [row for row in divided if any(row.fields) or not row.fields]


def divide(text: str, separator: str) -> tuple[str, ...]:
    """Return the fields of a row; none where its quotes do not match."""
    if separator == BLANK:
        return tuple(text.split())
    for is_strict in (True, False):
        try:
            (fields,) = csv.reader(
                [text.strip(" ")], delimiter=separator, skipinitialspace=True, strict=is_strict
            )
        except (csv.Error, ValueError):
            if separator == "\t":  # tabs divide text that has quotes of its own
                fields = text.split(separator)
                break
            if text.count('"') % 2:
                return ()
        else:
            break
    else:
        return ()
    return tuple(field.strip() for field in fields)


def _separator(texts: Sequence[str]) -> str:
    """Return what divides most of the rows into two fields or more."""
    divided = {
        separator: sum(len(divide(text, separator)) > 1 for text in texts) for separator in _SEPARATORS
    }
    best = max(divided.values(), default=0)
    return next((separator for separator in _SEPARATORS if divided[separator] == best > 0), ",")


def lines(path: Path, places: Places) -> Iterator[tuple[str, str]]:
    """Yield position (``list:row``) and text of each line that is not empty.

    UTF-8, UTF-16 and UTF-32 are known by their byte order mark; without one UTF-8 is tried first, then GBK, or
    Windows-1252 where no two bytes beyond ASCII follow each other. Composed and decomposed letters are one (NFC).

    Raises:
        InputError: The file leads out of the places, cannot be read or is no list.
    """
    places.check(path)
    try:
        content = read_regular(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    name = places.name(path)
    text = unicodedata.normalize("NFC", _decoded(content, path))
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        if len(line) > _LONGEST_ROW_CHARACTERS:
            raise InputError(
                f"{path}:{number}: is a row of {len(line)} characters: this is no list of clips."
            )
        if line.strip():
            yield f"{name}:{number}", line


def _decoded(content: bytes, path: Path) -> str:
    marked = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), None)
    beyond = re.findall(rb"[\x80-\xff]+", content)
    is_western = bool(beyond) and all(len(run) == 1 for run in beyond)
    for encoding in (marked,) if marked else ("utf-8", *(("cp1252",) if is_western else ()), "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
        break
    raise InputError(
        f"{path}: is not text in UTF-8, UTF-16 with its mark, Windows-1252 or GBK; save it as UTF-8."
    )


def sources_beside(lists: Path, places: Places, clip_id: Callable[[str], str]) -> Mapping[str, str]:
    """Return the source of each clip by its id; empty where there is no table of sources.

    Args:
        lists: The folder of the data set's lists.
        places: Where the data set may read.
        clip_id: Returns the id of a clip from its name in the list.

    Raises:
        InputError: A row is not a clip and its source, or names a clip again with another source.
    """
    path = lists / SOURCES
    source_of: dict[str, str] = {}
    if not path.is_file():
        return source_of
    for number, row in enumerate(rows(path, places)):
        if number == 0 and row.fields == SOURCE_COLUMNS:
            continue
        if len(row.fields) != len(SOURCE_COLUMNS) or not all(row.fields):
            raise InputError(
                f"{places.root / row.where}: must be {','.join(SOURCE_COLUMNS)}. Got {row.shown} instead."
            )
        clip, source = clip_id(row.fields[0]), row.fields[1]
        if source_of.setdefault(clip, source) != source:
            raise InputError(
                f"{places.root / row.where}: clip {clip} has the source {source_of[clip]!r} already."
            )
    return source_of


def with_sources(
    entries: Iterable[Entry], source_of: Mapping[str, str], lists: Path, kept: RowFilter
) -> tuple[Entry, ...]:
    """Return clips with their sources; a clip that a table of sources leaves out is rejected, or skipped."""
    if not source_of:
        return tuple(entries)
    found = []
    for entry in entries:
        if entry.id in source_of:
            found.append(replace(entry, source=source_of[entry.id]))
        else:
            reason = f"{kept.places.name(lists / SOURCES)} names no source of clip {entry.id}"
            kept.reject(entry.where, RowProblem.NO_SOURCE, reason, entry.id)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class ListedClip:
    """A row of a split list of another code base: a path on its authors' machine, a label, maybe a number of frames."""

    where: str
    path: str
    """With forward slashes."""
    label: str

    def parts(self, count: int) -> tuple[str, ...]:
        """Return the last `count` names of the path, without a video's suffix; none where it is not a plain path.

        A path of more names must be absolute, or go down only: it is one on the machine of who wrote the list.
        """
        names = self.path.removeprefix("./").split("/")
        before, parts = names[:-count], (*names[-count:-1], without_suffix(names[-1]))
        goes_up = before == [""] or {".", ".."} & {*before} or "" in before[1:]
        return () if len(names) < count or goes_up or escapes_root("/".join(parts)) else parts


_WINDOWS_PATH = re.compile(r"[A-Za-z]:\\|\\\\")
_PATHS = frozenset(("video_name", "video_names", "video", "name", "path", "file", "filename", "clip"))
_LABELS = frozenset(("label", "labels", "class", "emotion", "id"))
"""Names of the columns of split lists in circulation, in lower case; ``path,id`` has the label's number as id."""


def listed_clips(path: Path, kept: RowFilter, columns: str) -> Iterator[ListedClip]:
    """Yield the rows of a split list: by its header, or ``path label``, ``path frames label``; others are rejected.

    Args:
        path: The list.
        kept: Rejects rows.
        columns: The columns of the official list, for messages.
    """
    listed = rows(path, kept.places)
    header = _positions(listed[0].fields) if listed else None
    for row in listed[header is not None :]:
        fields = row.fields
        if header is None:
            fields = fields[: len(fields) - (len(fields) > 2 and not fields[-1])]
            has_frames = len(listed[0].fields) == len(fields) == 3 and fields[1].isdecimal()
            position = (0, 2) if has_frames else (0, 1)
            width = 3 if has_frames else 2
        else:
            position, width = header, len(listed[0].fields)
        if len(fields) != width:
            kept.reject(row.where, RowProblem.MALFORMED, row.malformed(columns))
        else:
            name = fields[position[0]]
            name = name.replace("\\", "/") if _WINDOWS_PATH.match(name) else name
            yield ListedClip(row.where, name.rstrip("/"), fields[position[1]])


def _positions(header: Sequence[str]) -> tuple[int, int] | None:
    """Return the positions of a clip and its label by the first row of a list; None where it names no columns."""
    names = [name.lower() for name in header]
    clip = next((number for number, name in enumerate(names) if name in _PATHS), None)
    label = next((number for number, name in enumerate(names) if name in _LABELS), None)
    return None if clip is None or label is None else (clip, label)
