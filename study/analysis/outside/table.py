"""Reads scores from a file of separated values: comma, semicolon or tab."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from study.analysis.outside.rows import ACCURACY, Columns, Row, Scores
from study.errors import ErrorCode, file_error, quoted, unknown_name, wrong_value
from study.files import content_digest, read_regular

SEPARATORS = (",", ";", "\t")


def read_table(path: Path, columns: Columns) -> Scores:
    """Return the scores of a file with a header.

    It has the columns `variant`, `repetition` and `score`, or, with a row for each test example, `variant`,
    `repetition`, `example`, and `score` or both `label` and `prediction`; `fold` and `source` are optional. Without
    a score, an example scores 1 where label and prediction are equal, else 0. An empty score is a failed run, ``nan``
    a diverged one. With another separator than a comma, numbers may have a decimal comma.

    Raises:
        InputError: The file cannot be read, a column is missing, or a value is wrong; the message has the line.
    """
    text = _text(path)
    header_line = text.partition("\n")[0].strip("\r")
    separator = max(SEPARATORS, key=lambda candidate: _known(header_line.split(candidate), columns))
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header, columns)
        rows = tuple(_rows(path, reader, header, columns, separator))
    except csv.Error as error:
        raise file_error(path, f"not a line of separated values: {error}.", line=reader.line_num) from None
    return Scores(
        name=path.stem,
        metric=columns.score if columns.score in header else ACCURACY,
        rows=rows,
        facts={
            "scores": str(path),
            "digest of the scores": content_digest(path)[:16],
            "rows": str(len(rows)),
        },
    )


def _text(path: Path) -> str:
    try:
        text = read_regular(path).decode("utf-8-sig")
    except OSError as error:
        raise file_error(path, f"cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise file_error(path, f"not UTF-8 text: byte {error.start} is no character.") from None
    if not text.strip():
        raise file_error(
            path, "is empty. Its first line must name the columns, such as variant,repetition,score."
        )
    return text


def _known(names: Sequence[str], columns: Columns) -> tuple[int, int]:
    """Return how many of the names are columns, and how many names there are."""
    known = set(vars(columns).values())
    return sum(name.strip().strip('"') in known for name in names), len(names)


def _check_header(path: Path, header: Sequence[str], columns: Columns) -> None:
    """Raise InputError for a column that is missing or there twice."""
    for name in header:
        if name and header.count(name) > 1:
            raise file_error(path, f"the column {name!r} is there twice.")
    needed = [columns.variant, columns.repetition]
    if columns.score not in header:
        has_predictions = columns.label in header or columns.prediction in header
        needed += [columns.label, columns.prediction] if has_predictions else [columns.score]
    if {columns.label, columns.prediction, columns.source} & {*header, *needed}:
        needed.append(columns.example)
    for name in needed:
        if name not in header:
            raise unknown_name(
                str(path),
                f"there is no column {name!r}",
                name,
                header,
                f"The columns are {quoted(header)}; an option such as --score names another one.",
            )


def _rows(
    path: Path, reader: Iterator[list[str]], header: Sequence[str], columns: Columns, separator: str
) -> Iterator[Row]:
    for cells in reader:
        line: int = reader.line_num  # type: ignore[attr-defined]  # a csv.reader has no public type
        where = f"{path}, line {line}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            text = f"has {len(cells)} values for the {len(header)} columns of the first line."
            raise file_error(path, text, ErrorCode.WRONG_VALUE, line)
        values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        for name in (columns.variant, columns.repetition, columns.fold, columns.example, columns.source):
            if values.get(name) == "":
                raise file_error(path, f"{name!r} is empty.", ErrorCode.WRONG_VALUE, line)
        example = values.get(columns.example, "")
        if columns.score in values:
            score = _number(values[columns.score], f"{where}: {columns.score!r}", separator)
        else:
            score = float(values[columns.label] == values[columns.prediction])
        yield Row(
            where=where,
            run=f"line {line}",
            variant=values[columns.variant],
            repetition=values[columns.repetition],
            score=score,
            fold=values.get(columns.fold, ""),
            example=example,
            source=values.get(columns.source, example),
        )


def _number(text: str, what: str, separator: str) -> float | None:
    """Return a finite number or NaN; None for empty text."""
    if not text:
        return None
    try:
        value = float(text if separator == "," else text.replace(",", "."))
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise wrong_value(
            what, "must be a finite number, 'nan' for a diverged run, or empty for a failed one.", text
        )
    return value
